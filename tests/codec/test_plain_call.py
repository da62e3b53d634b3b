"""Pickles that are put together from parts read as what pickle writes of the whole."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armoflow.codec import plain_call
from armoflow.codec.payload import Pickled
from armoflow.codec.pickling import loads
from armoflow.errors import GraphError
from armoflow.graph.delayed import Delayed
from armoflow.graph.task import task
from armoflow.orchestrator.planned import Result, SlotRange
from armoflow.orchestrator.planning.drafts import Draft

ATOMS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


@task
def same(value: Any) -> Any:
    return value


@given(st.lists(ATOMS, max_size=plain_call.FEW))
def test_atoms_are_read_as_they_are(values: list[Any]) -> None:
    data = plain_call.join_call([plain_call.part(value) for value in values])

    args, kwargs = pickle.loads(data)

    assert (args, kwargs) == (tuple(values), {})
    assert list(map(type, args)) == list(map(type, values))


@given(st.lists(ATOMS | st.integers(0, 70_000).map(lambda n: ("call", n)), max_size=5))
def test_references_are_looked_up(values: list[Any]) -> None:
    parts = [
        plain_call.reference(value) if isinstance(value, tuple) else plain_call.part(value)
        for value in values
    ]

    args, _ = loads(Pickled(plain_call.join_call(parts)), lambda found: ["found", found])

    assert args == tuple(["found", v] if isinstance(v, tuple) else v for v in values)


def reads(draft: Draft, args: tuple[Any, ...]) -> Any:
    """What a worker gets of the arguments: the references in place of what they stand for."""
    pickled = draft.dumps_plain(args)
    return None if pickled is None else loads(pickled, lambda reference: reference)


def test_a_draft_writes_plain_arguments_as_it_writes_others() -> None:
    first: Delayed[Any] = same(1)
    second: Delayed[Any] = same(2)
    draft = Draft()
    draft.refer_to_slot(first, SlotRange(Result("first"), 3, 4))
    draft.refer_to_call(second, 5)
    args = (first, second, "and")

    plain = reads(draft, args)

    assert plain == ((("slot", 0, 3), ("call", 5), "and"), {})
    assert plain == loads(draft.dumps((args, {}), "both"), lambda reference: reference)
    assert draft.size > 0


@pytest.mark.parametrize("value", [[1], (1,), {}, b"1", "x" * 2_000, object(), 1 + 2j, range(3)])
def test_what_is_not_plain_is_left_to_pickle(value: Any) -> None:
    lazy: Delayed[Any] = same(1)
    draft = Draft()
    draft.refer_to_slot(lazy, SlotRange(Result("it"), 0, 1))

    expected = ((("slot", 0, 0), value), {}) if isinstance(value, complex) else None

    assert reads(draft, (lazy, value)) == expected


def test_many_arguments_are_left_to_pickle() -> None:
    lazy: Delayed[Any] = same(1)
    draft = Draft()
    draft.refer_to_slot(lazy, SlotRange(Result("it"), 0, 1))

    assert draft.dumps_plain((lazy,) * plain_call.FEW) is not None
    assert draft.dumps_plain((lazy,) * (plain_call.FEW + 1)) is None


def test_arguments_without_references_are_left_to_pickle() -> None:
    assert Draft().dumps_plain((1, "two")) is None


def test_a_lazy_value_that_stands_for_nothing_is_left_to_the_error() -> None:
    lazy: Delayed[Any] = same(1)
    draft = Draft()

    assert draft.dumps_plain((lazy,)) is None
    with pytest.raises(GraphError, match="armoflow does not look into"):
        draft.dumps(((lazy,), {}), "it")
