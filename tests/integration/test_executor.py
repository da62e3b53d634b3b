"""A client as an executor of concurrent.futures: what that promises, on an engine."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import itertools
import operator
import time
import weakref
from collections.abc import Iterator

import pytest

from armoflow import Client
from armoflow.client.executor import ClientExecutor
from armoflow.errors import SignatureError
from tests.integration.engines import Up


def raise_it(error: Exception) -> None:
    raise error


def keywords(first: int, /, self: int, fn: int) -> tuple[int, int, int]:
    return first, self, fn


@pytest.fixture(scope="module")
def executor(engine: Up) -> Iterator[ClientExecutor]:
    with Client(engine.endpoint, workers=2) as client:
        yield client.executor()


def test_calls_are_submitted(executor: ClientExecutor) -> None:
    assert executor.submit(pow, 2, 8).result() == 256
    assert executor.submit(keywords, 1, self=2, fn=3).result() == (1, 2, 3)
    with pytest.raises(TypeError):
        executor.submit()  # type: ignore[call-arg]
    failed = executor.submit(raise_it, KeyError("k"))
    assert isinstance(failed.exception(), KeyError)


def test_maps_are_in_order_and_end_with_the_shortest(executor: ClientExecutor) -> None:
    assert list(executor.map(pow, range(10), range(10))) == list(map(pow, range(10), range(10)))
    assert list(executor.map(operator.add, [1, 2, 3], itertools.count(10))) == [11, 13, 15]
    assert list(executor.map(str, [])) == []
    assert list(executor.map(str, range(100), chunksize=7)) == list(map(str, range(100)))
    with pytest.raises(ValueError, match="chunksize must be an integer from 1 on, not 0"):
        executor.map(str, [1], chunksize=0)


def test_a_map_raises_where_the_first_fails(executor: ClientExecutor) -> None:
    values = executor.map(divmod, [1, 1, 1, 1], [2, 3, 0, 5])
    assert [next(values), next(values)] == [(0, 1), (0, 1)]
    with pytest.raises(ZeroDivisionError):
        next(values)
    with pytest.raises(StopIteration):
        next(values)


def test_a_map_that_takes_too_long_is_given_up(executor: ClientExecutor) -> None:
    values = executor.map(time.sleep, [0, 600], timeout=3.0)
    assert next(values) is None
    with pytest.raises(TimeoutError):
        next(values)


def test_nothing_is_kept_of_values_that_were_taken(executor: ClientExecutor) -> None:
    values: Iterator[set[int]] = executor.map(set, [(1,), (2,)])
    first = weakref.ref(next(values))
    gc.collect()
    assert first() is None
    assert next(values) == {2}


def test_its_futures_are_waited_for_as_others_are(executor: ClientExecutor) -> None:
    futures = [executor.submit(abs, number) for number in (-1, -2, -3)]
    done, not_done = concurrent.futures.wait(futures, timeout=60)
    assert len(done) == 3 and not not_done
    assert {future.result() for future in concurrent.futures.as_completed(futures)} == {1, 2, 3}

    async def in_a_loop() -> list[int]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(executor, abs, -n) for n in range(3)))

    assert asyncio.run(in_a_loop()) == [0, 1, 2]


def test_after_its_end_it_takes_nothing_and_the_client_goes_on(client: Client) -> None:
    with client.executor() as executor:
        future = executor.submit(pow, 3, 2)
    assert future.done() and future.result() == 9
    executor.shutdown()
    for refused in (lambda: executor.submit(pow, 2, 2), lambda: executor.map(abs, [1])):
        with pytest.raises(RuntimeError, match="after shutdown"):
            refused()
    assert client.submit(pow, 2, 2).result() == 4


def test_what_has_not_ended_may_be_cancelled_at_its_end(client: Client) -> None:
    executor = client.executor()
    futures = [executor.submit(time.sleep, 600) for _ in range(8)]
    executor.shutdown(cancel_futures=True)
    assert all(future.cancelled() for future in futures)
    executor = client.executor()
    running = executor.submit(abs, -1)
    executor.shutdown(wait=False)
    assert running.result() == 1


def test_what_a_map_waited_for_is_cancelled_when_it_is_given_up(client: Client) -> None:
    with client.executor() as executor:  # its end waits for what was submitted
        values = executor.map(time.sleep, [0, 600], timeout=3.0)
        with pytest.raises(TimeoutError):
            list(values)


def test_an_interrupt_cancels_what_was_submitted(client: Client) -> None:
    with pytest.raises(KeyboardInterrupt), client.executor() as executor:
        future = executor.submit(time.sleep, 600)
        raise KeyboardInterrupt
    assert future.cancelled()


def test_what_executors_take_elsewhere_is_told() -> None:
    with Client(local=True) as client:
        for named, told in (
            ({"max_workers": 4}, "the client has the workers"),
            (
                {"initializer": print},
                "write .* @worker_resource on a function for what a worker makes once",
            ),
            ({"mp_context": None}, "it takes no keyword arguments"),
        ):
            with pytest.raises(SignatureError, match=told):
                client.executor(**named)
        with pytest.raises(SignatureError, match="the client has the workers"):
            client.executor(4)
