"""Returned graphs that are begun where they are: cut anywhere, they give what child tasks give."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from armoflow.errors import RemoteTraceback, SerializationError
from armoflow.orchestrator.targets import Outcome
from armoflow.worker import inline
from tests.orchestrator.programs import Program, expected, run
from tests.orchestrator.simulated import Simulation

_numbers = itertools.count()
LEAVES = st.one_of(
    st.tuples(st.just("value"), st.sampled_from([1, "text", None, 2.5, [1, [2]], {"a": [3]}])),
    st.builds(lambda: ("raise", f"failure {next(_numbers)}")),
)


def _larger(inner: st.SearchStrategy[Program]) -> st.SearchStrategy[Program]:
    several = st.lists(inner, min_size=1, max_size=3)
    return st.one_of(
        st.builds(
            lambda kind, part: (kind, part), st.sampled_from(["alias", "twice", "apart"]), inner
        ),
        st.builds(
            lambda kind, parts: (kind, *parts), st.sampled_from(["join", "list", "map"]), several
        ),
        st.builds(lambda first, second: ("halves", first, second), inner, inner),
        st.builds(lambda first, second: ("halves", first, second, True), inner, inner),
    )


PROGRAMS = st.recursive(LEAVES, _larger, max_leaves=12)


class Ticks:
    """A clock on which each look takes a second: so graphs are cut wherever they can be."""

    def __init__(self) -> None:
        self._seconds = itertools.count()

    def perf_counter(self) -> float:
        return float(next(self._seconds))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("worker")


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(
        perf_counter=Ticks().perf_counter, monotonic_ns=time.monotonic_ns, sleep=time.sleep
    )
    monkeypatch.setattr(inline, "time", clock)


def told(outcome: Outcome) -> Any:
    if outcome.error is None:
        return outcome.value
    return type(outcome.error), str(outcome.error)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    program=PROGRAMS, seconds=st.sampled_from([1, 2, 3, 5, 8, 13, 21, 1000]), several=st.booleans()
)
def test_wherever_a_graph_is_cut_it_gives_what_child_tasks_give(
    directory: Path, ticking: None, program: Program, seconds: int, several: bool
) -> None:
    apart, here = Simulation(directory, inline=0), Simulation(directory, inline=float(seconds))
    # Several items share a task, whose failures are slots.
    asked = run.map([program, ("value", 0), program]) if several else run(program)
    one = [told(outcome) for outcome in apart.compute(asked)[0]]
    other = [told(outcome) for outcome in here.compute(asked)[0]]
    assert one == other
    try:
        value = expected(program)
    except LookupError:
        assert one[0][0] is LookupError
    else:
        assert one[0] == value
    assert len(here.engine.ran) <= len(apart.engine.ran)


@pytest.mark.parametrize("seconds", [1.0, 2.0, 4.0, 1000.0])
def test_a_graph_that_cannot_be_planned_fails_the_call_that_returned_it(
    directory: Path, ticking: None, seconds: float
) -> None:
    program = ("join", ("value", 1), ("alias", ("unplanned", ("value", 2))))
    simulation = Simulation(directory, inline=seconds)
    failed, well = simulation.compute(run.map([program, ("value", 3)]))[0]
    assert well.value == 3
    assert isinstance(failed.error, SerializationError)
    assert "lock" in str(failed.error)
    cause = failed.error.__cause__
    assert isinstance(cause, RemoteTraceback)
    assert cause.path[0] == "run"
    assert cause.path[-1] == "run[0]"
