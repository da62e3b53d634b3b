"""Of a map only those items are made that somebody needs and that are not known."""

from __future__ import annotations

import itertools
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from armoflow import items, task
from armoflow.graph.collection import DelayedList
from armoflow.graph.nodes import Node
from armoflow.orchestrator.planning.item_ranges import behind_slice, first_of, joined, without
from armoflow.orchestrator.planning.needed_items import NeededItems, needed_behind
from armoflow.orchestrator.planning.tolerance import behind
from tests.orchestrator.test_scattered import SomeItems, simulated

RAN: Counter[tuple[str, int]] = Counter()
"""Which calls of a map, by its name and the item's position, ran in this process."""


@task
def step(value: int, position: int, *, name: str) -> int:
    RAN[name, position] += 1
    return value + position + len(name)


@task
def total(values: list[int]) -> int:
    return sum(values)


@task
def add(first: int, second: int) -> int:
    return first + second


@task
def is_odd(number: int) -> bool:
    return number % 2 == 1


class Drawn:
    """A graph of maps, slices and zips drawn by chance, with what its values are.

    Beside each collection stand its values, and of each item the calls of maps that it needs.
    """

    def __init__(self, draw: Any, known: SomeItems) -> None:
        self.draw = draw
        self.known = known
        self.named: dict[str, set[int]] = {}
        self.made: list[tuple[DelayedList[Any], list[int], list[frozenset[Any]]]] = []

    def collection(self) -> tuple[DelayedList[Any], list[int], list[frozenset[Any]]]:
        made = self.draw(st.sampled_from(self.made))
        if self.draw(st.booleans()) and made[1]:
            start, stop = (self.draw(st.none() | st.integers(-9, 9)) for _ in range(2))
            chosen = slice(start, stop, self.draw(st.sampled_from([None, 1, 2, 3, -1, -2])))
            return made[0][chosen], made[1][chosen], made[2][chosen]
        return made

    def add_map(self) -> None:
        number = len(self.named)
        name = "m" * (number + 1)
        if self.made:
            source, values, calls = self.collection()
        else:
            values = [*range(self.draw(st.integers(1, 12)))]
            source, calls = items(values), [frozenset()] * len(values)
        places = range(len(values))
        sized = step.with_options(
            batch_size=self.draw(st.none() | st.integers(1, 4)), fuse=self.draw(st.booleans())
        )
        made = sized.map(source, places, name=name)
        known = self.draw(st.sets(st.sampled_from(places))) if values else set()
        self.known.positions = sorted(known)
        after = [value + at + len(name) for at, value in enumerate(values)]
        self.known.set(made.node, after)
        self.named[name] = known
        needed = [frozenset() if at in known else calls[at] | {(name, at)} for at in places]
        self.made.append((made, after, needed))

    def add_zip(self) -> None:
        first, second = self.collection(), self.collection()
        zipped = first[0].zip(second[0])
        if self.draw(st.booleans()):
            start = self.draw(st.integers(0, 5))
            zipped = zipped[start:]
            first, second = ((None, one[1][start:], one[2][start:]) for one in (first, second))  # type: ignore[assignment]
        values = [a + b for a, b in zip(first[1], second[1], strict=False)]
        calls = [a | b for a, b in zip(first[2], second[2], strict=False)]
        self.made.append((add.starmap(zipped), values, calls))

    def add_batches(self) -> None:
        made, values, calls = self.collection()
        size = self.draw(st.integers(1, 4))
        cut = range(0, len(values), size)
        sums = [sum(values[at : at + size]) for at in cut]
        together = [frozenset().union(*calls[at : at + size]) for at in cut]
        self.made.append((total.map(made.batched(size)), sums, together))

    def target(self) -> tuple[Any, list[Any], Iterable[Any]]:
        made, values, calls = self.collection()
        kind = self.draw(st.sampled_from(["all", "item", "reduce", "gather", "filter", "iterator"]))
        every = frozenset().union(*calls)
        if kind == "item" and values:
            at = self.draw(st.integers(0, len(values) - 1))
            return made[at], [values[at]], calls[at]
        if kind == "reduce" and values:
            return made.reduce(add), [sum(values)], every
        if kind == "gather":
            return made.gather(), [values], every
        if kind == "filter":
            return made.filter(is_odd), [value for value in values if value % 2], every
        return made, values, every


