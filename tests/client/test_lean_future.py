"""The future behaves as one of ``concurrent.futures``, however it is waited for."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import random
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from armoflow.client.lean_future import LeanFuture

Ending = Callable[[LeanFuture[int]], None]

ENDINGS: dict[str, Ending] = {
    "value": lambda future: future.set_result(42),
    "error": lambda future: future.set_exception(ValueError("wrong")),
    "cancelled": lambda future: future.end_cancelled(),
}


def outcome(future: concurrent.futures.Future[int]) -> Any:
    try:
        return future.result(30)
    except (ValueError, concurrent.futures.CancelledError) as error:
        return type(error)


EXPECTED = {
    "value": 42,
    "error": ValueError,
    "cancelled": concurrent.futures.CancelledError,
}


@pytest.fixture(params=ENDINGS)
def ending(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def elsewhere() -> Callable[[Callable[[], object]], None]:
    """Calls a function in another thread."""

    def call(function: Callable[[], object]) -> None:
        threading.Thread(target=function, daemon=True).start()

    return call


def test_it_ends_before_anybody_waits(ending: str) -> None:
    future = LeanFuture[int]()
    assert (future.done(), future.cancelled()) == (False, False)
    ENDINGS[ending](future)
    assert future.done()
    assert future.cancelled() is (ending == "cancelled")
    assert outcome(future) == EXPECTED[ending]


def test_it_ends_while_somebody_waits(ending: str, elsewhere: Any) -> None:
    future = LeanFuture[int]()
    elsewhere(lambda: ENDINGS[ending](future))
    assert outcome(future) == EXPECTED[ending]


def test_nobody_waits_longer_than_he_wants() -> None:
    with pytest.raises(concurrent.futures.TimeoutError):
        LeanFuture[int]().result(0.001)


def test_it_ends_once(ending: str) -> None:
    future = LeanFuture[int]()
    ENDINGS[ending](future)
    for again in ENDINGS.values():
        with pytest.raises(concurrent.futures.InvalidStateError):
            again(future)
    assert outcome(future) == EXPECTED[ending]


def test_callbacks_are_called_once_before_and_after_the_end(
    ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    future, called = LeanFuture[int](), list[str]()

    def fail(_: object) -> None:
        raise RuntimeError("a callback's own")

    future.add_done_callback(lambda _: called.append("first"))
    future.add_done_callback(fail)
    future.add_done_callback(lambda _: called.append("second"))
    assert called == []
    ENDINGS[ending](future)
    future.add_done_callback(lambda _: called.append("late"))
    assert called == ["first", "second", "late"]
    assert "a callback's own" in caplog.text


def test_callbacks_are_let_go() -> None:
    class Held:
        def call(self, _: object) -> None:
            return None

    future, held = LeanFuture[int](), Held()
    gone = weakref.ref(held)
    future.add_done_callback(held.call)
    del held
    assert gone() is not None
    future.set_result(1)
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    "until",
    [concurrent.futures.ALL_COMPLETED, concurrent.futures.FIRST_COMPLETED],
)
def test_wait_and_as_completed(ending: str, until: str, elsewhere: Any) -> None:
    futures = [LeanFuture[int]() for _ in range(10)]
    for future in futures[:3]:
        ENDINGS[ending](future)
    if until == concurrent.futures.ALL_COMPLETED:
        elsewhere(lambda: [ENDINGS[ending](future) for future in futures[3:]])
        done, left = concurrent.futures.wait(futures, 30, until)
        assert (len(done), len(left)) == (10, 0)
        return
    done, left = concurrent.futures.wait(futures, 30, until)
    assert (done, left) == (set(futures[:3]), set(futures[3:]))
    elsewhere(lambda: [ENDINGS[ending](future) for future in futures[3:]])
    ended = list(concurrent.futures.as_completed(futures, 30))
    assert set(ended) == set(futures)


def test_an_error_ends_a_wait_for_the_first_one() -> None:
    futures = [LeanFuture[int]() for _ in range(3)]
    ended = threading.Event()

    def wait() -> None:
        concurrent.futures.wait(futures, 30, concurrent.futures.FIRST_EXCEPTION)
        ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    futures[0].set_result(1)
    futures[1].set_exception(ValueError())
    thread.join(30)
    assert ended.is_set() and not futures[2].done()


def test_it_is_awaited(ending: str, elsewhere: Any) -> None:
    future = LeanFuture[int]()

    async def wait() -> Any:
        wrapped = asyncio.wrap_future(future)
        elsewhere(lambda: ENDINGS[ending](future))
        try:
            return await wrapped
        except (ValueError, asyncio.CancelledError) as error:
            return type(error)

    expected = asyncio.CancelledError if ending == "cancelled" else EXPECTED[ending]
    assert asyncio.run(wait()) == expected


@pytest.mark.parametrize("seed", range(5))
def test_whoever_comes_while_it_ends_is_told_once(seed: int) -> None:
    """Threads that wait in every way, and one that ends the futures, all at once."""
    chance = random.Random(seed)
    futures = [LeanFuture[int]() for _ in range(300)]
    told = [list[int]() for _ in futures]
    start = threading.Barrier(5)
    waited: list[int] = []

    def end() -> None:
        start.wait()
        for number, future in enumerate(futures):
            future.set_result(number)

    def call_back() -> None:
        start.wait()
        for future, calls in zip(futures, told, strict=True):
            future.add_done_callback(lambda done, calls=calls: calls.append(done.result()))  # type: ignore[misc]

    def wait_for_each() -> None:
        start.wait()
        waited.extend(future.result(30) for future in futures)

    def wait_for_all() -> None:
        start.wait()
        some = chance.sample(futures, 200)
        done, left = concurrent.futures.wait(some, 30)
        assert not left
        waited.append(len(done))

    def in_turn() -> None:
        start.wait()
        waited.append(len(list(concurrent.futures.as_completed(futures, 30))))

    doing = [end, call_back, wait_for_each, wait_for_all, in_turn]
    threads = [threading.Thread(target=one) for one in doing]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert told == [[number] for number in range(300)]
    assert sorted(waited) == sorted([*range(300), 200, 300])
