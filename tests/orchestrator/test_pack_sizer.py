"""How many calls share a task: by what they take, by what is left, by what was seen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from armoflow import config
from armoflow.orchestrator.pack_sizes import (
    CLUSTER_PACKING,
    MOST,
    PACKING,
    TRUST,
    Packing,
    PackSizer,
)

PACKINGS = st.sampled_from([PACKING, CLUSTER_PACKING])


def sizer(seen: int, each: float, packing: Packing = PACKING, workers: int = 2) -> PackSizer:
    made = PackSizer(workers, packing)
    made.measured(seen, seen * each)
    return made


def test_nothing_is_known_of_calls_that_nobody_has_measured() -> None:
    made = PackSizer(2, PACKING)
    assert not made.known
    assert made.next(1000) == made.largest == 1
    made.measured(1, 0.001)
    assert made.known


@given(st.integers(1, 8), st.integers(1, 5000), st.floats(1e-7, 10), PACKINGS)
def test_a_pack_takes_its_time_and_leaves_work_for_every_worker(
    workers: int, left: int, each: float, packing: Packing
) -> None:
    size = sizer(10_000, each, packing, workers).next(left)
    assert 1 <= size <= min(left, MOST)
    assert size == 1 or size * each <= packing.target
    if size * each > packing.least:  # else one worker has it done before another one has begun
        assert size == 1 or size - 1 < left / (workers * packing.packs)


@given(st.integers(1, 100), PACKINGS)
def test_no_pack_is_much_larger_than_what_was_seen(seen: int, packing: Packing) -> None:
    assert sizer(seen, 1e-6, packing).next(100_000) == min(TRUST * seen, MOST)


def test_slow_calls_go_alone() -> None:
    assert sizer(100, PACKING.target).next(1000) == 1
    assert sizer(100, 3.0).next(1000) == 1


def test_what_a_cold_process_took_is_forgotten_with_the_next_packs() -> None:
    made = sizer(1, 0.2)
    made.measured(16, 16 * 1e-5)
    made.measured(256, 256 * 1e-5)
    assert made.largest > 50


def test_the_user_bounds_them() -> None:
    made = PackSizer(2, PACKING, most=4)
    made.measured(100, 100 * 1e-6)
    assert made.next(1000) == 4


def test_arguments_and_values_stay_within_bytes() -> None:
    made = sizer(100, 1e-6)
    made.planned(10, 10 * 10_000)
    assert made.next(5000) == config.BATCH_BYTES // 10_000
    made.ended(10, 10 * 40_000, None)
    assert made.next(5000) == config.BATCH_BYTES // 40_000


def test_calls_with_large_values_go_alone() -> None:
    made = sizer(1000, 1e-5)
    made.weighed(10, 10 * config.INLINE_DATA_LIMIT)
    assert made.next(1000) > 1
    made.weighed(1, config.INLINE_DATA_LIMIT + 1)
    assert made.next(1000) == 1
    made.weighed(1, 0)
    assert made.next(1000) == 1


def test_what_the_worker_says_ends_the_questions_to_the_engine() -> None:
    made = PackSizer(2, PACKING)
    made.ended(1, 100, None)
    assert made.curious and not made.known
    made.ended(1, 100, 0.001)
    assert made.known and not made.curious


def test_calls_that_must_not_share_a_task_never_do() -> None:
    made = sizer(100, 1e-6)
    made.refuse()
    assert not made.known


def test_whoever_waits_for_a_measurement_is_told() -> None:
    told: list[int] = []
    made = PackSizer(2, PACKING, told=lambda: told.append(made.seen))
    made.measured(3, 0.1)
    made.ended(2, 10, 0.1)
    assert told == [3, 5]


def test_of_tiny_calls_so_many_share_a_task_that_it_is_worth_one() -> None:
    tiny = sizer(10_000, 1e-4, CLUSTER_PACKING, workers=1_000)
    assert tiny.next(1_000) == tiny.worth == 200
    slow = sizer(10_000, 1.0, CLUSTER_PACKING, workers=1_000)
    assert slow.next(1_000) == slow.worth == 1
