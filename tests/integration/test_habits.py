"""What users of other libraries write to a client: it works, or the error says what to write."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest

import armoflow
from armoflow import Client, Future, task
from armoflow.errors import ForeignReferenceError, GraphError, OptionError, SignatureError
from tests.integration.engines import Up
from tests.integration.gates import Gate, pass_gate


@task
def double(number: int) -> int:
    return 2 * number


@task(outputs=2)
def split(number: int) -> tuple[int, int]:
    return divmod(number, 10)


def describe(*values: Any, retries: int = 0, **named: Any) -> Any:
    return values, retries, named


@pytest.fixture(params=["local", "engine"])
def some(request: pytest.FixtureRequest, engine: Up) -> Iterator[Client]:
    local = request.param == "local"
    with Client(local=True) if local else Client(engine.endpoint, workers=2) as client:
        yield client


def test_submit_calls_functions_and_tasks(some: Client) -> None:
    assert some.submit(pow, 2, 10).result() == 1024
    assert some.submit(double, 4).result() == 8
    assert some.submit(double, number=4).result() == 8
    assert some.submit(split, 42).result() == (4, 2)
    assert some.submit(lambda: "nothing").result() == "nothing"
    # Every keyword is the function's, also those that options are called.
    assert some.submit(describe, 1, 2, retries=3, name="x").result() == ((1, 2), 3, {"name": "x"})
    assert isinstance(some.submit(double(1)), Future)
    assert some.submit(double.map([1, 2])).result() == [2, 4]


def test_arguments_of_submit_may_be_lazy_or_futures(some: Client) -> None:
    first = some.submit(double, 1)
    assert some.submit(describe, first, [double(2)], x=double(3)).result() == (
        (2, [4]),
        0,
        {"x": 6},
    )


def test_submit_refuses_what_cannot_be_meant(some: Client) -> None:
    with pytest.raises(GraphError, match=r"no further arguments.*with_options"):
        some.submit(double(1), retries=2)  # type: ignore[call-overload]
    with pytest.raises(GraphError, match="a function and its arguments, not int 3"):
        some.submit(3)  # type: ignore[call-overload]
    with pytest.raises(SignatureError, match=r"unexpected.*'retries'.*with_options"):
        some.submit(double, 1, retries=2)
    with pytest.raises(SignatureError, match="missing a required argument"):
        some.submit(double)


def test_compute_refuses_what_only_looks_lazy(some: Client) -> None:
    for wrong, says in (
        (double, r"call it, compute\(double\(\.\.\.\)\)"),
        ([1, {"x": double}], "call it"),
        ((double(n) for n in range(3)), "give a list"),
        (iter([double(1)]), "give a list"),
        (map(double, [1]), "give a list"),
        (len, r"compute\(task\(function\)"),
        (str.lower, r"compute\(task\(function\)"),
        ([some.put(1)], r"client\.get\(name\)"),
        (some.submit(double, 1), "it runs already"),
    ):
        with pytest.raises(GraphError, match=f"compute.. cannot run .*{says}"):
            some.compute(wrong)
        with pytest.raises(GraphError, match="cannot run"):
            armoflow.compute(wrong)


def test_compute_gives_back_what_is_not_lazy(some: Client) -> None:
    assert some.compute() == ()
    assert some.compute(5) == 5
    assert some.compute([1, {"x": 2}], "text") == ([1, {"x": 2}], "text")
    assert some.compute([double(1), 3]) == [2, 3]


def test_map_takes_any_iterables(some: Client) -> None:
    assert some.map(double, []) == []
    assert some.gather(some.map(double, (n for n in range(3)))) == [0, 2, 4]
    assert some.gather(some.map(pow, [1, 2], [3, 4])) == [1, 16]
    with pytest.raises(SignatureError, match="at least one iterable"):
        some.map(double)
    with pytest.raises(SignatureError, match="chunksize"):
        some.map(double, [1], chunksize=2)


def test_what_futures_clients_and_packages_have_elsewhere_is_told(some: Client) -> None:
    future: Any = some.submit(double, 1)
    package: Any = armoflow
    client: Any = some
    for thing, name, says in (
        (future, "status", r"a Future has no attribute 'status': write future\.done\(\)"),
        (future, "key", "write future.name$"),
        (future, "strange", "no attribute 'strange'$"),
        (client, "cancel", r"write future\.cancel\(\) for each"),
        (client, "scatter", r"write client\.put\(value\)"),
        (client, "spawn", r"write client\.submit\(task\("),
        (future, "save", r"write future\.download\(path\)"),
        (package, "get_worker", r"write armoflow\.current_task"),
        (package, "Semaphore", r"write armoflow\.task\(limits="),
        (client, "get_dataset", r"write client\.get\(name\)"),
        (client, "session", r"write Client\(endpoint, partition=\.\.\.\)"),
        (future, "outcome", r"write future\.exception\(\)"),
        (client.put(1), "result", r"a put reference has no .*: write client\.get\(name\)"),
        (package, "delayed", "has no attribute 'delayed': write armoflow.task$"),
        (package, "Parallel", r"write armoflow\.Client\(workers=n\)\.compute"),
        (package, "PymonikClient", r"write armoflow\.Client\(endpoint, partition"),
        (package, "current", r"write armoflow\.current_task\(\)$"),
        (package, "strange", "no attribute 'strange'$"),
    ):
        assert not hasattr(thing, name)
        with pytest.raises(AttributeError, match=says):
            getattr(thing, name)
    for keyword, says in (
        ("chunksize", r"write task\.with_options\(batch_size=\.\.\.\)"),
        ("retries", r"said by task\.with_options\(retries=\.\.\.\)"),
        ("ordered", r"write client\.as_completed"),
    ):
        with pytest.raises(SignatureError, match=f"unexpected.*'{keyword}'.*{says}"):
            some.map(double, [1], **{keyword: 2})
    assert some.map(describe, [1], retries=2)[0].result() == ((1,), 2, {})


def test_submitting_several_at_once_says_how(some: Client) -> None:
    client: Any = some
    with pytest.raises(GraphError, match=r"not list .*: submit each of them, or compute\(\) all$"):
        client.submit([double(1), double(2)])
    with pytest.raises(SignatureError, match=r"'key'; .*write task\.with_options\(name="):
        client.submit(double, 1, key="one")


def test_what_is_imported_out_of_habit_says_what_to_import() -> None:
    with pytest.raises(ImportError, match=r"'delayed' from 'armoflow': write armoflow\.task$"):
        from armoflow import delayed  # type: ignore[attr-defined]  # noqa: F401
    with pytest.raises(ImportError, match=r"write armoflow\.task, for what a task returns may be"):
        from armoflow import flow, task  # type: ignore[attr-defined]  # noqa: F401
    with pytest.raises(ImportError, match=r"cannot import name 'strange' from 'armoflow' \("):
        from armoflow import strange  # type: ignore[attr-defined]  # noqa: F401


def test_arguments_that_calls_have_elsewhere_are_told(some: Client) -> None:
    client: Any = some
    future = some.submit(double, 1)
    calls: list[tuple[Callable[[], object], str]] = [
        (lambda: client.compute(double(1), n_jobs=2), r"Client\(workers=\.\.\.\)"),
        (lambda: client.compute(double(1), resources={}), r"with_options\(cpus="),
        (lambda: client.gather([future], errors="skip"), "return_exceptions=True"),
        (lambda: client.gather(future, future), "give a list"),
        (lambda: client.as_completed([future], with_results=True), r"future\.result\(\)"),
        (lambda: client.as_completed(future, future), "give a list"),
        (lambda: client.put(1, "name"), r"write name=\.\.\."),
        (lambda: client.put(1, broadcast=True), "leave it out"),
        (lambda: client.get("a", "b"), "one name"),
        (lambda: client.get("a", default=1), "NamedValueError"),
        (lambda: client.refer("a", "b"), "one name"),
        (lambda: client.forget("a", "b"), "one name"),
        (lambda: client.attach("a", timeout=1), "no keyword arguments"),
    ]
    for call, says in calls:
        with pytest.raises(SignatureError, match=says):
            call()
    with pytest.raises(SignatureError, match=r"needs an iterable.*client\.get\(name\)"):
        double.map(client.put([1]))
    with pytest.raises(OptionError, match="for a named value"):
        some.put(1, replace=True)


@task
def held(gate: str) -> None:
    pass_gate(gate)


def test_what_has_not_come_in_time_is_cancelled(client: Client, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    backend: Any = client._backend
    in_time = "of 2 values have not come within 0.5 s: what was left is cancelled"
    with gate.closed():
        for value in (held(gate.path), held.map([gate.path] * 3)):
            with pytest.raises(futures.TimeoutError, match=in_time):
                client.compute(value, held(gate.path), timeout=0.5)
            assert not backend._orchestrator.tracker.open
        with pytest.raises(futures.TimeoutError, match="1 of 1"):
            client.compute(held(gate.path), timeout=0)
        assert client.compute(double(2), timeout=600) == 4


def test_a_timeout_is_a_number_of_seconds(some: Client) -> None:
    assert some.compute(double(2), timeout=60) == 4
    assert double(3).compute(timeout=60.0) == 6
    assert double.map([1, 2]).compute(timeout=None) == [2, 4]
    for wrong in (-1, "60", True, float("nan")):
        with pytest.raises(
            OptionError, match="timeout must be a number of seconds, 0 or more, or None"
        ):
            some.compute(double(1), timeout=wrong)  # type: ignore[call-overload]


def test_gather_keeps_lists_and_dicts(some: Client) -> None:
    futures = some.map(double, range(3))
    nested = {"first": futures[0], "rest": [futures[1], {"last": futures[2]}]}
    assert some.gather(nested) == {"first": 0, "rest": [2, {"last": 4}]}
    assert some.gather([]) == []
    assert some.gather({}) == {}
    for wrong in (double(1), "text", 3, [3], {"x": 3}):
        with pytest.raises(GraphError, match="waits for futures"):
            some.gather(wrong)


def test_as_completed_of_nothing_and_of_what_is_no_iterable(some: Client) -> None:
    assert list(some.as_completed([])) == []
    future = some.submit(double, 1)
    for wrong in (future, double(1), 3):
        with pytest.raises(GraphError, match="waits for futures"):
            some.as_completed(wrong)  # type: ignore[call-overload]
    with pytest.raises(GraphError, match="waits for futures"):
        some.as_completed([3])  # type: ignore[list-item]


def test_futures_of_another_client(some: Client) -> None:
    with Client(local=True) as other, pytest.raises(ForeignReferenceError, match="another client"):
        some.compute(double(other.submit(double, 1)))


# --- clients inside tasks -------------------------------------------------------------------------


@task
def makes_a_client(number: int) -> Any:
    with Client() as client:
        return client.compute(double(number))


@task
def makes_a_client_in_a_thread(number: int) -> str:
    said: list[str] = []

    def make() -> None:
        try:
            Client()
        except GraphError as error:
            said.append(str(error))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return said[0]


@task
def computes(number: int) -> Any:
    return double(number).compute()


@task
def computes_locally(number: int) -> Any:
    with Client(local=True) as client:
        return client.compute(double(number))


def test_a_client_inside_a_task_is_refused_with_the_remedy(some: Client) -> None:
    with pytest.raises(GraphError, match=r"inside a task .* return the Delayed instead"):
        some.compute(makes_a_client(1))
    with pytest.raises(GraphError, match=r"inside a task .* return the Delayed instead"):
        some.compute(computes(1))
    assert some.compute(computes_locally(1)) == 2


def test_threads_of_a_task_are_inside_of_it(client: Client) -> None:
    assert "inside a task" in client.compute(makes_a_client_in_a_thread(1))


def test_a_client_is_no_argument(client: Client) -> None:
    with pytest.raises(GraphError, match=r"a Client cannot be pickled.*Return the Delayed"):
        client.compute(task(describe)(client))
