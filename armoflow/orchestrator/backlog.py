"""How much work a cluster is given at a time; what is more waits here, in the order of the plan.

A partition of a cluster serves in the order of arrival: who has queued 600 tasks makes everybody
else wait for all of them. So a client keeps a partition's queue about two seconds long, which is
what its pods have ended in the last two, and no shorter than what lets an autoscaler see that more
pods are wanted. The embedded engine lets sessions take turns, and is given all at once.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping

from armoflow import config
from armoflow.named_limits import Places, read_limits
from armoflow.orchestrator.planned import PlannedTask, Result
from armoflow.protocol.engine_info import EngineInfo

_MOMENT = 0.05
"""Seconds that a rate is measured over at least: fewer say nothing."""

_HEADROOM = 1.15
"""How much more than what ended lately is queued: more pods may come, which only a queue shows."""

_QUEUED_PER_POD = 3
"""Tasks for each pod that a partition may have that are always queued."""

_TOGETHER = 1 / 8
"""Part of a full queue that has to be gone before more is sent: a submission is a call, and costs
about as much, whatever is in it."""

SHORTEST_TASK = 0.015
"""Seconds of a pod that a task takes at least: so many go by while news and tasks are on their way,
which is one round trip for the news and the creation of results, one for the submission."""

_TRIPS = 2.5
"""Round trips between a task's turn here and the news of its end that are not the engine's time:
the creation of its results, its submission, the way of the news."""


class Backlog:
    """The tasks that are with the engine, by partition, and those that wait for their turn.

    Of tasks with a named limit only so many of this client's are with the engine; the others let
    those that do not need them overtake. What needs a task that may be run a second time waits
    until one of both has ended, unless all has to be with the engine.

    Lives in the loop's thread. Tasks are offered in the order of the plan, in which inputs come
    first; of one partition they leave in this order too, so what is with the engine never waits
    for what is not.

    Args:
        engine: What the engine says of its partitions; None if it is given all at once.
        whole: Nothing may wait here, whatever it needs: the engine is to go on by itself.
        clock: Seconds, of any beginning.
        round_trip: Gives the seconds that a call to the engine takes at least.

    Attributes:
        count: How many tasks wait here.
        on_backup: Called with each task that may be run a second time, when it is given to the
            engine.
        on_room: Called when one of those that wait may go, however it came to that.

    Example:
        >>> engine = EngineInfo("", ("default", "gpu"), 1024, pods={"default": 2, "gpu": 4})
        >>> backlog = Backlog(engine, clock=lambda: 0.0)
        >>> backlog.limit("default"), backlog.limit("gpu")
        (6, 12)
    """

    def __init__(
        self,
        engine: EngineInfo | None,
        clock: Callable[[], float] = time.monotonic,
        round_trip: Callable[[], float] = lambda: 0.0,
        *,
        whole: bool = False,
    ) -> None:
        self._engine = None if whole else engine
        self._whole = whole
        self._clock = clock
        self._round_trip = round_trip
        self.on_room: Callable[[], None] = lambda: None
        self.on_backup: Callable[[PlannedTask], None] = lambda task: None
        self._backed: set[PlannedTask] = set()
        self._partitions: dict[str, _PartitionQueue] = {}
        self._taken: set[PlannedTask] = set()
        self._missing: set[Result] = set()  # outputs of the tasks that wait, or may run twice
        self._places = Places()
        self._limited = 0  # tasks with named limits that wait
        self.count = 0
        self._bytes = 0

    @property
    def full(self) -> bool:
        """Whether so much waits here that no more should be taken from the plans."""
        return self.count >= config.TASKS_QUEUED or self._bytes >= config.BYTES_QUEUED

    def limit(self, partition: str, expected: float | None = None) -> int:
        """How many tasks of a partition may be with the engine now.

        Args:
            partition: Its name.
            expected: Seconds that the next one will run, if that is known.
        """
        return self._partition(partition).limit(self._clock(), self._round_trip(), expected)

    def offer(self, task: PlannedTask) -> bool:
        """Whether a task may go to the engine now; else it waits here."""
        if task.open_outputs == 0:  # what was given up goes nowhere
            return True
        if self._whole:
            if task.backup:
                self.on_backup(task)
            return True
        if self._engine is None and not (task.backup or self._backed or self.count):
            return True
        partition = self._partition(task.options.partition)
        free = not partition.waiting or self._may_overtake or task.is_copy
        if free and self._may_go(task, partition):
            self._take(task, partition)
            return True
        partition.waiting.append(task)
        self.count += 1
        self._bytes += task.size
        self._limited += bool(_limits(task))
        self._missing.update(task.outputs)
        return False

    def next(self) -> PlannedTask | None:
        """A task whose turn has come, if there is one."""
        if not self.count:
            return None
        for partition in self._partitions.values():
            task = self._next_of(partition)
            if task is not None:
                return task
        return None

    def _next_of(self, partition: _PartitionQueue) -> PlannedTask | None:
        waiting = partition.waiting
        position = 0
        while position < len(waiting):
            task = waiting[position]
            given_up = task.open_outputs == 0
            if given_up or self._may_go(task, partition):
                del waiting[position]
                self._leave(task)
                if not given_up:
                    self._take(task, partition)
                    return task
            elif self._may_overtake and self._has_room(partition, task):
                position += 1  # it waits for a place, or for what does
            else:
                break
        return None

    def ended(self, task: PlannedTask) -> None:
        """A task has ended, wherever it was; it has its outputs still."""
        if task in self._backed:
            self._backed.remove(task)
            self._missing.difference_update(task.outputs)
        if task in self._taken:
            self._taken.remove(task)
            self._places.leave(task)
            self._partition(task.options.partition).ended(self._clock())
        elif self._missing:
            self._missing.difference_update(task.outputs)  # it was given up: who needs them may go
        if self.count:
            self.on_room()

    def tasks(self) -> list[PlannedTask]:
        """Those that wait."""
        return [task for partition in self._partitions.values() for task in partition.waiting]

    def drop(self) -> None:
        """Forget those that wait."""
        for partition in self._partitions.values():
            partition.waiting.clear()
        self._missing.clear()
        self.count = self._bytes = self._limited = 0

    def _partition(self, name: str) -> _PartitionQueue:
        """What is known of a partition; without a name it is the default one, which has one."""
        engine = self._engine
        if engine is not None:
            name = engine.name_of(name)
        partition = self._partitions.get(name)
        if partition is None:
            pods = 1 if engine is None else engine.pods_of(name)
            partition = self._partitions[name] = _PartitionQueue(pods)
        return partition

    def _may_go(self, task: PlannedTask, partition: _PartitionQueue) -> bool:
        return (
            # A straggler may be what takes the room.
            (task.is_copy or self._has_room(partition, task))
            and (not self._missing or self._missing.isdisjoint(task.inputs))
            and (self._engine is None or self._places.full(_limits(task)) is None)
        )

    def _has_room(self, partition: _PartitionQueue, task: PlannedTask) -> bool:
        if self._engine is None:
            return True
        return partition.has_room(self._clock(), self._round_trip(), task.expected)

    @property
    def _may_overtake(self) -> bool:
        """Whether tasks wait for other reasons than that there is no room."""
        return bool(self._limited or self._backed)

    def _take(self, task: PlannedTask, partition: _PartitionQueue) -> None:
        self._taken.add(task)
        if task.backup:
            self._backed.add(task)
            self._missing.update(task.outputs)
            self.on_backup(task)
        if limits := _limits(task):
            self._places.take(task, limits)
        partition.took(self._clock())

    def _leave(self, task: PlannedTask) -> None:
        self.count -= 1
        self._bytes -= task.size
        self._limited -= bool(_limits(task))
        self._missing.difference_update(task.outputs)


def _limits(task: PlannedTask) -> Mapping[str, int]:
    """The named limits of a task; most have none."""
    labels = task.options.labels
    return read_limits(dict(labels)) if labels else {}


class _PartitionQueue:
    """What is known of one partition."""

    def __init__(self, pods: int) -> None:
        self.waiting: deque[PlannedTask] = deque()
        self.under_way = 0
        self._pods = pods
        self._busy_since = 0.0
        self._idle_since = -math.inf
        self._ends: deque[tuple[float, int]] = deque()  # how many in each moment
        self._ended = 0
        self._full = False

    def has_room(self, now: float, round_trip: float, expected: float | None) -> bool:
        """Whether one more task may go to the engine."""
        limit = self.limit(now, round_trip, expected)
        if self._full:
            limit = int(limit * (1 - _TOGETHER)) + 1
        self._full = self.under_way >= limit
        return not self._full

    def limit(self, now: float, round_trip: float, expected: float | None) -> int:
        """What has ended in the last two seconds, extrapolated where it has not run so long.

        Before anything has ended, what short tasks would be gone when the next ones arrive; of
        tasks that are known to be short, what takes two seconds.
        """
        if not self._ends:
            first = self._pods * (_QUEUED_PER_POD + 2 * round_trip / SHORTEST_TASK)
            if expected is not None:
                known = self._pods * config.QUEUED_SECONDS / (SHORTEST_TASK + expected)
                first = max(first, min(known, config.BATCH_TASKS))
            return int(first)
        horizon = config.QUEUED_SECONDS
        while self._ends and self._ends[0][0] < now - horizon:
            self._ended -= self._ends.popleft()[1]
        span = min(max(now - self._busy_since - _TRIPS * round_trip, _MOMENT), horizon)
        return max(_QUEUED_PER_POD * self._pods, int(self._ended * horizon / span * _HEADROOM))

    def took(self, now: float) -> None:
        """One more task is with the engine."""
        # Many may end in one moment, as those that fail: the next ones go on where they stopped.
        if self.under_way == 0 and now - self._idle_since > _MOMENT:
            self._busy_since = now
            self._ends.clear()
            self._ended = 0
        self.under_way += 1

    def ended(self, now: float) -> None:
        """A task has ended."""
        self.under_way -= 1
        if self.under_way == 0:
            self._idle_since = now
        self._ended += 1
        if self._ends and now - self._ends[-1][0] < _MOMENT:
            moment, count = self._ends.pop()
            self._ends.append((moment, count + 1))
        else:
            self._ends.append((now, 1))
