"""Opening and ending sessions, for all who may ask for it: by a call, or on a stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from armoflow.engine.core import Engine
from armoflow.engine.records import ApiOptions, Changes, SessionRecord, SessionStatus, StateError

Show = Callable[[SessionRecord], None]
"""Is shown a session as a command leaves it; others may change it before that is committed."""

_ENDED = (SessionStatus.CLOSED, SessionStatus.CANCELLED)


async def open_session(
    engine: Engine, options: ApiOptions, partitions: Sequence[str], *, leased: bool
) -> str:
    """Open a session; returns its id once it is committed.

    Args:
        engine: The engine.
        options: Default options of its tasks.
        partitions: Where they may run.
        leased: It may end when its client is gone.
    """
    session_id = engine.new_id()
    changes = engine.state.create_session(
        engine.now(), session_id, options, tuple(partitions), leased=leased
    )
    engine.leases.begin(session_id)
    await engine.admission.promise(engine.apply(changes))
    return session_id


async def cancel_session(engine: Engine, session_id: str, show: Show | None = None) -> None:
    """Cancel a session and all that it has not finished."""
    await change_session(engine, session_id, engine.state.cancel_session, show, held=True)


async def close_session(
    engine: Engine, session_id: str, show: Show | None = None, *, tidied: bool
) -> None:
    """End a session: what still waits is cancelled.

    Args:
        engine: The engine.
        session_id: Which.
        show: Is shown the session.
        tidied: Data goes that need not stay; the session may have ended before.
    """
    session = find_session(engine, session_id)
    if not (tidied and session.status in _ENDED):
        await change_session(engine, session_id, engine.state.close_session, show)
    elif show is not None:
        show(session)
    if tidied:
        await engine.admission.promise(engine.kept_data.tidy(session_id))


async def change_session(
    engine: Engine,
    session_id: str,
    command: Callable[..., Changes],
    show: Show | None = None,
    *,
    held: bool = False,
) -> None:
    """Run a command on the whole of a session; done once all of that is committed.

    Args:
        engine: The engine.
        session_id: Which.
        command: The command.
        show: Is shown the session.
        held: Whether it is told which tasks agents hold: it comes to them first.
    """

    def run() -> Changes:
        first = (engine.held(session_id),) if held else ()
        changes = command(engine.now(), session_id, *first)
        if show is not None:
            show(find_session(engine, session_id))
        return changes

    await engine.admission.promise(engine.sweeper.change(session_id, run))


def find_session(engine: Engine, session_id: str) -> SessionRecord:
    """A session that is there.

    Raises:
        StateError: NOT_FOUND, if it is not.
    """
    session = engine.state.sessions.get(session_id)
    if session is None or session.status is SessionStatus.DELETED:
        raise StateError("NOT_FOUND", f"session {session_id!r} does not exist")
    return session
