"""Collections: lengths, items, slices, and what is not possible."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armoflow.errors import CollectionError, GraphError
from armoflow.graph.collection import items, zip_items
from armoflow.graph.graph import Graph
from armoflow.graph.nodes import ItemNode, MapNode, SliceNode, SourceNode
from armoflow.graph.task import task


@task
def double(number: int) -> int:
    return 2 * number


@task
def numbers() -> list[int]:
    return [1, 2]


@task
def add(a: int, b: int) -> int:
    return a + b


def test_a_map_is_one_node() -> None:
    many = double.map(range(1_000_000))
    assert len(many) == 1_000_000
    assert len(Graph(many)) == 2
    assert repr(many) == "<DelayedList double, 1000000 items>"


def test_lengths() -> None:
    assert len(double.map([])) == 0
    assert not double.map([])
    assert len(add.map([1, 2, 3], range(2))) == 2
    assert len(zip_items([1, 2], items("abc"))) == 2
    assert len(items([1, 2]).zip("a")) == 1
    assert add.map([1], itertools.count()).node.length is None
    assert double.map(numbers()).node.length is None


def test_what_a_filter_leaves_has_no_length() -> None:
    some = items(range(4)).filter(double)
    for attempt in (len, list, lambda many: many[0], lambda many: many[1:]):
        with pytest.raises(CollectionError, match=r"filter.*gather\(\)"):
            attempt(some)
    with pytest.raises(CollectionError, match=r"gather\(\)"):
        some.zip([1])
    with pytest.raises(CollectionError, match=r"gather\(\)"):
        add.map(some, [1])
    assert double.map(some).node.sparse
    assert zip_items(some.gather(), [1]).node.length is None


def test_a_generator_has_no_length() -> None:
    many = double.map(number for number in range(3))
    for attempt in (len, list, lambda many: many[0], lambda many: many[1:]):
        with pytest.raises(CollectionError, match="not known"):
            attempt(many)


def test_items_and_slices() -> None:
    many = double.map(range(10))
    last = many[-1]
    assert isinstance(last.node, ItemNode)
    assert last.node.index == 9
    assert last.node.name == "double[9]"
    assert [item.node.index for item in many] == list(range(10))  # type: ignore[attr-defined]
    with pytest.raises(IndexError):
        many[10]
    part = many[2:8][::-2]
    assert isinstance(part.node, SliceNode)
    assert part.node.source is many
    assert part.node.positions == range(10)[2:8][::-2]
    assert part[0].node.source is many  # type: ignore[attr-defined]
    assert part[0].node.name == "double[7]"


@given(st.data())
def test_slices_of_slices(data: st.DataObject) -> None:
    length = data.draw(st.integers(0, 12))
    many, plain = double.map(range(length)), range(length)
    for _ in range(data.draw(st.integers(1, 3))):
        cut = data.draw(st.slices(len(plain)))
        many, plain = many[cut], plain[cut]
        assert len(many) == len(plain)
        chosen = [item.node.index for item in many]  # type: ignore[attr-defined]
        assert chosen == list(plain)


def test_a_source_is_not_wrapped() -> None:
    source = items([1, 2])
    assert isinstance(source.node, SourceNode)
    assert isinstance(source.map(double).node, MapNode)
    assert source.map(double).node.sources == (source.node,)  # type: ignore[attr-defined]
    assert items(source) is source
    with pytest.raises(CollectionError, match="map"):
        items(numbers())  # type: ignore[arg-type]


def test_an_iterator_can_be_read_once() -> None:
    node = items(iter([1, 2])).node
    assert isinstance(node, SourceNode)
    assert node.once
    assert list(node.open()) == [1, 2]
    with pytest.raises(GraphError, match=r"list\(\.\.\.\)"):
        node.open()


def test_other_iterables_can_be_read_again() -> None:
    class Countdown:
        def __iter__(self) -> Iterator[int]:
            return iter([2, 1])

    for iterable in ([2, 1], Countdown(), {2: 0, 1: 0}):
        node = SourceNode(iterable)
        assert not node.once
        assert [list(node.open()), list(node.open())] == [[2, 1], [2, 1]]


def test_a_list_that_changed_its_length() -> None:
    grown = [1]
    node = SourceNode(grown)
    grown.append(2)
    with pytest.raises(GraphError, match="1 items then and has 2 now"):
        node.open()


def test_lazy_items_of_a_list_are_dependencies() -> None:
    first = double(1)
    many = double.map([first, 2])
    assert first.node in Graph(many).nodes
    unread = double.map(iter([first]))
    assert first.node not in Graph(unread).nodes


def test_the_order_of_a_graph() -> None:
    left, right = double(1), double(2)
    total = add(left, b=[right, left])
    graph = Graph({"total": total})
    assert graph.nodes == [left.node, right.node, total.node]
    assert [*total.to_networkx().predecessors(2)] == [0, 1]


def test_a_long_chain_has_a_graph() -> None:
    link = double(0)
    for _ in range(20_000):
        link = double(link)
    assert len(Graph(link)) == 20_001


@pytest.mark.parametrize("index", ["a", 1.5, slice(None, None, 0), slice("a", None)])
def test_what_is_no_position_is_named(index: Any) -> None:
    with pytest.raises(CollectionError) as refused:
        items([1, 2])[index]
    assert f"is indexed by integers and slices, not by {index!r}" in str(refused.value)
