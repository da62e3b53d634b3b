"""The keys of a graph: which nodes and items have the same, and which do not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from armoflow import items, task
from armoflow.cache import Keys, NodeKey, decode_code, decode_parts, differences
from armoflow.errors import EnvelopeError, UnkeyableError
from armoflow.graph.base_task import BaseTask
from armoflow.graph.lazy import Lazy
from armoflow.graph.nodes import Node
from armoflow.policies import NOT_CACHED, CachePolicy, make_policy


@task
def add(a: int, b: int = 0) -> int:
    return a + b


@task
def double(a: int) -> int:
    return 2 * a


@task(outputs=2)
def split(a: int) -> tuple[int, int]:
    return a // 2, a - a // 2


def is_even(a: int) -> bool:
    return a % 2 == 0


def make_keys(policy: CachePolicy | None = None, **options: Any) -> Keys:
    policy = make_policy(True) if policy is None else policy
    return Keys(lambda node: policy, **options)


def key(value: Any, keys: Keys | None = None) -> bytes:
    found = (keys or make_keys()).of(value.node)
    assert isinstance(found, NodeKey) and len(found.digest) == 32
    return found.digest


def item_keys(value: Any) -> list[bytes]:
    found = make_keys().items(value.node)
    assert found is not None
    return list(found)


SAME = {
    "by position and by name": lambda: (add(1, 2), add(b=2, a=1)),
    "made twice": lambda: (add(add(1, 2), 3), add(add(1, 2), 3)),
    "an item of a map and a call": lambda: (double.map([1, 2])[1], double(2)),
    "an item of a map with a fixed argument": lambda: (add.map([1, 2], b=5)[0], add(1, b=5)),
    "an item of a starmap": lambda: (add.starmap([(1, 2), (3, 4)])[1], add(3, 4)),
    "an item of a map of two": lambda: (add.map([1, 2], [3, 4])[1], add(2, 4)),
    "a starmap of a zip": lambda: (
        add.starmap(items([1, 2]).zip([3, 4]))[1],
        add.map([1, 2], [3, 4])[1],
    ),
    "a map of a map": lambda: (double.map(double.map([1, 2]))[1], double(double(2))),
    "an item of a slice": lambda: (double.map(range(9))[2:][1], double(3)),
    "a map of a slice": lambda: (double.map(double.map(range(9))[::-2])[1], double(double(6))),
    "an output of a map": lambda: (
        double(split.map([7, 8])[1][1]),
        double(split(8)[1]),
    ),
    "a list that arrives": lambda: (double(add.map([1])), double(add.map([1]).gather())),
    "a list and a tuple of items": lambda: (
        double.map([1, 2]).gather(),
        double.map((1, 2)).gather(),
    ),
}

OTHER = {
    "arguments": lambda: (add(1, 2), add(2, 1)),
    "types of arguments": lambda: (double(1), double(1.0)),
    "tasks": lambda: (add(1), double(1)),
    "inputs": lambda: (double(add(1)), double(double(1))),
    "outputs": lambda: (double(split(8)[0]), double(split(8)[1])),
    "items": lambda: (double.map([1, 2]).gather(), double.map([1, 3]).gather()),
    "orders of items": lambda: (double.map([1, 2]).gather(), double.map([2, 1]).gather()),
    "operations": lambda: (items([1, 2]).reduce(add), items([1, 2]).fold(add)),
    "shapes of trees": lambda: (
        items([1, 2]).reduce(add, fan_in=2),
        items([1, 2]).reduce(add, fan_in=3),
    ),
    "initial values": lambda: (
        items([1, 2]).reduce(add, initial=0),
        items([1, 2]).reduce(add, initial=1),
    ),
    "predicates": lambda: (
        items([1, 2]).filter(is_even).gather(),
        items([1, 2]).filter(bool).gather(),
    ),
    "slices": lambda: (double.map(range(9))[1:].gather(), double.map(range(9))[2:].gather()),
    "bound arguments": lambda: (
        items([1]).map(partial(max, 1)).gather(),
        items([1]).map(partial(max, 2)).gather(),
    ),
}


@pytest.mark.parametrize("case", SAME)
def test_what_is_the_same_has_one_key(case: str) -> None:
    one, other = SAME[case]()
    assert key(one) == key(other)


@pytest.mark.parametrize("case", OTHER)
def test_what_differs_has_another_key(case: str) -> None:
    one, other = OTHER[case]()
    assert key(one) != key(other)


def test_items_come_in_order_and_lazily() -> None:
    mapped = double.map(range(10**12))
    found = make_keys().items(mapped.node)
    assert found is not None
    assert [next(found) for _ in range(3)] == [key(double(index)) for index in range(3)]


def test_items_of_what_is_known_only_later_have_no_keys() -> None:
    dynamic = double.map(add(1))
    assert make_keys().items(dynamic.node) is None
    assert make_keys().items(double.map(dynamic).node) is None
    assert key(dynamic.gather()) != key(double.map(add(2)).gather())


def test_what_a_filter_leaves_are_its_sources_items() -> None:
    left = double.map(items([1, 2]).filter(is_even))
    assert item_keys(left) == item_keys(double.map([1, 2]))
    assert item_keys(items([1, 2]).filter(is_even)) == item_keys(task(is_even).map([1, 2]))


def test_long_chains_and_deep_collections_need_no_stack() -> None:
    chain: Any = add(1)
    mapped = double.map([1])
    for _ in range(3000):
        chain = double(chain)
        mapped = double.map(mapped)
    assert len(key(chain)) == 32
    assert item_keys(mapped)[0] == key(mapped[0])


# --- policies -----------------------------------------------------------------------------------


def test_a_node_whose_values_are_not_kept_has_no_key_but_those_that_need_it_do() -> None:
    def policy_of(node: Node) -> CachePolicy:
        return make_policy(True) if node.name == "double" else NOT_CACHED

    keys = Keys(policy_of)
    inner = add(1)
    assert keys.of(inner.node) is None
    assert key(double(inner), keys) == key(double(add(1)))


def test_ignored_arguments_make_no_difference() -> None:
    keys = make_keys(make_policy(True, ignore=["b"]))
    assert key(add(1, 2), keys) == key(add(1, b=threading.Lock()), keys)
    assert key(add(1, 2), keys) != key(add(2, 2), keys)
    assert next(iter(keys.items(add.map([1], [2]).node) or ())) == key(add(1), keys)


def test_without_inputs_a_reduction_is_known_by_its_code() -> None:
    def of(policy: str, numbers: list[int]) -> bytes:
        return key(items(numbers).reduce(add), make_keys(make_policy(policy)))

    assert of("code", [1, 2]) == of("code", [3]) != of("inputs", [3]) != of("inputs", [1, 2])


def test_ignored_arguments_may_be_those_of_stars() -> None:
    def gather(a: int, /, *rest: int, **others: int) -> int:
        return a + sum(rest) + sum(others.values())

    def of(ignore: list[str], *args: int, **kwargs: int) -> bytes:
        return key(task(gather)(*args, **kwargs), make_keys(make_policy(True, ignore=ignore)))

    assert of([], 1, a=2) != of([], 2, a=1)
    assert of(["rest"], 1, 2, b=3) == of(["rest"], 1, 5, 6, b=3) != of(["rest"], 1, 2, b=4)
    assert of(["others"], 1, 2, b=3) == of(["others"], 1, 2, c=4) != of(["others"], 2, 2, c=4)
    assert of(["b"], 1, b=3) == of(["b"], 1, b=4) != of(["b"], 1, c=4)


def written(text: str) -> BaseTask[..., Any]:
    """A task of a function as it stands in this text."""
    scope: dict[str, Any] = {"__name__": "written"}
    exec(f"def scale(number): return {text}", scope)
    return task(scope["scale"])


def test_a_version_stands_for_the_code() -> None:
    def of(version: str, text: str) -> bytes:
        return key(written(text)(1), make_keys(make_policy(True, version=version)))

    assert of("1", "2 * number") == of("1", "3 * number")
    assert of("1", "2 * number") != of("2", "2 * number")


def test_policies_leave_out_what_they_do_not_name() -> None:
    def of(policy: str, value: int, python: str, text: str) -> bytes:
        keys = make_keys(make_policy(policy), environment={"python": python})
        return key(written(text)(value), keys)

    base = (1, "3.11", "number")
    changed = {
        "inputs": (5, "3.11", "number"),
        "environment": (1, "3.12", "number"),
        "code": (1, "3.11", "-number"),
    }
    for policy in ("inputs", "code", "environment", "inputs + code"):
        for part, arguments in changed.items():
            assert (of(policy, *arguments) == of(policy, *base)) == (part not in policy)


class Scale:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def method(self, number: int) -> int:
        return self.factor * number

    @classmethod
    def of_class(cls, number: int) -> int:
        return cls(2).factor * number

    def __call__(self, number: int) -> int:
        return self.factor * number


class Other(Scale):
    pass


def closing_over(factor: object) -> Callable[..., Any]:
    def scale(number: int) -> Any:
        return factor, number

    return scale


def with_default(value: int) -> Callable[..., Any]:
    def scale(number: int, factor: int = value) -> int:
        return factor * number

    return scale


def with_named_default(value: int) -> Callable[..., Any]:
    def scale(number: int, *, factor: int = value) -> int:
        return factor * number

    return scale


MADE_TWICE: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "what it closes over": (closing_over(2), closing_over(3)),
    "a default": (with_default(2), with_default(3)),
    "a default of a named argument": (with_named_default(2), with_named_default(3)),
    "what a partial binds": (partial(pow, 2), partial(pow, 3)),
    "the object of a method": (Scale(2).method, Scale(3).method),
    "the class of a method": (Scale.of_class, Other.of_class),
    "the object of a built-in method": ("-".join, "+".join),
    "an object that can be called": (Scale(2), Scale(3)),
    "lambdas that nobody has named": (lambda number: number + 1, lambda number: number + 2),
}


@pytest.mark.parametrize("policy", [make_policy(True, version="1"), make_policy("inputs")])
@pytest.mark.parametrize("case", MADE_TWICE)
def test_functions_of_one_name_are_told_apart_by_their_data(case: str, policy: CachePolicy) -> None:
    def of(function: Callable[..., Any]) -> bytes:
        return key(task(function)(1), make_keys(policy))

    one, two = MADE_TWICE[case]
    assert of(one) == of(one) != of(two)


def test_of_what_a_function_closes_over_the_version_stands_for_code_and_what_has_no_key() -> None:
    keys = make_keys(make_policy(True, version="1"))
    for one, two in ((threading.Lock(), threading.RLock()), (len, abs), (Scale, Other)):
        assert key(task(closing_over(one))(1), keys) == key(task(closing_over(two))(1), keys)


def test_a_lambda_may_be_named_by_its_task() -> None:
    keys = make_keys(make_policy(True, version="1"))
    one, two = (lambda number: number + 1), (lambda number: number + 2)
    assert key(task(one, name="step")(1), keys) == key(task(two, name="step")(1), keys)
    assert key(task(one, name="step")(1), keys) != key(task(one, name="other")(1), keys)


# --- references and what has no key -------------------------------------------------------------


class Reference:
    def __init__(self, content: bytes) -> None:
        self.content = content


def test_references_count_by_their_content() -> None:
    keys = make_keys(references={Reference: lambda reference: reference.content})
    assert key(double(Reference(b"1")), keys) == key(double(Reference(b"1")), keys)
    assert key(double([Reference(b"1")]), keys) != key(double([Reference(b"2")]), keys)


UNKEYABLE: dict[str, tuple[Any, str]] = {
    "an argument": (
        lambda: add(1, b={"db": [threading.Lock()]}),
        r"task 'add': argument 'b', at \['db'\]\[0\]: _thread.lock has no key",
    ),
    "a positional one": (lambda: add(threading.Lock()), "task 'add': argument 'a': _thread.lock"),
    "a fixed one": (lambda: add.map([1], b=threading.Lock()), "task 'add': argument 'b': _thread"),
    "an item": (
        lambda: double.map([1, [threading.Lock()]]),
        r"task 'double': item 1 of 'list', at \[0\]: _thread.lock has no key",
    ),
    "an item of a set": (
        lambda: double.map({threading.Lock()}),
        r"task 'double': item 0 of 'set': _thread.lock has no key",
    ),
    "an input's argument": (lambda: double(add(threading.Lock())), "task 'add': argument 'a'"),
    "an initial value": (
        lambda: items([1]).fold(add, initial=threading.Lock()),
        "task 'add': argument 'initial'",
    ),
    "an iterator": (
        lambda: double.map(number for number in [1]),
        r"task 'double': the generator given to map\(\) or items\(\) can be read only once.*list",
    ),
}


@pytest.mark.parametrize("case", UNKEYABLE)
def test_what_has_no_key_is_named(case: str) -> None:
    make, message = UNKEYABLE[case]
    value: Lazy = make()
    with pytest.raises(UnkeyableError, match=message):
        make_keys().of(value.node)


def test_what_an_item_holds_is_named_when_it_comes() -> None:
    found = make_keys().items(double.map([1, [threading.Lock()]]).node)
    assert found is not None
    assert next(found) == key(double(1))
    with pytest.raises(UnkeyableError, match=r"task 'double': item 1 of 'list', at \[0\]: _thread"):
        next(found)


# --- what keys are made of ----------------------------------------------------------------------


def told(value: Any, index: int | None = None, policy: CachePolicy | None = None) -> Any:
    parts = make_keys(policy).parts(value.node, index)
    assert parts.code is None or decode_code(parts.code.encode()) == parts.code
    return decode_parts(parts.encode(), lambda digest: parts.code)


def test_arguments_that_differ_are_told() -> None:
    old, new = told(add(1, b=double(1))), told(add(2, b=double(2)))
    assert [tuple(difference) for difference in differences(old, new)] == [
        ("argument", "a", "1 -> 2"),
        ("argument", "b", "another what 'double' gives"),
    ]
    assert differences(old, old) == []


def test_an_item_is_told_as_the_call_that_it_is() -> None:
    assert differences(told(double.map([1, 2]), 1), told(double(2))) == []
    assert differences(told(add.map([1], b=double(3)), 0), told(add(1, b=double(3)))) == []
    whole = told(double.map([1, 2]).reduce(add, initial=5))
    assert (whole.operation, sorted(whole.arguments)) == ("reduce", ["initial", "items"])


def test_what_was_never_computed_is_new() -> None:
    assert [difference.kind for difference in differences(None, told(add(1)))] == ["new"]


def test_code_that_is_not_kept_is_told_without_its_text() -> None:
    bound = [make_keys().parts(items([1]).map(partial(max, limit)).node) for limit in (1, 2)]
    (found,) = differences(*bound)
    assert (found.kind, found.text) == ("code", "what it is bound to is another")
    (found,) = differences(decode_parts(told(add(1)).encode()), told(task(is_even)(1)))[1:2]
    assert found.text.endswith("what it was is not kept")


def test_data_that_is_something_else_is_refused() -> None:
    for data in (b"", b"\xc0", told(add(1)).encode()[:-1], told(add(1)).code.encode()):
        with pytest.raises(EnvelopeError, match="parts of a key"):
            decode_parts(data)


def test_versions_and_environments_that_differ_are_told() -> None:
    one = told(add(1), policy=make_policy(True, version="1"))
    two = told(add(1), policy=make_policy(True, version="2"))
    assert [difference.text for difference in differences(one, two)] == ["1 -> 2"]
    python = make_keys(environment={"python": "3.9"}).parts(add(1).node)
    found = differences(told(add(1)), python)
    assert {(difference.kind, difference.name) for difference in found} == {
        ("environment", "keys"),
        ("environment", "python"),
    }
