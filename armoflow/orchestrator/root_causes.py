"""Why results were aborted: which tasks failed themselves, and which only needed what they make.

Engines tell of a failed task and of those that need it one by one, in any order; together they are
told apart.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from armoflow import config
from armoflow.errors import ArmoflowError, ClientClosedError
from armoflow.orchestrator.blame import whole_errors
from armoflow.orchestrator.planned import PlannedTask, Result
from armoflow.orchestrator.tracker import Tracker
from armoflow.protocol.result_handle import ResultChange
from armoflow.protocol.transport import Transport

logger = logging.getLogger(__name__)


class RootCauses:
    """Finds out why results were aborted; lives in the loop's thread.

    Args:
        transport: The way to the engine.
        tracker: What is under way.
        key: What the errors of the tasks are sealed with.
        session: Gives the id of the open session.
        start: Begins a coroutine of the client's own.
        abandon: Told of submitted tasks whose input has failed.
        freed: Called when it is known of some.
        others: Gives what was made in the place of results, of tasks, that will not come.
    """

    def __init__(
        self,
        transport: Transport,
        tracker: Tracker,
        key: bytes,
        *,
        session: Callable[[], Awaitable[str]],
        start: Callable[[Any], object],
        abandon: Callable[[Sequence[PlannedTask]], None],
        freed: Callable[[], None],
        others: Callable[
            [Sequence[tuple[PlannedTask, Result]]], Awaitable[Mapping[Result, Result]]
        ],
    ) -> None:
        self._others = others
        self._transport = transport
        self._tracker = tracker
        self._key = key
        self._session = session
        self._start = start
        self._abandon = abandon
        self._freed = freed
        self._loop = asyncio.get_running_loop()
        self._waiting: set[str] = set()
        self._unexplained: list[tuple[Result, ResultChange]] = []

    def find_soon(self, aborted: Sequence[tuple[Result, ResultChange]]) -> None:
        """Find out why these were aborted, with those that come in the same moment."""
        if not aborted:
            return
        if not self._unexplained:
            told = all(change.failure is not None for _, change in aborted)
            self._loop.call_later(0.0 if told else config.EXPLAIN_DELAY, self._find_all)
        self._unexplained += aborted

    def _find_all(self) -> None:
        unexplained, self._unexplained = self._unexplained, []
        self._start(self.find(unexplained))

    async def find(self, aborted: Sequence[tuple[Result, ResultChange]]) -> None:
        """Find out why results were aborted, roots first."""
        try:
            aborted = await self._without_replaced(aborted)
        except ClientClosedError:
            return  # nobody waits for it any more
        roots = {
            result.id: change.failure for result, change in aborted if not self._has_cause(result)
        }
        failures = {key: failure for key, failure in roots.items() if failure is not None}
        unknown = [key for key in roots if key not in failures]
        if unknown:
            try:
                failures |= await self._transport.failures(await self._session(), unknown)
            except ClientClosedError:
                return  # nobody waits for an explanation any more
            except ArmoflowError as error:
                logger.warning("failed tasks could not be listed: %s", error)
        failures = await whole_errors(self._transport, self._key, failures)
        abandoned: list[PlannedTask] = []
        for result, change in sorted(aborted, key=self._age):
            if result.id not in self._tracker.open or self._wait_for_root(result):
                continue
            abandoned += self._tracker.abort(result, failures.get(result.id, change.failure))
        if abandoned:
            self._abandon(abandoned)
        self._freed()

    async def _without_replaced(
        self, aborted: Sequence[tuple[Result, ResultChange]]
    ) -> Sequence[tuple[Result, ResultChange]]:
        """Those in whose place nothing else was made.

        Raises:
            ClientClosedError: If the client was closed meanwhile.
        """
        tasks = {result: self._tracker.open.get(result.id) for result, _ in aborted}
        open_ = [(task, result) for result, task in tasks.items() if task is not None]
        try:
            made = await self._others(open_) if open_ else {}
        except ClientClosedError:
            raise
        except ArmoflowError as error:  # the run was ended, or the engine is gone
            logger.debug("whether something else was made is not known: %s", error)
            return aborted
        for task, result in open_:
            if result in made and self._tracker.open.get(result.id) is task:
                self._tracker.adopt(task, [(result, made[result])])
        return [entry for entry in aborted if entry[0] not in made] if made else aborted

    def _wait_for_root(self, result: Result) -> bool:
        """Whether an input is still to be reported: then this is not the task that failed.

        Believed once: a report that got lost is made up for by the next resync.
        """
        task = self._tracker.open[result.id]
        if result.id in self._waiting or not any(i.id in self._tracker.open for i in task.inputs):
            self._waiting.discard(result.id)
            return False
        self._waiting.add(result.id)
        return True

    def _age(self, entry: tuple[Result, ResultChange]) -> int:
        """Where its task stands in the order of the plan, in which inputs come first."""
        task = self._tracker.open.get(entry[0].id)
        return 0 if task is None else task.number

    def _has_cause(self, result: Result) -> bool:
        task = self._tracker.open.get(result.id)
        return task is None or self._tracker.failed_input(task) is not None
