"""Named runs: joined, gone on with, put in another's place; by whoever reaches the engine."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from armoflow import Client, config, items, task
from armoflow.errors import NamedRunError, OptionError, UnkeyableError
from tests.faults.scripts import wait_for
from tests.integration.engines import Up
from tests.integration.gates import Gate, Log, note, pass_gate


@task
def double(number: int, log: str) -> int:
    note(log, f"double-{number}")
    return 2 * number


@task
def total(numbers: list[int], log: str) -> int:
    note(log, "total")
    return sum(numbers)


@task
def add(first: int, second: int) -> int:
    return first + second


@task
def is_even(number: int, log: str) -> bool:
    note(log, f"is_even-{number}")
    return number % 2 == 0


@task(outputs=2)
def split(number: int, log: str) -> tuple[int, int]:
    note(log, f"split-{number}")
    return divmod(number, 10)


@task
def gated(number: int, log: str, gate: str) -> int:
    note(log, f"gated-{number}")
    pass_gate(gate)
    return number


@task
def fragile(number: int, log: str, flag: str) -> int:
    note(log, f"fragile-{number}")
    if number == 2 and not Path(flag).exists():
        raise ValueError(f"no {flag}")
    return number


@task
def gated_pair(number: int, log: str, gate: str, flag: str) -> tuple[int, str]:
    if number == 7 and not Path(flag).exists():
        pass_gate(gate)
        raise ValueError(f"no {flag}")
    return number, log


@task
def add_pairs(first: tuple[int, str], second: tuple[int, str]) -> tuple[int, str]:
    note(first[1], "add")
    return first[0] + second[0], first[1]


@task
def numbers_to(stop: int, log: str) -> list[int]:
    note(log, f"numbers_to-{stop}")
    return list(range(stop))


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log")


@pytest.fixture
def name() -> str:
    return f"run-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def other(engine: Up) -> Iterator[Client]:
    with Client(engine.endpoint, workers=2) as connected:
        yield connected


def test_the_same_graph_by_the_same_name_is_joined(
    client: Client, other: Client, name: str, log: Log
) -> None:
    graph = total(double.map(range(20), log=log.path), log.path)
    assert client.submit(graph, name=name).result() == 380
    assert client.submit(graph, name=name).result() == 380
    assert other.submit(graph, name=name).result() == 380
    assert other.attach(name).result() == 380
    assert set(log.counts().values()) == {1} and len(log.counts()) == 21


def test_a_run_is_joined_while_it_is_under_way(
    client: Client, other: Client, name: str, log: Log, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    graph = add(gated(1, log.path, gate.path), double(3, log.path))
    with gate.closed():
        futures = [client.submit(graph, name=name), other.submit(graph, name=name)]
        futures.append(other.attach(name))
        assert not any(future.done() for future in futures)
    assert [future.result() for future in futures] == [7, 7, 7]
    assert log.counts() == {"gated-1": 1, "double-3": 1}


def test_changed_inputs_run_their_cone_and_nothing_else(
    client: Client, other: Client, name: str, log: Log
) -> None:
    def graph(stop: int) -> object:
        return total(double.map(range(stop), log=log.path), log.path)

    client.submit(graph(10), name=name).result()  # type: ignore[call-overload]
    assert other.submit(graph(12), name=name).result() == 132  # type: ignore[call-overload]
    counts = log.counts()
    assert counts.pop("total") == 2
    assert set(counts.values()) == {1} and len(counts) == 12


def test_changed_code_runs_its_cone_and_nothing_else(client: Client, name: str, log: Log) -> None:
    def step(offset: Callable[[], int]) -> Any:
        @task
        def step(number: int, log: str) -> int:
            note(log, "step")
            return number + offset()

        return step

    source = double(5, log.path)
    assert client.submit(step(lambda: 1)(source, log.path), name=name).result() == 11
    assert client.submit(step(lambda: 2)(source, log.path), name=name).result() == 12
    assert log.counts() == {"double-5": 1, "step": 2}


def test_of_a_run_that_failed_only_what_is_missing_runs(
    client: Client, other: Client, name: str, log: Log, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    collection = fragile.map(range(4), log=log.path, flag=str(flag))
    graph = total(collection.map(double, log=log.path), log.path)
    with pytest.raises(ValueError, match="no "):
        client.submit(graph, name=name).result()
    with pytest.raises(ValueError, match="no "):  # it has failed: that is what there is to say
        other.attach(name).result()
    flag.touch()
    assert other.submit(graph, name=name).result() == 12
    counts = log.counts()
    assert counts.pop("fragile-2") == 2
    assert set(counts.values()) == {1}
    assert client.attach(name).result() == 12


def test_what_a_failure_kept_from_being_submitted_fails_with_it_for_who_attaches(
    client: Client,
    other: Client,
    name: str,
    log: Log,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "batch" in client.extensions:  # else a batch takes so long that all of it is submitted
        monkeypatch.setattr(config, "BATCH_TASKS", 1)
    flag = tmp_path / "flag"
    chain = fragile(2, log.path, str(flag))
    for _ in range(5):
        chain = add(chain, 1)
    with pytest.raises(ValueError, match="no "):
        client.submit(chain, name=name).result()
    with pytest.raises(ValueError, match="no "):
        other.attach(name).result()
    flag.touch()
    assert other.submit(chain, name=name).result() == 7


@pytest.mark.parametrize("kind", ["reduce", "fold"])
def test_what_a_reduction_has_combined_counts(
    client: Client, other: Client, name: str, log: Log, tmp_path: Path, kind: str
) -> None:
    gate, flag = Gate(tmp_path / "gate"), tmp_path / "flag"
    single = gated_pair.with_options(batch_size=1)
    pairs = single.map(range(8), log=log.path, gate=gate.path, flag=str(flag))
    combine = add_pairs.with_options(batch_size=1)
    graph = pairs.reduce(combine) if kind == "reduce" else pairs.fold(combine)
    before = 4 if kind == "reduce" else 6  # of those that do not need the last item
    with gate.closed():
        failing = client.submit(graph, name=name)
        wait_for(lambda: log.counts()["add"] >= before, "nothing was combined")
    with pytest.raises(ValueError, match="no "):
        failing.result()
    combined = log.counts()["add"]
    flag.touch()
    assert other.submit(graph, name=name).result() == (28, log.path)
    assert log.counts()["add"] == 7
    assert combined == before


def test_another_graph_takes_the_place_of_one_under_way_only_if_that_is_said(
    client: Client, other: Client, name: str, log: Log, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    kept = double(1, log.path)
    assert client.submit(kept, name=name).result() == 2
    with gate.closed():
        client.submit(add(gated(1, log.path, gate.path), kept), name=name)
        with pytest.raises(NamedRunError, match=r"under way with another graph.*replace=True"):
            other.submit(add(kept, 5), name=name)
        client.attach(name)
        assert other.submit(add(kept, 5), name=name, replace=True).result() == 7
    assert log.counts()["double-1"] == 1


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda log: double.map(range(5), log=log).reduce(add), 20),
        (lambda log: double.map(range(5), log=log), [0, 2, 4, 6, 8]),
        (lambda log: items(range(5)).filter(is_even, log=log), [0, 2, 4]),
        (lambda log: split.map([42, 17], log=log)[1], [2, 7]),
        (lambda log: double.map(numbers_to(3, log), log=log), [0, 2, 4]),
        (lambda log: double.map(range(9), log=log)[3], 6),
        (lambda log: double.map([double(1, log), 7], log=log), [4, 14]),
    ],
    ids=["reduce", "map", "filter", "outputs", "dynamic", "item", "items"],
)
def test_every_kind_of_node_is_run_once(
    client: Client, other: Client, name: str, log: Log, build: object, expected: object
) -> None:
    assert client.submit(build(log.path), name=name).result() == expected  # type: ignore[operator]
    assert other.attach(name).result() == expected
    assert other.submit(build(log.path), name=name).result() == expected  # type: ignore[operator]
    assert set(log.counts().values()) == {1}


def test_futures_and_put_values_go_with_the_run(
    client: Client, other: Client, name: str, log: Log
) -> None:
    future = client.submit(double, 4, log=log.path)
    future.result()
    graph = add(add(future, client.put(10)), 1)  # type: ignore[arg-type]
    assert client.submit(graph, name=name).result() == 19
    assert other.attach(name).result() == 19


def test_the_future_of_a_run_is_an_argument_as_any_other(
    client: Client, name: str, log: Log
) -> None:
    future = client.submit(double(4, log.path), name=name)
    assert future.result() == 8
    assert client.submit(add, future, 1).result() == 9


def test_what_can_be_read_only_once_is_refused(client: Client, name: str, log: Log) -> None:
    with pytest.raises(UnkeyableError, match=r"give list\(\.\.\.\) of it"):
        client.submit(double.map(iter([1, 2]), log=log.path), name=name)


def test_a_run_that_is_not_there_is_said_to_be_so(client: Client, name: str) -> None:
    with pytest.raises(NamedRunError, match="is not there"):
        client.attach(name)


@pytest.mark.parametrize("wrong", ["", "a\nb", 7, "x" * 101])
def test_a_name_is_a_short_text(client: Client, log: Log, wrong: object) -> None:
    with pytest.raises(OptionError, match="name must be a text"):
        client.submit(double(1, log.path), name=wrong)  # type: ignore[call-overload]


def test_a_function_keeps_its_own_argument_of_that_name(client: Client) -> None:
    def greet(name: str) -> str:
        return f"hello {name}"

    assert client.submit(greet, name="you").result() == "hello you"


def test_in_the_debug_mode_a_name_makes_no_difference(log: Log) -> None:
    with Client(local=True) as client:
        assert client.submit(double(2, log.path), name="debug").result() == 4
        with pytest.raises(OptionError, match="needs an engine"):
            client.attach("debug")
