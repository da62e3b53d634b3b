"""What the cache gave and turns out to be wrong later is computed anew, by whatever door."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from armoflow import Client, items, task
from armoflow.client.engine_backend import EngineBackend
from armoflow.index_files import path_of
from tests.integration.engines import Up
from tests.integration.gates import Gate, pass_gate


@task(cache=True)
def double(number: int) -> int:
    return 2 * number


@task
def plus_one(number: int) -> int:
    return number + 1


@task
def add(first: int, *others: int, also: int = 0) -> int:
    return sum(others, first + also)


@task
def is_positive(number: int) -> bool:
    return number > 0


@task
def grown(number: int) -> int:
    return plus_one(plus_one(number))  # type: ignore[return-value]


@task(batch_size=1)
def gated(number: int, gate: str) -> int:
    pass_gate(gate)
    return number


@task
def grown_behind(number: int, gate: str) -> int:
    return add(number, gated(1, gate), gated(0, gate))  # type: ignore[return-value]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARMOFLOW_CACHE", str(tmp_path / "cache"))


def arrivals(client: Client, collection: Any) -> list[Any]:
    """What its items come to, as they end."""
    return sorted(future.result() for future in client.as_completed(collection))


def _of_future(client: Client, ask: Callable[[Any], Any]) -> Any:
    return ask(client.submit(double(1)))


def _of_done(client: Client, ask: Callable[[Any], Any]) -> Any:
    future = client.submit(double(1))
    future.result()
    return ask(future)


DOORS: dict[str, tuple[Callable[[Client], object], object]] = {
    "as_completed": (lambda client: arrivals(client, plus_one.map([double(1), 5])), [3, 6]),
    "as_completed, shared": (
        lambda client: arrivals(client, add.map([1, 2], also=double(1))),
        [3, 4],
    ),
    "as_completed, filter": (
        lambda client: arrivals(client, items([double(1), -1, 7]).filter(is_positive)),
        [2, 7],
    ),
    "as_completed, one list": (
        lambda client: arrivals(client, plus_one.map(task(range)(double(1)))),
        [1, 2],
    ),
    "as_completed, read here": (lambda client: arrivals(client, items([double(1), 5])), [2, 5]),
    "read here": (lambda client: client.compute(items([double(1), 5])), [2, 5]),
    "item": (lambda client: client.compute(double.map([1])[0]), 2),
    "slice": (lambda client: client.submit(double.map([1, 2])[:1]).result(), [2]),
    "iterator": (
        lambda client: client.compute(add.map(iter([1, 5]), also=double(1))),
        [3, 7],
    ),
    "as_completed, iterator": (
        lambda client: arrivals(client, add.map(iter([1, 5]), also=double(1))),
        [3, 7],
    ),
    "returned graph": (lambda client: client.compute(grown(double(1))), 4),
    "as_completed, returned graphs": (
        lambda client: arrivals(client, grown.map([double(1), 5])),
        [4, 7],
    ),
    "future to a call": (
        lambda client: _of_future(client, lambda f: client.submit(plus_one, f).result()),
        3,
    ),
    "future to compute": (
        lambda client: _of_future(client, lambda f: client.compute(plus_one(f))),
        3,
    ),
    "future to map": (
        lambda client: _of_future(client, lambda f: client.map(plus_one, [f, 5])[0].result()),
        3,
    ),
    "future to as_completed": (
        lambda client: _of_future(client, lambda f: arrivals(client, plus_one.map([f, 5]))),
        [3, 6],
    ),
    "failed future to a call": (
        lambda client: client.submit(plus_one, client.submit(plus_one(double(1)))).result(),
        4,
    ),
    "chain of futures": (
        lambda client: client.submit(
            plus_one, client.submit(plus_one, client.submit(plus_one(double(1))))
        ).result(),
        5,
    ),
    "gather": (
        lambda client: client.gather(
            [client.submit(plus_one(double(1))), client.submit(add(double(1), 5))]
        ),
        [3, 7],
    ),
    "return_exceptions": (
        lambda client: client.compute(plus_one(double(1)), return_exceptions=True),
        3,
    ),
    "named run": (
        lambda client: _of_done(
            client, lambda f: client.submit(plus_one(f), name=uuid.uuid4().hex).result()
        ),
        3,
    ),
}


def _spoil(engine: Up) -> None:
    with sqlite3.connect(path_of(engine.endpoint)) as database:
        database.execute("UPDATE data SET checksum = checksum + 1")
    database.close()


@pytest.mark.parametrize("door", DOORS)
def test_what_a_worker_finds_to_be_something_else_is_computed_anew(
    engine: Up, caplog: pytest.LogCaptureFixture, door: str
) -> None:
    ask, expected = DOORS[door]
    with Client(engine.endpoint, workers=2) as client:
        client.compute(double(1))
    _spoil(engine)
    caplog.clear()
    with Client(engine.endpoint, workers=2) as client:
        assert ask(client) == expected
    assert len(caplog.records) == 1


def delete_data(client: Client, engine: Up) -> None:
    """Delete all data that the cache has, as an engine does after a day."""
    with sqlite3.connect(path_of(engine.endpoint)) as database:
        opaque = [row[0] for row in database.execute("SELECT opaque FROM data")]
    database.close()
    assert len(opaque) == 1
    backend = client._backend
    assert isinstance(backend, EngineBackend)
    orchestrator = backend._orchestrator

    async def delete() -> None:
        session_id = await orchestrator.session()
        named = [("gone", opaque_id) for opaque_id in opaque]
        ids = await orchestrator.transport.import_data(session_id, named, lasting=False)
        await orchestrator.transport.delete(session_id, ids)

    backend._loop.call(delete())


Started = Callable[[Client, str], Callable[[], object]]


def _arriving(client: Client, collection: Any) -> Callable[[], object]:
    iterator: Iterator[Any] = client.as_completed(collection)
    first = next(iterator).result()
    return lambda: sorted([first, *(future.result() for future in iterator)])


def _two(gate: str) -> tuple[Any, Any]:
    """What a task waits for whose inputs the engine must not send ahead: that is behind one."""
    return gated(1, gate), gated(0, gate)


GATED: dict[str, tuple[Started, object]] = {
    "submit": (lambda client, gate: client.submit(add(double(1), *_two(gate))).result, 3),
    "map": (
        lambda client, gate: client.map(add, [double(1)], *([one] for one in _two(gate)))[0].result,
        3,
    ),
    "as_completed": (
        lambda client, gate: _arriving(
            client,
            add.with_options(batch_size=1).map([5, double(1)], *([6, one] for one in _two(gate))),
        ),
        [3, 17],
    ),
    "returned graph": (
        lambda client, gate: (
            client.submit(add(double(1), grown_behind(1, gate), gated(0, gate))).result
        ),
        4,
    ),
    "future": (
        lambda client, gate: (
            client.submit(add, client.submit(double(1)), *map(client.submit, _two(gate))).result
        ),
        3,
    ),
    "future's heir": (
        lambda client, gate: (
            client.submit(plus_one, client.submit(add(double(1), *_two(gate)))).result
        ),
        4,
    ),
    "reduce": (
        lambda client, gate: (
            client.submit(items([double(1), *_two(gate), 7]).reduce(add, fan_in=4)).result
        ),
        10,
    ),
}


@pytest.mark.parametrize("door", GATED)
def test_what_the_engine_deletes_before_it_is_read_is_computed_anew(
    engine: Up, caplog: pytest.LogCaptureFixture, tmp_path: Path, door: str
) -> None:
    start, expected = GATED[door]
    gate = Gate(tmp_path / "gate")
    with Client(engine.endpoint, workers=2) as client:
        client.compute(double(1))
    with Client(engine.endpoint, workers=2) as client:
        with gate.closed():
            ask = start(client, gate.path)
            delete_data(client, engine)
        caplog.clear()
        assert ask() == expected
    assert len(caplog.records) == 1
