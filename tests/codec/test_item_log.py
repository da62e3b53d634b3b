"""The log of a task's items says of each what became of it, and is short where nothing did."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armoflow.codec.container import pack
from armoflow.codec.envelope import pack_envelope, unpack_cells
from armoflow.codec.item_log import (
    PREFIX,
    QUICK,
    ItemLog,
    ItemRecord,
    ItemState,
    read_items,
    read_summary,
)
from armoflow.codec.positions import position_of
from armoflow.errors import EnvelopeError

STATES = st.sampled_from(ItemState)
ENDINGS = st.tuples(st.integers(0, 10**7), STATES, st.integers(1, 4))


def read(log: ItemLog) -> list[ItemRecord]:
    """By way of an envelope with values."""
    data = b"".join(pack_envelope([b"value", None], 0.5, log.pack()))
    assert unpack_cells(data) == [b"value", None]
    assert read_items(b"".join(log.data())) == read_items(data)
    return read_items(data)


def each(records: list[ItemRecord]) -> list[tuple[str, int | None, ItemState, int]]:
    """One entry an item."""
    return [
        (one.name, None if one.item is None else one.item + number, one.state, one.attempts)
        for one in records
        for number in range(one.items)
    ]


GAPS = st.lists(st.integers(1, 3), min_size=30, max_size=30)


@given(st.lists(ENDINGS, max_size=30), st.none() | st.integers(0, 10**6) | GAPS)
def test_every_item_is_told(
    endings: list[tuple[int, ItemState, int]], where: int | list[int] | None
) -> None:
    log = ItemLog()
    positions = [*accumulate(where)][: len(endings)] if isinstance(where, list) else where
    section = log.section("load", positions)
    for item, (microseconds, state, attempts) in enumerate(endings):
        section.add(microseconds * 1e-6)
        if state or attempts > 1:
            section.mark(item, state, attempts)
    records = read(log)
    assert each(records) == [
        ("load", None if positions is None else position_of(positions, item), state, attempts)
        for item, (_, state, attempts) in enumerate(endings)
    ]
    total = sum(microseconds for microseconds, _, _ in endings)
    assert sum(one.seconds for one in records) == pytest.approx(total * 1e-6, abs=1e-4)
    slow = [one for one in endings if one[0] * 1e-6 > 1.1 * QUICK]
    assert len([one for one in records if one.items == 1 and one.seconds > QUICK]) >= len(slow)
    summary = read_summary(log.name)
    assert summary is not None
    failed = sum(state == ItemState.FAILED for _, state, _ in endings)
    assert (summary.items, summary.failed) == (len(endings), failed)
    repeated = sum(attempts > 1 for _, _, attempts in endings)
    assert (log.lasts, summary.repeated) == (bool(failed or repeated), repeated)


@given(st.lists(st.tuples(st.sampled_from("fg"), st.none() | st.integers(0, 3), ENDINGS)))
def test_every_call_of_a_graph_is_told(
    calls: list[tuple[str, int | None, tuple[int, ItemState, int]]],
) -> None:
    log = ItemLog()
    for name, item, (microseconds, state, attempts) in calls:
        log.call(name, item, microseconds * 1e-6, state, attempts)
    expected = [(name, item, state, attempts) for name, item, (_, state, attempts) in calls]
    assert sorted(each(read(log)), key=repr) == sorted(expected, key=repr)


def test_an_item_that_waited_has_the_time_of_all_its_attempts() -> None:
    log = ItemLog()
    section = log.section("load", 0)
    for item in range(3):
        section.spend(item, 0.5)
        if item < 2:
            section.wait(item)
    section.spend(1, 0.25)
    section.spend(0, 0.125)
    assert [one.seconds for one in read(log)] == [0.625, 0.75, 0.5]


def test_quick_items_are_told_together() -> None:
    log = ItemLog()
    section = log.section("load", 0)
    for _ in range(5000):
        section.add(1e-6)
    section.add(1.0)
    section.add(5000e-6, 5000)
    records = read(log)
    assert [(one.item, one.items) for one in records] == [(0, 5000), (5000, 1), (5001, 5000)]
    assert sum(map(len, log.data())) < 100


def test_a_single_item_that_succeeded_tells_nothing_new() -> None:
    log = ItemLog()
    section = log.section("load", None)
    section.add(0.5)
    assert not log.tells
    section.mark(0, ItemState.COMPLETED, 2)
    assert log.tells
    log.section("store", None).add(0.1)
    assert log.tells


def test_the_name_of_a_log_is_no_longer_than_names_may_be() -> None:
    log = ItemLog()
    section = log.section("load", 0)
    for item in range(1000):
        section.add(0.1)
        section.mark(item, ItemState.FAILED, 1)
    assert len(log.name) <= 200
    summary = read_summary(log.name)
    assert summary is not None and summary.failed == 1000
    assert list(summary.names[:2]) == ["load[0]", "load[1]"]


TOO_MANY = f"{PREFIX}{'9' * 5_000} of 3 failed"
"""Python reads no number of so many digits."""


@pytest.mark.parametrize(
    "name",
    ["", "load", "output/load", PREFIX, f"{PREFIX}x of 3 failed", f"{PREFIX}1 of 3", TOO_MANY],
)
def test_other_names_say_nothing_of_items(name: str) -> None:
    assert read_summary(name) is None


def test_a_result_without_a_log_tells_of_no_items() -> None:
    assert read_items(b"".join(pack_envelope([b"value"], 0.5))) == []


@pytest.mark.parametrize(
    "log",
    [
        7,
        [7],
        [["load", 0, [1], []]],
        [["load", 0, [1, 5]]],
        [[7, 0, [1, 5], []]],
        [["load", "x", [1, 5], []]],
        [["load", [3], [2, 5], []]],
        [["load", 0, ["x", 5], []]],
        [["load", 0, [1, "x"], []]],
        [["load", 0, [1, float("nan")], []]],
        [["load", 0, [1, float("inf")], []]],
        [["load", 0, [1, -5], []]],
        [["load", 0, [2**60, 5], []]],
        [["load", 0, [1, 5], [0, 9, 1]]],
        [["load", 0, [1, 5], [0, 1, "x"]]],
        [["load", 0, [1, 5], [0, 1, -1]]],
        [["load", 0, [1, 5], [[], 1, 1]]],
    ],
    ids=str,
)
def test_a_log_that_cannot_be_read_says_so(log: object) -> None:
    with pytest.raises(EnvelopeError, match="malformed log"):
        read_items(b"".join(pack([{"log": log}])))
