"""What a run and a cache know of one graph, put together."""

from __future__ import annotations

from armoflow.orchestrator.planned import Result, SlotRange
from armoflow.orchestrator.planning.both_known import merged
from armoflow.orchestrator.planning.known import KnownItems

OLD, NEW = Result("old"), Result("new")


def run(result: Result, start: int, stop: int) -> KnownItems:
    """Items of which each is in the slot of its position."""
    return KnownItems(start, [[SlotRange(result, start, stop)]], stop - start)


def told(runs: list[KnownItems]) -> list[tuple[int, int, list[tuple[str, int, int]]]]:
    return [
        (one.start, one.length, [(p.result.name, p.start, p.stop) for p in one.columns[0]])  # type: ignore[union-attr]
        for one in runs
    ]


def test_items_that_both_have_are_those_of_the_first() -> None:
    first = [run(OLD, 2, 4), run(OLD, 6, 7), run(OLD, 20, 22)]
    second = [run(NEW, 0, 3), run(NEW, 5, 10), run(NEW, 21, 22)]
    assert told(merged(first, second)) == [
        (0, 2, [("new", 0, 2)]),
        (2, 2, [("old", 2, 4)]),
        (5, 1, [("new", 5, 6)]),
        (6, 1, [("old", 6, 7)]),
        (7, 3, [("new", 7, 10)]),
        (20, 2, [("old", 20, 22)]),
    ]


def test_one_of_them_may_have_nothing() -> None:
    runs = [run(OLD, 1, 3)]
    assert told(merged(runs, ())) == told(merged((), runs)) == told(runs)
