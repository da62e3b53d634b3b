"""Maps of which items here and there exist already: the others travel in packs all the same."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from armoflow import items, task
from armoflow.codec.envelope import pack_envelope
from armoflow.graph.nodes import CollectionNode, Node
from armoflow.orchestrator.planned import PlanPiece, Result, SlotRange
from armoflow.orchestrator.planning.chunks import by_result, join
from armoflow.orchestrator.planning.known import KnownItems
from armoflow.protocol.transport import ResultState
from armoflow.worker.inputs import pickle_value
from tests.orchestrator.simulated import Simulation

LENGTH = 40


@task
def negate(number: int) -> int:
    assert number >= 0, "an item that is known was run"
    return -number


@task
def inc(number: int) -> int:
    return number + 1


@task
def add(first: int, second: int) -> int:
    return first + second


@task(outputs=2)
def split(number: int) -> tuple[int, int]:
    return divmod(number, 10)


@task
def is_odd(number: int) -> bool:
    return number % 2 == 1


@task
def fragile(number: int) -> int:
    if number % 7 == 0:
        raise ValueError(f"no {number}")
    return number


class SomeItems:
    """Knows some items of each collection: the test double of a cache with holes.

    Args:
        positions: Those that it knows.
        together: How many of them are in one result.
    """

    def __init__(self, positions: Collection[int], together: int = 3) -> None:
        self.positions = sorted(positions)
        self.together = together
        self.data: dict[str, bytes] = {}
        self.nodes: dict[Node, tuple[list[KnownItems], list[SlotRange]]] = {}

    def set(self, node: CollectionNode, *columns: Sequence[Any]) -> None:
        """What the items of a collection are, by output: those at its positions are known."""
        known = [position for position in self.positions if position < len(columns[0])]
        stored = [self._store(node, [column[at] for at in known]) for column in columns]
        runs: list[KnownItems] = []
        for number, position in enumerate(known):
            if not runs or runs[-1].start + runs[-1].length < position:
                runs.append(KnownItems(position, [[] for _ in columns], 0))
            for column, pieces in zip(runs[-1].columns, stored, strict=True):
                join(column, pieces[number])
            runs[-1] = runs[-1]._replace(length=runs[-1].length + 1)
        self.nodes[node] = runs, []

    def find(self, node: Node) -> None:
        """No single value."""

    def find_items(self, node: CollectionNode) -> None:
        """No collection as a whole."""

    def find_scattered(self, node: CollectionNode) -> list[KnownItems] | None:
        return self.nodes[node][0] if node in self.nodes else None

    def spent(self, node: Node) -> int:
        return 0

    def _store(self, node: Node, values: Sequence[Any]) -> list[SlotRange]:
        pieces = []
        for first in range(0, len(values), self.together):
            some = values[first : first + self.together]
            result = Result(node.name)
            result.id = f"known-{len(self.data)}"
            result.state = ResultState.COMPLETED
            self.data[result.id] = b"".join(pack_envelope(list(map(pickle_value, some))))
            pieces += [SlotRange(result, slot, slot + 1) for slot in range(len(some))]
        return pieces


def simulated(directory: str | Path, known: SomeItems, **settings: Any) -> Simulation:
    simulation = Simulation(Path(directory), known=known, workers=2, **settings)
    simulation.engine.data = known.data
    return simulation


def tasks_of(simulation: Simulation, name: str) -> list[int]:
    """The items of each engine task of a name."""
    return [count for task_name, count in simulation.tasks if task_name == name]


KNOWN = st.sets(st.integers(0, LENGTH - 1))
SIZES = st.none() | st.integers(1, 12)


@settings(max_examples=30)
@given(KNOWN, SIZES, SIZES, st.integers(1, 9))
def test_values_are_the_same_whatever_is_known_and_only_the_others_run(
    positions: set[int], size: int | None, next_size: int | None, together: int
) -> None:
    # What is known has another sign than what would be computed: nobody runs it.
    numbers = [-number if number in positions else number for number in range(LENGTH)]
    known = SomeItems(positions, together)
    collection = negate.with_options(batch_size=size).map(numbers)
    known.set(collection.node, [7000 + number for number in range(LENGTH)])
    expected = [7000 + n if n in positions else -n for n in range(LENGTH)]
    sums = [n + at for at, n in enumerate(expected)]
    everything, some = range(LENGTH), range(3, LENGTH, LENGTH - 4)
    graphs: list[tuple[Any, list[int], range]] = [
        (collection, expected, everything),
        (add.with_options(batch_size=next_size).map(collection, everything), sums, everything),
        (collection.reduce(add), [sum(expected)], everything),
        (collection[3 :: LENGTH - 4], [expected[at] for at in some], some),
        (add.starmap(items(collection).zip(collection)), [2 * n for n in expected], everything),
    ]
    for graph, values, needed in graphs:
        with tempfile.TemporaryDirectory() as directory:
            simulation = simulated(directory, known)
            assert simulation.values(graph) == values
            ran = sum(tasks_of(simulation, "negate"))
            assert ran == len(set(needed) - positions)


def test_items_that_are_no_neighbours_share_a_task(tmp_path: Path) -> None:
    known = SomeItems(range(LENGTH))
    numbers = range(1000)
    known.positions = [number for number in numbers if number % 10]
    collection = negate.with_options(batch_size=25).map(numbers)
    known.set(collection.node, list(numbers))
    simulation = simulated(tmp_path, known)
    assert len(simulation.values(collection)) == 1000
    assert tasks_of(simulation, "negate") == [25, 25, 25, 25]


def test_whoever_reads_them_has_packs_of_its_own_size(tmp_path: Path) -> None:
    known = SomeItems([number for number in range(1000) if number % 10], together=1000)
    collection = negate.with_options(batch_size=50).map(range(1000))
    known.set(collection.node, list(range(1000)))
    doubled = add.map(collection, range(1000))
    simulation = simulated(tmp_path, known)
    simulation.seconds_per_item = 1e-6
    assert len(simulation.values(doubled)) == 1000
    assert tasks_of(simulation, "negate") == [50, 50]
    assert 4 <= len(tasks_of(simulation, "add")) <= 20
    assert max(tasks_of(simulation, "add")) <= 250


def test_of_several_outputs_and_of_filters_too(tmp_path: Path) -> None:
    positions = [number for number in range(LENGTH) if number % 5]
    known = SomeItems(positions)
    tens, ones = split.map(range(LENGTH))
    known.set(tens.node, [n // 10 for n in range(LENGTH)], [n % 10 for n in range(LENGTH)])
    odd = items(range(LENGTH)).filter(is_odd)
    known.set(odd.node, list(range(LENGTH)))  # what is known is left, odd or not
    simulation = simulated(tmp_path, known)
    assert simulation.values(tens) == [n // 10 for n in range(LENGTH)]
    assert simulation.values(ones) == [n % 10 for n in range(LENGTH)]
    assert simulation.values(odd) == [n for n in range(LENGTH) if n % 5 or n % 2]


def test_errors_name_the_item_and_its_neighbours_are_well(tmp_path: Path) -> None:
    known = SomeItems([number for number in range(LENGTH) if number % 4])
    collection = fragile.map(range(LENGTH))
    known.set(collection.node, list(range(LENGTH)))
    simulation = simulated(tmp_path, known)
    (found,) = simulation.compute(collection)
    failed = {at: one.error for at, one in enumerate(found) if one.error is not None}
    assert sorted(failed) == [0, 28]
    assert [error.__cause__.path for error in failed.values()] == [["fragile[0]"], ["fragile[28]"]]  # type: ignore[union-attr]
    (found,) = simulation.compute(negate.map(collection))
    failed = {at: one.error for at, one in enumerate(found) if one.error is not None}
    assert sorted(failed) == [0, 28]
    assert failed[28].__cause__.path == ["fragile[28]", "negate[28]"]  # type: ignore[union-attr]


@pytest.mark.parametrize("size", [1, 2, None])
def test_an_item_alone_that_fails_stops_nothing_behind_it(tmp_path: Path, size: int | None) -> None:
    known = SomeItems([number for number in range(20) if number != 7])
    collection = fragile.map(range(20))
    known.set(collection.node, list(range(20)))
    simulation = simulated(tmp_path, known)
    (found,) = simulation.compute(negate.with_options(batch_size=size).map(collection))
    assert [at for at, one in enumerate(found) if one.error is not None] == [7]


def test_nothing_is_made_for_items_that_are_known(tmp_path: Path) -> None:
    known = SomeItems([number for number in range(LENGTH) if number % 8])
    before = add.with_options(fuse=False).map(range(LENGTH), range(LENGTH))
    odd = items(before).filter(is_odd)
    collection = negate.with_options(fuse=False).map(before)
    known.set(collection.node, [-2 * number for number in range(LENGTH)])
    simulation = simulated(tmp_path, known)
    assert simulation.values(collection) == [-2 * number for number in range(LENGTH)]
    assert sum(tasks_of(simulation, "add")) == sum(tasks_of(simulation, "negate")) == LENGTH // 8
    both = simulation.compute(collection, odd)  # somebody else needs all of them
    assert [len(found) for found in both] == [LENGTH, 0]
    assert sum(tasks_of(simulation, "add")) == LENGTH // 8 + LENGTH


def test_nor_further_up(tmp_path: Path) -> None:
    known = SomeItems([number for number in range(LENGTH) if number % 8])
    first = add.with_options(fuse=False, batch_size=3).map(range(LENGTH), range(LENGTH))
    second = inc.with_options(fuse=False, batch_size=2).map(first)
    collection = add.with_options(batch_size=4).map(second, first[:])
    known.set(collection.node, [4 * number + 1 for number in range(LENGTH)])
    simulation = simulated(tmp_path, known)
    assert simulation.values(collection) == [4 * number + 1 for number in range(LENGTH)]
    assert sum(tasks_of(simulation, "inc")) == LENGTH // 8
    third = add.with_options(batch_size=4).map(second, range(LENGTH))
    known.set(third.node, [3 * number + 1 for number in range(LENGTH)])
    simulation = simulated(tmp_path, known)
    assert simulation.values(third) == [3 * number + 1 for number in range(LENGTH)]
    assert tasks_of(simulation, "inc") == [2, 2, 1]
    assert sum(tasks_of(simulation, "add")) == 2 * LENGTH // 8


def test_slots_are_told_by_result_with_the_positions_of_their_items() -> None:
    old, new = Result("old"), Result("new")
    column: list[PlanPiece] = [SlotRange(new, 0, 2), SlotRange(old, 5, 9), SlotRange(new, 2, 3)]
    assert by_result(column, 10) == {
        new: [(SlotRange(new, 0, 2), 10), (SlotRange(new, 2, 3), 16)],
        old: [(SlotRange(old, 5, 9), 12)],
    }
