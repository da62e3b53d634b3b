"""What this user's clients know of named runs: a note each, beside the indexes of caches.

The engine knows more, as long as it has the run's session. When that was purged, a note still says
what there was. It is data, and nothing but words is made of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from armoflow.errors import EngineError
from armoflow.index_files import path_of

logger = logging.getLogger(__name__)

KEPT = 1_000
"""Notes that are kept of an engine: the newest."""


class RunNote(NamedTuple):
    """What a client knows of a run.

    Attributes:
        name: Its name.
        session: The id of its session.
        asked: The task whose value was asked for.
        begun: When it was submitted, or attached to, first, in seconds since 1970.
        state: ``running``, ``done`` or ``failed``, as it was seen last.
        seen: When that was.
    """

    name: str
    session: str
    asked: str
    begun: float
    state: str
    seen: float


class RunNotes:
    """The notes of the runs of one engine.

    Args:
        endpoint: Where it listens.
        folder: Where they are; by default beside the index of its cache.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     notes = RunNotes("http://somewhere", Path(folder))
        ...     notes.write("nightly", "1-2-3", "total", "running")
        ...     notes.write("nightly", "1-2-3", "total", "done")
        ...     [(note.name, note.state) for note in notes.all()]
        [('nightly', 'done')]
    """

    def __init__(self, endpoint: str, folder: Path | None = None) -> None:
        self._folder = folder
        self._unnoted: set[str] = set()  # runs of which it was said that they cannot be noted
        if folder is None:
            with contextlib.suppress(EngineError):  # no place for such files: nothing is noted
                self._folder = path_of(endpoint).with_suffix(".runs")

    def write(self, name: str, session: str, asked: str, state: str) -> None:
        """Note what is known now; where that cannot be, it is logged."""
        if self._folder is None:
            return
        known = self.read(name)
        now = time.time()
        begun = known.begun if known is not None and known.session == session else now
        note = RunNote(name, session, asked, begun, state, now)
        path = self._folder / _file(name)
        written = path.with_suffix(f".{os.getpid()}")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            written.write_text(json.dumps(note._asdict()), "utf-8")
            written.replace(path)
            for old in self._paths()[KEPT:]:
                old.unlink(missing_ok=True)
        except OSError as error:
            if name not in self._unnoted:
                self._unnoted.add(name)
                logger.warning("run %r is not noted in %s: %s", name, self._folder, error.strerror)

    def read(self, name: str) -> RunNote | None:
        """What is known of a run."""
        return None if self._folder is None else _read(self._folder / _file(name))

    def all(self) -> list[RunNote]:
        """All that is known, the newest first."""
        return [note for path in self._paths() if (note := _read(path)) is not None]

    def _paths(self) -> list[Path]:
        if self._folder is None:
            return []
        return sorted(self._folder.glob("*.json"), key=_changed, reverse=True)


def what_was(note: RunNote) -> str:
    """What a note says, in brackets.

    Example:
        >>> what_was(RunNote("nightly", "1-2", "total", 0.0, "done", 60.0))
        " (begun 1970-01-01 00:00 UTC for 'total'; done when seen last, 1970-01-01 00:01 UTC)"
    """
    begun, seen = map(_date, (note.begun, note.seen))
    return f" (begun {begun} for {note.asked!r}; {note.state} when seen last, {seen})"


def _date(when: float) -> str:
    return datetime.fromtimestamp(when, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def _file(name: str) -> str:
    # A name of 100 characters may be 1,200 when it is quoted, more than a file's name can be.
    quoted = quote(name, safe="")
    if len(quoted) > 200:
        quoted = f"{quoted[:160]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return f"{quoted}.json"


def _changed(path: Path) -> float:
    with contextlib.suppress(OSError):  # another client has removed it
        return path.stat().st_mtime
    return 0.0


def _read(path: Path) -> RunNote | None:
    """A note; None: there is none, or it is none."""
    try:
        said = json.loads(path.read_text("utf-8"))
        texts = [said[field] for field in ("name", "session", "asked", "state")]
        times = [said[field] for field in ("begun", "seen")]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    if not all(isinstance(text, str) and len(text) < 1_000 for text in texts):
        return None
    if not all(type(when) in (int, float) and 0 <= when < 1e11 for when in times):
        return None
    name, session, asked, state = texts
    return RunNote(name, session, asked, times[0], state, times[1])
