"""Futures: waiting, cancelling, iterating, many threads, Ctrl-C; on real engines."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from armoflow import Client, Future, items, task
from armoflow import config as settings
from armoflow.errors import ClientClosedError, GraphError
from tests.integration.engines import Up, alive

PATIENCE = 60.0


@task
def inc(number: int) -> int:
    return number + 1


@task
def add(first: Any, second: Any) -> Any:
    return first + second


@task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@task
def boom(message: str = "boom") -> Any:
    raise ValueError(message)


@task(batch_size=1)
def hold(place: Path, name: Any, result: Any = None) -> Any:
    """Say that it runs, then wait until the test lets everyone go."""
    place.joinpath(f"{name}.starting").write_text(str(os.getpid()))
    place.joinpath(f"{name}.starting").rename(place / f"{name}.started")
    while not place.joinpath("go").exists():
        time.sleep(0.005)
    place.joinpath(f"{name}.ended").touch()
    return result


def wait_for(condition: Callable[[], Any], what: str) -> None:
    """Wait until something is so; only so long that a broken test ends."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def started(place: Path, name: Any) -> int:
    """Wait until a held task runs; its process id."""
    file = place / f"{name}.started"
    wait_for(file.exists, f"{name} does not start")
    return int(file.read_text())


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Where held tasks say that they run; they are let go at the end."""
    yield tmp_path
    tmp_path.joinpath("go").touch()


# --- waiting --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [TimeoutError, concurrent.futures.TimeoutError, asyncio.TimeoutError]
)
def test_who_waits_in_vain_may_call_that_by_any_of_its_names(
    client: Client, place: Path, kind: type[Exception]
) -> None:
    """They are one type from Python 3.11 on."""
    future = client.submit(hold(place, "one"))
    with pytest.raises(kind):
        future.result(timeout=0.05)
    with pytest.raises(kind):
        client.compute(hold(place, "two"), timeout=0.05)
    with pytest.raises(kind):
        next(client.as_completed([future], timeout=0.05))


def test_the_states_of_a_future(client: Client, place: Path) -> None:
    future = client.submit(hold(place, "one", 5))
    started(place, "one")
    assert (future.done(), future.running(), future.cancelled()) == (False, True, False)
    for wait in (future.result, future.exception):
        with pytest.raises(concurrent.futures.TimeoutError, match=r"'hold' .* within 0\.05 s"):
            wait(timeout=0.05)
    assert "running" in repr(future)
    place.joinpath("go").touch()
    assert future.result(timeout=PATIENCE) == 5
    assert future.exception() is None
    assert (future.done(), future.running(), future.cancelled()) == (True, False, False)
    assert repr(future) == "<Future hold done>"


def test_collections_have_a_future_too(client: Client) -> None:
    future = client.submit(inc.map(range(5)))
    assert future.result() == [1, 2, 3, 4, 5]
    failed = client.submit(add.map([1, "a"], second=1))
    assert isinstance(failed.exception(), TypeError)
    with pytest.raises(TypeError):
        failed.result()


def test_submit_takes_lazy_values_and_functions_only(client: Client) -> None:
    for wrong in (5, [inc(1)], None):
        with pytest.raises(GraphError, match="submit"):
            client.submit(wrong)  # type: ignore[call-overload]
    for lazy in (inc(1), [inc(1)], [5]):
        with pytest.raises(GraphError, match="waits for futures"):
            client.gather(lazy)
        with pytest.raises(GraphError, match=r"waits for futures|lazy"):
            list(client.as_completed(lazy))  # type: ignore[arg-type]


def test_the_functions_of_concurrent_futures(client: Client, place: Path) -> None:
    held = client.submit(hold(place, "held"))
    quick = [client.submit(inc(number)) for number in range(5)]
    done, waiting = concurrent.futures.wait(
        [*quick, held], timeout=PATIENCE, return_when=concurrent.futures.FIRST_COMPLETED
    )
    assert done and held in waiting
    assert {future.result() for future in concurrent.futures.as_completed(quick, PATIENCE)} == {
        *range(1, 6)
    }
    place.joinpath("go").touch()
    assert concurrent.futures.wait([held, *quick], timeout=PATIENCE).not_done == set()
    failed = client.submit(boom())
    done, _ = concurrent.futures.wait(
        [failed], timeout=PATIENCE, return_when=concurrent.futures.FIRST_EXCEPTION
    )
    assert done == {failed}


def test_futures_can_be_awaited(client: Client, place: Path) -> None:
    async def main() -> None:
        first, second = client.submit(inc(1)), client.submit(inc.map(range(3)))
        assert await first == 2
        assert await first == 2
        assert list(await asyncio.gather(first, second)) == [2, [1, 2, 3]]
        with pytest.raises(ValueError, match="boom"):
            await client.submit(boom())
        held = client.submit(hold(place, "held"))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(held, 0.05)
        assert held.cancelled()

    asyncio.run(main())


def test_gather(client: Client) -> None:
    futures = [client.submit(inc(number)) for number in range(3)]
    assert client.gather(futures[0]) == 1
    assert client.gather(futures) == [1, 2, 3]
    assert client.gather(iter(futures)) == [1, 2, 3]
    assert client.gather([futures[:2], [futures[2], []]]) == [[1, 2], [3, []]]
    assert client.gather([]) == []
    failed = client.submit(boom())
    with pytest.raises(ValueError, match="boom"):
        client.gather([futures, failed])
    values = client.gather([futures, failed], return_exceptions=True)
    assert values[0] == [1, 2, 3]
    assert isinstance(values[1], ValueError)


def test_map(client: Client) -> None:
    futures = client.map(add, range(4), iter([10, 20, 30]))
    assert client.gather(futures) == [10, 21, 32]
    assert client.gather(client.map(inc, [])) == []
    assert client.gather(client.map(lambda a, b: a * b, [1, 2], b=5)) == [5, 10]
    assert client.gather(client.map(inc, inc.map(range(3)))) == [2, 3, 4]

    @task(outputs=2)
    def both(number: int) -> tuple[int, int]:
        return number, -number

    assert client.gather(client.map(both, [1, 2])) == [(1, -1), (2, -2)]


# --- callbacks ------------------------------------------------------------------------------------


def test_callbacks(client: Client, place: Path, caplog: pytest.LogCaptureFixture) -> None:
    called: list[Any] = []
    ended = threading.Event()

    def fails(future: Any) -> None:
        called.append("fails")
        raise RuntimeError("a bad callback")

    def submits(future: Any) -> None:
        # It may wait for others, and cancel them, without holding up the client.
        called.append(client.submit(inc(future.result())).result())
        called.append(client.compute(inc(100)))
        client.submit(hold(place, "other")).cancel()
        ended.set()

    future = client.submit(hold(place, "held", 5))
    future.add_done_callback(called.append)
    future.add_done_callback(fails)
    future.add_done_callback(submits)
    assert called == []
    place.joinpath("go").touch()
    assert ended.wait(PATIENCE)
    assert called == [future, "fails", 6, 101]
    assert "a bad callback" in caplog.text
    future.add_done_callback(called.append)
    assert called[-1] is future  # done already: at once


def test_a_cancelled_future_calls_back(client: Client, place: Path) -> None:
    called = threading.Event()
    future = client.submit(hold(place, "held"))
    future.add_done_callback(lambda _: called.set())
    assert future.cancel()
    assert called.wait(PATIENCE)


# --- arguments ------------------------------------------------------------------------------------


def test_futures_as_arguments(client: Client, place: Path) -> None:
    held = client.submit(hold(place, "held", 5))
    many = client.submit(inc.map(range(3)))
    wants = client.submit(add(inc(held), second=total(many)))
    inside = client.submit(total([held, 1]))
    mapped = client.map(add, [held, many.result()[0]], second=held)
    assert not wants.done()
    place.joinpath("go").touch()
    assert wants.result() == 12
    assert inside.result() == 6
    assert client.gather(mapped) == [10, 6]
    local = client.submit(items([1, 2, 3]))
    assert client.compute(total(local)) == 6
    assert client.compute(items([held, inc(1), 7]), items([held])[0]) == ([5, 2, 7], 5)


def test_put(client: Client) -> None:
    stored = client.put(list(range(5)))
    assert client.compute(total(stored), total([1, 2])) == (10, 3)
    assert client.compute(add.map([1, 2], second=client.put(10))) == [11, 12]
    assert client.compute(add([stored], [])) == [list(range(5))]
    with pytest.raises(Exception, match="put reference cannot be pickled"):
        client.compute(task(lambda: stored)())


# --- cancelling -----------------------------------------------------------------------------------


def test_cancelling_what_was_not_planned(client: Client) -> None:
    release = threading.Event()
    ended = threading.Event()
    ran: list[int] = []

    def numbers() -> Iterator[int]:
        try:
            release.wait(PATIENCE)
            for number in range(1000):
                ran.append(number)
                yield number
        finally:
            ended.set()

    future = client.submit(inc.map(numbers()))
    assert future.cancel()
    assert future.cancelled()
    with pytest.raises(concurrent.futures.CancelledError, match=r"^'inc' was cancelled$"):
        future.result()
    release.set()
    assert client.compute(inc(1)) == 2
    del future
    assert ended.wait(PATIENCE)
    assert len(ran) <= 1


def test_cancelling_what_is_queued(client: Client, place: Path) -> None:
    running = [client.submit(hold(place, name, name)) for name in range(2)]
    for name in range(2):
        started(place, name)
    queued = client.submit(hold(place, "queued"))
    after = client.submit(hold(place, "after", "after"))
    assert queued.cancel()
    assert queued.cancel()  # again is no error
    assert queued.done()
    place.joinpath("go").touch()
    assert client.gather(running) == [0, 1]
    assert after.result() == "after"
    assert not place.joinpath("queued.started").exists()


def test_cancelling_what_runs(client: Client, place: Path, engine: Up) -> None:
    future = client.submit(add(hold(place, "doomed"), 1))
    others = client.submit(inc.map(range(100)))
    pid = started(place, "doomed")
    assert future.cancel()
    assert others.result() == list(range(1, 101))
    if "batch" in client.extensions:  # elsewhere it goes on, and what it gives is dropped
        wait_for(lambda: not alive(pid), "the process of a cancelled task lives on")
        assert not place.joinpath("doomed.ended").exists()
        # Its seat is used again: both run at once.
        both = [client.submit(hold(place, name, name)) for name in range(2)]
        assert len({started(place, name) for name in range(2)}) == 2
        place.joinpath("go").touch()
        assert client.gather(both) == [0, 1]


def test_what_is_done_is_not_cancelled(client: Client) -> None:
    future = client.submit(inc(1))
    assert future.result() == 2
    assert not future.cancel()
    assert not future.cancelled()


def test_what_another_future_needs_is_not_cancelled(client: Client, place: Path) -> None:
    needed = client.submit(hold(place, "needed", 5))
    other = client.submit(inc(needed))
    deep = client.submit(total([1, needed]))
    assert not needed.cancel()
    assert other.cancel()
    assert not needed.cancel()
    place.joinpath("go").touch()
    assert deep.result() == 6
    with pytest.raises(concurrent.futures.CancelledError):
        other.result()


def test_a_future_is_free_when_nobody_needs_it_any_more(client: Client, place: Path) -> None:
    needed = client.submit(hold(place, "needed"))
    other = client.submit(inc(needed))
    assert other.cancel()
    assert needed.cancel()


def test_what_needs_a_cancelled_future_is_cancelled(client: Client, place: Path) -> None:
    needed = client.submit(hold(place, "needed"))
    assert needed.cancel()
    other = client.submit(inc(needed))
    with pytest.raises(concurrent.futures.CancelledError):
        other.result()
    assert other.cancelled()


def test_cancelling_one_of_many(client: Client, place: Path) -> None:
    futures = client.map(hold, [place] * 4, range(4), range(4))
    running = [name for name in range(4) if _starts(place, name, 2)]
    victim = running[0]
    assert futures[victim].cancel()
    place.joinpath("go").touch()
    for name, future in enumerate(futures):
        if name != victim:
            assert future.result() == name
    assert futures[victim].cancelled()


def _starts(place: Path, name: int, most: int) -> bool:
    wait_for(lambda: len(list(place.glob("*.started"))) >= most, "nothing starts")
    return place.joinpath(f"{name}.started").exists()


def test_cancelling_an_item_of_a_batch_leaves_the_others(client: Client, place: Path) -> None:
    batch = hold.with_options(batch_size=3)
    futures = client.map(batch, [place] * 3, range(3), range(3))
    started(place, 0)
    assert futures[1].cancel()
    place.joinpath("go").touch()
    assert (futures[0].result(), futures[2].result()) == (0, 2)


def test_cancelling_all_items_of_a_batch(client: Client, place: Path) -> None:
    futures = client.map(hold.with_options(batch_size=3), [place] * 3, range(3))
    pid = started(place, 0)
    assert all(future.cancel() for future in futures)
    if "batch" in client.extensions:
        wait_for(lambda: not alive(pid), "the process of a cancelled batch lives on")
    assert client.compute(inc(1)) == 2


def test_shared_inputs_of_cancelled_items_stay(client: Client, place: Path) -> None:
    shared = hold(place, "shared", 1)
    futures = client.map(add, [1, 2], second=shared)
    started(place, "shared")
    assert futures[0].cancel()
    place.joinpath("go").touch()
    assert futures[1].result() == 3


def test_closing_a_client_cancels_its_futures(engine: Up, place: Path) -> None:
    client = Client(engine.endpoint)
    kills = "batch" in client.extensions
    held = client.submit(hold(place, "held"))
    waiting = client.submit(inc(held))
    pid = started(place, "held")
    client.close()
    for future in (held, waiting):
        assert future.cancelled()
        with pytest.raises(concurrent.futures.CancelledError, match="when its client was closed"):
            future.result()
        assert future.cancel()
    if kills:
        wait_for(lambda: not alive(pid), "the process of a closed client's task lives on")


def test_closing_a_client_while_others_use_it(engine: Up) -> None:
    for _ in range(3):
        client = Client(engine.endpoint)
        computed = threading.Event()
        ended: list[BaseException] = []

        def work(client: Client = client, computed: Any = computed, ended: Any = ended) -> None:
            try:
                while True:
                    assert client.compute(inc.map(range(3))) == [1, 2, 3]
                    assert client.submit(inc(1)).result() == 2
                    computed.set()
            except (ClientClosedError, concurrent.futures.CancelledError) as error:
                ended.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        assert computed.wait(PATIENCE)
        client.close()
        for thread in threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        assert len(ended) == 4


# --- iterating ------------------------------------------------------------------------------------


def test_as_completed_over_futures(client: Client, place: Path) -> None:
    held = client.submit(hold(place, "held", 0))
    quick = client.map(inc, range(4))
    completed = client.as_completed([held, *quick], timeout=PATIENCE)
    assert {next(completed) for _ in range(4)} == set(quick)
    place.joinpath("go").touch()
    assert list(completed) == [held]
    never = client.submit(hold(place.parent, "never"))
    with pytest.raises(concurrent.futures.TimeoutError):
        list(client.as_completed([never], timeout=0.05))
    assert never.cancel()


def test_as_completed_over_a_collection(client: Client) -> None:
    futures = list(client.as_completed(inc.map(range(100))))
    assert sorted(future.result() for future in futures) == list(range(1, 101))
    odd = client.as_completed(items(range(10)).filter(lambda number: number % 2))
    assert sorted(future.result() for future in odd) == [1, 3, 5, 7, 9]
    assert list(client.as_completed(inc.map([]))) == []
    local: list[Any] = [future.result() for future in client.as_completed(items([1, inc(1)]))]
    assert sorted(local) == [1, 2]


def test_as_completed_over_a_collection_with_failures(client: Client) -> None:
    futures = list(client.as_completed(add.map([1, "a", 2], second=1)))
    problems = [future.exception() for future in futures]
    assert sorted(type(problem).__name__ for problem in problems) == [
        "NoneType",
        "NoneType",
        "TypeError",
    ]


def test_as_completed_over_an_iterator_that_raises(client: Client) -> None:
    def numbers() -> Iterator[int]:
        yield from range(3)
        raise OSError("the disk is gone")

    seen: list[int] = []
    completed = client.as_completed(inc.map(numbers()))
    with pytest.raises(OSError, match="the disk is gone"):
        seen.extend(future.result() for future in completed)
    assert sorted(seen) == [1, 2, 3]


def test_as_completed_in_time(client: Client, place: Path) -> None:
    with pytest.raises(concurrent.futures.TimeoutError):
        list(client.as_completed(hold.map([place], ["never"]), timeout=0.05))


def test_an_endless_collection_is_read_as_far_as_it_is_used(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "ITERATION_WINDOW", 200)
    read = 0
    closed = threading.Event()

    def numbers() -> Iterator[int]:
        nonlocal read
        try:
            for number in itertools.count():
                read = number
                yield number
        finally:
            closed.set()

    taken = set()
    completed = client.as_completed(inc.with_options(batch_size=10).map(numbers()))
    for future in completed:
        taken.add(future.result())
        if len(taken) == 500:
            break
    assert len(taken) == 500
    assert read < 1000
    del completed
    gc.collect()
    assert closed.wait(PATIENCE)
    assert client.compute(inc(1)) == 2


def test_leaving_an_endless_collection_kills_what_runs(client: Client, place: Path) -> None:
    completed = client.as_completed(hold.map(itertools.repeat(place), itertools.count()))
    first = threading.Thread(target=lambda: next(completed, None), daemon=True)
    place.joinpath("go").touch()
    first.start()
    first.join(PATIENCE)
    place.joinpath("go").unlink()
    seen = {file.name for file in place.glob("*.ended")}
    assert seen
    wait_for(lambda: len(_held(place)) >= 2, "nothing more starts")
    completed.close()  # type: ignore[attr-defined]  # what leaving a loop does
    if "batch" in client.extensions:
        # What ended by itself has left its process, which others may have.
        wait_for(lambda: not any(map(alive, _held(place))), "a task of a left iteration lives on")
    place.joinpath("go").touch()
    assert client.compute(inc(1)) == 2


def _held(place: Path) -> set[int]:
    """The processes of tasks that have started and not ended."""
    return {
        int(file.read_text())
        for file in place.glob("*.started")
        if not file.with_suffix(".ended").exists()
    }


def test_an_iteration_that_is_never_begun_starts_nothing(client: Client, place: Path) -> None:
    completed = client.as_completed(hold.map([place], ["unused"]))
    del completed
    assert client.compute(inc(1)) == 2
    assert not place.joinpath("unused.started").exists()


# --- letting go -----------------------------------------------------------------------------------


def test_a_dropped_future_runs_on_and_is_freed(client: Client, place: Path) -> None:
    freed: list[str] = []
    transport: Any = client._backend._orchestrator.transport  # type: ignore[attr-defined]
    delete = transport.delete

    async def record(session_id: str, result_ids: Any) -> None:
        await delete(session_id, result_ids)
        freed.extend(result_ids)

    transport.delete = record
    future: Future[Any] | None = client.submit(hold(place, "dropped", 5))
    gone = weakref.ref(future)
    started(place, "dropped")
    del future
    place.joinpath("go").touch()
    wait_for(place.joinpath("dropped.ended").exists, "a dropped future's task does not end")
    wait_for(lambda: gc.collect() + 1 and gone() is None, "a dropped future is kept")
    wait_for(lambda: freed, "the data of a dropped future is kept")


# --- threads --------------------------------------------------------------------------------------


def test_many_threads_use_one_client(client: Client) -> None:
    def work(number: int) -> int:
        computed: int = client.compute(inc.map(range(number, number + 5)).reduce(add))
        future = client.submit(add(inc(number), client.put(number)))
        with pytest.raises(ValueError, match=f"boom {number}"):
            client.compute(boom(f"boom {number}"))
        return computed - int(future.result())

    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        results = list(threads.map(work, range(32), timeout=PATIENCE))
    assert results == [sum(range(n + 1, n + 6)) - (2 * n + 1) for n in range(32)]


def test_several_clients_in_one_process(engine: Up) -> None:
    with Client(engine.endpoint) as one, Client(engine.endpoint) as two:
        futures = [one.submit(inc(1)), two.submit(inc(2))]
        assert one.gather(futures) == [2, 3]
    with Client(engine.endpoint) as three:
        assert three.compute(inc(3)) == 4


# --- Ctrl-C ---------------------------------------------------------------------------------------


def interrupt_when(condition: Callable[[], Any]) -> threading.Thread:
    """Press Ctrl-C as soon as something is so."""
    main = threading.main_thread().ident
    assert main is not None

    def watch() -> None:
        wait_for(condition, "what Ctrl-C waits for does not happen")
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_ctrl_c_in_compute(client: Client, place: Path) -> None:
    stored, earlier = client.put(40), client.submit(inc(1))
    earlier.result()
    large = bytes(100_000)
    big = task(lambda: len(large))
    assert client.compute(big()) == 100_000
    other = client.submit(inc(hold(place, "other")))
    other_pid = started(place, "other")
    thread = interrupt_when(place.joinpath("held.started").exists)
    with pytest.raises(KeyboardInterrupt):
        client.compute(inc(hold(place, "held")))
    thread.join()
    assert other.cancelled()  # the whole session is
    if "batch" in client.extensions:
        for pid in (other_pid, started(place, "held")):
            wait_for(lambda pid=pid: not alive(pid), "an interrupted task lives on")  # type: ignore[misc]
    # The next call opens another session; what was put went with the first.
    place.joinpath("go").touch()
    assert client.compute(inc(1), big()) == (2, 100_000)
    assert client.compute(add(earlier, 1)) == 3
    with pytest.raises(GraphError, match="put the value again"):
        client.compute(inc(stored))
    assert client.compute(inc(client.put(1))) == 2


def test_ctrl_c_while_an_iterator_waits(client: Client) -> None:
    reading, release = threading.Event(), threading.Event()

    def numbers() -> Iterator[int]:
        reading.set()
        release.wait(PATIENCE)
        yield 1

    thread = interrupt_when(reading.is_set)
    with pytest.raises(KeyboardInterrupt):
        client.compute(inc.map(numbers()))
    thread.join()
    release.set()
    assert client.compute(inc(1)) == 2


def test_ctrl_c_ends_a_script_and_all_its_processes(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, time
            from pathlib import Path
            from armoflow import Client, task

            here = Path(__file__).parent

            @task(batch_size=1)
            def hold(number):
                (here / f"{number}.pid").write_text(f"{os.getpid()} {os.getppid()}")
                time.sleep(1000)

            if __name__ == "__main__":
                with Client(workers=2) as client:
                    client.compute(hold.map(range(2)))
            """
        )
    )
    process = subprocess.Popen(
        [sys.executable, str(script)], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        pids: set[int] = set()

        def running() -> bool:
            texts = [file.read_text().split() for file in tmp_path.glob("*.pid")]
            pids.update(int(word) for words in texts for word in words)
            return sum(len(words) == 2 for words in texts) == 2

        wait_for(running, "the script does not start its tasks")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == -signal.SIGINT or process.returncode == 130, errors
    assert "KeyboardInterrupt" in errors
    for pid in pids:
        wait_for(lambda pid=pid: not alive(pid), f"process {pid} lives on")  # type: ignore[misc]
