"""Lazy values inside arguments."""

from __future__ import annotations

import collections
import copy
import gc
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armoflow.errors import ArgumentCycleError, GraphError
from armoflow.graph.arguments import contains_lazy, find_dependencies, substitute
from armoflow.graph.task import task


@task
def one() -> int:
    return 1


class Pair(NamedTuple):
    left: Any
    right: Any


@dataclass(frozen=True)
class Settings:
    limit: ClassVar[int] = 3
    depth: Any
    names: list[Any] = field(default_factory=list)
    later: Any = field(init=False)


@dataclass(slots=True)
class Slotted:
    value: Any


class Names(list[Any]):
    pass


def everywhere(value: Any) -> list[Any]:
    return [
        [value],
        (1, value),
        {value},
        frozenset({value}),
        {"a": value},
        {value: "a"},
        Pair(value, 2),
        Settings(value),
        Settings(1, [value]),
        Slotted(value),
        Names([value]),
        collections.OrderedDict(a=value),
        collections.defaultdict(list, a=value),
        [{"a": (1, [value])}],
    ]


@pytest.mark.parametrize("index", range(len(everywhere(0))))
def test_lazy_values_are_found_and_replaced(index: int) -> None:
    delayed = one()
    container = everywhere(delayed)[index]
    assert find_dependencies(container) == [delayed]
    assert contains_lazy(container)
    rebuilt = substitute(container, lambda reference: 7)
    expected = everywhere(7)[index]
    assert type(rebuilt) is type(expected)
    if not isinstance(expected, Settings):  # its unset field cannot be compared
        assert rebuilt == expected
    assert not contains_lazy(rebuilt)
    assert find_dependencies(container) == [delayed]  # the original is as it was


def test_order_and_repetition() -> None:
    first, second = one(), one()
    assert find_dependencies([second, {"a": first, "b": second}]) == [second, first]
    assert find_dependencies(first) == [first]
    assert find_dependencies(5) == []


def test_what_holds_nothing_lazy_stays_the_same_object() -> None:
    plain = {"a": [1, 2, (3,)]}
    mixed = [plain, one()]
    assert substitute(plain, lambda reference: 0) is plain
    assert substitute(mixed, lambda reference: 0)[0] is plain


def test_shared_containers_stay_shared() -> None:
    shared = [one()]
    left, right = substitute([shared, shared], lambda reference: 0)
    assert left is right == [0]


def test_an_argument_that_contains_itself() -> None:
    loop: list[Any] = [1]
    loop.append({"a": loop})
    assert find_dependencies(loop) == []
    assert substitute(loop, lambda reference: 0) is loop
    assert not contains_lazy(loop)
    loop.append(one())
    with pytest.raises(ArgumentCycleError, match="contains itself"):
        find_dependencies(loop)
    with pytest.raises(ArgumentCycleError):
        substitute(loop, lambda reference: 0)
    with pytest.raises(ArgumentCycleError, match=r"task 'int': an argument contains itself"):
        task(int)(loop)
    assert contains_lazy(loop)


def test_arguments_may_be_deeper_than_the_stack() -> None:
    deep: Any = one()
    for _ in range(100_000):
        deep = [deep]
    assert len(find_dependencies(deep)) == 1
    with pytest.raises(GraphError, match=r"task 'int': an argument holds <Delayed .*> nested too"):
        task(int)(deep)


def test_looking_into_many_containers_leaves_no_garbage_to_look_for() -> None:
    looked: list[str] = []
    rows = {number: [number, float(number)] for number in range(20_000)}
    gc.collect()
    gc.callbacks.append(lambda phase, _: looked.append(phase))
    try:
        assert find_dependencies([rows]) == []
    finally:
        gc.callbacks.pop()
    assert looked == []


def test_a_container_used_twice_is_no_cycle() -> None:
    shared = [1]
    assert find_dependencies([shared, shared, (shared,)]) == []


def test_a_list_that_gets_its_own_result_is_no_cycle() -> None:
    results = [one()]
    total = task(sum)(results)
    results.append(total)
    assert total.node.dependencies == (results[0],)
    assert len(total.node.args[0]) == 1  # type: ignore[attr-defined]


def test_large_plain_arguments_are_not_copied() -> None:
    numbers = [1, 2, 3]
    assert task(sum)(numbers).node.args[0] is numbers  # type: ignore[attr-defined]


def test_lazy_values_are_not_copied() -> None:
    delayed = one()
    assert copy.copy(delayed) is delayed
    assert copy.deepcopy([delayed])[0] is delayed


leaves = st.integers() | st.text(max_size=3) | st.just("lazy")
containers = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=2), inner, max_size=4)
        | st.builds(Pair, inner, inner)
        | st.builds(Slotted, inner)
    ),
    max_leaves=20,
)


@given(containers)
def test_replacing_forth_and_back(plain: Any) -> None:
    delayed = one()
    lazy = replace_leaves(plain, delayed)
    assert contains_lazy(lazy) == bool(find_dependencies(lazy))
    assert substitute(lazy, lambda reference: "lazy") == plain


def replace_leaves(value: Any, delayed: Any) -> Any:
    if isinstance(value, str):
        return delayed if value == "lazy" else value
    if isinstance(value, Pair):
        return Pair(*(replace_leaves(part, delayed) for part in value))
    if isinstance(value, (list, tuple)):
        return type(value)(replace_leaves(part, delayed) for part in value)
    if isinstance(value, dict):
        return {key: replace_leaves(part, delayed) for key, part in value.items()}
    if isinstance(value, Slotted):
        return Slotted(replace_leaves(value.value, delayed))
    return value
