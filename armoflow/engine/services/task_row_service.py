"""Rows of a session's tasks, for who watches it live."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgpack

from armoflow.config import MIB
from armoflow.engine.core import Engine
from armoflow.engine.ended_tasks import EndedList
from armoflow.engine.records import StateError
from armoflow.engine.task_row_queries import TaskRowsReader
from armoflow.errors import MalformedError
from armoflow.protocol.frames import UNREADABLE
from armoflow.protocol.shapes import Shape
from armoflow.protocol.task_rows import (
    ENDED_REQUEST,
    MICROSECONDS,
    OVERLAP,
    RUNNING_REQUEST,
    in_pieces,
)


class TaskRowsService:
    """Serves ``/armoflow.Extension/RunningTasks`` and ``.../EndedTasks``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reader = TaskRowsReader()

    async def running(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        """What runs, and how many tasks are in which status."""
        session_id, limit = _checked(request, RUNNING_REQUEST)
        engine = self._engine
        held = engine.held(session_id)
        counts = [
            (int(status), count) for status, count in engine.task_counts.count(session_id).items()
        ]
        told = engine.task_output.progress.of(held)[:limit]
        found = await engine.queries.run(
            lambda connection: self._reader.running(connection, session_id, held, limit)
        )
        for piece in in_pieces(msgpack.packb([found.text, counts, told, found.seconds]), MIB):
            yield piece

    async def ended(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        """A page of what has ended; the journal is read in a thread."""
        session_id, place, limit = _checked(request, ENDED_REQUEST)
        engine = self._engine
        list_id, position, since = place or ("", 0, 0)
        ended = engine.ended_tasks.find(list_id, session_id)
        if ended is None:
            ended, position = await self._begin(session_id, since), 0
        numbers, ids = ended.page(position, limit)
        found = await engine.queries.run(
            lambda connection: self._reader.rows(connection, session_id, numbers, ids)
        )
        position += len(numbers) + len(ids)
        reply = [
            found.text,
            found.errors,
            (ended.id, position),
            position < ended.size,
            found.seconds,
        ]
        for piece in in_pieces(msgpack.packb(reply), MIB):
            yield piece

    async def _begin(self, session_id: str, since: int) -> EndedList:
        """A list of what has ended since then, in microseconds, and of what is to end."""
        then = since / MICROSECONDS - OVERLAP
        # What ends meanwhile is on it twice rather than not at all.
        ended = self._engine.ended_tasks.open(session_id)
        ended.begin(
            await self._engine.queries.run(
                lambda connection: self._reader.ended(connection, session_id, then)
            )
        )
        return ended


def _checked(request: bytes, shape: Shape) -> Any:
    try:
        arguments = msgpack.unpackb(request)
        shape.check(arguments, "the request")
    except (MalformedError, *UNREADABLE) as error:
        raise StateError("INVALID_ARGUMENT", str(error)) from error
    return arguments
