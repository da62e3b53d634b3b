"""Tasks that are coroutine functions, and clients and futures in coroutines."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import armoflow
from armoflow import AsyncClient, Client, current_task, items, task
from armoflow.client import async_client
from armoflow.errors import (
    ClientClosedError,
    GraphError,
    OptionError,
    RemoteTraceback,
    SignatureError,
    TaskTimeoutError,
)
from tests.integration.engines import Up


@task
async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


@task
async def is_even(number: int) -> bool:
    return (await asyncio.gather(asyncio.sleep(0, number % 2)))[0] == 0


@task
async def add(first: int, second: int) -> int:
    await asyncio.sleep(0)
    return first + second


@task
async def grows(number: int) -> Any:
    return add(double(number), 1)


@task(outputs=2)
async def parts(number: int) -> tuple[int, int]:
    return divmod(number, 10)


@task(retries=1, backoff=0)
async def second_time() -> int:
    if current_task().attempt == 1:
        raise OSError("the first time")
    return current_task().attempt


@task
async def slip() -> None:
    raise ValueError("slipped")


@task
async def hang(file: Path) -> None:
    file.touch()
    await asyncio.Event().wait()


@task
def wait_for(file: Path) -> None:
    while not file.exists():
        pass


class Doubler:
    async def __call__(self, number: int) -> int:
        return 2 * number


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any) -> Any:
        return function(*args)

    return call


def run(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(main)


@pytest.fixture(scope="module", params=["local", "engine"])
def client(request: pytest.FixtureRequest, engine: Up) -> Iterator[Client]:
    if request.param == "engine":
        with Client(engine.endpoint, workers=2) as connected:
            yield connected
    else:
        with Client(local=True) as here:
            yield here


GRAPHS: dict[str, tuple[Callable[[], Any], Any]] = {
    "call": (lambda: double(double(1)), 4),
    "map": (lambda: double.map(range(5)), [0, 2, 4, 6, 8]),
    "filter": (lambda: items(range(6)).filter(is_even), [0, 2, 4]),
    "reduce": (lambda: double.map(range(5)).reduce(add), 20),
    "fold": (lambda: items(range(5)).fold(add), 10),
    "returned graph": (lambda: grows(3), 7),
    "outputs": (lambda: list(parts(42)), [4, 2]),
    "retries": (second_time, 2),
    "partial": (lambda: task(functools.partial(add.function, 1))(2), 3),
    "object": (lambda: task(Doubler())(2), 4),
    "wrapped": (lambda: task(wrapped(double.function))(2), 4),
}


@pytest.mark.parametrize("graph", GRAPHS)
def test_coroutine_functions_are_tasks(client: Client, graph: str) -> None:
    make, expected = GRAPHS[graph]
    assert client.compute(make()) == expected


def test_they_fail_as_others_do(client: Client) -> None:
    with pytest.raises(ValueError, match="slipped") as raised:
        client.compute(slip())
    assert isinstance(raised.value.__cause__, RemoteTraceback)
    assert 'raise ValueError("slipped")' in raised.value.__cause__.traceback


@pytest.mark.parametrize("kind", [TimeoutError, concurrent.futures.InvalidStateError])
def test_who_awaits_is_told_where_it_was(client: Client, kind: type[Exception]) -> None:
    """Asyncio makes new exceptions of these types, which say nothing but their arguments."""

    @task
    def late() -> None:
        raise kind("too late")

    async def ask() -> Any:
        return await client.submit(late())

    with pytest.raises(kind, match="too late") as raised:
        run(ask())
    assert isinstance(raised.value.__cause__, RemoteTraceback)
    assert raised.value.__cause__.node == "late"


def test_one_that_takes_too_long_is_ended(engine: Up, tmp_path: Path) -> None:
    with Client(engine.endpoint, workers=2) as client, pytest.raises(TaskTimeoutError):
        client.compute(hang.with_options(timeout=0.3)(tmp_path / "began"))


def test_local_gives_the_coroutine() -> None:
    assert run(double.local(4)) == 8


# --- clients and futures in coroutines ------------------------------------------------------------


@pytest.fixture(params=["local", "engine"])
def opened(request: pytest.FixtureRequest, engine: Up) -> Any:
    """Opens a client."""

    @asynccontextmanager
    async def opening() -> AsyncIterator[AsyncClient]:
        arguments: dict[str, Any] = {"local": True}
        if request.param == "engine":
            arguments = {"endpoint": engine.endpoint, "workers": 2}
        async with AsyncClient(**arguments) as client:
            yield client

    return opening


def test_all_that_a_client_does_is_awaited(opened: Any) -> None:
    async def main() -> None:
        async with opened() as client:
            assert await client.compute(double(2), [double.map([1, 2])]) == (4, [[2, 4]])
            assert await client.compute(7) == 7
            assert await (await client.submit(double, 3)) == 6
            assert await client.gather(await client.map(double, [1, 2])) == [2, 4]
            assert await client.gather({"a": await client.submit(double, 1)}) == {"a": 2}
            reference = await client.put(5)
            assert await client.compute(double(reference)) == 10
            with pytest.raises(ValueError, match="slipped"):
                await client.compute(slip())
            (error,) = await client.compute([slip()], return_exceptions=True)
            assert isinstance(error, ValueError)

    run(main())


def test_what_was_not_awaited_says_so(opened: Any) -> None:
    async def main() -> None:
        async with opened() as client:
            calls: dict[str, tuple[Any, ...]] = {
                **dict.fromkeys(("compute", "submit", "explain", "plan"), (double(1),)),
                **dict.fromkeys(("attach", "resume", "refer", "get", "forget", "put"), ("name",)),
                **{"map": (double, [1]), "gather": ([],), "detach": ()},
            }
            for name, arguments in calls.items():
                words = rf"awaited before it has 'result': write \(await client\.{name}\(\.\.\.\)\)"
                with pytest.raises(AttributeError, match=words):
                    print(getattr(client, name)(*arguments).result)
            with pytest.raises(TypeError, match=r"has \[0\]: write \(await client\.map\("):
                print(client.map(double, [1])[0])
            with pytest.raises(TypeError, match=r"is gone over: write await client\.map\("):
                print(*client.map(double, [1]))

    run(main())


def test_futures_are_iterated_as_they_end(opened: Any) -> None:
    async def main() -> None:
        async with opened() as client:
            futures = await client.map(double, range(5))
            found = [await future async for future in client.as_completed(futures)]
            assert sorted(found) == [0, 2, 4, 6, 8]
            lazy = double.map(range(5))
            found = [future.result() async for future in client.as_completed(lazy)]
            assert sorted(found) == [0, 2, 4, 6, 8]

    run(main())


def test_an_endless_collection_is_left_early(opened: Any) -> None:
    async def main() -> None:
        async with opened() as client:
            found = []
            async for future in client.as_completed(double.map(itertools.count())):
                found.append(future.result())
                if len(found) == 10:
                    break
            assert len(set(found)) == 10

    run(main())


def test_blocks_of_options_hold(opened: Any) -> None:
    async def main() -> None:
        async with opened() as client:
            with armoflow.options(retries=1, backoff=0):
                assert await client.compute(second_time.with_options(name="other")()) == 2

    run(main())


def test_futures_are_waited_for_as_asyncios(engine: Up) -> None:
    async def main() -> None:
        async with AsyncClient(engine.endpoint, workers=2) as client:
            futures = await client.map(double, range(4))
            done, left = await asyncio.wait(futures)
            assert (len(done), len(left)) == (4, 0)
            assert await asyncio.gather(*futures) == [0, 2, 4, 6]
            assert await asyncio.wait_for(await client.submit(double, 1), 60) == 2

    run(main())


def test_a_callback_given_in_a_coroutine_is_called_in_its_loop(engine: Up) -> None:
    async def main() -> None:
        async with AsyncClient(engine.endpoint, workers=2) as client:
            called = asyncio.get_running_loop().create_future()
            future = await client.submit(double, 1)
            future.add_done_callback(lambda done: called.set_result(asyncio.get_running_loop()))
            assert await called is asyncio.get_running_loop()

    run(main())


@pytest.mark.parametrize("wait", ["compute", "future", "wait_for", "timeout"])
def test_who_is_cancelled_cancels_what_he_waits_for(engine: Up, tmp_path: Path, wait: str) -> None:
    began = tmp_path / "began"

    async def waiting(client: AsyncClient) -> Any:
        if wait == "compute":
            return await client.compute(hang(began))
        if wait == "timeout":
            return await client.compute(hang(began), timeout=0.5)
        future = await client.submit(hang, began)
        return await (asyncio.wait_for(future, 0.5) if wait == "wait_for" else future)

    async def main() -> None:
        async with AsyncClient(engine.endpoint, workers=1) as client:
            waiter = asyncio.ensure_future(waiting(client))
            if wait in ("compute", "future"):
                await client.compute(wait_for(began))
                waiter.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiter
            else:
                with pytest.raises((asyncio.TimeoutError, concurrent.futures.TimeoutError)):
                    await waiter
            # Both workers are free again.
            assert await client.gather(await client.map(double, range(4))) == [0, 2, 4, 6]

    run(main())


def test_who_waits_for_what_is_cancelled_is_told(engine: Up, tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncClient(engine.endpoint, workers=2) as client:
            future = await client.submit(hang, tmp_path / "began")
            waiter: Awaitable[Any] = asyncio.ensure_future(_value(future))
            await asyncio.sleep(0)
            assert future.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiter

    run(main())


async def _value(future: Any) -> Any:
    return await future


def test_an_iteration_that_is_cancelled_cancels_its_collection(engine: Up, tmp_path: Path) -> None:
    began = tmp_path / "began"

    async def main() -> None:
        async with AsyncClient(engine.endpoint, workers=2) as client:

            async def iterate() -> None:
                async for _ in client.as_completed(hang.map([began])):
                    raise AssertionError

            iterating = asyncio.ensure_future(iterate())
            await client.compute(wait_for(began))
            iterating.cancel()
            with pytest.raises(asyncio.CancelledError):
                await iterating
            assert await client.compute(double.map(range(4))) == [0, 2, 4, 6]

    run(main())


def test_what_is_written_to_other_clients_is_told() -> None:
    """As a Client tells it; and what was not awaited."""

    async def write() -> None:
        async with AsyncClient(local=True) as client:
            asked: Any = client
            for name, says in (
                ("scatter", r"write client\.put\(value\); the calls of an AsyncClient are awaited"),
                ("visualize", r"write client\.client\.visualize"),
                ("strange", "an AsyncClient has no attribute 'strange'$"),
            ):
                with pytest.raises(AttributeError, match=says):
                    getattr(asked, name)
            for call, says in (
                (lambda: asked.compute(double(1), n_jobs=2), r"Client\(workers=\.\.\.\)"),
                (lambda: asked.gather([], errors="skip"), "return_exceptions=True"),
                (lambda: asked.put(1, "name"), r"write name=\.\.\."),
                (lambda: asked.forget("a", "b"), "one name"),
            ):
                with pytest.raises(SignatureError, match=says):
                    await call()
            with pytest.raises(SignatureError, match=r"future\.result\(\)"):
                asked.as_completed([], with_results=True)
            for use in (asked.get, lambda waited: asked.gather([waited])):
                waited = asked.submit(double(1))
                with pytest.raises((GraphError, OptionError), match="await it first"):
                    await use(waited)
                waited.close()

    asyncio.run(write())


def test_who_is_cancelled_while_a_client_opens_leaves_none(
    engine: Up, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    class Noted(Client):
        def __init__(self, **arguments: Any) -> None:
            super().__init__(**arguments)
            opened.append(self)

    monkeypatch.setattr(async_client, "Client", Noted)

    async def main() -> None:
        opening = asyncio.ensure_future(AsyncClient(engine.endpoint).__aenter__())
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening

    asyncio.run(main())
    (client,) = opened
    with pytest.raises(ClientClosedError):
        client.submit(double(1))


def test_a_client_has_to_be_opened() -> None:
    async def main() -> None:
        with pytest.raises(ClientClosedError, match="async with"):
            await AsyncClient(local=True).compute(double(1))
        with pytest.raises(OptionError, match="did you mean 'retries'"):
            async with AsyncClient(local=True, retrys=1):
                pass
        async with AsyncClient(local=True) as client:
            pass
        with pytest.raises(ClientClosedError, match="closed"):
            await client.compute(double(1))

    run(main())


def test_named_runs_are_asked_about_and_attached_to(engine: Up) -> None:
    async def run() -> tuple[int, int, str]:
        async with AsyncClient(engine.endpoint, workers=2) as client:
            graph = task(abs)(-5)
            await (await client.submit(graph, name="awaited"))
            attached = await client.attach("awaited")
            estimate = await client.plan(graph)
            return await attached, estimate.tasks[0].calls, str(await client.explain(graph))

    value, calls, told = asyncio.run(run())

    assert (value, calls) == (5, 1)
    assert told.startswith("abs: 1 not cached")


@pytest.mark.filterwarnings("error")
def test_a_call_that_is_not_awaited_says_so() -> None:
    async def forget() -> None:
        async with AsyncClient(local=True) as client:
            for name in ("download", "result", "cancel"):
                told = rf"write \(await client\.submit\(\.\.\.\)\)\.{name}$"
                with pytest.raises(AttributeError, match=told):
                    getattr(client.submit(double(1)), name)
            with pytest.raises(AttributeError, match=r"\(await client\.resume\(\.\.\.\)\)\.result"):
                client.resume("run").result()  # type: ignore[attr-defined]
            call = client.submit(double(2))
            assert "submit that is not awaited" in repr(call)
            assert asyncio.iscoroutine(call)
            started = asyncio.create_task(call)
            one, other = await asyncio.gather(started, client.submit(double, 3))
            assert (await one, await other) == (4, 6)

    asyncio.run(forget())
