"""The lane: runs armoflow's own tasks in child processes of the engine, without gRPC between.

Tasks leave in batches, with small inputs inline and large ones as files to be mapped; completions
come back in batches and are committed as one change. Each child is given about as much as it runs
in two milliseconds, and never more than its share of what is ready; what waits behind a task that
takes longer than expected is taken back as soon as another child is idle.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from armoflow.agent.effects import CreatedResult, Effects
from armoflow.agent.passages import Passage
from armoflow.engine.agents.followers import Follower, Followers
from armoflow.engine.agents.intake import Intake, source_of, work_of
from armoflow.engine.agents.slots import LaneSlots
from armoflow.engine.agents.turns import HELD, Turns
from armoflow.engine.commits import discard
from armoflow.engine.core import Engine
from armoflow.engine.pods import pods
from armoflow.engine.records import ResultStatus, TaskRecord, TaskStatus
from armoflow.errors import DataLostError
from armoflow.system.grants import granted
from armoflow.system.memory import container_memory, machine_memory
from armoflow.worker.mark import HANDS_BUSY, HANDS_FREE
from armoflow.worker.output_keeper import OutputKeeper, WrittenResult
from armoflow.worker.preparations import Preparations
from armoflow.worker.spares import Spares
from armoflow.worker.supervisor import ChildSupervisor
from armoflow.worker.work import Assignment, TaskEnding

logger = logging.getLogger(__name__)

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""How many threads numerical libraries start in each child: one, where there are several children;
else no more than the processors that are granted."""

_WORTH_MOVING = 0.002
"""Seconds that tasks take on average, or the one that runs, for which queued ones move to an idle
child."""

_WORTH_YIELDING = 0.01
"""Seconds that tasks take on average for which none waits in a child while sessions take turns."""


