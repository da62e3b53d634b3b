"""The sizes of packs, on pods that take their time by a clock of the test's own.

Whatever the calls of a kind take, packs must not make them slower than a task for each call would:
no slow ones behind each other in one task while pods are idle. And of quick ones, few tasks.
"""

from __future__ import annotations

import asyncio
import heapq
import pickle
import random
import selectors
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armoflow import task
from armoflow.codec.payload import PickledItems
from armoflow.orchestrator.calls import CLUSTER, LOCAL, Pace
from armoflow.orchestrator.pack_sizes import CLUSTER_PACKING, PACKING, Packing
from armoflow.orchestrator.planned import PlannedTask
from armoflow.orchestrator.planning.plan_settings import PlanSettings
from armoflow.placement import Limits
from tests.orchestrator.desk import Desk

TASK = 0.015
"""Seconds that a task costs a pod."""

AWAY = 0.025
"""Seconds for which a task is on its way, there and back."""


@task
def work(number: int) -> int:
    return number


class _Selector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Does not wait: lets the clock go on."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everything waits for ever"
            self.now += timeout
        return ready


class _Loop(asyncio.SelectorEventLoop):
    """An event loop in which nothing takes time but waits, and these none of the machine's."""

    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


class Pods:
    """Pods that run what the desk is given.

    Args:
        pace: How long calls are held back.
        seconds: What each call takes.
        pods: How many there are.
        cost: Seconds that a task costs a pod.
        busy: Seconds for which they are busy with others' tasks at first.
    """

    def __init__(
        self, pace: Pace, seconds: Sequence[float], pods: int, cost: float, busy: float = 0.0
    ) -> None:
        self.desk = Desk(pace)
        self.desk.on_task, self.desk.on_look = self._take, self.look
        self.seconds = seconds
        self._cost = cost
        self._away = AWAY * cost / TASK
        self._loop = asyncio.get_running_loop()
        self._free = pods
        self._queue: deque[PlannedTask] = deque()
        self._busy = busy
        self._began = False
        self._left = len(seconds)
        self._done = asyncio.Event()

    async def run(self, packing: Packing, pods: int) -> None:
        """Run all calls, given at once; returns when all have ended."""
        plan = PlanSettings(workers=pods, packing=packing, limits=Limits(("default",), 10))
        await self.desk.add(*map(work, range(len(self.seconds))), settings=plan)
        await self._done.wait()

    def look(self, told: Callable[[bool], None]) -> None:
        """Whether something runs is asked for."""
        self._loop.call_later(self._away, lambda: told(self._began))

    def _take(self, planned: PlannedTask) -> None:
        self.desk.tasks.append(planned)
        self._loop.call_later(self._away / 2, self._arrive, planned)

    def _arrive(self, planned: PlannedTask) -> None:
        self._queue.append(planned)
        self._begin()

    def _begin(self) -> None:
        if self._loop.time() < self._busy:
            self._loop.call_at(self._busy, self._begin)
            return
        while self._free and self._queue:
            planned = self._queue.popleft()
            self._free -= 1
            self._began = True
            seconds = sum(self.seconds[number] for number in numbers(planned))
            self._loop.call_later(self._cost + seconds, self._end, planned, seconds)

    def _end(self, planned: PlannedTask, seconds: float) -> None:
        self._free += 1
        self._begin()
        self._loop.call_later(self._away / 2, self._tell, planned, seconds)

    def _tell(self, planned: PlannedTask, seconds: float) -> None:
        self.desk.finish(planned, seconds)
        self._left -= planned.items
        if not self._left:
            self._done.set()


def numbers(planned: PlannedTask) -> list[int]:
    """The calls in a task."""
    payload = planned.payload
    assert payload is not None
    if payload.arguments is not None and not payload.columns:
        pickles = [payload.arguments]
    else:
        ((items,),) = payload.columns
        assert isinstance(items, PickledItems)
        pickles = list(items.pickles)
    return [pickle.loads(bytes(pickled.data))[0][0] for pickled in pickles]


