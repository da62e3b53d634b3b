"""Stragglers: a task that takes far longer than its like is run a second time, and the first wins.

For tasks that say ``backup=True``. When most of a node's tasks have ended, what the slowest of them
took says how long the others should take; one that is seen to run for much longer gets a copy, with
results of its own. What needs its values is not given to the engine before one of both has ended
(see ``Backlog``): then they are taken from that one, and the other is cancelled.

A named run is with the engine as a whole, and others may wait for it, too. So there only what no
other task needs is run a second time; and the engine decides, for all who wait: where the copy has
ended the task is cancelled, and if that was not too late, its values are the copy's.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from armoflow import config
from armoflow.errors import ArmoflowError
from armoflow.orchestrator.client_sessions import ClientSessions
from armoflow.orchestrator.named.second_runs import SecondRuns
from armoflow.orchestrator.planned import PlannedTask, Result
from armoflow.orchestrator.submit import Pipeline
from armoflow.orchestrator.tracker import Tracker
from armoflow.protocol.result_handle import ResultState
from armoflow.protocol.transport import Transport

logger = logging.getLogger(__name__)

_ASKED = 0.05
"""Part of the seconds that a suspect may run, after which the engine is asked again what runs."""


class Race:
    """A task and its copy; it waits for the results of the copy.

    Args:
        task: The task.
        copy: The copy.
        won: Called when the copy has all its results.
    """

    cancelled = False

    def __init__(self, task: PlannedTask, copy: PlannedTask, won: Callable[[Race], None]) -> None:
        self.task = task
        self.copy = copy
        self.results = list(zip(task.outputs, copy.outputs, strict=True))
        self._left = len(self.results)
        self._won = won
        for _, result in self.results:
            result.add_waiter(self)

    def arrive(self, result: Result) -> None:
        """A result of the copy was completed or aborted."""
        if result.state is ResultState.COMPLETED:
            self._left -= 1
            if not self._left:
                self._won(self)


class _NodeTasks:
    """The tasks of one node: how many there were, what they took for an item, what runs."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self.last = 0.0  # when a task ended last
        self.took: deque[float] = deque(maxlen=config.BACKUP_SAMPLE)
        self.open: dict[PlannedTask, float] = {}  # and since when

    def note(self, task: PlannedTask, now: float) -> None:
        """A task has ended."""
        since = self.open.pop(task)
        ran = max((output.ran or 0.0 for output in task.outputs), default=0.0)
        self.took.append((ran or now - since) / max(task.items, 1))
        self.ended += 1
        self.last = now

    def suspects(self, now: float) -> list[tuple[PlannedTask, float]]:
        """Tasks that may be stragglers, with the seconds that each may run.

        That is told by those that have ended: by most of them, or by few where nothing ends any
        more, for a worker that stands still may hold tasks that it was sent ahead.
        """
        if not self.took:
            return []
        slow = sorted(self.took)[int(config.BACKUP_QUANTILE * (len(self.took) - 1))]
        suspects = [
            (task, max(config.BACKUP_FACTOR * slow * task.items, config.BACKUP_LEAST))
            for task in self.open
        ]
        if self.ended >= config.BACKUP_SHARE * self.begun:
            return suspects
        quiet = now - self.last
        return [one for one in suspects if quiet > max(config.BACKUP_QUIET, 2 * one[1])]


