"""Data never becomes code at the client, on any transport; and errors keep both ends."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from armoflow import Client, task
from armoflow.codec.recording import record_exception
from armoflow.codec.seal import new_key
from armoflow.errors import (
    RemoteTaskError,
    RemoteTraceback,
    TaskError,
    TaskTimeoutError,
    WorkerDiedError,
)
from tests.integration.engines import Up

RUN: list[str] = []


class Canary(ValueError):
    """Notes that it was unpickled."""

    def __reduce__(self) -> Any:
        return sing, (str(self),)


def sing(text: str) -> Canary:
    RUN.append(text)
    return Canary(text)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    RUN.clear()
    yield
    assert RUN == []


@pytest.fixture
def forged() -> str:
    """What somebody wrote into a file that a task reads."""
    text = record_exception(Canary("from a file"), node="f").to_text(new_key())
    RUN.clear()
    return text


@task
def same(x: Any) -> Any:
    return x


@task
def fail_with(text: str) -> None:
    raise ValueError(text)


@task
def fail_at_three(number: int, text: str) -> int:
    if number == 3:
        raise ValueError(text)
    return number


@task
def fail_below(text: str) -> Any:
    return same.with_options(fuse=False)(same.with_options(fuse=False)(fail_with(text)))


@task
def count(numbers: list[int]) -> int:
    return len(numbers)


unfused = same.with_options(fuse=False)

WAYS: dict[str, Callable[[str], Any]] = {
    "a task": fail_with,
    "one that needs it": lambda text: unfused(fail_with(text)),
    "fused": lambda text: same(fail_with(text)),
    "items": lambda text: fail_at_three.with_options(batch_size=6).map(range(6), text=text),
    "items of items": lambda text: unfused.map(fail_at_three.map(range(6), text=text)),
    "one that needs items": lambda text: count(fail_at_three.map(range(6), text=text)),
    "a child graph": fail_below,
    "what needs a child graph": lambda text: unfused(fail_below(text)),
}


def cause(error: BaseException | None) -> RemoteTraceback:
    assert error is not None
    assert isinstance(error.__cause__, RemoteTraceback)
    return error.__cause__


@pytest.mark.parametrize("way", WAYS)
def test_a_record_in_a_message_is_text(client: Client, forged: str, way: str) -> None:
    for text in (forged, f"line 7: {forged}", forged.replace("\n", " ")):
        error = client.submit(WAYS[way](text)).exception()
        assert type(error) is ValueError
        assert str(error) == text
        assert cause(error).node in {"fail_with", "fail_at_three[3]"}


def test_a_record_that_a_process_prints_before_it_dies(client: Client, forged: str) -> None:
    @task(crash_retries=0)
    def die(text: str) -> None:
        import os

        print(text, flush=True)
        os._exit(3)

    error = client.submit(die(forged)).exception()
    assert "status 3" in str(error)
    assert cause(error).node == "die"


@pytest.fixture
def replayed(client: Client) -> str:
    """What another task of the same session has told, sealed as it is, in a file by now."""
    record = record_exception(Canary("of another task"), node="other", item=5)
    RUN.clear()  # it was looked at whether it comes back
    return record.to_text(client._backend.key)  # type: ignore[attr-defined]


@pytest.mark.parametrize("way", WAYS)
def test_a_record_of_another_task_of_the_session_is_text(
    client: Client, replayed: str, way: str
) -> None:
    error = client.submit(WAYS[way](f"{replayed} and {replayed}")).exception()
    assert type(error) is ValueError
    assert str(error) == f"{replayed} and {replayed}"
    assert cause(error).node in {"fail_with", "fail_at_three[3]"}


def test_a_record_of_another_task_that_is_printed_before_an_end(
    client: Client, replayed: str
) -> None:
    @task(crash_retries=0)
    def die(text: str) -> None:
        print(text, flush=True)
        os._exit(3)

    @task(timeout=0.3)
    def hang(text: str) -> None:
        print(text, flush=True)
        threading.Event().wait()

    ways = {"die": die(replayed), "hang": hang(replayed), "die[1]": die.map(["", replayed])[1]}
    for name, way in ways.items():
        error = client.submit(way).exception()
        assert isinstance(error, (WorkerDiedError, TaskTimeoutError))
        assert cause(error).node == name


def test_a_record_that_is_a_value_is_a_value(client: Client, replayed: str) -> None:
    data = record_exception(Canary("told"), node="same").encode(client._backend.key)  # type: ignore[attr-defined]
    RUN.clear()
    pack = same.with_options(batch_size=4)
    assert client.compute(same(data), pack.map([data, replayed, 3])) == (data, [data, replayed, 3])


def test_a_worker_that_dies_tells_no_record(client: Client, engine: Up, replayed: str) -> None:
    """The last output of a worker service stands in the error that the engine writes."""

    @task(crash_retries=0, max_retries=0)
    def end_worker(text: str) -> None:
        print(text, flush=True)
        time.sleep(0.2)  # until the worker has told it
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)

    if "--worker" not in engine.arguments:
        pytest.skip("its agent tells nothing of what a worker has written")
    error = client.submit(end_worker(replayed)).exception()
    assert isinstance(error, TaskError) and not isinstance(error, RemoteTaskError)
    assert "the worker was lost" in str(error) and "[... " in str(error)


def test_what_another_client_sealed_is_text(engine: Up) -> None:
    """A task's value may be an error that another session has told."""
    with Client(engine.endpoint, workers=2) as first, Client(engine.endpoint, workers=2) as second:
        theirs = first.submit(fail_with("theirs")).exception()
        text = record_exception(theirs, node="f").to_text(first._backend.key)  # type: ignore[arg-type,attr-defined]
        error = second.submit(fail_with(text)).exception()
        assert str(error) == text


def noise(length: int) -> str:
    """Text that cannot be compressed."""
    return "".join(random.Random(length).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=length))


LONG = f"the beginning {noise(60_000)} the reason"


@pytest.mark.parametrize("way", WAYS)
def test_a_long_message_keeps_both_ends(client: Client, engine: Up, way: str) -> None:
    error = client.submit(WAYS[way](LONG)).exception()
    assert type(error) is ValueError
    embedded = "--no-extensions" not in engine.arguments
    in_slots = way == "items"
    text = cause(error).full_text()
    for shown in (str(error), str(cause(error)), text):
        assert "the beginning" in shown
        assert shown.rstrip().endswith("the reason") or "the reason" in shown[-2000:]
    assert len(str(cause(error))) < 20_000
    if embedded or in_slots:
        assert str(error) == LONG
        assert LONG in text
