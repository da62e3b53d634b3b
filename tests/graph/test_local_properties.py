"""Random workflows in the debug mode, compared with plain Python."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from armoflow.client.local import LocalOutcome, LocalRunner
from armoflow.graph.collection import DelayedList, items, zip_items
from armoflow.graph.delayed import Delayed
from armoflow.graph.task import task


class Refused(Exception):
    """What the tasks raise."""


def check(value: str, refuse: str = "") -> str:
    if refuse and refuse in value:
        raise Refused(value)
    return value


def mark(value: Any, sign: str = "", refuse: str = "") -> str:
    return check(text(value), refuse) + sign


def join(left: Any, right: Any) -> str:
    return text(left) + text(right)


def accept(value: Any, sign: str = "") -> bool:
    return sign not in text(value)


def twice(value: Any) -> tuple[str, str]:
    return text(value) + "0", text(value) + "1"


def text(value: Any) -> str:
    return "".join(map(text, value)) if isinstance(value, (tuple, list)) else str(value)


def expand_mark(value: Any, sign: str = "", refuse: str = "") -> Any:
    return lazy_mark(value, sign=sign, refuse=refuse)


lazy_mark, lazy_join, lazy_accept = task(mark), task(join), task(accept)
lazy_twice, lazy_expand = task(outputs=2)(twice), task(expand_mark)


@dataclass
class Many:
    """A collection, and what it is in plain Python: values, or None where one failed."""

    lazy: DelayedList[Any]
    plain: list[Any]


@dataclass
class One:
    lazy: Delayed[Any]
    plain: Any


FAILED = None
SIGNS = st.sampled_from("abc")
REFUSED = st.sampled_from(["", "", "", "ab", "c"])


def plainly(function: Any, *values: Any) -> Any:
    if any(value is FAILED for value in values):
        return FAILED
    try:
        return function(*values)
    except Refused:
        return FAILED


def gathered(values: list[Any]) -> Any:
    return FAILED if any(value is FAILED for value in values) else values


@st.composite
def workflows(draw: st.DrawFn) -> tuple[list[Many], list[One]]:
    collections: list[Many] = []
    values: list[One] = []
    for _ in range(draw(st.integers(1, 3))):
        words = draw(st.lists(st.text("abc", max_size=2), max_size=6))
        iterable: Any = draw(st.sampled_from([list, tuple, iter]))(words)
        collections.append(Many(items(iterable), list(words)))
    for _ in range(draw(st.integers(1, 8))):
        source = draw(st.sampled_from(collections))
        sign, refuse = draw(SIGNS), draw(REFUSED)
        step = draw(st.sampled_from(STEPS))
        step(draw, collections, values, source, sign, refuse)
    return collections, values


def map_step(draw, collections, values, source, sign, refuse) -> None:
    function = functools.partial(mark, sign=sign, refuse=refuse)
    chosen = draw(st.sampled_from([lazy_mark, lazy_expand]))
    plain = [plainly(function, value) for value in source.plain]
    collections.append(Many(source.lazy.map(chosen, sign=sign, refuse=refuse), plain))


def filter_step(draw, collections, values, source, sign, refuse) -> None:
    plain = [value for value in source.plain if value is FAILED or accept(value, sign)]
    collections.append(Many(source.lazy.filter(lazy_accept, sign=sign), plain))


def zip_step(draw, collections, values, source, sign, refuse) -> None:
    other = draw(st.sampled_from(collections))
    if source.lazy.node.sparse or other.lazy.node.sparse:
        return
    pairs = list(zip(source.plain, other.plain, strict=False))
    plain = [FAILED if FAILED in pair else pair for pair in pairs]
    collections.append(Many(zip_items(source.lazy, other.lazy), plain))
    joined = [FAILED if FAILED in pair else join(*pair) for pair in pairs]
    collections.append(Many(lazy_join.map(source.lazy, other.lazy), joined))


def outputs_step(draw, collections, values, source, sign, refuse) -> None:
    lists = source.lazy.map(lazy_twice)
    for output, lazy in enumerate(lists):
        plain = [plainly(lambda value, o=output: twice(value)[o], value) for value in source.plain]
        collections.append(Many(lazy, plain))


def slice_step(draw, collections, values, source, sign, refuse) -> None:
    node = source.lazy.node
    if node.sparse or node.length is None:
        return
    cut = draw(st.slices(node.length))
    collections.append(Many(source.lazy[cut], source.plain[cut]))
    if node.length:
        index = draw(st.integers(0, node.length - 1))
        values.append(One(source.lazy[index], source.plain[index]))


def combine_step(draw, collections, values, source, sign, refuse) -> None:
    fan_in = draw(st.integers(2, 4))
    whole = gathered(source.plain)
    plain = FAILED if whole is FAILED else sign + text(whole)
    values.append(One(source.lazy.reduce(lazy_join, fan_in=fan_in, initial=sign), plain))
    values.append(One(source.lazy.fold(lazy_join, initial=sign), plain))
    values.append(One(source.lazy.gather(), whole))
    bare: Any = FAILED
    if whole:
        bare = functools.reduce(join, whole)
    if whole is not FAILED:
        values.append(One(source.lazy.reduce(lazy_join, fan_in=fan_in), bare))


def argument_step(draw, collections, values, source, sign, refuse) -> None:
    whole = gathered(source.plain)
    lazy: Any = lazy_mark([source.lazy], refuse=refuse)
    plain = plainly(functools.partial(mark, refuse=refuse), whole)
    if values:
        other = draw(st.sampled_from(values))
        lazy, plain = lazy_join(lazy, other.lazy), plainly(join, plain, other.plain)
    values.append(One(lazy, plain))
    fixed = [plainly(join, value, plain) for value in source.plain]
    collections.append(Many(source.lazy.map(lazy_join, right=lazy), fixed))


STEPS = [
    map_step,
    filter_step,
    zip_step,
    outputs_step,
    slice_step,
    combine_step,
    argument_step,
]


@given(workflows())
def test_workflows_give_what_plain_python_gives(workflow: tuple[list[Many], list[One]]) -> None:
    collections, values = workflow
    targets = [*collections, *values]
    outcomes = LocalRunner().run_all([target.lazy for target in targets])
    for target, outcome in zip(targets, outcomes, strict=True):
        if isinstance(target, Many):
            assert isinstance(outcome, list)
            assert [seen(one) for one in outcome] == target.plain
        else:
            assert isinstance(outcome, LocalOutcome)
            assert seen(outcome) == target.plain


def seen(outcome: LocalOutcome) -> Any:
    if outcome.exception is None:
        return outcome.value
    assert isinstance(outcome.exception, (Refused, TypeError))
    return FAILED