@settings(max_examples=20)
@given(st.data())
def test_values_are_those_of_python_and_each_call_that_is_needed_runs_once(data: Any) -> None:
    known = SomeItems((), together=2)
    drawn = Drawn(data.draw, known)
    drawn.add_map()
    for kind in data.draw(st.lists(st.sampled_from(["map", "zip", "batches"]), max_size=5)):
        {"map": drawn.add_map, "zip": drawn.add_zip, "batches": drawn.add_batches}[kind]()
    targets = [drawn.target() for _ in range(data.draw(st.integers(1, 3)))]
    RAN.clear()
    with tempfile.TemporaryDirectory() as directory:
        simulation = simulated(directory, known)
        found = simulation.compute(*(target for target, _, _ in targets))
    for outcomes, (_, values, _) in zip(found, targets, strict=True):
        assert [outcome.value for outcome in outcomes] == values
    assert Counter(dict.fromkeys(set().union(*(calls for _, _, calls in targets)), 1)) == RAN


def test_what_an_iterator_turns_out_to_hold_is_made_though_nobody_was_to_need_it(
    tmp_path: Path,
) -> None:
    made = step.map(range(50), range(50), name="late")
    late: Iterator[Any] = iter([made[3], made[7], total(made[:2])])
    simulation = simulated(tmp_path, SomeItems(()))
    found = simulation.compute(made[5:8], add.map(late, [0, 0, 0]))
    assert [outcome.value for outcome in found[0]] == [14, 16, 18]
    assert [outcome.value for outcome in found[1]] == [10, 18, 4 + 6]


def test_what_only_unneeded_items_have_as_arguments_is_not_made(tmp_path: Path) -> None:
    known = SomeItems([0, 1])
    fixed = add(1, 2)
    made = step.map([add(0, 0), add(0, 1), add(0, 2)], [0, 1, fixed], name="few")
    known.set(made.node, [5, 6, 7])
    simulation = simulated(tmp_path, known)
    assert simulation.values(made[:2]) == [5, 6]
    assert simulation.tasks == []


def test_a_slice_of_a_zip_makes_tuples_of_what_is_needed(tmp_path: Path) -> None:
    made = step.map(range(9), range(9), name="slice")
    chosen = add.starmap(made.zip(made)[1:])
    simulation = simulated(tmp_path, SomeItems(()))
    assert simulation.value(chosen[4]) == 2 * (10 + len("slice"))
    assert sorted(simulation.tasks) == [("add", 1), ("step", 1), ("zip", 1)]


class Silent:
    """Counts how often a node is looked at."""

    def __init__(self) -> None:
        self.looks: Counter[Node] = Counter()

    def reads(self, node: Node) -> Sequence[Node]:
        self.looks[node] += 1
        return node.inputs


def test_a_deep_tower_of_maps_that_are_read_twice_is_looked_at_once() -> None:
    made = step.map(range(10), range(10), name="ground")
    first = made
    for _ in range(200):
        made = add.map(made, made[:])
        made = add.starmap(made.zip(made))
    silent = Silent()
    needs = NeededItems(
        silent.reads,
        lambda wave: [need for node, few in wave.items() for need in needed_behind(node, few)],
    )
    needs.add([made[2:4].node])
    assert needs.of(first.node) == (range(2, 4),)
    assert set(silent.looks.values()) == {1}
    assert len([*behind([made.node])]) < 2_000


def test_a_tower_of_maps_is_planned_as_quickly_as_a_chain(tmp_path: Path) -> None:
    known = SomeItems([1])
    made = add.map([1, 2], [0, 0])
    for _ in range(60):
        made = add.starmap(made.zip(made))
    known.set(made.node, [0, 7])
    simulation = simulated(tmp_path, known)
    assert simulation.values(made) == [2**60, 7]


@given(st.lists(st.sets(st.integers(0, 30)), min_size=2, max_size=4), st.data())
def test_ranges_are_as_sets(sets: list[set[int]], data: Any) -> None:
    ranges = [joined([tuple(range(n, n + 1) for n in one)]) for one in sets]
    assert _set(joined(ranges)) == set().union(*sets)
    assert _set(without(ranges[0], ranges[1])) == sets[0] - sets[1]
    assert _set(first_of(ranges[0], 10)) == {n for n in sets[0] if n < 10}
    positions = range(100)[data.draw(st.slices(100))]
    chosen = {n for n in sets[0] if n < len(positions)}
    few = first_of(ranges[0], len(positions))
    assert _set(behind_slice(positions, few)) == {positions[n] for n in chosen}


def _set(ranges: Iterable[range]) -> set[int]:
    parts = [*ranges]
    assert all(before.stop < after.start for before, after in itertools.pairwise(parts))
    return {position for part in parts for position in part}