class Backups:
    """Finds stragglers; lives in the loop's thread.

    Args:
        running: Gives the ids of the tasks that run.
        submit: Has a copy submitted.
        adopt: Told of a task and the results of its copy, which has won: they are the task's.
        cancel: Cancels what has lost.

    Attributes:
        may: Whether a task may be run a second time now.
    """

    def __init__(
        self,
        running: Callable[[], Awaitable[Sequence[str]]],
        submit: Callable[[PlannedTask], None],
        adopt: Callable[[Race], None],
        cancel: Callable[[PlannedTask], None],
    ) -> None:
        self.may: Callable[[PlannedTask], bool] = lambda task: True
        self._running = running
        self._submit = submit
        self._adopt = adopt
        self._cancel = cancel
        self._loop = asyncio.get_running_loop()
        self._groups: dict[tuple[int, str], _NodeTasks] = {}
        self._seen: dict[str, float] = {}  # tasks that run, and since when that is known
        self._races: dict[PlannedTask, Race] = {}
        self._woken = asyncio.Event()

    def begun(self, task: PlannedTask) -> None:
        """A task is given to the engine."""
        group = self._groups.setdefault(_key(task), _NodeTasks())
        group.begun += 1
        group.open[task] = self._loop.time()
        self._woken.set()

    def ended(self, task: PlannedTask) -> None:
        """A task has ended, however that was; it has its outputs still."""
        key = _key(task)
        group = self._groups.get(key)
        if group is None or task not in group.open:
            return
        group.note(task, self._loop.time())
        self._seen.pop(task.task_id, None)
        race = self._races.pop(task, None)
        if race is not None and race.copy.open_outputs:
            self._cancel(race.copy)
        if not group.open:
            del self._groups[key]

    def made_for(self, task: PlannedTask, result: Result) -> Result | None:
        """What a copy has made in the place of a task's result, if there is such a thing."""
        race = self._races.get(task)
        made = None if race is None else next((o for r, o in race.results if r is result), None)
        return made if made is not None and made.state is ResultState.COMPLETED else None

    async def run(self) -> None:
        """Look for stragglers until cancelled, while there may be some."""
        asked = 0.0
        while True:
            await self._woken.wait()
            await asyncio.sleep(config.BACKUP_INTERVAL)
            if not self._groups:
                self._woken.clear()
                continue
            asked = await self._ask(asked)

    async def _ask(self, asked: float) -> float:
        """Ask what runs, if there are suspects; returns when that was done last.

        None of them is held any more then: what a task is given goes with it.
        """
        now = self._loop.time()
        suspects = [
            suspect
            for group in self._groups.values()
            for suspect in group.suspects(now)
            if suspect[0] not in self._races
        ]
        # A straggler of hours is not looked for four times a second.
        if not suspects or now - asked < _ASKED * min(patience for _, patience in suspects):
            return asked
        try:
            self._look(suspects, set(await self._running()))
        except ArmoflowError as error:  # it may be down: told elsewhere
            logger.debug("what runs is not known: %s", error)
        return now

    def _look(self, suspects: Sequence[tuple[PlannedTask, float]], running: set[str]) -> None:
        now = self._loop.time()
        for task, patience in suspects:
            if not task.open_outputs or task.task_id not in running:
                continue
            since = self._seen.setdefault(task.task_id, now)
            if now - since > patience and self.may(task):
                self._run_again(task, now - since)

    def _run_again(self, task: PlannedTask, seconds: float) -> None:
        copy = _copy(task)
        if copy is None:
            return
        logger.info("task %r has run for %.1f s: it is run a second time", task.label, seconds)
        self._races[task] = Race(task, copy, self._copy_won)
        self._submit(copy)

    def _copy_won(self, race: Race) -> None:
        if race.task.open_outputs:
            self._adopt(race)


class ClientBackups:
    """What one client does about stragglers; lives in the loop's thread.

    Args:
        transport: The way to the engine.
        sessions: The client's sessions.
        tracker: Told of what copies have made.
        pipeline: Submits copies.
        named: What may have one in a named run, and what these have made; None: it is none.
        cancel: Cancels what has lost.
        cancel_in_engine: Cancels what needs not run any more, and is not known to have ended.

    Attributes:
        stragglers: Finds them.
    """

    def __init__(
        self,
        transport: Transport,
        sessions: ClientSessions,
        tracker: Tracker,
        pipeline: Pipeline,
        *,
        named: SecondRuns | None,
        cancel: Callable[[PlannedTask], None],
        cancel_in_engine: Callable[[Sequence[PlannedTask]], None],
    ) -> None:
        self._transport = transport
        self._sessions = sessions
        self._tracker = tracker
        self._pipeline = pipeline
        self._named = named
        self._cancel_in_engine = cancel_in_engine
        self.stragglers = Backups(self._running, self._submit, self._adopt, cancel)
        if named is not None:
            self.stragglers.may = named.may

    async def made(self, aborted: Sequence[tuple[PlannedTask, Result]]) -> Mapping[Result, Result]:
        """What second runs have made in the place of results of a named run that will not come."""
        if self._named is None:
            return {}
        await self._sessions.open()  # which there is, unless the client was closed
        return await self._named.made(aborted, self.stragglers.made_for)

    async def _running(self) -> Sequence[str]:
        """The ids of the session's tasks that run."""
        return await self._transport.longest_running(await self._sessions.open())

    def _submit(self, copy: PlannedTask) -> None:
        if self._named is not None:
            self._named.begin(copy)
        self._pipeline.put_now(copy)

    def _adopt(self, race: Race) -> None:
        """The copy of a task has ended before it: its results are the task's."""
        self._cancel_in_engine([race.task])
        if self._named is not None:
            return  # they are, once the engine says that the task will not make them
        self._tracker.adopt(race.task, race.results)
        self._pipeline.freed()


def _key(task: PlannedTask) -> tuple[int, str]:
    return id(task.run), task.name


def _copy(task: PlannedTask) -> PlannedTask | None:
    if task.payload is None:
        return None
    outputs = [Result(output.name) for output in task.outputs]
    for output, own in zip(outputs, task.outputs, strict=True):
        output.positions = own.positions
    copy = PlannedTask(replace(task.payload), task.inputs, outputs, task.options, task.constants)
    copy.function, copy.modules, copy.steps = task.function, task.modules, task.steps
    copy.run, copy.size, copy.wanted = task.run, task.size, task.wanted
    copy.keep, copy.cached = task.keep, task.cached
    copy.original = task
    return copy
