"""How far the work of a client is, for who looks: counts by name, and what holds it up.

What was planned and what has ended the client knows by itself. What runs, what was lost and taken
up again, and what tasks tell of items that they tried again, the engine is asked for; only while
somebody looks, and once a second at most. An engine knows tasks by their ids: those of the client,
and those that these have submitted, are told by name.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from armoflow.errors import ArmoflowError
from armoflow.orchestrator.stalls import Stalls
from armoflow.orchestrator.tally import Count, Tally, task_label
from armoflow.orchestrator.tracker import Tracker
from armoflow.protocol.transport import TaskUnderWay, Transport

logger = logging.getLogger(__name__)

INTERVAL = 1.0
"""Seconds between two questions to the engine."""


REST = 50
"""How many times as long as it took it is not asked again what was tried again: an engine looks
through the names of all of a session's results for that."""


class Overview:
    """May be asked in any thread.

    Args:
        transport: The way to the engine.
        tracker: Knows what is under way.
        tally: Counts what was planned and what has ended.
        stalls: Knows why nothing ends.
        waiting: Items that no task was planned for, by name.
        session: The id of the open session, or None.
    """

    def __init__(
        self,
        transport: Transport,
        tracker: Tracker,
        tally: Tally,
        stalls: Stalls,
        *,
        waiting: Callable[[], Mapping[str, int]],
        session: Callable[[], str | None],
    ) -> None:
        self._transport = transport
        self._tracker = tracker
        self._tally = tally
        self._stalls = stalls
        self._waiting = waiting
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._asked = 0.0
        self._looking: asyncio.Task[None] | None = None
        self._names: dict[str, str] = {}
        self._running: Mapping[str, int] = {}
        self._lost: Mapping[str, int] = {}
        self._repeated: Mapping[str, int] = {}
        self._next_logs = 0.0

    def counts(self) -> dict[str, Count]:
        """What is known now, in the order in which the names came."""
        counts = self._tally.counts(self._waiting())
        for name, count in counts.items():
            count.running = min(self._running.get(name, 0), count.left)
            count.repeated = self._lost.get(name, 0)
        for name, repeated in self._repeated.items():
            counts.setdefault(name, Count()).repeated += repeated
        return counts

    def reason(self) -> str:
        """What is waited for, if nothing ends; or nothing."""
        return self._transport.traffic.words() or self._stalls.reason

    def refresh(self) -> None:
        """Somebody looks: ask what runs, unless that was asked a moment ago."""
        now = time.monotonic()
        if now - self._asked >= INTERVAL:
            self._asked = now
            self._loop.call_soon_threadsafe(self._start)

    def close(self) -> None:
        """Ask no more; in the loop's thread."""
        if self._looking is not None:
            self._looking.cancel()

    def _start(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = self._loop.create_task(self._look())

    async def _look(self) -> None:
        session_id = self._session()
        if session_id is None:
            return
        try:
            await self._see_what_runs(session_id)
            begun = time.monotonic()
            if begun >= self._next_logs:
                self._repeated = await self._transport.repeated(session_id)
                now = time.monotonic()
                self._next_logs = now + REST * (now - begun)
        except ArmoflowError as error:  # it may be down, or not allow it: told elsewhere
            logger.debug("what runs is not known: %s", error)

    async def _see_what_runs(self, session_id: str) -> None:
        tasks = await self._transport.under_way(session_id)
        self._learn({id for task in tasks for id in (task.task_id, task.parent)})
        self._running = self._count(task for task in tasks if not task.repeated)
        self._lost = self._count(task for task in tasks if task.repeated)

    def _learn(self, ids: set[str]) -> None:
        """Find the names of tasks; of what is known, only what still runs is remembered."""
        self._names = {id: name for id, name in self._names.items() if id in ids}
        unknown = ids - self._names.keys()
        if unknown:
            for task in self._tracker.open.values():
                if task.task_id in unknown:
                    self._names[task.task_id] = task_label(task)

    def _count(self, tasks: Iterable[TaskUnderWay]) -> Counter[str]:
        counts: Counter[str] = Counter()
        for task in tasks:
            name = self._names.get(task.task_id) or self._names.get(task.parent)
            if name is not None:
                self._names[task.task_id] = name
                counts[name] += 1
        return counts
