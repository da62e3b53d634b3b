"""Returned graphs that are begun where they are: cut anywhere, they give what child tasks give."""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from armoflow import config, task
from armoflow.errors import GraphError, RemoteTraceback, SerializationError
from armoflow.orchestrator.targets import Outcome
from armoflow.worker import inline
from tests.orchestrator.programs import COLLECTIONS, Program, expected, run
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
            lambda kind, parts: (kind, *parts),
            st.sampled_from(["join", "list", "map", *COLLECTIONS]),
            several,
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
    """The value or the kind of error: which of several errors comes first may differ."""
    if outcome.error is None:
        return outcome.value
    assert str(outcome.error).startswith("failure ")
    return type(outcome.error)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=40,
)
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
    for _ in range(2):  # once it has measured its functions, it begins more of them
        here.engine.ran.clear()
        assert one == [told(outcome) for outcome in here.compute(asked)[0]]
    try:
        value = expected(program)
    except LookupError:
        assert one[0] is LookupError
    else:
        assert one[0] == value
    assert len(here.engine.ran) <= len(apart.engine.ran)


CUT = [
    ("value", 1),
    ("value", None),
    ("alias", ("value", [1, [2]])),
    ("join", ("value", 3)),
    ("value", "text"),
]


@pytest.mark.parametrize("kind", sorted(COLLECTIONS))
def test_operations_on_collections_may_be_cut_between_any_two_items(
    directory: Path, ticking: None, kind: str
) -> None:
    failing = [*CUT[:3], ("raise", "failure of the fourth"), *CUT]
    apart = Simulation(directory, inline=0)
    for parts in (CUT, CUT[:1], failing):
        program = (kind, *parts)
        want = told(apart.compute(run(program))[0][0])
        for seconds in (*range(1, 12), 16, 23, 1000):
            here = Simulation(directory, inline=float(seconds))
            for _ in range(2):
                here.engine.ran.clear()
                assert told(here.compute(run(program))[0][0]) == want, seconds
        assert len(here.engine.ran) == 1 or parts is failing


@task
def itself(index: int) -> Any:
    return sys.circular[index]  # type: ignore[attr-defined]


@task
def circular() -> Any:
    # Where all copies of a function find it that are in one process.
    sys.circular = itself.map([0])  # type: ignore[attr-defined]
    return sys.circular.gather()  # type: ignore[attr-defined]


@pytest.mark.parametrize("seconds", [10.0, 1000.0])
def test_an_item_that_returned_what_needs_it_says_so(
    directory: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr(sys, "circular", None, raising=False)
    ((outcome,),) = Simulation(directory, inline=seconds).compute(circular())
    assert isinstance(outcome.error, GraphError)
    assert "needs its own value: a task returned what led to it" in str(outcome.error)


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


def test_what_is_nearly_done_when_the_time_is_over_needs_no_other_task(
    directory: Path, ticking: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = ("value", 1)
    for _ in range(12):
        program = ("join", program)
    ran = {}
    for part in (0.0, 10.0):
        monkeypatch.setattr(config, "INLINE_OVERTIME", part)
        simulation = Simulation(directory, inline=6.0)
        for _ in range(2):
            simulation.engine.ran.clear()
            assert simulation.value(run(program)) == expected(program)
        ran[part] = len(simulation.engine.ran)
    # Calls that have returned graphs are not begun any more, however short they are.
    assert 1 < ran[10.0] < ran[0.0]
