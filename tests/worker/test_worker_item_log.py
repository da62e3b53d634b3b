"""What a task of several items says of each: beside its values, or in a result of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from runners import LocalRunner, content
from seats import call, code, collection, items, values

from armoflow import items as items_of
from armoflow import task
from armoflow.agent.effects import Effects
from armoflow.codec.item_log import ItemRecord, ItemState, read_items, read_summary
from armoflow.codec.payload import Operation, Settings, Stage
from armoflow.worker.task_progress import TaskProgress

DONE, FAILED, SKIPPED = ItemState.COMPLETED, ItemState.FAILED, ItemState.SKIPPED


@pytest.fixture
def local(tmp_path: Path) -> LocalRunner:
    return LocalRunner(tmp_path)


def logs(effects: Effects) -> list[list[ItemRecord]]:
    """The logs that a task has left, of its outputs and of results of its own."""
    found = [read_items(content(data)) for data in effects.data.values()]
    return [log for log in found if log]


def told(effects: Effects) -> list[tuple[str, ItemState, int]]:
    """What its only log says of each item."""
    (log,) = logs(effects)
    expanded = [one._replace(items=1) for one in log for _ in range(one.items)]
    return [(one.name, one.state, one.attempts) for one in expanded]


def no_twos(number: int) -> int:
    if number == 2:
        raise ValueError(number)
    return number


def slow_two(number: int) -> int:
    import time

    if number == 2:
        time.sleep(0.01)
    return number


def test_the_log_of_a_batch_lies_beside_its_values(local: LocalRunner) -> None:
    effects = local.effects(collection(Operation.MAP, abs, values(*range(100)), positions=40))
    (log,) = logs(effects)
    assert (log[0].label, {one.state for one in log}) == ("abs[40]", {DONE})
    assert sum(one.items for one in log) == 100
    assert list(effects.data) == ["output-0"]


def test_an_item_that_is_slow_stands_for_itself(local: LocalRunner) -> None:
    (log,) = logs(local.effects(collection(Operation.MAP, slow_two, values(1, 2, 3))))
    (slow,) = [one for one in log if one.seconds >= 0.01]
    assert (slow.item, slow.items) == (1, 1)


@pytest.mark.parametrize("kind", [values, items])
def test_failed_items_are_named_where_names_last(local: LocalRunner, kind: Any) -> None:
    settings = Settings(packed=True, retries=1, backoff=0.0)
    effects = local.effects(
        collection(Operation.MAP, no_twos, kind(1, 2, 3), positions=5, settings=settings)
    )
    assert told(effects) == [
        ("no_twos", DONE, 1),
        ("no_twos", FAILED, 2),
        ("no_twos", DONE, 1),
    ]
    (left,) = effects.created
    summary = read_summary(left.name)
    assert summary is not None
    assert (summary.items, summary.failed, summary.names) == (3, 1, ["no_twos[6]"])
    assert read_items(content(effects.data[left.id]))[1].label == "no_twos[6]"


def test_where_an_agent_takes_the_data_it_takes_the_log_too(
    local: LocalRunner, tmp_path: Path
) -> None:
    payload = collection(Operation.MAP, no_twos, values(1, 2))
    effects = local.effects(payload, folder=str(tmp_path))
    assert logs(effects) == []
    (data,) = local.agent.stored.values()
    assert [one.state for one in read_items(data)] == [DONE, FAILED]


def test_each_step_of_a_chain_is_told(local: LocalRunner) -> None:
    payload = collection(Operation.MAP, no_twos, values(1, 2))
    payload.stages = [Stage("negate", code(abs))]
    assert told(local.effects(payload)) == [
        ("no_twos", DONE, 1),
        ("no_twos", FAILED, 1),
        ("negate", DONE, 1),
        ("negate", SKIPPED, 1),
    ]
    chain = call(abs, -1)
    chain.stages = [Stage("zero", code(int))]
    assert [name for name, _, _ in told(local.effects(chain))] == ["abs", "zero"]


def test_sibling_calls_are_told_by_their_name(local: LocalRunner) -> None:
    payload = collection(
        Operation.MAP, no_twos, items(((1,), {}), ((2,), {}), ((3,), {})), calls=True
    )
    payload.collection = False
    assert [state for _, state, _ in told(local.effects(payload))] == [DONE, FAILED, DONE]


def test_a_call_that_succeeds_at_once_leaves_no_log(local: LocalRunner) -> None:
    assert logs(local.effects(call(no_twos, 1))) == []
    single = local.effects(call(no_twos, 2, settings=Settings(packed=True)))
    assert told(single) == [("no_twos", FAILED, 1)]  # to the engine it has ended well


def test_what_an_earlier_process_has_finished_is_told_too(local: LocalRunner) -> None:
    progress = TaskProgress(finished={0: [b"I7\n."]}, spent={1: (1, 0)})
    effects = local.effects(
        collection(Operation.MAP, slow_two, values(1, 2, 3), settings=Settings(retries=1)),
        progress=progress,
    )
    assert told(effects) == [("slow_two", DONE, 1), ("slow_two", DONE, 2), ("slow_two", DONE, 1)]


def test_a_task_that_fails_as_a_whole_tells_of_every_item(local: LocalRunner) -> None:
    payload = collection(Operation.MAP, no_twos, values(1, 2, 3))
    payload.function = payload.function and payload.function._replace(data=b"no pickle")
    assert [state for _, state, _ in told(local.effects(payload))] == [FAILED] * 3


@task
def lock() -> Any:
    import threading

    return threading.Lock()


@task
def keeps(number: int) -> Any:
    return undecided(number) if number == 2 else True


@task
def undecided(number: int) -> Any:
    return number


@task
def add(first: int, second: int) -> Any:
    return undecided(first)


@pytest.mark.parametrize(
    ("graph", "failed"),
    [
        (lambda: [lock()], ["lock"]),
        (lambda: items_of([1, 2]).filter(keeps).gather(), ["keeps[1]"]),
        (lambda: items_of([1, 2, 3]).reduce(add), ["add"]),
        (lambda: items_of([]).reduce(add), ["add"]),
    ],
    ids=["unstorable", "no truth value", "not combined", "nothing to combine"],
)
def test_a_call_of_a_graph_that_has_no_value_has_failed(
    local: LocalRunner, graph: Any, failed: list[str]
) -> None:
    settings = Settings(packed=True, max_retries=3)
    payload = call(graph, settings=settings)
    payload.inline = 10.0
    for quick in (keeps, add):
        local.runner._paces.note(quick.function, 1e-6, 1000)
    effects = local.effects(payload)
    names = [read_summary(created.name) for created in effects.created]
    assert [summary.names for summary in names if summary is not None] == [failed]
