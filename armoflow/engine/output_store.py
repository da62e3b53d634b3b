"""What tasks write, kept by session for ``armoflow logs``, and told to who listens.

Each session has a file of JSON lines, and an older one of the same size beside it. The newest is
what counts: where there is no room, output is lost, and nothing waits for it.
"""

from __future__ import annotations

import json
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from armoflow.agent.passages import Passage
from armoflow.config import OUTPUT_FILE_BYTES
from armoflow.engine.running_progress import RunningProgress

_OPEN = 32
"""Files that are held open."""

_OLDER = ".1"
_SUFFIX = ".jsonl"

HearPassages = Callable[[Sequence[Passage]], None]


class TaskOutput:
    """All sessions' output.

    Args:
        directory: Where the files go; made with the first one.

    Attributes:
        progress: How far tasks are that run.
    """

    def __init__(self, directory: Path) -> None:
        self.progress = RunningProgress()
        self._directory = directory
        self._files: OrderedDict[str, int] = OrderedDict()
        self._listeners: dict[str, list[HearPassages]] = {}

    def write(self, passages: Iterable[Passage]) -> None:
        """Tasks wrote something; what belongs to no session is nobody's."""
        by_session: dict[str, list[Passage]] = {}
        for passage in passages:
            if passage.writer.session_id:
                by_session.setdefault(passage.writer.session_id, []).append(passage)
        for session_id, some in by_session.items():
            self.progress.hear(some)
            for hear in list(self._listeners.get(session_id, ())):
                hear(some)
            with suppress(OSError):
                self._append(session_id, lines_of(some))

    def listen(self, session_id: str, hear: HearPassages) -> Callable[[], None]:
        """Have what is written in a session told from now on; returns what ends it."""
        listeners = self._listeners.setdefault(session_id, [])
        listeners.append(hear)

        def end() -> None:
            listeners.remove(hear)
            if not listeners and self._listeners.get(session_id) is listeners:
                del self._listeners[session_id]

        return end

    def paths(self, session_id: str) -> list[Path]:
        """The files of a session, oldest first; they need not exist."""
        path = self._path(session_id)
        return [path.with_name(path.name + _OLDER), path]

    def remove(self, session_ids: Iterable[str]) -> None:
        """The sessions are gone."""
        for session_id in session_ids:
            self._close(session_id)
            for path in self.paths(session_id):
                with suppress(OSError):
                    path.unlink(missing_ok=True)

    def keep_only(self, session_ids: Collection[str]) -> None:
        """Remove what sessions have left that are no more."""
        with suppress(OSError):
            for path in self._directory.iterdir():
                name = path.name.removesuffix(_OLDER).removesuffix(_SUFFIX)
                if unquote(name) not in session_ids:
                    path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the files."""
        for session_id in list(self._files):
            self._close(session_id)

    def _path(self, session_id: str) -> Path:
        return self._directory / f"{quote(session_id, safe='')}{_SUFFIX}"

    def _append(self, session_id: str, data: bytes) -> None:
        file = self._open(session_id)
        if os.lseek(file, 0, os.SEEK_END) + len(data) > OUTPUT_FILE_BYTES:
            self._close(session_id)
            older, path = self.paths(session_id)
            path.replace(older)
            file = self._open(session_id)
        os.write(file, data)

    def _open(self, session_id: str) -> int:
        file = self._files.get(session_id)
        if file is None:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            path = self._path(session_id)
            file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._files[session_id] = file
            if len(self._files) > _OPEN:
                self._close(next(iter(self._files)))
        self._files.move_to_end(session_id)
        return file

    def _close(self, session_id: str) -> None:
        file = self._files.pop(session_id, None)
        if file is not None:
            os.close(file)


def lines_of(passages: Iterable[Passage]) -> bytes:
    """Passages as they are kept."""
    moment = round(time.time(), 3)
    return "".join(_line(moment, passage) for passage in passages).encode()


def _line(moment: float, passage: Passage) -> str:
    writer, level, logger, text = passage
    fields: dict[str, Any] = {
        "time": moment,
        "task": writer.task_id,
        "name": writer.name,
        "level": level,
        "logger": logger,
        "text": text,
    }
    return json.dumps(fields) + "\n"
