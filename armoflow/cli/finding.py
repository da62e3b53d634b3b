"""What is meant on a command line: a named run, or something else by its id."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from armonik.common import Session, SessionStatus

from armoflow.errors import UnknownIdError, shown
from armoflow.protocol.entities import Entity
from armoflow.protocol.frames import RUN_LABEL
from armoflow.protocol.inspection import Inspection
from armoflow.protocol.settings import ConnectionSettings
from armoflow.run_notes import RunNotes, what_was
from armoflow.texts import is_text

T = TypeVar("T", bound=Entity)

OPEN = (SessionStatus.RUNNING, SessionStatus.PAUSED)
"""A session in one of these takes tasks."""


BEGIN_ANEW = "armoflow run SCRIPT, with the script that submits it, begins it anew"


def find(inspection: Inspection, said: str) -> Entity:
    """The session of a named run, or the only session, task or result whose id begins so.

    Raises:
        UnknownIdError: If there is none, or more than one.
    """
    run = session_of_run(inspection, said)
    return run if run is not None else _by_id(inspection, said, inspection.find)


def find_session(inspection: Inspection, said: str) -> Session:
    """The session of a named run, or the only one whose id begins so.

    Raises:
        UnknownIdError: If there is none, or it is something else.
    """
    run = session_of_run(inspection, said)
    return run if run is not None else _by_id(inspection, said, inspection.session_of)


def find_sessions(inspection: Inspection, said: str) -> Sequence[Session]:
    """All sessions that a run's name has had, or the only one whose id begins so.

    Raises:
        UnknownIdError: If there is none, or it is something else.
    """
    runs = inspection.labelled_sessions(RUN_LABEL, _text(said))
    return runs or [_by_id(inspection, said, inspection.session_of)]


def session_of_run(inspection: Inspection, name: str) -> Session | None:
    """The session of a run: the one that goes on, or the last that did anything."""
    sessions = inspection.labelled_sessions(RUN_LABEL, _text(name))
    opened = [session for session in sessions if session.status in OPEN]
    if opened or len(sessions) < 2:
        return (opened or sessions or [None])[0]
    # Of clients that begin a run in the same moment only the first one's session is used.
    used = (one for one in reversed(sessions) if inspection.counts(str(one.session_id)))
    return next(used, sessions[-1])


def _text(said: str) -> str:
    """What was said, if an engine can be asked for it: bytes of a command line may be no text."""
    if not is_text(said):
        raise UnknownIdError(f"{shown(said)} is no text in UTF-8, as names and ids are")
    return said


def told_of(settings: ConnectionSettings, name: str) -> str | None:
    """What is known of a run that the engine does not know any more."""
    note = RunNotes(settings.endpoint).read(name)
    return None if note is None else what_was(note)


def gone(name: str, was: str) -> str:
    """Says that the engine does not know a run any more.

    Args:
        name: The run's name.
        was: What is known of it; see :func:`told_of`.
    """
    return (
        f"run {name!r} is not there any more{was}: its session was purged, and its values with "
        f"it; {BEGIN_ANEW}"
    )


def _by_id(inspection: Inspection, said: str, find: Callable[[str], T]) -> T:
    """What is meant by an id; of a run that went it is told what it was."""
    try:
        return find(said)
    except UnknownIdError as error:
        was = told_of(inspection.settings, said)
        if was is None:
            raise
        raise UnknownIdError(gone(said, was)) from error
