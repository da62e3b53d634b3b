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
from armoflow.options import DEFAULT_OPTIONS, TaskOptions, merge_options
from armoflow.orchestrator.outcomes import ItemOutcome
from armoflow.orchestrator.paces import Paces
from armoflow.worker import inline_time
from armoflow.worker.mark import HANDS_BUSY, HANDS_FREE
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
    monkeypatch.setattr(inline_time, "time", clock)


def told(outcome: ItemOutcome) -> Any:
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
        # Where a collection was begun, one more may put its two parts together. (Where something
        # fails, tasks of their own are not run at all; here they are told of an error slot.)
        assert len(here.engine.ran) <= len(apart.engine.ran) + 1


CUT = [
    ("value", 1),
    ("value", None),
    ("alias", ("value", [1, [2]])),
    ("join", ("value", 3)),
    ("value", "text"),
]
CUTS = (*range(1, 12), 16, 23, 1000)
FAILING_CUTS = (1, 3, 5, 7, 9, 11, 16, 1000)


@pytest.mark.parametrize("kind", sorted(COLLECTIONS))
def test_operations_on_collections_may_be_cut_between_any_two_items(
    directory: Path, ticking: None, kind: str
) -> None:
    failing = [*CUT[:3], ("raise", "failure of the fourth"), *CUT]
    apart = Simulation(directory, inline=0)
    for parts in (CUT, CUT[:1], failing):
        program = (kind, *parts)
        want = told(apart.compute(run(program))[0][0])
        for seconds in FAILING_CUTS if parts is failing else CUTS:
            here = Simulation(directory, inline=float(seconds))
            uncut = True
            for _ in range(2):
                here.engine.ran.clear()
                assert told(here.compute(run(program))[0][0]) == want, seconds
                uncut &= len(here.engine.ran) == 1
            if uncut:  # as it will be with any more time
                break
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


def test_it_goes_on_while_nobody_else_is_free_for_seven_times_as_long_at_most(
    directory: Path, ticking: None
) -> None:
    program = ("value", 1)
    for _ in range(120):
        program = ("join", program)
    ran = {}
    for hands in (0, HANDS_FREE, HANDS_BUSY):
        simulation = Simulation(directory, inline=20.0)
        simulation.engine.tell(hands)
        for _ in range(2):
            simulation.engine.ran.clear()
            assert simulation.value(run(program)) == expected(program)
        ran[hands] = len(simulation.engine.ran)
    assert 1 < ran[HANDS_BUSY] < ran[HANDS_FREE] <= ran[0]


@task
def tens(number: int) -> int:
    if number == 33:
        raise LookupError("failure of number 33")
    return 10 * number


@task
def total(*numbers: int) -> int:
    return sum(numbers)


@task
def many(count: int, first: int = 0) -> Any:
    return total(*[tens(number) for number in range(first, first + count)])


@task
def sums(count: int) -> Any:
    ten = tens(1)
    return total(*[total(ten, number) for number in range(count)])


@task
def growing(count: int) -> Any:
    return tens(count)


@task
def several(count: int) -> Any:
    return total(*[growing(number) for number in range(count)])


def ran(simulation: Simulation, graph: Any, value: Any) -> int:
    """How many engine tasks a graph needs."""
    simulation.engine.ran.clear()
    assert told(simulation.compute(graph)[0][0]) == value
    return len(simulation.engine.ran)


def test_calls_that_are_left_travel_in_packs_once_they_were_measured(directory: Path) -> None:
    simulation = Simulation(directory, inline=0)
    assert ran(simulation, many(20), 1900) == 22
    assert ran(simulation, many(20), 1900) < 22
    # Each fails for itself, and is told by its name.
    assert ran(simulation, many(20, 20), LookupError) < 22
    # What its own calls return, nobody knows before; and a pack would hold back the others.
    assert ran(simulation, several(20), 1900) == 42
    assert ran(simulation, several(20), 1900) == 42


def test_values_that_were_made_before_travel_with_the_packs_that_need_them(
    directory: Path, ticking: None
) -> None:
    simulation = Simulation(directory, inline=4.0)
    value = sum(number + 10 for number in range(40))
    assert ran(simulation, sums(40), value) > 30
    assert 1 < ran(simulation, sums(40), value) < 40


def test_the_batch_size_of_calls_holds_in_a_returned_graph(directory: Path) -> None:
    simulation = Simulation(directory, inline=0, options=merge_options(ALONE, DEFAULT_OPTIONS))
    assert ran(simulation, many(20), 1900) == 22
    assert ran(simulation, many(20), 1900) == 22


ALONE = TaskOptions(batch_size=1)


def test_what_the_client_has_measured_need_not_be_measured_again(directory: Path) -> None:
    def known(seconds: float) -> Simulation:
        simulation = Simulation(directory, inline=10)
        simulation.settings.paces.note(tens.function, seconds)
        return simulation

    unknown = Simulation(directory, inline=10)
    assert ran(unknown, many(5), 100) == 7
    assert ran(unknown, growing(5), 50) == 1
    assert ran(known(0.001), many(5), 100) == 1
    # What takes longer than a graph may take is never begun.
    assert ran(known(11.0), many(5), 100) == 7
    assert ran(known(11.0), growing(5), 50) == 2


def test_what_one_process_has_measured_others_are_told() -> None:
    first, second = Paces(), Paces()
    first.note(tens.function, 0.5)
    first.note(growing.function, 0.25)
    first.note_graph(growing.function)
    assert not first.names_tasks(tens.function)
    assert first.names_tasks(several.function)
    second.hear(first.tell(several.function))
    assert (second.of(tens.function), second.of(growing.function)) == (0.5, 0.25)
    assert second.expands(growing.function)
    # What was measured here counts for more.
    first.note(tens.function, 9.0)
    second.hear(first.tell(many.function))
    assert second.of(tens.function) == 0.5
