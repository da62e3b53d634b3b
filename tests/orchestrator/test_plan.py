"""Plans: whatever the graph and the batch sizes, the values are those of plain Python."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armoflow import items, task, zip_items
from armoflow.client.local import LocalRunner
from armoflow.errors import GraphError, SerializationError
from armoflow.orchestrator.codebook import CodeBook
from armoflow.orchestrator.planned import PlannedTask
from armoflow.orchestrator.planning.plan_settings import PlanSettings
from armoflow.orchestrator.planning.planner import Planner
from tests.orchestrator.simulated import PlannedTarget, Simulation


@task
def inc(number: int) -> int:
    return number + 1


@task
def pair_up(number: int) -> tuple[int, int]:
    return (number, number * 10)


@task
def flatten(pair: Any) -> Any:
    return pair[0] + pair[1] if isinstance(pair, tuple) else pair


@task
def concat(first: tuple[Any, ...], second: tuple[Any, ...]) -> tuple[Any, ...]:
    return first + second


@task
def single(item: Any) -> tuple[Any, ...]:
    return (item,)


@task
def not_seventh(item: Any) -> bool:
    return hash(item) % 7 != 0


@task
def fails_on_fives(number: int) -> int:
    if number % 5 == 0:
        raise ValueError(f"{number} is a multiple of five")
    return number


@task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("worker")


SIZES = st.sampled_from([None, 1, 2, 3, 7, 100])


@st.composite
def pipelines(draw: st.DrawFn) -> tuple[Any, list[Any]]:
    """A collection of some steps over some numbers, and what plain Python makes of it."""
    numbers = draw(st.lists(st.integers(0, 1000), max_size=40))
    lazy = draw(st.booleans())
    collection: Any = items(iter(numbers)) if lazy else items(numbers)
    expected: list[Any] = list(numbers)
    for step in draw(st.lists(st.sampled_from(["inc", "filter", "zip", "flat"]), max_size=4)):
        size = draw(SIZES)
        options = {} if size is None else {"batch_size": size}
        if step == "filter":
            collection = collection.filter(not_seventh.with_options(**options))
            expected = [item for item in expected if hash(item) % 7 != 0]
        elif step == "zip" and collection.node.length is not None and not collection.node.sparse:
            collection = collection.zip(range(len(expected) + 3))
            expected = list(zip(expected, range(len(expected)), strict=True))
            collection = collection.map(flatten.with_options(**options))
            expected = [a + b for a, b in expected]
        elif step == "flat":
            collection = collection.map(pair_up.with_options(**options)).map(flatten)
            expected = [11 * item for item in expected]
        else:
            collection = collection.map(inc.with_options(**options))
            expected = [item + 1 for item in expected]
    return collection, expected


@given(pipelines())
def test_a_collection_has_the_items_of_plain_python(directory: Path, case: Any) -> None:
    collection, expected = case
    assert Simulation(directory).values(collection) == expected


@given(pipelines(), SIZES, st.integers(2, 5), st.booleans(), st.booleans())
def test_reductions_keep_the_order(
    directory: Path, case: Any, size: int | None, fan_in: int, initial: bool, fold: bool
) -> None:
    collection, expected = case
    options = {} if size is None else {"batch_size": size}
    singles = collection.map(single)
    combine = concat.with_options(**options)
    given_initial = {"initial": ("first",)} if initial else {}
    if fold:
        value = singles.fold(combine, **given_initial)
    else:
        value = singles.reduce(combine, fan_in=fan_in, **given_initial)
    simulation = Simulation(directory)
    if not expected and not initial:
        with pytest.raises(TypeError, match="no initial value"):
            simulation.value(value)
    else:
        start = ("first",) if initial else ()
        assert simulation.value(value) == (*start, *expected)


@given(st.lists(st.integers(0, 30), max_size=25), SIZES, st.booleans())
def test_failures_are_those_of_the_debug_mode(
    directory: Path, numbers: list[int], size: int | None, then: bool
) -> None:
    options = {} if size is None else {"batch_size": size}
    collection: Any = fails_on_fives.with_options(**options).map(numbers)
    if then:
        collection = collection.map(inc)
    (found,) = Simulation(directory).compute(collection)
    expected = LocalRunner().run(collection)
    assert [o.value for o in found] == [o.value for o in expected]
    assert [type(o.error) for o in found] == [type(o.exception) for o in expected]
    assert [str(o.error) for o in found] == [str(o.exception) for o in expected]


def test_several_consumers_of_one_collection_share_its_tasks(directory: Path) -> None:
    simulation = Simulation(directory)
    numbers = inc.with_options(batch_size=10).map(range(20))
    found = simulation.compute(numbers.map(inc), total(numbers), numbers[3], zip_items(numbers))
    assert [o.value for o in found[1]] == [210]
    assert [name for name, _ in simulation.tasks].count("inc") == 4


def test_live_results_stay_few_while_a_long_collection_is_reduced(directory: Path) -> None:
    simulation = Simulation(directory)
    one = inc.with_options(batch_size=1)
    add = task(lambda a, b: a + b).with_options(batch_size=1)
    assert simulation.value(one.map(range(512)).reduce(add)) == sum(range(1, 513))
    assert simulation.peak <= 12  # a tree's depth, and what is in the making
    assert simulation.live <= 1


def test_a_chain_of_thousands_plans_without_recursion(directory: Path) -> None:
    value = functools.reduce(lambda delayed, _: inc(delayed), range(3000), inc(0))
    simulation = Simulation(directory)
    assert simulation.value(value) == 3001
    assert simulation.peak <= 3


def test_hundreds_of_maps_on_each_other_plan_without_recursion(directory: Path) -> None:
    collection = functools.reduce(lambda mapped, _: mapped.map(inc), range(1500), items([0, 1]))
    assert Simulation(directory).values(collection) == [1500, 1501]


def test_the_first_task_is_planned_before_the_input_is_read() -> None:
    read = []

    def endless() -> Iterator[int]:
        for number in itertools.count():
            read.append(number)
            yield number

    plan = Planner(CodeBook(), PlanSettings()).plan([PlannedTarget(inc.map(endless()))])
    first = next(entry for entry in plan if isinstance(entry, PlannedTask))
    assert first.items == 1
    assert len(read) == 1


def test_a_task_with_too_many_inputs_gets_them_gathered(directory: Path) -> None:
    simulation = Simulation(directory)
    numbers = inc.with_options(batch_size=1).map(range(2500))
    assert simulation.value(total(numbers)) == sum(range(1, 2501))


def test_a_large_argument_of_several_tasks_goes_up_once(directory: Path) -> None:
    blob = b"x" * 200_000
    size = task(len, name="size")
    simulation = Simulation(directory)
    found = simulation.compute(*[size(blob) for _ in range(20)])
    assert [o.value for (o,) in found] == [200_000] * 20
    # The first task carries it, the constant is the second copy, the others refer to that.
    stored = [data for data in simulation.engine.data.values() if len(data) > 100_000]
    assert len(stored) == 1


def test_an_argument_that_cannot_be_pickled_is_named() -> None:
    target = PlannedTarget(inc.map([1, (n for n in "ab")]))
    list(Planner(CodeBook(), PlanSettings()).plan([target]))
    assert isinstance(target.error, SerializationError)
    assert "inc" in str(target.error)
    assert "generator" in str(target.error)


def test_an_iterator_is_planned_once(directory: Path) -> None:
    simulation = Simulation(directory)
    collection = inc.map(iter([1, 2]))
    assert simulation.values(collection) == [2, 3]
    with pytest.raises(GraphError, match=r"list\("):
        simulation.values(collection)


def test_a_failing_iterator_fails_all_who_read_it(directory: Path) -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    collection = inc.map(broken())
    simulation = Simulation(directory)
    outcomes = simulation.compute(total(collection), collection.map(inc), inc(1))
    assert [type(o.error) for (o,) in outcomes] == [OSError, OSError, type(None)]


def test_a_collection_over_a_value_known_at_run_time_expands(directory: Path) -> None:
    upto = task(lambda n: list(range(n)), name="upto")
    simulation = Simulation(directory)
    collection = inc.map(upto(inc(4)))
    assert simulation.value(total(collection)) == 15
    assert simulation.values(collection.filter(not_seventh)) == [[1, 2, 3, 4, 5]]
    assert simulation.value(zip_items(upto(3), [7, 8, 9]).starmap(task(max)).gather()) == [7, 8, 9]