def run(
    seconds: Sequence[float], pods: int, *, pace: Pace = CLUSTER, busy: float = 0.0
) -> tuple[float, list[int]]:
    """How long all calls take, and the sizes of their tasks."""
    cost, packing = (TASK, CLUSTER_PACKING) if pace is CLUSTER else (0.0003, PACKING)

    async def story() -> tuple[float, list[int]]:
        engine = Pods(pace, seconds, pods, cost, busy)
        await engine.run(packing, pods)
        ran = sorted(number for planned in engine.desk.tasks for number in numbers(planned))
        assert ran == list(range(len(seconds)))
        return asyncio.get_running_loop().time(), engine.desk.sizes()

    loop = _Loop()
    try:
        return loop.run_until_complete(story())
    finally:
        loop.close()


def singly(seconds: Sequence[float], pods: int, cost: float = TASK) -> float:
    """How long all calls take with a task for each."""
    ends = [0.0] * pods
    for each in seconds:
        heapq.heapreplace(ends, ends[0] + cost + each)
    return max(ends) + AWAY * cost / TASK


@pytest.mark.parametrize("pods", [1, 2, 16])
@pytest.mark.parametrize("each", [0.0, 1e-5, 1e-3, 1e-2, 0.1, 2.0])
def test_calls_of_one_length_are_no_slower_in_packs(each: float, pods: int) -> None:
    took, _ = run([each] * 300, pods)
    assert took <= 1.1 * singly([each] * 300, pods) + 2 * (TASK + AWAY)


@pytest.mark.parametrize("pods", [1, 2, 16])
@pytest.mark.parametrize("each", [0.0, 1e-5, 1e-4])
def test_quick_calls_take_few_tasks(each: float, pods: int) -> None:
    took, sizes = run([each] * 300, pods)
    assert len(sizes) <= 8 * pods
    assert took <= 300 * each / pods + 5 * (TASK + AWAY)


@pytest.mark.parametrize("each", [1e-3, 1e-2, 0.1])
def test_a_pack_takes_no_longer_than_it_should(each: float) -> None:
    _, sizes = run([each] * 1000, 2)
    assert max(sizes) * each <= 0.5


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("pods", [2, 16])
@pytest.mark.parametrize("slow", [0.01, 0.1, 0.5])
def test_calls_that_differ_a_thousandfold_are_not_much_slower_in_packs(
    slow: float, pods: int, seed: int
) -> None:
    chance = random.Random(seed)
    seconds = [2.0 if chance.random() < slow else 0.002 for _ in range(400)]
    took, _ = run(seconds, pods)
    assert took <= 2.0 * singly(seconds, pods) + 0.5


@pytest.mark.parametrize("pods", [2, 16])
def test_calls_that_are_slow_after_many_quick_ones_still_share_the_pods(pods: int) -> None:
    seconds = [0.001] * 200 + [1.0] * 200
    took, _ = run(seconds, pods)
    assert took <= 2.0 * singly(seconds, pods) + 0.5


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-6, 0.5).map(lambda power: 10**power), min_size=1, max_size=150),
    st.integers(1, 16),
    st.sampled_from([CLUSTER, LOCAL]),
)
def test_whatever_calls_take_all_run_once_and_none_waits_for_ever(
    seconds: list[float], pods: int, pace: Pace
) -> None:
    took, _ = run(seconds, pods, pace=pace)
    assert took <= sum(seconds) + 10 * (TASK + AWAY) + TASK * len(seconds)


@pytest.mark.parametrize("each", [1e-4, 0.05])
def test_behind_others_twenty_calls_take_one_turn(each: float) -> None:
    took, sizes = run([each] * 20, 2, busy=2.5)
    assert len(sizes) <= 6
    assert took <= 2.5 + AWAY + 11 * each + 3 * TASK + 0.002
