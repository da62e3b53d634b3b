"""Tasks that are spared: chains run as one, and so do quick sibling calls."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armoflow import task
from armoflow.codec.bundle import read_payload
from armoflow.config import HANDED_ON_STEPS
from armoflow.graph.delayed import Delayed
from armoflow.orchestrator.outcomes import ItemOutcome
from armoflow.worker.runner import EngineTask, Runner
from tests.orchestrator.simulated import Simulation
from tests.orchestrator.steps import add, double, grow, inc, no_threes, odd, total


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("worker")


def chain(length: int, step: Any = inc) -> Delayed[int]:
    return functools.reduce(lambda value, _: step(value), range(length - 1), step(0))


@task
def deepen(level: int) -> Any:
    return inc(deepen(level - 1)) if level else 0


@task
def fall(level: int) -> Any:
    return inc(fall(level - 1)) if level else no_threes(3)


def needed_twice(value: Delayed[int]) -> Delayed[int]:
    return add(inc(value), double(value))


def path_of(outcome: ItemOutcome) -> list[str]:
    assert outcome.error is not None
    assert outcome.error.__cause__ is not None
    return list(outcome.error.__cause__.path)  # type: ignore[attr-defined]


# --- chains of calls ------------------------------------------------------------------------------


def test_a_chain_of_calls_is_one_task(directory: Path) -> None:
    simulation = Simulation(directory)
    assert simulation.value(chain(500)) == 500
    assert len(simulation.tasks) == 1


def test_a_very_long_chain_is_cut(directory: Path) -> None:
    simulation = Simulation(directory)
    assert simulation.value(chain(2500)) == 2500
    assert len(simulation.tasks) == 3


def test_a_call_may_use_the_value_before_it_anywhere_and_more_than_once(directory: Path) -> None:
    gather = task(lambda *parts, **named: (parts, named), name="gather")
    value = double(3)
    simulation = Simulation(directory)
    found = simulation.value(gather([value, {"deep": value}], 1, key=value))
    assert found == (([6, {"deep": 6}], 1), {"key": 6})
    assert len(simulation.tasks) == 1


@pytest.mark.parametrize(
    ("why", "build", "tasks"),
    [
        ("switched off", lambda: inc.with_options(fuse=False)(double(1)), 2),
        ("other options", lambda: inc.with_options(retries=1)(double(1)), 2),
        ("kept", lambda: inc(double.with_options(keep=True)(1)), 2),
        ("two arguments", lambda: add(double(1), double(2)), 3),
        ("needed twice", lambda: needed_twice(inc(1)), 4),
    ],
)
def test_what_is_not_fused(directory: Path, why: str, build: Any, tasks: int) -> None:
    simulation = Simulation(directory)
    simulation.value(build())
    assert len(simulation.tasks) == tasks, why


def test_what_somebody_asks_for_is_a_result_of_its_own(directory: Path) -> None:
    simulation = Simulation(directory)
    middle = inc(1)
    found = simulation.compute(double(middle), middle)
    assert [o.value for (o,) in found] == [4, 2]
    assert len(simulation.tasks) == 2


def test_a_failing_step_is_named_with_the_way_from_it(directory: Path) -> None:
    ((outcome,),) = Simulation(directory).compute(inc(double(no_threes(inc(2)))))
    assert str(outcome.error) == "3 is a multiple of three"
    assert path_of(outcome) == ["no_threes", "double", "inc"]


def test_a_step_that_returns_a_graph_hands_over_to_it(directory: Path) -> None:
    simulation = Simulation(directory)
    assert simulation.value(inc(double(grow(inc(2))))) == 19
    assert simulation.value(inc(double(grow(inc(1))))) == 13


@pytest.mark.parametrize("depth", [10, 100])
def test_a_level_of_a_recursion_has_no_more_to_do_however_deep_it_is(
    directory: Path, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulation = Simulation(directory, inline=0)  # where each level has a task
    steps: list[int] = []
    run = Runner.run

    def counted(self: Runner, work: EngineTask) -> Any:
        steps.append(1 + len(read_payload(bytes(work.payload), work.outputs).stages))
        return run(self, work)

    monkeypatch.setattr(Runner, "run", counted)
    assert simulation.value(deepen(depth)) == depth
    # Its own call, what follows it, and the same of the levels above that it goes on for.
    assert max(steps) <= 2 * HANDED_ON_STEPS
    assert len(steps) <= depth + depth / (HANDED_ON_STEPS - 1) + 2


def test_what_fails_far_down_a_recursion_is_named(directory: Path) -> None:
    ((outcome,),) = Simulation(directory).compute(fall(20))
    assert str(outcome.error) == "3 is a multiple of three"
    assert path_of(outcome)[0] == "no_threes"
    assert path_of(outcome)[-1] == "fall"


def test_each_attempt_gets_the_value_before_unharmed(directory: Path, tmp_path: Path) -> None:
    tried = str(tmp_path / "tried")
    attempts = {"retries": 2, "backoff": 0.0}

    @task(**attempts)
    def numbers() -> list[int]:
        return [1, 2]

    @task(**attempts)
    def spoil(values: list[int]) -> list[int]:
        values.append(3)
        with Path(tried).open("a") as file:
            file.write(".")
        if Path(tried).stat().st_size < 3:
            raise OSError("not yet")
        return values

    simulation = Simulation(directory)
    assert simulation.value(spoil(numbers())) == [1, 2, 3]
    assert len(simulation.tasks) == 1


# --- chains of collection operations ------------------------------------------------------------


@given(
    st.lists(st.integers(0, 50), max_size=20),
    st.lists(st.sampled_from([inc, double, no_threes, grow]), max_size=5),
    st.sampled_from([None, 1, 3]),
    st.booleans(),
)
def test_fused_or_not_the_outcomes_are_the_same(
    directory: Path, numbers: list[int], steps: list[Any], size: int | None, filtered: bool
) -> None:
    def outcomes(*, fuse: bool) -> tuple[list[tuple[Any, str]], int]:
        options = {"fuse": fuse} if size is None else {"fuse": fuse, "batch_size": size}
        collection: Any = inc.with_options(**options).map(numbers)
        if filtered:
            collection = collection.filter(odd.with_options(**options))
        for step in steps:
            collection = collection.map(step.with_options(**options))
        simulation = Simulation(directory)
        (found,) = simulation.compute(collection)
        return [(o.value, str(o.error)) for o in found], len(simulation.tasks)

    fused, few = outcomes(fuse=True)
    plain, many = outcomes(fuse=False)
    assert fused == plain
    assert few <= many


def test_maps_of_maps_are_one_task_a_batch(directory: Path) -> None:
    simulation = Simulation(directory)
    mapped = inc.with_options(batch_size=5).map(range(10))
    double_ = double.with_options(batch_size=5)
    assert simulation.values(mapped.map(double_).map(inc.with_options(batch_size=5))) == [
        2 * (n + 1) + 1 for n in range(10)
    ]
    assert simulation.tasks == [("inc", 5), ("inc", 5)]


def test_a_bad_item_of_a_fused_map_skips_only_itself(directory: Path) -> None:
    collection = no_threes.map([1, 2, 3]).map(double).map(inc)
    (found,) = Simulation(directory).compute(collection)
    assert [o.value for o in found[:2]] == [3, 5]
    assert path_of(found[2]) == ["no_threes[2]", "double[2]", "inc[2]"]


# --- sibling calls --------------------------------------------------------------------------------


def measured(directory: Path, seconds: float, **settings: Any) -> Simulation:
    simulation = Simulation(directory, patience=0.25, **settings)
    simulation.seconds_per_item = seconds
    return simulation


def test_quick_sibling_calls_share_tasks_once_one_was_measured(directory: Path) -> None:
    simulation = measured(directory, 0.001)
    found = simulation.compute(*[inc(number) for number in range(1000)])
    assert [o.value for (o,) in found] == list(range(1, 1001))
    assert simulation.tasks[:3] == [("inc", 1), ("inc", 16), ("inc", 50)]
    assert len(simulation.tasks) < 60  # the last ones are spread over the workers


def test_slow_calls_are_tasks_of_their_own(directory: Path) -> None:
    simulation = measured(directory, 0.1)
    simulation.compute(*[inc(number) for number in range(20)])
    assert simulation.tasks == [("inc", 1)] * 20


def test_calls_of_unknown_length_are_tasks_of_their_own(directory: Path) -> None:
    simulation = Simulation(directory)
    simulation.compute(*[inc(number) for number in range(20)])
    assert simulation.tasks == [("inc", 1)] * 20


@pytest.mark.parametrize("size", [1, 4])
def test_the_user_may_bound_how_many_siblings_share_a_task(directory: Path, size: int) -> None:
    simulation = measured(directory, 0.001)
    bounded = inc.with_options(batch_size=size)
    assert simulation.value(total(*[bounded(n) for n in range(100)])) == 5050
    assert max(items for name, items in simulation.tasks if name == "inc") == size


def test_siblings_keep_their_keyword_arguments_and_their_errors(directory: Path) -> None:
    power = task(lambda base, *, exponent=2: no_threes.local(base) ** exponent, name="power")
    bases = [*[1] * 50, 2, 3, 4, *[5] * 50]
    calls = [power(base, exponent=base) if base > 2 else power(base) for base in bases]
    simulation = measured(directory, 0.001)
    found = simulation.compute(*calls)
    assert len(simulation.tasks) < 50
    assert [o.value for (o,) in found[50:53]] == [4, None, 256]
    assert path_of(found[51][0]) == ["power"]


def test_a_sibling_that_cannot_be_pickled_fails_alone(directory: Path) -> None:
    simulation = measured(directory, 0.001)
    bad = (n for n in "ab")
    found = simulation.compute(*[inc(n) for n in range(50)], inc(bad), *[inc(n) for n in range(9)])  # type: ignore[arg-type]
    assert [o.value for (o,) in found[:50]] == list(range(1, 51))
    assert "generator" in str(found[50][0].error)
    assert [o.value for (o,) in found[51:]] == list(range(1, 10))


def test_siblings_that_return_graphs(directory: Path) -> None:
    simulation = measured(directory, 0.001)
    assert simulation.value(total(*[grow(n) for n in range(100)])) == 3 * sum(range(100))
    assert ("grow", 13) in simulation.tasks


def test_calls_that_wait_for_the_same_value_share_tasks(directory: Path) -> None:
    simulation = measured(directory, 0.001)
    shared = inc(0)
    found = simulation.compute(*[total(shared, number) for number in range(100)])
    assert [o.value for (o,) in found] == list(range(1, 101))
    assert simulation.tasks[:3] == [("inc", 1), ("total", 1), ("total", 13)]
    assert simulation.live <= len(simulation.tasks)
    one, other = simulation.compute(total(shared, 1), shared)  # it is read by others, too
    assert (one[0].value, other[0].value) == (2, 1)


def test_calls_that_wait_for_different_values_do_not(directory: Path) -> None:
    simulation = measured(directory, 0.001)
    shared = [inc.with_options(batch_size=1)(number) for number in range(3)]
    calls = [total(shared[number % 3], shared[2], number) for number in range(30)]
    found = simulation.compute(*shared, *calls)
    assert [o.value for (o,) in found[3:]] == [n % 3 + 1 + 3 + n for n in range(30)]
    assert simulation.tasks.count(("total", 1)) == 30


def test_what_waits_for_a_value_that_fails_is_skipped_each_by_its_name(directory: Path) -> None:
    simulation = measured(directory, 0.001)
    shared = no_threes(3)
    found = simulation.compute(total(1), *[total(shared, number) for number in range(20)])
    assert found[0][0].value == 1
    assert {tuple(path_of(outcome)) for (outcome,) in found[1:]} == {("no_threes", "total")}
    assert ("total", 13) not in simulation.tasks or len(simulation.tasks) < 20


def test_chains_side_by_side_share_tasks_too(directory: Path) -> None:
    simulation = measured(directory, 0.001)
    found = simulation.compute(*[double(inc(number)) for number in range(100)])
    assert [o.value for (o,) in found] == [2 * (n + 1) for n in range(100)]
    assert simulation.tasks[:2] == [("inc", 1), ("inc", 13)]
