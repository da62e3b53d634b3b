"""Batch sizes: small first, then what measurements say, within bytes, one for each worker."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from armoflow import config
from armoflow.orchestrator.sizes import (
    BATCHES_PER_WORKER,
    MAXIMUM_BATCH,
    PILOT,
    UNMEASURED_BATCH,
    AdaptiveSizer,
    FixedSizer,
)

WORKERS = 2
FOREVER = 60.0


def make(length: int | None, *, target: float = 0.5, patience: float = FOREVER) -> AdaptiveSizer:
    sizer = AdaptiveSizer(WORKERS, length, target, patience)
    # As patient with short collections as with long ones: what is tested has no clock.
    sizer._patience = patience if sizer._patience else 0.0
    return sizer


def plan(
    sizer: AdaptiveSizer, length: int, took: Callable[[int], float | None], size: int = 0
) -> list[int]:
    """The batches of a collection on an engine that tells of each round before the next one."""
    sizes: list[int] = []
    position = 0
    while position < length:
        items = min(sizer.next(position), length - position)
        sizer.planned(items, size * items)
        sizes.append(items)
        position += items
        seconds = took(items)
        if seconds is not None:
            sizer.measured(items, seconds)
    return sizes


def test_cheap_items_are_packed_although_tasks_cost_something_themselves() -> None:
    length = 1_000_000
    sizes = plan(make(length), length, lambda items: 0.010 + items * 1e-6)
    # Ten milliseconds of overhead on four items look like 2.5 ms an item, or batches of 200.
    assert sizes[:4] == [PILOT, PILOT, 199, 199]
    assert min(sizes[4:-1]) > 9_000
    assert max(sizes) == MAXIMUM_BATCH


def test_processes_that_were_cold_are_forgotten_after_a_step() -> None:
    length, cold = 100_000, [5.0] * WORKERS
    sizes = plan(make(length), length, lambda items: (cold.pop() if cold else 0) + items * 1e-4)
    assert sizes[:4] == [PILOT, PILOT, 1, 1]
    assert {round(items, -2) for items in sizes[4:-1]} == {0.5 / 1e-4}


def test_there_is_no_second_step_where_little_can_be_won() -> None:
    sizer = make(4000)
    for position in (0, PILOT):
        sizer.planned(sizer.next(position), 0)
        sizer.measured(PILOT, 0.010)
    assert sizer.next(2 * PILOT) == 200
    assert sizer._step == 0  # at most 500 would fit


def test_dear_items_stay_near_the_target() -> None:
    sizes = plan(make(1000), 1000, lambda items: 0.010 + items * 0.05)
    assert sizes[:2] == [PILOT] * 2
    assert all(8 <= items <= 10 for items in sizes[2:-1])


def test_items_longer_than_the_target_go_one_by_one() -> None:
    assert set(plan(make(100), 100, lambda items: items * 3.0)[2:]) == {1}


def test_items_that_become_dear_are_noticed_with_the_first_batch_of_them() -> None:
    sizer = make(None)
    for _ in range(10):
        sizer.measured(1000, 0.5)
    sizer.measured(1000, 100.0)
    assert sizer.next(20_000) < 20


def test_no_worker_is_without_a_batch() -> None:
    length = 4000
    sizes = plan(make(length), length, lambda items: items * 1e-6)
    assert max(sizes) == length // (WORKERS * BATCHES_PER_WORKER)


def test_payloads_stay_within_bytes() -> None:
    length = 100_000
    sizes = plan(make(length), length, lambda items: items * 1e-6, size=10_000)
    assert max(sizes) * 10_000 <= config.BATCH_BYTES


def test_where_nobody_says_sizes_go_by_count() -> None:
    length = 100_000
    sizes = plan(make(length, patience=0.0), length, lambda items: None)
    assert set(sizes[2:-1]) == {UNMEASURED_BATCH}


def test_a_short_collection_waits_for_nothing() -> None:
    length = PILOT * WORKERS * BATCHES_PER_WORKER
    assert set(plan(make(length), length, lambda items: None)) == {PILOT}


def test_a_step_ends_with_the_measurement_of_one_of_its_batches() -> None:
    sizer = make(100_000)
    for position in (0, PILOT):
        sizer.planned(sizer.next(position), 0)
    waiting, sizes = threading.Event(), []

    def next_size() -> None:
        waiting.set()
        sizes.append(sizer.next(2 * PILOT))

    thread = threading.Thread(target=next_size)
    thread.start()
    waiting.wait()
    assert not sizes
    sizer.measured(PILOT, 0.4)
    thread.join()
    assert sizes == [5]


def test_an_engine_that_will_not_say_is_not_waited_for() -> None:
    sizer = make(100_000)
    sizer.unmeasurable()
    assert set(plan(sizer, 100_000, lambda items: None)[2:-1]) == {UNMEASURED_BATCH}


def test_batches_that_were_cut_short_are_measured_too() -> None:
    """Chunks of another collection may be smaller than what was asked for."""
    sizer = make(100_000)
    for position in range(0, 2 * PILOT, 2):
        assert sizer.next(position) == PILOT
        sizer.planned(2, 0)
        sizer.measured(2, 2e-6)
    assert sizer.next(2 * PILOT) == MAXIMUM_BATCH


@pytest.mark.parametrize("length", [100, 100_000])
def test_the_longer_the_collection_the_longer_it_waits(length: int) -> None:
    sizer = AdaptiveSizer(WORKERS, length, 0.5, 2.0)
    assert sizer._patience == pytest.approx(0.26 if length == 100 else 2.0)


def test_nobody_is_curious_once_all_is_planned() -> None:
    sizer = make(1000)
    assert sizer.curious
    sizer.finish()
    assert not sizer.curious
    assert not FixedSizer(10).curious


# --- a thousand pods ------------------------------------------------------------------------------


def many(length: int | None, patience: float = FOREVER) -> AdaptiveSizer:
    return AdaptiveSizer(1_000, length, 0.5, patience, 0.02)


def test_tiny_items_do_not_become_a_task_for_each_of_many_pods() -> None:
    length = 100_000
    sizes = plan(many(length), length, lambda items: items * 1e-5)
    assert sizes[: config.PROBES] == [PILOT] * config.PROBES
    assert len(sizes) <= 2 * config.PROBES + length * 1e-5 / 0.02


def test_what_a_task_costs_is_not_taken_for_what_tiny_items_do() -> None:
    length = 5_000
    sizes = plan(many(length), length, lambda items: 0.015 + items * 1e-5)
    assert len(sizes) < 100


def test_slow_items_leave_no_pod_idle() -> None:
    length = 6_000
    sizes = plan(many(length), length, lambda items: items * 0.5)
    assert len(sizes) >= 1_000
    assert max(sizes) == PILOT


def test_items_that_take_too_long_to_be_measured_go_to_all_pods() -> None:
    length = 100_000
    sizes = plan(many(length, patience=1e-3), length, lambda items: None)
    assert max(sizes) == length // 1_000 // BATCHES_PER_WORKER


def test_items_that_nobody_measures_do_not_become_thousands_of_tasks() -> None:
    length = 6_000
    sizer = many(length)
    sizer.unmeasurable()
    sizes = plan(sizer, length, lambda items: None)
    assert len(sizes) <= config.PROBES * (BATCHES_PER_WORKER + 1)


def test_an_endless_collection_begins_with_a_few_tasks() -> None:
    sizer = many(None)
    assert [sizer.next(position) for position in (0, 16, 32, 160)] == [1, 1, 2, 10]
