"""Returned graphs that run where they are, on an embedded engine and on a stock one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from armoflow import Client, current_task, items, task, zip_items
from armoflow.errors import RemoteTraceback, TaskTimeoutError, WorkerDiedError
from tests.integration.engines import EMBEDDED, Up
from tests.integration.gates import Log, note
from tests.integration.looking import Looking
from tests.orchestrator.programs import COLLECTIONS, expected, run


@task
def add(first: int, second: int) -> int:
    return first + second


@task
def tree(depth: int) -> Any:
    return 1 if depth == 0 else add(tree(depth - 1), tree(depth - 1))


@task
def down(levels: int) -> Any:
    return "bottom" if levels == 0 else down(levels - 1)


@task(fuse=False)
def down_apart(levels: int) -> Any:
    return "bottom" if levels == 0 else down_apart(levels - 1)


@task
def climb(levels: int) -> Any:
    return 0 if levels == 0 else add(climb(levels - 1), 1)


@task
def parent(log: str, inner: Any, *arguments: Any) -> Any:
    note(log, "parent")
    return add(inner(log, *arguments), 1)


@task
def dies(log: str) -> int:
    note(log, "child")
    os._exit(7)


@task
def hangs(log: str) -> int:
    note(log, "child")
    time.sleep(1000)
    return 1


@task
def flaky(log: str, failures: int) -> int:
    note(log, "child")
    with open(log) as file:  # noqa: PTH123 - what tasks import is kept small
        if file.read().split().count("child") <= failures:
            raise LookupError("not yet")
    return 41


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log")


@pytest.fixture
def patient(engine: Up) -> Iterator[Client]:
    """A client whose graphs are not cut by a machine that is busy."""
    with Client(engine.endpoint, workers=2, inline_seconds=10) as client:
        yield client


@pytest.fixture
def looking(engine: Up) -> Iterator[Looking]:
    looking = Looking(engine)
    yield looking
    looking.close()


def tasks_of_last_session(looking: Looking) -> int:
    return len(looking.tasks(list(looking.sessions())[-1]))


def test_a_small_graph_needs_no_task_of_its_own(patient: Client, looking: Looking) -> None:
    assert patient.compute(down(300)) == "bottom"
    assert patient.compute(climb(200)) == 200
    assert tasks_of_last_session(looking) == 2


def test_a_tree_of_calls_that_are_quick_is_one_task(patient: Client, looking: Looking) -> None:
    tasks = [0]
    for _ in range(5):  # a call that a busy machine interrupts is not quick
        assert patient.compute(tree(6)) == 64
        tasks.append(tasks_of_last_session(looking))
    assert 1 in [after - before for before, after in pairwise(tasks)]


def test_a_function_that_was_never_measured_goes_out_where_others_could_run(
    patient: Client, looking: Looking
) -> None:
    @task
    def unknown(number: int) -> int:
        return number

    @task
    def both() -> Any:
        return add(unknown(1), unknown(2))

    @task
    def only() -> Any:
        return unknown(3)

    assert patient.compute(both()) == 3
    assert tasks_of_last_session(looking) == 4
    # Where nothing waits for it, it is tried.
    assert patient.compute(only.with_options(name="only")()) == 3
    assert tasks_of_last_session(looking) == 5


@task
def who() -> str:
    running = current_task()
    assert running is not None
    return running.id


@task
def two(first: str, second: str, parent: str) -> list[str]:
    return [first, second, parent]


@task
def several() -> Any:
    return two(who(), who(), current_task().id)  # type: ignore[union-attr]


@pytest.mark.parametrize(("workers", "tasks"), [(1, 1), (2, 3)])
def test_calls_that_take_a_while_go_to_a_process_that_is_free(workers: int, tasks: int) -> None:
    with Client(workers=workers) as client:
        paces = client._backend._settings.paces  # type: ignore[attr-defined]
        paces.note(who.function, 0.015, 1000)
        paces.note(two.function, 1e-6, 1000)
        client.compute(add(1, 1))  # its processes are known to be free
        ids = client.compute(several())
    assert len(set(ids)) == tasks


@task
def part(number: int) -> int:
    if number < 0:
        raise LookupError("no such part")
    return number


@task
def sum_of(numbers: list[int]) -> Any:
    first, second, third, fourth = map(part, numbers)
    return add(add(first, second), add(third, fourth))


def test_what_is_to_do_with_parts_that_go_out_is_one_task(engine: Up, looking: Looking) -> None:
    with Client(engine.endpoint, workers=2) as client:
        paces = client._backend._settings.paces  # type: ignore[attr-defined]
        paces.note(part.function, 10.0, 1000)  # as far as is known
        paces.note(add.function, 1e-6, 1000)
        assert client.compute(sum_of([1, 2, 3, 4])) == 10
        assert tasks_of_last_session(looking) == 1 + 4 + 1
        with pytest.raises(LookupError, match="no such part") as caught:
            client.compute(sum_of([1, 2, -3, 4]))
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    path = caught.value.__cause__.path  # and what was between, where a process has measured parts
    assert (path[0], path[-1]) == ("part", "sum_of")


def test_zero_seconds_and_fuse_keep_every_call_apart(engine: Up, looking: Looking) -> None:
    with Client(engine.endpoint, workers=2, inline_seconds=0) as client:
        assert client.compute(down(3)) == "bottom"
        assert tasks_of_last_session(looking) == 4
    with Client(engine.endpoint, workers=2, inline_seconds=10) as client:
        assert client.compute(down_apart(3)) == "bottom"
        assert tasks_of_last_session(looking) == 4


@pytest.mark.parametrize("option", [{"priority": 2}, {"max_retries": 1}, {"keep": True}], ids=str)
def test_what_is_to_run_otherwise_has_a_task_of_its_own(
    patient: Client, looking: Looking, log: Log, option: dict[str, Any]
) -> None:
    inner = flaky.with_options(**option)
    assert patient.compute(parent(log.path, inner, 0)) == 42
    assert tasks_of_last_session(looking) > 1


def test_a_call_that_ends_its_process_is_told_by_its_name(
    engine: Up, patient: Client, log: Log
) -> None:
    inner = dies.with_options(crash_retries=1)
    with pytest.raises(WorkerDiedError, match="'dies' exited with status 7") as caught:
        patient.compute(parent(log.path, inner))
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    # Where it was it has begun once, for which the parent was run again, and twice alone.
    assert log.counts() == {"parent": 2, "child": 3}
    told = "the process of task 'parent' ended in 'dies', a call of the graph that it returned"
    if engine.arguments == EMBEDDED:  # elsewhere it is the worker's log
        assert told in (engine.directory / "log").read_text()


def test_a_call_has_its_own_timeout(patient: Client, log: Log) -> None:
    with pytest.raises(TaskTimeoutError, match=r"'hangs' ran longer than its timeout of 0.5 s"):
        patient.compute(parent(log.path, hangs.with_options(timeout=0.5)))
    assert log.counts() == {"parent": 2, "child": 2}


def test_a_call_has_its_own_retries(patient: Client, log: Log) -> None:
    inner = flaky.with_options(retries=2, backoff=0.01)
    assert patient.compute(parent(log.path, inner, 2)) == 42
    assert log.counts() == {"parent": 1, "child": 3}


def test_the_last_attempt_is_told(patient: Client, log: Log) -> None:
    inner = flaky.with_options(retries=1, backoff=0.0)
    with pytest.raises(LookupError, match="not yet") as caught:
        patient.compute(parent(log.path, inner, 9))
    cause = caught.value.__cause__
    assert isinstance(cause, RemoteTraceback)
    assert "flaky" in str(cause)
    assert log.counts() == {"parent": 1, "child": 2}


@pytest.mark.parametrize("failures", [1, 2])
def test_pauses_that_are_too_long_are_not_spent_in_the_parent(
    engine: Up, looking: Looking, log: Log, failures: int
) -> None:
    inner = flaky.with_options(retries=1, backoff=0.3)
    with Client(engine.endpoint, workers=2) as client:
        if failures == 1:
            assert client.compute(parent(log.path, inner, 1)) == 42
        else:
            # The attempt that it has spent in its parent counts.
            with pytest.raises(LookupError, match="not yet") as caught:
                client.compute(parent(log.path, inner, 2))
            cause = caught.value.__cause__
            assert isinstance(cause, RemoteTraceback)
            assert cause.attempts == 2
        assert tasks_of_last_session(looking) > 1
    assert log.counts() == {"parent": 1, "child": 2}


def test_calls_with_the_usual_pauses_run_where_they_are(
    client: Client, looking: Looking, log: Log
) -> None:
    assert client.compute(parent(log.path, flaky.with_options(retries=3), 0)) == 42
    assert log.counts() == {"parent": 1, "child": 1}


def test_an_item_that_is_tried_later_spends_no_attempt_twice(engine: Up, log: Log) -> None:
    inner = flaky.with_options(retries=1, backoff=0.3)

    @task
    def one(log: str) -> Any:
        return inner.map([log], failures=1).gather()

    with Client(engine.endpoint, workers=2) as client:
        assert client.compute(one(log.path)) == [41]
    assert log.counts() == {"child": 2}


PROGRAMS: list[Any] = [
    ("join", ("value", [1]), ("twice", ("alias", ("value", [2])))),
    ("list", ("map", ("value", 1), ("join", ("value", 2))), ("value", {"a": 1})),
    ("halves", ("value", 1), ("raise", "unneeded")),
    ("join", ("value", 1), ("alias", ("raise", "needed"))),
]


@pytest.mark.parametrize("seconds", [0.0, 0.0005, 0.002, 10.0])
def test_values_and_errors_are_those_of_child_tasks(engine: Up, seconds: float) -> None:
    with Client(engine.endpoint, workers=2, inline_seconds=seconds) as client:
        futures = [client.submit(run(program)) for program in PROGRAMS]
        packed = client.submit(run.map(PROGRAMS[:3] * 3))
        assert [future.result() for future in futures[:3]] == list(map(expected, PROGRAMS[:3]))
        with pytest.raises(LookupError, match="needed"):
            futures[3].result()
        assert packed.result() == [future.result() for future in futures[:3]] * 3


def test_items_whose_graphs_fail_leave_the_others_alone(patient: Client) -> None:
    programs = [("join", ("value", number)) for number in range(6)]
    programs[4] = ("join", ("alias", ("raise", "the fifth")))
    collection = run.map(programs)
    futures = [patient.submit(collection[number]) for number in range(6)]
    for number, future in enumerate(futures):
        if number == 4:
            with pytest.raises(LookupError, match="the fifth"):
                future.result()
        else:
            assert future.result() == [number]


@task
def check(log: str, number: int, *, bad: int = -1, then: str = "raise") -> int:
    note(log, str(number))
    if number == bad:
        if then == "die":
            os._exit(7)
        if then == "hang":
            time.sleep(1000)
        raise LookupError(f"number {number}")
    return number


@task
def is_even(number: int) -> bool:
    return number % 2 == 0


@task
def checks(log: str, inner: Any, numbers: int, **how: Any) -> Any:
    note(log, "parent")
    return inner.map([log] * numbers, range(numbers), **how).gather()


@task
def squares(numbers: int) -> Any:
    """Of each kind of operation one."""
    even = items(range(numbers)).filter(is_even)
    doubled = even.map(add, second=0).reduce(add)
    pairs = zip_items(items(range(numbers))[1:3], range(9)).starmap(add)
    return [doubled, pairs, items(range(numbers)).fold(add, initial=add(1, 2)), pairs[1]]


def measure(client: Client, log: str) -> None:
    """Have the functions measured in all processes, so that they are begun where they are."""
    for _ in range(6):
        client.compute([add(1, 2), is_even(1), check(log, 0), squares(4)])


def test_operations_on_a_small_collection_need_no_task_of_their_own(
    patient: Client, looking: Looking, log: Log
) -> None:
    measure(patient, log.path)
    values = [6, [1, 3], 18, 3]
    for _ in range(20):  # which process gets what is chance: one may have measured nothing yet
        before = tasks_of_last_session(looking)
        for _ in range(4):
            assert patient.compute(squares(6)) == values
        if tasks_of_last_session(looking) == before + 4:
            return
    raise AssertionError("operations on six numbers always need tasks of their own")


def test_items_that_were_never_measured_go_out(patient: Client, looking: Looking, log: Log) -> None:
    @task
    def unknown(log: str, number: int) -> int:
        return number

    assert patient.compute(checks(log.path, unknown, 4)) == [0, 1, 2, 3]
    assert tasks_of_last_session(looking) > 2


@pytest.mark.parametrize("numbers", [1, 5])
def test_an_item_has_its_own_name_and_error(patient: Client, log: Log, numbers: int) -> None:
    measure(patient, log.path)
    with pytest.raises(LookupError, match=f"number {numbers - 1}") as caught:
        patient.compute(checks(log.path, check, numbers, bad=numbers - 1))
    cause = caught.value.__cause__
    assert isinstance(cause, RemoteTraceback)
    assert (cause.path[0], cause.path[-1]) == (f"check[{numbers - 1}]", "checks")


def test_an_item_that_ends_its_process_is_told_by_its_name(patient: Client, log: Log) -> None:
    inner = check.with_options(crash_retries=0)
    measure(patient, log.path)
    with pytest.raises(WorkerDiedError, match=r"'check\[2\]' exited with status 7"):
        patient.compute(checks(log.path, inner, 3, bad=2, then="die"))


def test_an_item_has_its_own_timeout(patient: Client, log: Log) -> None:
    measure(patient, log.path)
    with pytest.raises(TaskTimeoutError, match=r"'check\[1\]' ran longer than .* 0.5 s"):
        patient.compute(checks(log.path, check.with_options(timeout=0.5), 2, bad=1, then="hang"))


def test_an_item_has_its_own_retries(patient: Client, log: Log) -> None:
    inner = flaky.with_options(retries=2, backoff=0.01)

    @task
    def one(log: str) -> Any:
        return inner.map([log], failures=2).gather()

    assert patient.compute(one(log.path)) == [41]
    assert log.counts() == {"child": 3}


@pytest.mark.parametrize("seconds", [0.0, 0.002, 10.0])
def test_collections_that_are_cut_give_what_child_tasks_give(engine: Up, seconds: float) -> None:
    parts = [("value", 1), ("value", None), ("alias", ("value", [1])), ("join", ("value", 3))]
    with Client(engine.endpoint, workers=2, inline_seconds=seconds) as client:
        for _ in range(2):
            graphs = [run((kind, *parts * 3)) for kind in sorted(COLLECTIONS)]
            values = [expected((kind, *parts * 3)) for kind in sorted(COLLECTIONS)]
            assert client.compute(graphs) == values


@task
def many(log: str, count: int, **how: Any) -> Any:
    return total(*[check(log, number, **how) for number in range(count)])


@task
def total(*numbers: int) -> int:
    return sum(numbers)


def test_calls_that_are_left_travel_in_packs(engine: Up, looking: Looking, log: Log) -> None:
    with Client(engine.endpoint, workers=2, inline_seconds=0) as client:
        for _ in range(4):  # in all processes they were measured then
            assert client.compute(many(log.path, 40)) == 780
        before = tasks_of_last_session(looking)
        assert client.compute(many(log.path, 40)) == 780
        assert tasks_of_last_session(looking) - before < 42
        with pytest.raises(LookupError, match="number 7") as caught:
            client.compute(many(log.path, 40, bad=7))
        cause = caught.value.__cause__
        assert isinstance(cause, RemoteTraceback)
        assert (cause.path[0], cause.path[-1]) == ("check", "many")


def test_what_the_client_has_measured_is_begun_at_once(
    patient: Client, looking: Looking, log: Log
) -> None:
    @task
    def quick(number: int) -> int:
        return number

    @task
    def both() -> Any:
        return add(quick(1), quick(2))

    # One process has run it; the other one is told.
    assert patient.compute([quick(number) for number in range(8)]) == list(range(8))
    before = tasks_of_last_session(looking)
    assert patient.compute(both()) == 3
    assert tasks_of_last_session(looking) == before + 1
