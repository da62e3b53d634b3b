"""The small parts of a client: its threads, its checks."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from armoflow import Client, items, task
from armoflow.client.loop import CallbackThread, LoopThread, shared_loop
from armoflow.client.validate import Survey, references
from armoflow.errors import ForeignReferenceError, SubmissionError
from armoflow.options import DEFAULT_OPTIONS
from armoflow.orchestrator.codebook import CodeBook
from armoflow.orchestrator.outcomes import Names
from armoflow.orchestrator.planning.plan_settings import PlanSettings
from armoflow.orchestrator.planning.planner import Planner
from armoflow.orchestrator.targets import IterationWindow
from armoflow.placement import Limits


@task
def same(value: Any) -> Any:
    return value


@dataclasses.dataclass
class Box:
    content: Any


# --- threads --------------------------------------------------------------------------------------


@pytest.fixture
def interruptible() -> Iterator[None]:
    """An interrupt raises KeyboardInterrupt, whatever else in this process has made of it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_what_is_opened_while_who_waits_is_interrupted_is_closed(interruptible: None) -> None:
    loop = LoopThread()
    closed: list[str] = []
    begun = threading.Event()

    async def close(name: str) -> None:
        closed.append(name)

    async def open_() -> str:
        begun.set()
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            closed.append("half")
            raise
        return "whole"

    async def stubborn() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await open_()
        return "whole"

    def interrupt(interrupted: threading.Event) -> None:
        begun.wait()
        begun.clear()
        signal.raise_signal(signal.SIGINT)
        while not interrupted.wait(10):  # Python drops one that comes while a finalizer runs
            signal.raise_signal(signal.SIGINT)

    for opening in (open_, stubborn):
        interrupted = threading.Event()
        thread = threading.Thread(target=interrupt, args=(interrupted,))
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            loop.open(opening(), close)
        interrupted.set()
        thread.join()
    assert closed == ["half", "half", "whole"]
    loop.stop()


def test_a_loop_on_its_own_thread() -> None:
    loop = LoopThread()

    async def where() -> str:
        return threading.current_thread().name

    assert loop.call(where()) == "armoflow-client"
    assert loop.run(lambda: threading.current_thread().name) == "armoflow-client"
    assert loop.run(lambda: loop.run(lambda: 5)) == 5  # from within, too
    with pytest.raises(ZeroDivisionError):
        loop.run(lambda: 1 / 0)
    loop.stop()
    assert loop.loop.is_closed()


def test_one_loop_for_all_clients() -> None:
    assert shared_loop() is shared_loop()


def test_callbacks_run_in_order_in_another_thread(caplog: pytest.LogCaptureFixture) -> None:
    callbacks = CallbackThread()
    seen: list[Any] = []
    callbacks.put(lambda: seen.append(threading.current_thread().name))
    with caplog.at_level(logging.ERROR):
        callbacks.put(lambda: 1 / 0)
        callbacks.put(lambda: seen.append("last"))
        callbacks.close()
    assert seen == ["armoflow-callbacks", "last"]
    assert "division by zero" in caplog.text
    callbacks.put(lambda: seen.append(threading.current_thread().name))
    assert seen[-1] == threading.current_thread().name
    callbacks.close()


def test_a_callback_may_close() -> None:
    callbacks = CallbackThread()
    closed = threading.Event()

    def close() -> None:
        callbacks.close()
        closed.set()

    callbacks.put(close)
    assert closed.wait(60)


def test_a_window_holds_back_until_items_are_taken() -> None:
    window = IterationWindow(10)
    window.produce(9)
    passed = threading.Event()

    def produce() -> None:
        window.produce(5)
        passed.set()

    thread = threading.Thread(target=produce)
    thread.start()
    assert not passed.is_set()
    window.consume(9)
    assert passed.wait(60)
    thread.join()
    blocked = threading.Thread(target=window.produce, args=(100,))
    blocked.start()
    window.close()
    blocked.join(60)
    assert not blocked.is_alive()


# --- checks ---------------------------------------------------------------------------------------


@pytest.fixture
def local() -> Any:
    with Client(local=True) as client:
        yield client


def check(client: Client, *values: Any) -> Survey:
    survey = Survey(client, DEFAULT_OPTIONS, Limits(["default", "gpu"], 10))
    Planner(CodeBook(), PlanSettings()).want(values, survey.visit)
    return survey


def test_references_are_found_in_containers(local: Client) -> None:
    one, two = local.put(1), local.submit(same(2))
    found = list(references([1, {"a": (one, {two: Box([one])})}, "text", range(3)]))
    assert sorted(map(id, found)) == sorted(map(id, [one, one, two]))
    loop: list[Any] = [one]
    loop.append(loop)
    assert list(references(loop)) == [one]
    assert list(references(list(range(100_000)))) == []


def test_graphs_are_surveyed(local: Client) -> None:
    def seen(value: Any) -> tuple[bool, bool]:
        survey = check(local, value)
        return survey.settled, survey.only_calls

    assert seen(same(same(1))) == (True, True)
    assert seen(same.map([1, 2])) == (True, False)
    assert seen(same.map(iter([1, 2]))) == (False, False)
    assert check(local, same(local.submit(same(1)))).pending == []


def test_partitions_and_priorities(local: Client) -> None:
    check(local, same.with_options(partition="gpu", priority=10)(1))
    with pytest.raises(SubmissionError, match=r"'same' asks for partition 'tpu'.* 'gpu'"):
        check(local, same([same.with_options(partition="tpu")(1)]))
    with pytest.raises(SubmissionError, match="priority 11"):
        check(local, items([1]).filter(same.with_options(priority=11)))


def test_foreign_references(local: Client) -> None:
    with Client(local=True) as other:
        foreign = other.put(1)
    for value in (
        same(foreign),
        same(value=Box([foreign])),
        same.map([1, (foreign,)]),
        items([1]).reduce(lambda a, b: a, initial=foreign),
    ):
        with pytest.raises(ForeignReferenceError, match="belongs to another client"):
            check(local, value)


def test_names_of_items() -> None:
    mapped = same.map(range(10))
    assert Names.of(mapped.node).item(3) == "same[3]"
    assert Names.of(mapped[8:2:-2].node).item(1) == "same[6]"
    assert Names.of(mapped[4].node).name == "same[4]"