class LaneAgent:
    """Serves a partition with child processes.

    Args:
        engine: The engine.
        partition: The partition's id.
        workers: How many child processes run tasks.
        directory: Where the children keep staged outputs; on the file system of the engine's data.
        environment: The children's variables.
        spare_delay: See :class:`~armoflow.worker.spares.Spares`.
    """

    def __init__(
        self,
        engine: Engine,
        partition: str,
        workers: int,
        directory: Path,
        *,
        environment: Mapping[str, str],
        spare_delay: float | None = 2.0,
    ) -> None:
        self._engine = engine
        self._partition = partition
        self._pods = pods(partition, engine.partitions, workers)
        self._owners: dict[ChildSupervisor, str] = {}
        self._directory = directory / f"lane-{quote(partition, safe='')}"
        self._workers = workers
        threads = 1 if workers > 1 else granted()
        if threads is not None:
            environment = {**dict.fromkeys(_THREAD_VARIABLES, str(threads)), **environment}
        self._spares = Spares(self._directory, environment, spare_delay, container_memory())
        self._slots = LaneSlots(workers, machine_memory())
        self._turns = Turns(engine, self._is_running)
        self._seats: list[ChildSupervisor] = []
        self._waiting: deque[Assignment] = deque()
        self._running: dict[str, tuple[ChildSupervisor, Assignment]] = {}
        self._preparations = Preparations(self._directory)
        self._intake = Intake(
            engine, self._turns, self._preparations, ready=self._waiting.append, wake=self.wake
        )
        self._stopped: list[str] = []
        self._followers = Followers(
            *(engine.state, partition, self._intake.peek, work_of, self._runs),
            may_follow=self._slots.may_follow,
        )
        self._written = OutputKeeper(self._options)
        self._loop = asyncio.get_running_loop()
        self._awake = False
        self._looks_again = False
        self._stopping = False

    # --- the scheduler's side -------------------------------------------------------------------

    async def start(self) -> None:
        """Start the children and begin to take tasks; does not wait until they are ready."""
        shutil.rmtree(self._directory, ignore_errors=True)  # of an engine that was killed
        self._seats = [ChildSupervisor(self, self._spares) for _ in range(self._workers)]
        self._owners = {seat: pod.owner for seat, pod in zip(self._seats, self._pods, strict=True)}
        for seat in self._seats:
            seat.prepare()
        self._engine.scheduler.add_agent(self._partition, self)

    async def stop(self) -> None:
        """End the children; tasks that have not ended are queued again."""
        self._stopping = True
        await self._intake.stop()
        left = await asyncio.gather(*(seat.stop() for seat in self._seats))
        await self._spares.stop()
        await self._preparations.stop()
        self._end_stopped()
        engine = self._engine
        works = [*self._waiting, *(work for works in left for work in works)]
        for task in [*self._intake.tasks, *(work.key for work in works)]:
            if task.status in (*HELD, TaskStatus.CANCELLING):
                engine.apply(engine.state.release(engine.now(), task.id))
        engine.scheduler.remove_agent(self._partition, self)
        shutil.rmtree(self._directory, ignore_errors=True)

    def wake(self) -> None:
        """Ready tasks exist."""
        if not self._awake and not self._stopping:
            self._awake = True
            self._loop.call_soon(self._deal)

    def interrupt(self, task: TaskRecord) -> None:
        """Stop running a task."""
        self._stop_followers(task.id)
        self._written.take(task.id)
        place = self._stop_running(task.id)
        if place is not None:
            seat, work = place
            seat.cancel(work)
            work.discard()
        self._intake.drop(task.id)
        if task.status is TaskStatus.PAUSED:
            self._hold(task)
            return
        if not self._stopped:
            self._loop.call_soon(self._end_stopped)
        self._stopped.append(task.id)

    def _hold(self, task: TaskRecord) -> None:
        """A task that waited for its turn waits for its session now: nothing of it is left here."""
        for work in [work for work in self._waiting if work.key is task]:
            self._waiting.remove(work)
            work.discard()
        self._engine.scheduler.forget([task.id])
        self.wake()

    def _end_stopped(self) -> None:
        stopped, self._stopped = self._stopped, []
        if stopped:
            self.wake()  # there may be room for others
            # Their effects, none, are dropped, and their cancellation is brought to its end.
            self._engine.complete([(task_id, Effects()) for task_id in stopped])

    # --- dealing --------------------------------------------------------------------------------

    def _deal(self) -> None:
        """Give each child its share of what is ready."""
        self._awake = False
        if self._stopping:
            return
        if self._begin_large():
            self._deal_small()
        else:
            self._move_to_idle()  # until its children are idle: that is its turn
        self._tell_of_hands()

    def _deal_small(self) -> None:
        queued = self._engine.scheduler.queued(self._partition)
        shares = self._shares(queued + len(self._waiting))
        wanted = sum(count for _, count in shares) - len(self._waiting) - self._intake.unread
        if wanted > 0 and queued:
            self._take(wanted)
        self._give(shares)
        if self._large_is_next() and self._begin_large() and self._waiting:
            self.wake()  # for those behind it
        for seat in self._slots.free(self._seats):
            if works := self._followers.more(seat):
                seat.send(works)
        if not self._waiting:
            self._move_to_idle()
            if not (self._running or self._intake.unread):
                self._engine.hurry()
        if self._engine.scheduler.contended(self._partition):
            self._give_way()

    def _tell_of_hands(self) -> None:
        """Let each child know whether another is free for what a graph has left."""
        waits = bool(
            self._waiting or self._intake.unread or self._engine.scheduler.queued(self._partition)
        )
        each = [*map(_load, self._slots.free(self._seats))]
        idle = 0 if waits or max(each, default=0) > 1 else each.count(0)
        for seat in self._seats:
            load = seat.load
            free = load <= 1 if waits else idle > (not load)
            seat.tell(HANDS_FREE if free else HANDS_BUSY)

    def _give(self, shares: Sequence[tuple[ChildSupervisor, int]]) -> None:
        """Send each child its share of what waits."""
        for seat, count in shares:
            batch = self._next(count)
            works = [work for work in batch if work.key.status in HELD]
            if len(works) < len(batch):
                for work in batch:
                    if work.key.status not in HELD:
                        work.discard()
                self.wake()  # some were cancelled: there is room for others
            if works:
                owner = self._owners[seat]
                for work in works:
                    self._turns.begin(work.key)
                    work.key.owner = owner
                    self._running[work.task_id] = (seat, work)
                self._followers.extend(seat, works, seat.room)
                seat.send(works)

    def _large_is_next(self) -> bool:
        return bool(self._waiting) and self._slots.is_large(self._waiting[0].key)

    def _next(self, count: int) -> list[Assignment]:
        """The next tasks that wait, up to one that takes children for itself."""
        batch: list[Assignment] = []
        waiting, is_large = self._waiting, self._slots.is_large
        for work in islice(waiting, count):
            if is_large(work.key):
                break
            batch.append(work)
        for _ in batch:
            waiting.popleft()
        return batch

    def _begin_large(self) -> bool:
        """Begin the tasks at the head that take children for themselves; False if one waits.

        Those are idle then: what they had has ended, and nothing more was given to them.
        """
        while self._large_is_next():
            work = self._waiting[0]
            wanted = self._slots.wanted(work.key)
            if work.key.status in HELD:
                seats = [seat for seat in self._slots.free(self._seats) if not seat.load][:wanted]
                if len(seats) < wanted:
                    self._turns.wait(work.key for work in self._waiting)
                    return False
                self._turns.begin(work.key)
                self._slots.lend(work.task_id, seats)
                work.key.owner = self._owners[seats[0]]
                self._running[work.task_id] = (seats[0], work)
                seats[0].send([work])
            else:
                work.discard()
            self._waiting.popleft()
        return True

    def _stop_running(self, task_id: str) -> tuple[ChildSupervisor, Assignment] | None:
        """A task does not run any more: what it took is free."""
        self._slots.release(task_id)
        return self._running.pop(task_id, None)

    def _shares(self, ready: int) -> list[tuple[ChildSupervisor, int]]:
        """How many of the ready tasks each child gets, the idlest first."""
        if not ready:
            return []
        seats = sorted(self._slots.free(self._seats), key=_load)
        if not seats:
            return []
        fair = -(-(ready + sum(map(_load, seats))) // len(seats))
        shares = []
        contended = self._engine.scheduler.contended(self._partition)
        for seat in seats:
            one = seat.held_up or (contended and _is_slow(seat))
            room = max(0, 1 - seat.load) if one else seat.room
            count = min(room, max(0, fair - seat.load), ready)
            if count:
                shares.append((seat, count))
                ready -= count
        return shares

    def _take(self, count: int) -> None:
        taken = self._engine.scheduler.take(self._partition, count, self, "")
        # The inputs of others are gone: they have ended already.
        self._intake.take([task for task in taken if task.status is TaskStatus.PROCESSING])

    def _move_to_idle(self) -> None:
        """Take back tasks that wait in one child while another has nothing."""
        idle = sum(not seat.load for seat in self._slots.free(self._seats))
        if not idle:
            return
        for seat in self._seats:
            if seat.load > 1:
                long = max(seat.window.average or 0.0, seat.silence) > _WORTH_MOVING
                if not long or self._recall(seat, idle):
                    self._look_later()

    def _look_later(self) -> None:
        """Among quick tasks there may be a long one; and a child may not have seen what it has."""
        if not self._looks_again:
            self._looks_again = True
            self._loop.call_later(_WORTH_MOVING, self._look_again)

    def _look_again(self) -> None:
        self._looks_again = False
        self.wake()

    def _give_way(self) -> None:
        """Take back slow tasks that were sent ahead: a session that has just come is next."""
        for seat in self._seats:
            if seat.load > 1 and _is_slow(seat) and not seat.recalling:
                seat.recall(seat.load - 1)

    def _recall(self, seat: ChildSupervisor, idle: int) -> bool:
        """Take back an idle child's share of what waits; whether there is any."""
        queued = seat.load - 1
        if queued <= 0 or seat.recalling:
            return False
        # What waits for one of them could run nowhere else yet.
        return seat.recall(-(-queued * idle // (idle + 1)), followers=False)

    # --- the children's side --------------------------------------------------------------------

    def completed(self, supervisor: ChildSupervisor, outcomes: Sequence[TaskEnding]) -> None:
        """Tasks ended; none of the ends is lost, whatever one of them meets."""
        try:
            self._end(supervisor, outcomes)
        except Exception as error:
            logger.exception("what has ended could not be taken in")
            self._end_broken(outcomes, error)

    def _end_broken(self, outcomes: Sequence[TaskEnding], error: Exception) -> None:
        """Have tried again what is left of these ends."""
        engine = self._engine
        for outcome in outcomes:
            task: TaskRecord = outcome.work.key
            if task.status is TaskStatus.PROCESSING and self._is_running(outcome.work):
                self._stop_running(task.id)
                self._followers.after(task.id)
                text = f"its end could not be taken in: {type(error).__name__}: {error}"
                engine.fail(task.id, text, retry=True, effects=outcome.effects)
        self.wake()

    def _end(self, supervisor: ChildSupervisor, outcomes: Sequence[TaskEnding]) -> None:
        engine, followers, running = self._engine, self._followers, self._running
        completions: list[tuple[str, Effects]] = []
        now = engine.now()
        left = sum([outcome.seconds for outcome in outcomes])
        for outcome in outcomes:
            work, effects = outcome.work, outcome.effects
            left -= outcome.seconds
            task_id = work.task_id
            if followers.waits(task_id):
                self._complete(completions)
                completions = []
            place = running.get(task_id)
            if place is None or place[1] is not work:
                # A follower whose leader's success was not taken, or a task that was interrupted:
                # it may run elsewhere by now, with another input.
                work.discard()
                if effects is not None:
                    discard(effects)
                if place is None:
                    self._written.take(task_id)
                followers.forget(work)
                continue
            self._stop_running(task_id)
            # It started when its child came to it, not when it was sent ahead; and what a child
            # tells together it has run one after the other.
            task: TaskRecord = work.key
            self._turns.begin(task)
            task.processed_at = now - left
            task.started_at = task.processed_at - outcome.seconds
            if work.past is not None:
                task.started_at -= work.past.ran
                work.past.discard()
            written = self._written.take(task_id)
            if effects is not None:
                if written is not None:
                    self._store(written, effects)
                completions.append((task_id, effects))
            else:
                late = outcome.kind == "deadline"
                status = TaskStatus.TIMEOUT if late else TaskStatus.ERROR
                engine.fail(task_id, outcome.error, status=status)
                followers.after(task_id)
        self._complete(completions)
        self._turns.begin_next(supervisor.works)
        self.wake()

    def _is_running(self, work: Assignment) -> bool:
        """Whether this runs for its task: a follower whose leader went elsewhere does not."""
        place = self._running.get(work.task_id)
        return place is not None and place[1] is work

    def _runs(self, seat: ChildSupervisor, work: Assignment) -> bool:
        """Whether this runs for its task, at this seat."""
        return self._running.get(work.task_id) == (seat, work)

    def _stop_followers(self, task_id: str) -> None:
        """Those behind a task that is interrupted: the next one may have begun already."""
        while (follower := self._followers.after(task_id)) is not None:
            follower.seat.cancel(follower.work)
            task_id = follower.work.task_id

    def _complete(self, completions: Sequence[tuple[str, Effects]]) -> None:
        """Apply successes; their followers, which their child has begun already, are started."""
        if not completions:
            return
        self._engine.complete(completions)
        if not self._followers:
            return  # most tasks have none
        for task_id, _ in completions:
            follower = self._followers.after(task_id)
            if follower is not None:
                self._start(follower)

    def _start(self, follower: Follower) -> None:
        seat, work, _ = follower
        task: TaskRecord = work.key
        (passed,) = work.passed
        data = self._intake.peek(passed)
        if data is None:
            return  # the leader has handed its output to a graph: the child gives the task back
        if self._engine.scheduler.claim(task, self, self._owners[seat]):
            # Another child gets it with all its inputs, should this one die.
            work.inputs = {**work.inputs, passed: data}
            work.passed = []
            self._running[task.id] = (seat, work)
        else:
            seat.cancel(work)  # cancelled or paused meanwhile

    def returned(self, supervisor: ChildSupervisor, works: Sequence[Assignment]) -> None:
        """Tasks came back that wait for another child, or for their session's next turn."""
        engine = self._engine
        contended = engine.scheduler.contended(self._partition)
        for work in reversed(works):
            self._followers.forget(work)
            if self._is_running(work):
                self._stop_running(work.task_id)
                if contended:
                    engine.scheduler.forget([work.task_id])
                    engine.apply(engine.state.release(engine.now(), work.task_id), urgent=False)
                else:
                    self._waiting.appendleft(work)
        self.wake()

    def paused(self, supervisor: ChildSupervisor, work: Assignment, seconds: float) -> None:
        """A task waits for a retry: it is queued again then, and its child is free."""
        if self._is_running(work):
            self._turns.begin(work.key)
            self._stop_running(work.task_id)
            self._followers.after(work.task_id)  # the child gives it back
            work.history.keep_in(self._directory)
            self._engine.delay(work.task_id, seconds, work.history)
        else:
            self._followers.forget(work)
            work.discard()
        self._turns.begin_next(supervisor.works)
        self.wake()

    def lagging(self, supervisor: ChildSupervisor, running: Assignment) -> None:
        """Tasks wait behind one that takes long."""
        self._turns.wait_behind(running, supervisor.works)
        idle = sum(not seat.load for seat in self._slots.free(self._seats))
        if idle and (not self._waiting or self._large_is_next()):
            self._recall(supervisor, idle)

    def printed(self, passages: Sequence[Passage]) -> None:
        """Tasks wrote something."""
        self._engine.task_output.write(passages)
        self._written.hear(passages)

    def _options(self, task_id: str) -> Mapping[str, str] | None:
        """Those of a task that a child has, by which it is known what of its output is kept."""
        place = self._running.get(task_id)
        # A follower's child runs it before its leader's end was taken in.
        work = self._followers.work_of(task_id) if place is None else place[1]
        task: TaskRecord | None = None if work is None else work.key
        return None if task is None else task.options.options

    def _store(self, written: WrittenResult, effects: Effects) -> None:
        """Leave what a task has written to a client that is not told it."""
        result_id = self._engine.new_id()
        effects.created.append(CreatedResult(result_id, written.name))
        effects.data[result_id] = written.data

    async def answer(self, work: Assignment, method: str, argument: Any) -> Any:
        """Read the data of a result; ids are made by the children themselves.

        Raises:
            DataLostError: If it has none.
        """
        assert method == "fetch"
        result = await self._engine.read_result(argument)
        if result is None or result.status is not ResultStatus.COMPLETED:
            state = "unknown" if result is None else result.status.name.lower()
            raise DataLostError(f"result {argument} has no data: it is {state}")
        return source_of(await self._engine.objects.read(result.opaque_id))


def _is_slow(seat: ChildSupervisor) -> bool:
    return (seat.window.average or 0.0) > _WORTH_YIELDING


def _load(seat: ChildSupervisor) -> int:
    return seat.load
