"""The logs that tasks leave of their items, as they come: see :mod:`armoflow.codec.item_log`.

A log's name says what is of interest in it, so that few are read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from armonik.protogen.common import result_status_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from armoflow.codec.item_log import PREFIX, read_items, read_summary
from armoflow.protocol import messages

if TYPE_CHECKING:
    from armoflow.protocol.standard import StandardTransport

PAGE = 1_000
"""Rows of one list call."""

OVERLAP = 60
"""Seconds by which a row may be seen later than others that were created after it."""

READ_AT_ONCE = 100
"""Logs that are read at once, for who counts."""

_COMPLETED = result_status_pb2.RESULT_STATUS_COMPLETED

Ask = Callable[[Any], Awaitable[Any]]
"""A list call: gives the reply to a request."""


async def list_pages(ask: Ask, request: Any, rows: str) -> AsyncIterator[Any]:
    """All rows of a list, page by page; ``rows`` is what the reply calls them."""
    while True:
        found = getattr(await ask(request), rows)
        for row in found:
            yield row
        if len(found) < request.page_size:
            return
        request.page += 1


class NewLogs:
    """The logs of one session, each told until it is known."""

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self._seen: set[str] = set()
        self._since = 0

    async def read(self, ask: Ask) -> list[Any]:
        """The rows of those that are not known yet."""
        count = await ask(messages.results_in(self._session_id, _COMPLETED, 0, PREFIX))
        if count.total <= len(self._seen):
            return []
        since = Timestamp(seconds=self._since)
        request = messages.results_in(self._session_id, _COMPLETED, PAGE, PREFIX, since=since)
        listed = {row.result_id: row async for row in list_pages(ask, request, "results")}
        return [row for result_id, row in listed.items() if result_id not in self._seen]

    def know(self, rows: Sequence[Any]) -> None:
        """Whoever read these has done with them what there is to do: nobody need read them again.

        Who asks before does what the first one may still be about to do.
        """
        self._seen.update(row.result_id for row in rows)
        newest = max((row.created_at.seconds for row in rows), default=0)
        self._since = max(self._since, newest - OVERLAP)


class RepeatedItems:
    """How often items were tried again, by the logs of the tasks that ran them.

    Args:
        transport: Whose engine, and who downloads logs.
        results: The stub of the results service.
    """

    def __init__(self, transport: StandardTransport, results: Any) -> None:
        self._transport = transport
        self._results = results
        self._logs: NewLogs | None = None
        self._session_id = ""
        self._unread: list[str] = []
        self._counts: Counter[str] = Counter()

    async def counts(self, session_id: str) -> Mapping[str, int]:
        """By the names of tasks, all that is known; not all at once of very many."""
        if self._logs is None or session_id != self._session_id:
            self._logs, self._session_id, self._unread = NewLogs(session_id), session_id, []
        rows = await self._logs.read(self._ask)
        self._logs.know(rows)
        summaries = ((row.result_id, read_summary(row.name)) for row in rows)
        self._unread += [id for id, summary in summaries if summary and summary.repeated]
        ids, self._unread = self._unread[:READ_AT_ONCE], self._unread[READ_AT_ONCE:]
        for data in await self._transport.fetch(session_id, ids) if ids else ():
            if not isinstance(data, Exception):
                for record in read_items(data):
                    self._counts[record.name] += (record.attempts - 1) * record.items
        return +self._counts

    async def _ask(self, request: Any) -> Any:
        what = "listing logs of items"
        return await self._transport.call(self._results.ListResults, request, what, patience=0.0)
