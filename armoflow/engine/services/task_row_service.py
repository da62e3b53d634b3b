"""Rows of a session's tasks, for who watches it live."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgpack

from armoflow.config import MIB
from armoflow.engine.core import Engine
from armoflow.engine.records import StateError
from armoflow.engine.task_row_queries import LiveTasks, TaskRowsReader
from armoflow.errors import MalformedError
from armoflow.protocol.frames import UNREADABLE
from armoflow.protocol.task_rows import REQUEST, in_pieces


class TaskRowsService:
    """Serves ``/armoflow.Extension/Tasks``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reader = TaskRowsReader()

    async def read(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        """The rows that are asked for; the journal is read in a thread."""
        try:
            arguments = msgpack.unpackb(request)
            REQUEST.check(arguments, "the request")
        except (MalformedError, *UNREADABLE) as error:
            raise StateError("INVALID_ARGUMENT", str(error)) from error
        session_id, since, skip, limit = arguments
        engine = self._engine
        held = engine.held(session_id)
        live = LiveTasks(engine.task_counts.count(session_id), held)
        told = [] if since is not None else engine.task_output.progress.of(held)[:limit]
        found = await engine.queries.run(
            lambda connection: self._reader.read(
                connection, session_id, since, skip, limit, live=live
            )
        )
        reply = msgpack.packb([*found, told])
        for piece in in_pieces(reply, MIB):
            yield piece
