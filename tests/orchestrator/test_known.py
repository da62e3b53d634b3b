"""Plans in which some values exist already: what makes them is neither planned nor run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from armoflow import items, task
from armoflow.codec.envelope import pack_envelope
from armoflow.errors import GraphError
from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import CollectionNode, Node
from armoflow.orchestrator.planned import Result, SlotRange
from armoflow.orchestrator.planning.known import Found
from armoflow.protocol.result_handle import ResultState
from armoflow.worker.inputs import pickle_value
from tests.orchestrator.simulated import Simulation


@task
def inc(number: int) -> int:
    return number + 1


@task
def add(first: int, second: int) -> int:
    return first + second


@task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@task(outputs=2)
def split(number: int) -> tuple[int, int]:
    return divmod(number, 10)


@task
def never(*_: Any) -> Any:
    raise AssertionError("what is known was run")


class Remembered:
    """Values by node: the test double of a cache, or of a run that is resumed."""

    def __init__(self) -> None:
        self.values: dict[Node, list[Any]] = {}
        self.places: dict[Node, Found] = {}
        self.data: dict[str, bytes] = {}

    def set(self, node: Node, *values: Any) -> None:
        """A node's outputs: values, or lazy ones that they are the same as."""
        self.values[node] = list(values)

    def find(self, node: Node) -> Found | None:
        if node in self.values and node not in self.places:
            self.places[node] = [
                value if isinstance(value, Delayed) else self._store(node, value)
                for value in self.values[node]
            ]
        return self.places.get(node)

    def find_items(self, node: CollectionNode) -> None:
        """Collections are planned item by item."""

    def find_scattered(self, node: CollectionNode) -> None:
        """None of their items is known."""

    def spent(self, node: Node) -> int:
        return 0

    def _store(self, node: Node, value: Any) -> SlotRange:
        result = Result(node.name)
        result.id = f"known-{len(self.data)}"
        result.state = ResultState.COMPLETED
        self.data[result.id] = b"".join(pack_envelope([pickle_value(value)]))
        return SlotRange(result, 0, 1)


@pytest.fixture
def known() -> Remembered:
    return Remembered()


@pytest.fixture
def simulation(tmp_path: Path, known: Remembered) -> Simulation:
    made = Simulation(tmp_path, known=known)
    made.engine.data = known.data
    return made


def test_a_call_that_is_known_is_an_input_like_any_other(
    simulation: Simulation, known: Remembered
) -> None:
    there = never(never(1))
    known.set(there.node, 40)
    assert simulation.value(add(inc(there), there)) == 81
    assert simulation.tasks == [("inc", 1), ("add", 1)]


def test_what_is_asked_for_may_be_known(simulation: Simulation, known: Remembered) -> None:
    there = never()
    known.set(there.node, "here")
    assert simulation.value(there) == "here"
    assert simulation.tasks == []


def test_a_chain_begins_behind_what_is_known(simulation: Simulation, known: Remembered) -> None:
    there = never(1)
    known.set(there.node, 5)
    assert simulation.value(inc(inc(there))) == 7
    assert len(simulation.tasks) == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: never.map([1, 2]).gather(),
        lambda: never.map([1, 2])[1],
        lambda: items([1, 2]).reduce(never),
        lambda: items([1, 2]).fold(never),
        lambda: never.map(never(1)).gather(),
    ],
)
def test_any_single_value_may_be_known(
    simulation: Simulation, known: Remembered, make: Any
) -> None:
    there = make()
    known.set(there.node, 7)
    assert simulation.value(total([there, inc(there)])) == 15
    assert sorted(name for name, _ in simulation.tasks) == ["inc", "total"]


def test_a_value_may_be_that_of_another_graph(simulation: Simulation, known: Remembered) -> None:
    one, other = never(1), never(2)
    known.set(one.node, inc(inc(1)))
    known.set(other.node, one)
    assert simulation.value(inc(other)) == 4
    assert len(simulation.tasks) == 2  # the other graph is a chain, and one task
    assert simulation.value(add(one, other)) == 6


def test_of_several_outputs_each_may_be_known_in_its_way(
    simulation: Simulation, known: Remembered
) -> None:
    tens, ones = split(42)
    known.set(tens.node, 6, inc(6))
    assert simulation.value(add(tens, ones)) == 13


def test_a_value_that_is_said_to_need_itself_is_refused(
    simulation: Simulation, known: Remembered
) -> None:
    there = never(1)
    known.set(there.node, inc(add(there, 1)))
    ((outcome,), (other,)) = simulation.compute(there, inc(1))
    assert isinstance(outcome.error, GraphError)
    assert "needs its own value" in str(outcome.error)
    assert other.value == 2
