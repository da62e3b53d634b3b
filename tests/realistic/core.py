"""The engine's core, with tasks that end as the real one's: results first, then the task.

The embedded engine commits a task, its results and what follows from them at once. The real one
completes the results, creates the children, ends the task and only then lets its dependents go on;
an agent may be lost in between. Then the task is retried, and needs payload and inputs again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

from armoflow.agent.effects import Effects
from armoflow.engine import commits
from armoflow.engine.agents.agent_service import Execution
from armoflow.engine.agents.link import WorkerLink
from armoflow.engine.agents.seat import Seat
from armoflow.engine.commits import Commit
from armoflow.engine.core import Engine
from armoflow.engine.engine_options import EngineOptions
from armoflow.engine.records import (
    Changes,
    NewResult,
    ResultRecord,
    ResultStatus,
    StateError,
    TaskRecord,
    TaskStatus,
)
from armoflow.engine.rounds import Rounds
from armoflow.engine.state import State
from armoflow.engine.state.record_changes import set_task
from armoflow.engine.transaction import Transaction
from tests.realistic.conduct import Fate

logger = logging.getLogger(__name__)


class TwoStepState(State):
    """The state machine with commits in two commands, and retries that need their inputs."""

    def store_outputs(self, now: float, commit: Commit) -> Changes:
        """The first step: results are completed, nothing follows from it yet."""
        changes = Changes()
        task = self.tasks.get(commit.task_id)
        if task is None:
            self._drop(changes, commit.stored)
            return changes
        news = [NewResult(result_id, name) for result_id, name in commit.created]
        self._insert(changes, now, task.session_id, news, task.id)
        self._store(changes, now, commit.stored)
        return changes

    def end(self, now: float, commit: Commit) -> Changes:
        """The second step: children are submitted, the task ends, its dependents go on."""
        changes = Changes()
        task = self.tasks.get(commit.task_id)
        if task is None or task.status not in (TaskStatus.PROCESSING, TaskStatus.CANCELLING):
            return changes
        task.status = TaskStatus.PROCESSING  # whoever cancelled it meanwhile was too late
        completed: list[ResultRecord] = [
            self.results[key] for key in commit.stored if key in self.results
        ]
        try:
            checked = self._check_children(task, commit.children)
        except StateError as refusal:
            self._fail_or_retry(changes, now, task, TaskStatus.ERROR, str(refusal), retry=True)
            return changes
        if checked:
            self._create_children(changes, now, self.sessions[task.session_id], checked, task)
        self._succeed(changes, now, task, completed)
        return changes

    def _fail_for_lost_input(self, changes: Changes, now: float, task: TaskRecord) -> None:
        if task.retry_of and task.status is TaskStatus.PENDING:
            logger.error("STUCK: retry %s waits for ever: its inputs were deleted", task.id)
            set_task(changes, task, TaskStatus.CREATING)
        else:
            super()._fail_for_lost_input(changes, now, task)


class TwoStepEngine(Engine):
    """The engine with these commits.

    Args:
        options: The engine's.
        fate: Decides what is lost and what is late.
    """

    state: TwoStepState

    def __init__(self, options: EngineOptions, fate: Fate) -> None:
        super().__init__(options)
        self.fate = fate
        self.state = TwoStepState(
            options.partitions,
            options.default_partition,
            max_priority=options.highest_priority,
            delete_payload=options.delete_payload,
            strict=options.strict,
        )
        if fate.conduct.in_order:
            self.scheduler.queue_type = Line
        self._ending: dict[str, asyncio.Task[None]] = {}

    def now(self) -> float:
        """The time given to commands."""
        return self.fate.clock.now()

    async def stop(self) -> None:
        """Leave commits where they are, and stop."""
        for ending in self._ending.values():
            ending.cancel()
        await super().stop()

    async def ended(self, task_id: str) -> None:
        """Wait until a task whose worker succeeded has ended, or is lost."""
        ending = self._ending.get(task_id)
        if ending is not None:
            await asyncio.wait([ending])

    def complete(self, completions: Sequence[tuple[str, Effects]]) -> asyncio.Future[None]:
        """Begin to commit executions that ended in success."""
        for task_id, effects in completions:
            task = self.state.tasks.get(task_id)
            if task is None or task.status is not TaskStatus.PROCESSING:
                self._skip(task, effects)
                continue
            try:
                commit = commits.prepare(task_id, effects, self.objects, self.new_id)
            except StateError as error:
                self.fail(task_id, str(error), effects=effects, retry=True)
                continue
            self._ending[task_id] = asyncio.create_task(self._end(task, commit))
        return self.committed()

    async def _end(self, task: TaskRecord, commit: Commit) -> None:
        fate, conduct = self.fate, self.fate.conduct
        try:
            while left := fate.outage_left():
                await fate.clock.sleep(left)
            await self.apply(self.state.store_outputs(self.now(), commit))
            await fate.clock.sleep(fate.between(conduct.ending))
            if commit.children:
                await fate.pay(conduct.children_cost, "children")
            tries_left = len(task.retry_of) < task.options.max_retries
            if tries_left and fate.hits(conduct.lost, "tasks lost"):
                await fate.clock.sleep(conduct.lost_seconds)
                self.fail(task.id, "the pod vanished after it had stored the results", retry=True)
            else:
                self.apply(self.state.end(self.now(), commit))
        except Exception:
            logger.exception("STUCK: task %s could not be ended", task.id)
        finally:
            del self._ending[task.id]

    def _committed(self, batch: Transaction) -> None:
        # Events come from the write-ahead log, before anybody can read the row.
        lost_data = self.fate.conduct.lost_data
        for result in batch.results.values():
            if lost_data and lost_data in result.name:
                self.fate.lost_data.add(result.id)
            late = {
                ResultStatus.COMPLETED: self.fate.conduct.late_rows,
                ResultStatus.ABORTED: self.fate.conduct.late_aborts,
            }.get(result.status, 0.0)
            if self.fate.hits(late, "rows late"):
                self.fate.delay(result.id)
        super()._committed(batch)


class Line(Rounds):
    """Ready tasks in the order of their arrival, whoever sent them."""

    __slots__ = ("_line",)

    def __init__(self) -> None:
        super().__init__()
        self._line: deque[TaskRecord] = deque()

    def push(self, task: TaskRecord) -> None:
        """Add a task."""
        self._line.append(task)
        self.size += 1

    def pop(self, count: int) -> list[TaskRecord]:
        """Remove up to ``count`` tasks; fewer only if there are no more."""
        tasks = [self._line.popleft() for _ in range(min(count, self.size))]
        self.size -= len(tasks)
        return tasks

    def drop(self, session_id: str) -> None:
        """Forget all tasks of a session."""
        self._line = deque(task for task in self._line if task.session_id != session_id)
        self.size = len(self._line)


class BusySeat(Seat):
    """A seat that is taken until its task has ended, and that takes its time."""

    async def _prepare(self, execution: Execution) -> None:
        engine = self._engine
        assert isinstance(engine, TwoStepEngine)
        fate, conduct = engine.fate, engine.fate.conduct
        due = fate.clock.now() + conduct.task_cost - sum(conduct.ending) / 2
        await super()._prepare(execution)
        if conduct.task_cost:  # paid even where this machine took longer
            await fate.pay(max(due - fate.clock.now(), 1e-6), "tasks")

    async def _execute(self, link: WorkerLink, execution: Execution) -> bool:
        goes_on = await super()._execute(link, execution)
        engine = self._engine
        assert isinstance(engine, TwoStepEngine)
        await engine.ended(execution.task.id)
        return goes_on
