"""Futures in every function of the standard library, each test with its own futures beside ours."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import gc
import logging
import pickle
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from armoflow import Client, task
from tests.integration.engines import Up

PATIENCE = 60.0
NO_TIME = 0.02


def give(value: Any) -> Any:
    return value


class Broken(ValueError):
    """As ValueError, and can be watched as it goes."""


def boom(message: str) -> Any:
    raise Broken(message)


def wait_for_go(place: str, value: Any = None) -> Any:
    while not Path(place, "go").exists():
        time.sleep(0.005)
    return value


class Thing:
    """Something that can be watched as it goes."""


def make_thing(_: int) -> Thing:
    return Thing()


class Pool:
    """An executor or a client: both start a call in the same words."""

    def __init__(self, submit: Callable[..., Any], place: Path) -> None:
        self.submit = submit
        self._place = place

    def held(self, value: Any = None) -> Any:
        """A future that is done once :meth:`go` was called."""
        return self.submit(wait_for_go, str(self._place), value)

    def go(self) -> None:
        self._place.joinpath("go").touch()


@pytest.fixture(params=["executor", "client"])
def pool(request: pytest.FixtureRequest, engine: Up, tmp_path: Path) -> Iterator[Pool]:
    with contextlib.ExitStack() as stack:
        submit: Callable[..., Any]
        if request.param == "executor":
            executor = concurrent.futures.ThreadPoolExecutor(4)
            submit = stack.enter_context(executor).submit
        else:
            submit = stack.enter_context(Client(engine.endpoint, workers=2)).submit
        made = Pool(submit, tmp_path)
        stack.callback(made.go)
        yield made


# --- concurrent.futures ---------------------------------------------------------------------------


def test_wait_returns_at_the_first_exception(pool: Pool) -> None:
    held, failed = pool.held(), pool.submit(boom, "first")
    done, open_ = concurrent.futures.wait([held, failed], PATIENCE, "FIRST_EXCEPTION")
    assert (done, open_) == ({failed}, {held})


def test_wait_for_the_first_exception_of_one_that_has_failed_already(pool: Pool) -> None:
    held, failed = pool.held(), pool.submit(boom, "first")
    assert isinstance(failed.exception(PATIENCE), ValueError)
    done, _ = concurrent.futures.wait([held, failed], PATIENCE, "FIRST_EXCEPTION")
    assert done == {failed}


def test_wait_for_a_first_exception_that_does_not_come(pool: Pool) -> None:
    futures = {pool.submit(give, number) for number in range(3)}
    done, open_ = concurrent.futures.wait(futures, PATIENCE, "FIRST_EXCEPTION")
    assert (done, open_) == (futures, set())


def test_wait_returns_at_the_first_and_at_the_last(pool: Pool) -> None:
    held, quick = pool.held(), pool.submit(give, 1)
    done, open_ = concurrent.futures.wait([held, quick], PATIENCE, "FIRST_COMPLETED")
    assert (done, open_) == ({quick}, {held})
    done, open_ = concurrent.futures.wait([held, quick], NO_TIME, "ALL_COMPLETED")
    assert (done, open_) == ({quick}, {held})
    pool.go()
    done, open_ = concurrent.futures.wait([held, quick], PATIENCE)
    assert (done, open_) == ({quick, held}, set())


def test_as_completed(pool: Pool) -> None:
    held, quick, failed = pool.held(), pool.submit(give, 1), pool.submit(boom, "x")
    ending = concurrent.futures.as_completed([held, quick, failed], 5.0)
    assert {next(ending), next(ending)} == {quick, failed}
    with pytest.raises(concurrent.futures.TimeoutError):
        next(concurrent.futures.as_completed([held], NO_TIME))
    pool.go()
    assert set(concurrent.futures.as_completed([held, quick], PATIENCE)) == {held, quick}
    assert list(concurrent.futures.as_completed([])) == []


def test_results_and_exceptions(pool: Pool) -> None:
    held, quick, failed = pool.held("held"), pool.submit(give, 1), pool.submit(boom, "x")
    for ask in (held.result, held.exception):
        with pytest.raises(concurrent.futures.TimeoutError):
            ask(NO_TIME)
        with pytest.raises(concurrent.futures.TimeoutError):
            ask(0)
    assert (held.done(), held.cancelled()) == (False, False)
    assert quick.result(PATIENCE) == 1
    assert quick.exception() is None
    assert (quick.done(), quick.running(), quick.cancelled()) == (True, False, False)
    assert quick.cancel() is False
    for _ in range(2):
        with pytest.raises(ValueError, match="x"):
            failed.result(PATIENCE)
    assert failed.exception() is failed.exception()
    assert (failed.done(), failed.running(), failed.cancelled()) == (True, False, False)
    pool.go()
    assert held.result(PATIENCE) == "held"


def test_cancelled_futures(pool: Pool) -> None:
    running = [pool.held() for _ in range(4)]  # an executor cancels only what waits
    future = pool.submit(give, 1) if "executor" in repr(pool.submit).lower() else pool.held()
    called: list[Any] = []
    future.add_done_callback(called.append)
    assert future.cancel() is True
    assert future.cancel() is True
    assert (future.done(), future.running(), future.cancelled()) == (True, False, True)
    for ask in (future.result, future.exception):
        with pytest.raises(concurrent.futures.CancelledError):
            ask()
    pool.go()
    done, _ = concurrent.futures.wait([future, *running], PATIENCE, "ALL_COMPLETED")
    assert future in done
    assert list(concurrent.futures.as_completed([future], PATIENCE)) == [future]
    assert called == [future]


def test_callbacks_come_in_order_and_may_raise(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    future = pool.held(1)
    called: list[Any] = []
    ended = threading.Event()

    def broken(_: Any) -> None:
        raise RuntimeError("a callback of the test")

    with caplog.at_level(logging.ERROR):
        future.add_done_callback(lambda done: called.append(("first", done)))
        future.add_done_callback(broken)
        future.add_done_callback(lambda done: called.append(("second", done)))
        future.add_done_callback(lambda done: ended.set())
        pool.go()
        assert ended.wait(PATIENCE)
        assert called == [("first", future), ("second", future)]
        # Afterwards they are called at once, in the caller's thread.
        future.add_done_callback(broken)
        future.add_done_callback(lambda done: called.append(threading.current_thread()))
    assert called[2:] == [threading.current_thread()]
    raised = [record for record in caplog.records if record.exc_info]
    assert [str(record.exc_info[1]) for record in raised if record.exc_info] == [
        "a callback of the test"
    ] * 2


def test_futures_are_hashed_by_identity_referred_to_weakly_and_not_pickled(pool: Pool) -> None:
    first, second = pool.submit(give, 1), pool.submit(give, 1)
    assert len({first, second, first}) == 2
    assert first != second
    assert weakref.ref(first)() is first
    assert "Future" in repr(first)
    with pytest.raises(Exception, match="cannot"):
        pickle.dumps(first)
    with pytest.raises(TypeError):
        len(first)


# --- asyncio --------------------------------------------------------------------------------------


def test_wrapped_futures_in_asyncio(pool: Pool) -> None:
    async def run() -> None:
        wrap = asyncio.wrap_future
        assert await asyncio.gather(wrap(pool.submit(give, 1)), wrap(pool.submit(give, 2))) == [
            1,
            2,
        ]
        with pytest.raises(ValueError, match="x"):
            await wrap(pool.submit(boom, "x"))
        gathered = await asyncio.gather(wrap(pool.submit(boom, "y")), return_exceptions=True)
        assert isinstance(gathered[0], ValueError)
        held, failed = wrap(pool.held("held")), wrap(pool.submit(boom, "z"))
        done, open_ = await asyncio.wait([held, failed], return_when="FIRST_EXCEPTION")
        assert (done, open_) == ({failed}, {held})
        done, open_ = await asyncio.wait([held, failed], return_when="FIRST_COMPLETED")
        assert done == {failed}
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(held), NO_TIME)
        assert not held.done()
        pool.go()
        assert await held == "held"
        ended = [await future for future in asyncio.as_completed([wrap(pool.submit(give, 1))])]
        assert ended == [1]

    asyncio.run(run())


def test_a_timeout_in_asyncio_cancels(pool: Pool) -> None:
    async def run() -> Any:
        running = [pool.held() for _ in range(4)]
        future = pool.held()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(future), NO_TIME)
        assert len(running) == 4
        return future

    assert asyncio.run(run()).cancelled()


def test_our_futures_are_awaited_as_they_are(client: Client) -> None:
    async def run() -> list[Any]:
        futures = [client.submit(give, number) for number in range(3)]
        with pytest.raises(ValueError, match="x"):
            await client.submit(boom, "x")
        assert await asyncio.wait_for(client.submit(give, 7), PATIENCE) == 7
        assert await asyncio.shield(client.submit(give, 8)) == 8
        assert [await one for one in asyncio.as_completed([client.submit(give, 9)])] == [9]
        return list(await asyncio.gather(*futures))

    assert asyncio.run(run()) == [0, 1, 2]


def test_what_later_versions_of_asyncio_copy(client: Client) -> None:
    good, bad = client.submit(give, 1), client.submit(boom, "x")
    concurrent.futures.wait([good, bad], PATIENCE)
    assert good._get_snapshot() == (True, False, 1, None)
    done, was_cancelled, result, error = bad._get_snapshot()
    assert (done, was_cancelled, result, str(error)) == (True, False, None, "x")


# --- memory ---------------------------------------------------------------------------------------


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What is freed is freed because nothing refers to it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def gone(reference: weakref.ref[Any]) -> bool:
    """Whether it goes; threads that are just letting go of it have a moment."""
    deadline = time.monotonic() + 20.0
    while reference() is not None and time.monotonic() < deadline:
        time.sleep(0.005)
    return reference() is None


def raises(futures: list[Any]) -> weakref.ref[Any]:
    """The error of the only future; a traceback holds the list, and not the future itself."""
    try:
        futures[0].result(PATIENCE)
    except ValueError as error:
        return weakref.ref(error)
    raise AssertionError("it did not raise")


def test_futures_go_with_their_last_reference(pool: Pool, no_collector: None) -> None:
    future = pool.submit(make_thing, 1)
    value = weakref.ref(future.result(PATIENCE))
    reference = weakref.ref(future)
    del future
    assert gone(reference)
    assert gone(value)


def test_failed_futures_go_with_their_last_reference(pool: Pool, no_collector: None) -> None:
    futures = [pool.submit(boom, "x")]
    reference = weakref.ref(futures[0])
    error = raises(futures)
    assert raises(futures)() is error()
    futures.clear()
    assert gone(reference)
    assert gone(error)


def endless() -> Iterator[int]:
    yield 1
    raise Broken("no more")


TIMELESS: dict[str, Callable[[Client], object]] = {
    "call": lambda client: client.compute(task(boom)("x")),
    "calls": lambda client: client.compute([task(give)(1), task(boom)("x")]),
    "map": lambda client: client.compute(task(boom).map("xy")),
    "graph": lambda client: client.compute(task(give)(task(boom)("x"))),
    "several": lambda client: client.compute(task(boom).map("xy"), task(give)(1)),
    "result": lambda client: client.submit(task(boom).map("xy")).result(),
    "gather": lambda client: client.gather([client.submit(give, 1), client.submit(boom, "x")]),
    "gather a dict": lambda client: client.gather({"a": [client.submit(boom, "x")]}),
    "planning": lambda client: client.compute(task(give).map(endless())),
    "iteration": lambda client: list(client.as_completed(task(give).map(endless()))),
}


KEEPS_CALLERS = sys.version_info >= (3, 12)
"""The frame of a generator that an error has ended holds who called it: of a planner it is the
planner, with what it knows to have failed. That is garbage for the collector."""


def let_go(action: Callable[[], object]) -> weakref.ref[Any]:
    """What the caller's frame has held while an error went through it."""
    held = Thing()
    try:
        action()
    except (Broken, concurrent.futures.TimeoutError):
        return weakref.ref(held)
    raise AssertionError("nothing was raised")


