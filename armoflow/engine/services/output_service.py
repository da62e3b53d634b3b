"""What tasks of a session have written, and go on writing: JSON lines, as the engine keeps them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgpack

from armoflow.agent.passages import Passage
from armoflow.config import MIB, OUTPUT_WAITING
from armoflow.engine.core import Engine
from armoflow.engine.output_store import lines_of
from armoflow.engine.records import SessionStatus, StateError
from armoflow.errors import MalformedError
from armoflow.protocol.frames import OUTPUT_REQUEST, UNREADABLE

_LIVE = frozenset({SessionStatus.RUNNING, SessionStatus.PAUSED})

_LOOK_SECONDS = 0.5
"""How often is looked whether a session has ended, whose output is followed."""


class TaskOutputService:
    """Serves ``/armoflow.Extension/Output``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def read(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        """The output of a session; where it is followed, until the session ends."""
        try:
            arguments = msgpack.unpackb(request)
            OUTPUT_REQUEST.check(arguments, "the request")
        except (MalformedError, *UNREADABLE) as error:
            raise StateError("INVALID_ARGUMENT", str(error)) from error
        session_id, follow = arguments
        files = self._open(session_id)
        # From here on nothing is missed: what comes is in the files, or it is heard.
        news = _News()
        end = self._engine.task_output.listen(session_id, news.hear) if follow else None
        try:
            for file, size in files:
                async for data in _content(file, size):
                    yield data
            while follow:
                ended = not self._is_live(session_id)
                data = news.taken()
                if data:
                    yield data
                elif ended:
                    return
                else:
                    await news.wait(_LOOK_SECONDS)
        finally:
            for file, _ in files:
                os.close(file)
            if end is not None:
                end()

    def _open(self, session_id: str) -> list[tuple[int, int]]:
        """The session's files, with the bytes that they have now."""
        files = []
        for path in self._engine.task_output.paths(session_id):
            try:
                file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            files.append((file, os.fstat(file).st_size))
        return files

    def _is_live(self, session_id: str) -> bool:
        session = self._engine.state.sessions.get(session_id)
        return session is not None and session.status in _LIVE


class _News:
    """What is written while the files are read, and after; no more than may wait."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._came = asyncio.Event()

    def hear(self, passages: Sequence[Passage]) -> None:
        """It was written."""
        data = lines_of(passages)
        if self._size + len(data) <= OUTPUT_WAITING:  # else who reads does not follow: it is kept
            self._parts.append(data)
            self._size += len(data)
            self._came.set()

    def taken(self) -> bytes:
        """What has come since this was asked last."""
        data = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        self._came.clear()
        return data

    async def wait(self, seconds: float) -> None:
        """Wait until something comes, for so many seconds."""
        try:
            await asyncio.wait_for(self._came.wait(), seconds)
        except asyncio.TimeoutError:
            return


async def _content(file: int, size: int) -> AsyncIterator[bytes]:
    offset = 0
    while offset < size:
        data = await asyncio.to_thread(os.pread, file, min(MIB, size - offset), offset)
        if not data:
            return
        offset += len(data)
        yield data
