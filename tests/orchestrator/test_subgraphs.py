"""Trees of quick calls that become one task: which ones do, and that nothing else changes."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from armoflow import config, options, task
from armoflow.errors import RemoteTraceback, SerializationError
from armoflow.orchestrator.outcomes import ItemOutcome
from armoflow.orchestrator.paces import Paces
from armoflow.orchestrator.planning.plan_settings import SubgraphSeconds, subgraph_seconds
from armoflow.orchestrator.timers import CallTimer
from tests.orchestrator.simulated import Simulation

QUICK = 1e-6


@task
def number(value: Any) -> Any:
    return value


@task
def add(first: Any, second: Any) -> Any:
    return first + second


@task
def total(values: list[Any], *, start: Any = 0) -> Any:
    return sum(values, start)


@task
def refuse(text: str) -> Any:
    raise LookupError(text)


@task
def negated(value: Any) -> Any:
    return -value


TASKS = (number, add, total, refuse, negated)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("worker")


def measured(directory: Path, seconds: float = QUICK, **settings: Any) -> Simulation:
    """A simulation that knows how long calls take, and that no busy machine hurries."""
    simulation = Simulation(directory, **{"paces": Paces(), "inline": 10.0, **settings})
    for one in TASKS:
        simulation.settings.paces.note(one.function, seconds, 1000)
    return simulation


def tree(leaves: int, leaf: Callable[[int], Any] = number, join: Any = add) -> Any:
    level = [leaf(index) for index in range(leaves)]
    while len(level) > 1:
        level = [join(*pair) for pair in zip(level[::2], level[1::2], strict=True)]
    return level[0]


def test_a_tree_of_quick_calls_is_one_task(directory: Path) -> None:
    simulation = measured(directory)
    assert simulation.value(tree(16)) == sum(range(16))
    assert simulation.tasks == [("add", 1)]
    assert len(simulation.engine.ran) == 1


def test_so_is_a_chain_that_ends_it(directory: Path) -> None:
    simulation = measured(directory)
    assert simulation.value(negated(number(add(number(1), negated(add(1, 2)))))) == 2
    assert simulation.tasks == [("negated", 1)]
    assert simulation.value(negated(number(add(1, 2)))) == -3
    assert simulation.tasks[1:] == [("add", 1)]  # the chain, as it was


def test_calls_that_nothing_is_known_of_have_tasks_of_their_own(directory: Path) -> None:
    simulation = Simulation(directory, patience=0.1, paces=Paces())
    assert simulation.value(tree(8)) == sum(range(8))
    assert len(simulation.tasks) > 8


def test_what_the_first_calls_take_is_measured(directory: Path) -> None:
    simulation = Simulation(directory, patience=0.1, paces=Paces())
    simulation.seconds_per_item = QUICK
    assert simulation.value(tree(256)) == sum(range(256))
    assert len(simulation.tasks) < 60
    assert simulation.value(tree(256)) == sum(range(256))
    assert len(simulation.tasks) < 80


def test_few_measurements_are_trusted_for_few_calls(directory: Path) -> None:
    simulation = measured(directory)
    simulation.settings = Simulation(directory, paces=Paces()).settings
    for one in (number, add):
        simulation.settings.paces.note(one.function, QUICK)
    assert simulation.value(tree(64)) == sum(range(64))
    assert [name for name, _ in simulation.tasks].count("add") == 4 + 3  # four of 16 leaves


@pytest.mark.parametrize("workers", [1, 4])
def test_all_workers_have_some(directory: Path, workers: int) -> None:
    simulation = measured(
        directory, 0.001, workers=workers, subgraph_seconds=SubgraphSeconds(0.001, 10, 0)
    )
    simulation.settings.paces.note(add.function, QUICK, 1000)
    assert simulation.value(tree(64)) == sum(range(64))
    assert len(simulation.tasks) >= 4 * workers


def test_slow_calls_are_not_held_together(directory: Path) -> None:
    simulation = measured(directory, 1.0)
    assert simulation.value(tree(4)) == 6
    assert [name for name, _ in simulation.tasks].count("add") == 3


def test_a_task_is_worth_its_cost_and_ends_in_time() -> None:
    for local in (True, False):
        least, most, _ = subgraph_seconds(local, None)
        assert 0 < least < most
        assert subgraph_seconds(local, 0.0).most == 0


def test_no_seconds_for_graphs_switch_it_off(directory: Path) -> None:
    simulation = measured(directory, subgraph_seconds=subgraph_seconds(True, 0.0))
    assert simulation.value(tree(4)) == 6
    assert len(simulation.tasks) > 3


@task(outputs=2)
def two(value: Any) -> Any:
    return value, value


def _other_name(**given: Any) -> Callable[[Any], Any]:
    return number.with_options(**given)


def _in_block(value: Any) -> Any:
    with options(retries=3):
        return number(value)


@pytest.mark.parametrize(
    "leaf",
    [
        *(_other_name(**given) for given in ({"fuse": False}, {"batch_size": 1})),
        *(_other_name(**given) for given in ({"priority": 2}, {"retries": 1}, {"keep": True})),
        lambda value: two(value)[0],
        _in_block,
    ],
    ids=["fuse=False", "batch_size=1", "priority", "retries", "keep", "outputs", "block"],
)
def test_what_is_to_run_otherwise_is_kept_out(directory: Path, leaf: Callable[[Any], Any]) -> None:
    simulation = measured(directory)
    simulation.settings.paces.note(two.function, QUICK, 1000)
    assert simulation.value(add(leaf(1), add(number(2), number(3)))) == 6
    assert len(simulation.engine.ran) == 3


def test_a_root_may_be_kept_out(directory: Path) -> None:
    simulation = measured(directory)
    assert simulation.value(add.with_options(fuse=False)(tree(4), tree(4))) == 12
    assert simulation.tasks == [("add", 1)] * 3


def test_what_returns_graphs_is_kept_out(directory: Path) -> None:
    simulation = measured(directory)
    simulation.settings.paces.note_graph(number.function)
    assert simulation.value(add(number(1), number(2))) == 3
    assert len(simulation.tasks) == 3


def test_a_call_may_return_a_graph_for_the_first_time(directory: Path) -> None:
    @task
    def either(value: int) -> Any:
        return add(value, value) if value else value

    simulation = measured(directory)
    simulation.settings.paces.note(either.function, QUICK, 1000)
    assert simulation.value(add(either(0), either(4))) == 8
    assert simulation.tasks == [("add", 1)]


def test_a_value_that_others_read_is_made_once(directory: Path) -> None:
    shared = add(number(1), number(2))
    simulation = measured(directory)
    assert simulation.value(add(add(shared, number(4)), add(shared, number(5)))) == 15
    shared_ones = simulation.tasks.count(("add", 1))
    assert shared_ones == len(simulation.engine.ran) - simulation.tasks.count(("number", 1))


def test_an_argument_that_cannot_be_pickled_is_told_by_its_name(directory: Path) -> None:
    simulation = measured(directory)
    with pytest.raises(SerializationError, match=r"argument 'value' of task 'number'.*lock"):
        simulation.value(add(number(threading.Lock()), number(1)))


def test_large_arguments_stay_out_of_the_payload_of_many(directory: Path) -> None:
    simulation = measured(directory)
    large = "a" * (3 << 20), "b" * (3 << 20)
    assert len(simulation.value(add(*map(number, large)))) == 6 << 20
    assert len(simulation.tasks) > 1


def test_a_plan_waits_for_the_first_calls_of_a_function(directory: Path) -> None:
    """All but these would have tasks of their own otherwise."""
    seconds = SubgraphSeconds(0.002, 0.015, 30.0)
    simulation = Simulation(
        directory, patience=0.1, paces=Paces(), workers=2, subgraph_seconds=seconds
    )
    paces, told = simulation.settings.paces, []

    def tell(function: Any) -> None:
        told.append(function)
        paces.note(function, QUICK, 1000)

    first = simulation.engine.run

    def run(task_id: str, *arguments: Any) -> None:
        """What they took is told while the plan waits."""
        first(task_id, *arguments)
        one = {"task number": number, "task add": add}[task_id]
        if len(simulation.tasks) >= 2 and one.function not in told:
            threading.Timer(0.01, tell, [one.function]).start()

    simulation.engine.run = run  # type: ignore[method-assign]
    assert simulation.value(tree(64)) == sum(range(64))
    assert simulation.tasks.count(("number", 1)) <= 4
    assert len(simulation.tasks) < 25


def test_a_plan_waits_once_for_what_is_never_told(directory: Path) -> None:
    seconds = SubgraphSeconds(0.002, 0.015, 0.01)
    simulation = Simulation(
        directory, patience=0.1, paces=Paces(), workers=1, subgraph_seconds=seconds
    )
    waits = []
    wait = simulation.settings.paces.wait

    def counted(function: Any, seconds: float) -> bool:
        waits.append(function)
        return wait(function, seconds)

    simulation.settings.paces.wait = counted  # type: ignore[method-assign]
    assert simulation.value(tree(16)) == sum(range(16))
    assert sorted(function.__name__ for function in waits) == ["add", "number"]


# --- what is left of a graph that was cut --------------------------------------------------------


@task
def slow(value: Any) -> Any:
    if value == "refused":
        raise LookupError(value)
    return value


def cut(directory: Path, **settings: Any) -> Simulation:
    simulation = measured(directory, cut=True, **settings)
    simulation.settings.paces.note(slow.function, 20.0, 1000)
    return simulation


def test_what_is_to_do_with_the_parts_of_a_cut_graph_is_one_task(directory: Path) -> None:
    simulation = cut(directory)
    assert simulation.value(tree(8, slow)) == sum(range(8))
    assert sorted(simulation.tasks) == [("add", 1), *[("slow", 1)] * 8]
    apart = cut(directory, subgraph_seconds=subgraph_seconds(True, 0.0))
    assert apart.value(tree(8, slow)) == sum(range(8))
    assert apart.tasks.count(("add", 1)) == 7


def test_elsewhere_each_waits_for_its_own(directory: Path) -> None:
    simulation = cut(directory)
    simulation.settings = replace(simulation.settings, cut=False)
    assert simulation.value(tree(8, slow)) == sum(range(8))
    assert simulation.tasks.count(("add", 1)) == 7


def test_calls_wait_for_others_for_no_longer_than_a_task_costs(directory: Path) -> None:
    simulation = cut(directory, subgraph_seconds=SubgraphSeconds(0.0002, 0.015, 0))
    quick = simulation.settings.paces.of(add.function)
    assert quick is not None
    most = int(0.0002 / (config.INLINE_CALL_SECONDS + quick))
    assert simulation.value(tree(32, slow)) == sum(range(32))
    assert -(-31 // most) <= simulation.tasks.count(("add", 1)) < 31


def test_a_large_subtree_does_not_wait(directory: Path) -> None:
    simulation = cut(directory, seconds=0.001)
    simulation.settings.paces.note(add.function, QUICK, 1000)
    assert simulation.value(add(add(tree(8), slow(1)), slow(2))) == 31
    assert simulation.tasks.count(("add", 1)) == 2


def test_a_value_that_others_read_is_no_part_of_a_cut(directory: Path) -> None:
    shared = add(slow(1), slow(2))
    simulation = cut(directory)
    assert simulation.value(add(add(shared, slow(4)), add(shared, slow(5)))) == 15
    assert simulation.tasks.count(("add", 1)) == 2


def test_a_list_of_parts_is_waited_for_too(directory: Path) -> None:
    simulation = cut(directory)
    parts = [slow(number) for number in range(4)]
    assert simulation.value(add(total(parts, start=slow(10)), total([slow(5), 1]))) == 22
    assert len(simulation.tasks) == 7


def test_an_argument_in_a_cut_that_cannot_be_pickled_is_told_by_its_name(directory: Path) -> None:
    simulation = cut(directory)
    with pytest.raises(SerializationError, match=r"argument 'second' of task 'add'.*lock"):
        simulation.value(add(add(slow(1), threading.Lock()), slow(2)))


@pytest.mark.parametrize("seconds", [0.0, 10.0])
def test_a_part_that_fails_is_told_with_the_path_from_it(directory: Path, seconds: float) -> None:
    """As items of a map that return graphs: their failures are slots."""

    @task(batch_size=2)
    def item(what: Any) -> Any:
        return add(add(add(slow(1), slow(what)), slow(3)), slow(4))

    simulation = measured(directory, inline=seconds)
    simulation.settings.paces.note(slow.function, 20.0, 1000)
    (found,) = simulation.compute(item.map([2, "refused"]))
    assert found[0].value == 10
    cause = found[1].error.__cause__
    assert isinstance(found[1].error, LookupError)
    assert isinstance(cause, RemoteTraceback)
    assert [*cause.path] == ["slow", "add", "add", "add"]
    assert len(simulation.engine.ran) == (12 if seconds else 16)


# --- what comes out is what comes of tasks of their own ---------------------------------------


_numbers = itertools.count()
LEAVES = st.one_of(
    st.builds(lambda value: ("number", value), st.integers(-5, 5)),
    st.builds(lambda: ("refuse", f"failure {next(_numbers)}")),
)
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(st.just("add"), inner, inner),
        st.tuples(st.just("negated"), inner),
        st.tuples(st.just("twice"), inner),
        st.tuples(st.just("total"), st.lists(inner, min_size=1, max_size=4)),
    ),
    max_leaves=12,
)


def built(expression: Any) -> Any:
    kind, *rest = expression
    if kind == "number":
        return number(rest[0])
    if kind == "refuse":
        return refuse(rest[0])
    if kind == "negated":
        return negated(built(rest[0]))
    if kind == "twice":
        value = built(rest[0])
        return add(value, value)
    if kind == "total":
        first, *others = map(built, rest[0])
        return total([first, *others], start=add(first, 1))
    return add(*map(built, rest))


def told(outcome: ItemOutcome) -> Any:
    if outcome.error is None:
        return outcome.value
    cause = outcome.error.__cause__
    assert isinstance(cause, RemoteTraceback)
    return type(outcome.error), str(outcome.error), cause.path[0]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(expression=EXPRESSIONS, seconds=st.sampled_from([0.0, 1e-5, 10.0]), is_cut=st.booleans())
def test_values_and_errors_are_those_of_tasks_of_their_own(
    directory: Path, expression: Any, seconds: float, is_cut: bool
) -> None:
    together = measured(
        directory, subgraph_seconds=SubgraphSeconds(10, 10, 0), inline=seconds, cut=is_cut
    )
    if is_cut:
        for one in (number, refuse):
            together.settings.paces.note(one.function, 100.0, 1000)
    apart = measured(directory, subgraph_seconds=SubgraphSeconds(0, 0, 0), inline=0.0)
    value = built(expression)
    one, other = (told(each.compute(value)[0][0]) for each in (together, apart))
    assert one == other
    assert is_cut or len(together.tasks) <= len(apart.tasks)  # slow ones travel in no packs


def test_a_timer_keeps_what_functions_are_to_each_other() -> None:
    paces = Paces()
    paces.note(number.function, 0.1)
    paces.note(add.function, 0.3)
    CallTimer(paces, {number.function: 4, add.function: 2}).measured(1, 2.0)
    assert paces.of(number.function) == pytest.approx((0.1 + 0.2) / 2, rel=1e-3)
    assert paces.of(add.function) == pytest.approx((0.3 + 0.6) / 2, rel=1e-3)
    timers = [CallTimer(paces, {number.function: 4}) for _ in range(50)]
    for timer in timers:  # they were all under way at once: what one says is no ground for others
        timer.measured(1, 2.0)
    assert paces.of(number.function) == pytest.approx(0.5, rel=1e-3)