def test_what_is_raised_does_not_hold_itself(
    client: Client, tmp_path: Path, no_collector: None
) -> None:
    """By every door: by its traceback it would keep all that its caller has, until garbage goes."""
    held = task(wait_for_go)(str(tmp_path))
    with Client(local=True) as local:
        for way, action in TIMELESS.items():
            if KEEPS_CALLERS and "endless" in action.__code__.co_names:
                continue
            assert gone(let_go(functools.partial(action, client))), way
            if way != "iteration":  # there the failed future comes last, and nothing is raised
                assert gone(let_go(functools.partial(action, local))), f"{way}, local"
    try:
        for late in (held, task(give)(held)):
            assert gone(let_go(functools.partial(client.compute, late, timeout=NO_TIME)))
    finally:
        tmp_path.joinpath("go").touch()


def test_futures_that_nobody_asked_go_with_their_last_reference(
    pool: Pool, no_collector: None
) -> None:
    futures = [pool.submit(boom, "x"), pool.submit(give, 1), pool.held()]
    for future in futures:
        future.add_done_callback(lambda done: None)
    pool.go()
    concurrent.futures.wait(futures, PATIENCE)
    references = [weakref.ref(future) for future in futures]
    del futures, future
    assert all(gone(reference) for reference in references)


def test_awaited_futures_go_with_their_last_reference(client: Client, no_collector: None) -> None:
    async def run() -> weakref.ref[Any]:
        future = client.submit(give, 1)
        await future
        return weakref.ref(future)

    assert gone(asyncio.run(run()))


def test_futures_of_collections_and_of_plans_that_fail_go_too(
    client: Client, no_collector: None
) -> None:
    many = client.submit(client_map([1, 2, 3]))
    assert many.result(PATIENCE) == [1, 2, 3]
    unsent = client.submit(give, threading.Lock())
    with pytest.raises(TypeError):
        unsent.result(PATIENCE)
    references = [weakref.ref(many), *([] if KEEPS_CALLERS else [weakref.ref(unsent)])]
    del many, unsent
    assert all(gone(reference) for reference in references)


def client_map(values: list[int]) -> Any:
    from armoflow import task

    return task(give).map(values)
