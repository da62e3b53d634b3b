"""What the tasks of a cluster have written, read while they run: see ``armoflow.codec.written``.

News that something has ended is the occasion to look: the results that hold what was written are
listed by name, and each is read once. Nothing depends on it, so what goes wrong is told in the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from armonik.protogen.common import result_status_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from armoflow import config
from armoflow.codec.written import LEVEL_OPTION, PREFIX, read_written
from armoflow.errors import ArmoflowError, DataLostError
from armoflow.protocol import messages

if TYPE_CHECKING:
    from armoflow.protocol.standard import StandardTransport

logger = logging.getLogger(__name__)

PAGE = 1_000
"""Rows of one list call."""

OVERLAP = 60
"""Seconds that are listed again: results appear later than they say, by clocks of their own."""

_COMPLETED = result_status_pb2.RESULT_STATUS_COMPLETED


class WrittenOutput:
    """Reads what tasks have written; lives in the loop's thread.

    Args:
        transport: Whose engine.
        results: The stub of the results service.
        hear: Told task id, name, level, logger and text of each passage.
        level: From which level on it is wanted.
    """

    def __init__(
        self,
        transport: StandardTransport,
        results: Any,
        hear: Callable[[list[Any]], None],
        level: int,
    ) -> None:
        self.label = (LEVEL_OPTION, str(level))
        self._transport = transport
        self._results = results
        self._hear = hear
        self._news = False
        self._looking: asyncio.Task[None] | None = None
        self._reading = asyncio.Lock()
        self._seen: dict[str, dict[str, int]] = {}  # and when they were created

    def news(self, session_id: str) -> None:
        """Something has ended: what it has written is read soon."""
        self._news = True
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(session_id))

    async def _look(self, session_id: str) -> None:
        while self._news:
            self._news = False
            await self.read(session_id)
            await asyncio.sleep(config.WRITTEN_PAUSE)

    def close(self) -> None:
        """Read no more."""
        if self._looking is not None:
            self._looking.cancel()

    async def catch_up(self, session_id: str) -> None:
        """Read what there is now, but not for long."""
        try:
            await asyncio.wait_for(self.read(session_id), config.WRITTEN_PATIENCE)
        except asyncio.TimeoutError:
            logger.info("what tasks have written is read later: the engine is slow to tell it")

    async def read(self, session_id: str) -> None:
        """Read what there is that was not read before."""
        async with self._reading:
            try:
                await self._read(session_id)
            except ArmoflowError as error:
                logger.warning("what tasks have written cannot be read: %s", error)

    async def _read(self, session_id: str) -> None:
        seen = self._seen.get(session_id, {})
        oldest = max(max(seen.values(), default=0) - OVERLAP, 0)
        seen = self._seen[session_id] = {id: at for id, at in seen.items() if at >= oldest}
        since = Timestamp(seconds=oldest)
        request = messages.results_in(session_id, _COMPLETED, PAGE, PREFIX, since=since)
        while True:
            method = self._results.ListResults
            reply = await self._transport.call(method, request, "listing output of tasks")
            new = [row for row in reply.results if row.result_id not in seen]
            await self._tell(session_id, new)
            seen.update((row.result_id, row.created_at.seconds) for row in new)
            if len(reply.results) < PAGE:
                return
            request.page += 1

    async def _tell(self, session_id: str, rows: Sequence[Any]) -> None:
        rows = sorted(rows, key=lambda row: (row.created_at.seconds, row.created_at.nanos))
        contents = await self._transport.fetch(session_id, [row.result_id for row in rows])
        for row, content in zip(rows, contents, strict=True):
            if isinstance(content, DataLostError):
                logger.info("what task %s has written is gone: %s", row.created_by, content)
                continue
            self._hear([[row.created_by, *text[1:]] for text in read_written(content)])
