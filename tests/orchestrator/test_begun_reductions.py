"""Reductions that somebody has begun: what was combined is not combined again."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armoflow import items, task
from armoflow.graph.nodes import Node
from armoflow.orchestrator.planned import Result, SlotRange
from armoflow.orchestrator.planning.known import Partial
from armoflow.orchestrator.planning.planner import Planner
from tests.orchestrator.simulated import Simulation


@task
def keep(text: str) -> str:
    return text


@task
def join(first: str, second: str) -> str:
    return first + second


LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Reduction:
    """Plans one reduction again and again, each time with what the plans before it have made.

    Args:
        value: The reduction; another one may take its place.
    """

    def __init__(self, directory: Path, value: Any) -> None:
        self.value = value
        self._simulation = Simulation(directory)
        self.made: list[Partial] = []
        self.begun: list[Partial] = []

    def compute(self) -> str:
        """Its value."""
        self._simulation.prepare = self._prepare
        self._simulation.tasks.clear()
        return str(self._simulation.value(self.value))

    @property
    def combined(self) -> int:
        """How many tasks have combined something."""
        return sum(name == "join" for name, _ in self._simulation.tasks)

    def _prepare(self, planner: Planner) -> None:
        planner.begin_with(lambda node: self.begun)
        planner.tell_combined(self._take)

    def _take(self, node: Node, partial: Partial) -> None:
        self.made.append(partial)

    def forget(self, keep: list[bool]) -> None:
        """Some of what was made is there in the next plan."""
        kept = [partial for partial, kept in zip(self.made, keep, strict=False) if kept]
        self.begun = [partial._replace(place=_restored(partial.place)) for partial in kept]
        self.made = []


def _restored(place: SlotRange) -> SlotRange:
    return SlotRange(Result.existing(place.result.id, "join"), place.start, place.stop)


@pytest.mark.parametrize("kind", ["reduce", "fold"])
@given(
    size=st.integers(1, 26),
    batch=st.integers(1, 6),
    later=st.integers(1, 6),
    local=st.booleans(),
    kept=st.lists(st.booleans(), max_size=26),
)
def test_whatever_was_combined_the_value_is_the_same(
    kind: str, size: int, batch: int, later: int, local: bool, kept: list[bool]
) -> None:
    def build(size_of_batches: int) -> Any:
        source = items(LETTERS[:size]) if local else keep.map(LETTERS[:size])
        combine = join.with_options(batch_size=size_of_batches)
        if kind == "fold":
            return source.fold(combine, initial=">")
        return source.reduce(combine, initial=">")

    with TemporaryDirectory() as directory:
        reduction = Reduction(Path(directory), build(batch))
        assert reduction.compute() == ">" + LETTERS[:size]
        reduction.forget(kept)
        reduction.value = build(later)
        assert reduction.compute() == ">" + LETTERS[:size]


@pytest.mark.parametrize("kind", ["reduce", "fold"])
def test_what_was_combined_is_not_combined_again(tmp_path: Path, kind: str) -> None:
    one_by_one = keep.with_options(batch_size=1).map(LETTERS[:8])
    combine = join.with_options(batch_size=1)
    value = one_by_one.reduce(combine) if kind == "reduce" else one_by_one.fold(combine)
    reduction = Reduction(tmp_path, value)
    assert reduction.compute() == LETTERS[:8]
    assert reduction.combined >= 7
    reduction.forget([True] * len(reduction.made))
    assert reduction.compute() == LETTERS[:8]
    assert reduction.combined <= 1  # the last one is the reduction's own value
