from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from seats import (
    PATIENCE,
    Seat,
    call,
    collection,
    envelope,
    file_appears,
    output,
    record,
    seat,
    values,
)

from armoflow.codec.payload import CodeReference, Operation, Settings
from armoflow.codec.pickling import dumps
from armoflow.errors import WorkerDiedError
from armoflow.worker import vigil
from armoflow.worker.environment import worker_environment
from armoflow.worker.spares import Spares
from tests.processes import own_children

MAP = Operation.MAP


def on_a_loop(test: Callable[..., Awaitable[None]]) -> Callable[[Path], None]:
    def run(tmp_path: Path) -> None:
        async def bounded() -> None:
            await test(tmp_path)

        asyncio.run(asyncio.wait_for(bounded(), 2 * PATIENCE))

    run.__name__ = test.__name__
    return run


def runs(path: Path) -> dict[str, int]:
    """How often each item ran, from the lines that they wrote."""
    counts: dict[str, int] = {}
    for line in path.read_text().split():
        counts[line] = counts.get(line, 0) + 1
    return counts


def noting(path: Path, body: Callable[[Any, int], Any]) -> Callable[[Any], Any]:
    """A task that notes each run, and is told how many there were of this value."""
    log = str(path)

    def noted(value: Any) -> Any:
        from pathlib import Path as Place

        with Place(log).open("a+") as file:
            file.write(f"{value}\n")
            file.flush()
            file.seek(0)
            count = file.read().split().count(str(value))
        return body(value, count)

    return noted


# --- the ordinary -------------------------------------------------------------------------------


@on_a_loop
async def test_tasks_run_in_order_and_succeed(tmp_path: Path) -> None:
    def square(value: int) -> int:
        return value * value

    async with seat(tmp_path / "seat") as host:
        outcomes = await host.run(*(call(square, number) for number in range(200)))
        assert [output(outcome) for outcome in outcomes] == [[n * n] for n in range(200)]
        assert host.order == sorted(host.order)
        assert host.supervisor.window.size > 2


@on_a_loop
async def test_a_failure_is_told_as_text(tmp_path: Path) -> None:
    def broken() -> None:
        raise LookupError("not here")

    async with seat(tmp_path / "seat") as host:
        (outcome,) = await host.run(call(broken))
        assert outcome.kind == "raised"
        assert isinstance(record(outcome).exception(), LookupError)


@on_a_loop
async def test_a_task_can_ask_for_data(tmp_path: Path) -> None:
    def double(value: int) -> int:
        return 2 * value

    async with seat(tmp_path / "seat") as host:
        payload = call(double, 4)
        function = payload.function
        assert function is not None
        stored = tmp_path / "function"
        stored.write_bytes(function.data or b"")
        host.stored["function"] = [str(stored), 0]
        payload.function = CodeReference(function.digest, None, "function")
        lost = call(double, 4)
        lost.function = CodeReference("another", None, "nowhere")
        first, second, third = await host.run(payload, lost, payload)
        assert output(first) == output(third) == [8]
        assert record(second).kind == "lost"
        assert host.requests == [("fetch", "function"), ("fetch", "nowhere")]


@on_a_loop
async def test_large_arrays_are_mapped_not_copied(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    stored = tmp_path / "array"
    stored.write_bytes(envelope(numpy.ones(1_000_000)))

    def look(array: Any, path: str) -> Any:
        from pathlib import Path as Place

        address = array.__array_interface__["data"][0]
        mapped = False
        for line in Place("/proc/self/maps").read_text().splitlines():
            if line.endswith(path):
                first, last = (int(part, 16) for part in line.split()[0].split("-"))
                mapped = mapped or first <= address < last
        array[0] = 5  # copy-on-write: the file stays as it is
        return mapped, array

    async with seat(tmp_path / "seat") as host:

        class Here:
            pass

        payload = call(look)
        here = Here()
        payload.arguments = dumps(
            ((here, str(stored)), {}), lambda part: ("slot", 0, 0) if part is here else None
        )
        payload.inputs = ["a"]
        for _ in range(2):
            (outcome,) = await host.run(payload, inputs={"a": [str(stored), 0]})
            ((mapped, array),) = output(outcome)
            assert mapped or sys.platform != "linux"
            assert (array[0], array.sum()) == (5.0, 1_000_004.0)


@on_a_loop
async def test_completions_do_not_wait_behind_a_long_task(tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")

    def quick() -> None:
        pass

    def wait() -> None:
        import time as clock
        from pathlib import Path as Place

        while not Place(gate).exists():
            clock.sleep(0.01)

    async with seat(tmp_path / "seat") as host:
        await host.run(call(quick))
        works = [host.work(call(quick)), host.work(call(wait))]
        host.supervisor.send(works)
        await host.wait_for(works[:1])
        assert works[1].key not in host.outcomes
        Path(gate).touch()
        await host.wait_for(works)


@on_a_loop
async def test_what_waits_for_the_running_task_is_not_asked_back_for_others(tmp_path: Path) -> None:
    begun, gate = str(tmp_path / "begun"), str(tmp_path / "gate")

    def wait() -> int:
        import time as clock
        from pathlib import Path as Place

        Place(begun).touch()
        while not Place(gate).exists():
            clock.sleep(0.01)
        return 1

    async with seat(tmp_path / "seat") as host:
        leader = host.work(call(wait))
        following = host.work(call(int), passed=leader.outputs)
        other = host.work(call(int))
        host.supervisor.send([leader, following, other])
        await file_appears(Path(begun))
        host.supervisor.recall(2, followers=False)
        await host.until(lambda: bool(host.back))
        assert host.back == [other]
        Path(gate).touch()
        await host.wait_for([leader, following])


def test_what_took_long_is_told_before_the_next_task_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other tasks may be ready by its end: nobody has to look for it in the shared memory."""
    monkeypatch.setattr(vigil, "_CHECK_SECONDS", 3600.0)
    gate = str(tmp_path / "gate")

    def slow() -> None:
        import time as clock

        clock.sleep(0.001)

    def wait() -> None:
        import time as clock
        from pathlib import Path as Place

        while not Place(gate).exists():
            clock.sleep(0.01)

    async def test() -> None:
        async with seat(tmp_path / "seat") as host:
            works = [host.work(call(slow)), host.work(call(wait))]
            host.supervisor.send(works)
            await host.wait_for(works[:1])
            assert works[1].key not in host.outcomes
            Path(gate).touch()
            await host.wait_for(works)

    asyncio.run(asyncio.wait_for(test(), 2 * PATIENCE))


@on_a_loop
async def test_unstarted_tasks_are_given_back(tmp_path: Path) -> None:
    started, gate = tmp_path / "started", tmp_path / "gate"
    paths = str(started), str(gate)

    def wait() -> None:
        import time as clock
        from pathlib import Path as Place

        Place(paths[0]).touch()
        while not Place(paths[1]).exists():
            clock.sleep(0.01)

    async with seat(tmp_path / "seat") as host:
        works = [host.work(call(wait)) for _ in range(5)]
        host.supervisor.send(works)
        await file_appears(started)
        host.supervisor.recall(3)
        await host.until(lambda: len(host.back) == 3)
        assert host.back == works[2:]
        assert host.supervisor.works == works[:2]
        gate.touch()
        await host.wait_for(works[:2])


# --- crashes ------------------------------------------------------------------------------------


@on_a_loop
async def test_only_the_running_task_spends_an_attempt(tmp_path: Path) -> None:
    def die_once(value: int, count: int) -> int:
        import os as system

        if value == 7 and count < 3:
            system.kill(system.getpid(), 9)
        return count

    log = tmp_path / "log"
    async with seat(tmp_path / "seat") as host:
        task = noting(log, die_once)
        outcomes = await host.run(*(call(task, number) for number in range(20)))
        assert [output(outcome) for outcome in outcomes] == [
            [3 if number == 7 else 1] for number in range(20)
        ]
    assert runs(log) == {str(number): 3 if number == 7 else 1 for number in range(20)}


@on_a_loop
async def test_finished_items_of_a_packed_task_are_kept(tmp_path: Path) -> None:
    def die(value: int, count: int) -> Any:
        import os as system

        if value == 50:
            print("about to go", count)
            system.kill(system.getpid(), 9)
        if value == 60:
            raise ValueError("as ever")
        return [count, "x" * 3000] if value % 10 == 0 else count

    log = tmp_path / "log"
    async with seat(tmp_path / "seat") as host:
        settings = Settings(packed=True, crash_retries=1)
        payload = collection(MAP, noting(log, die), values(*range(100)), settings=settings)
        (outcome,) = await host.run(payload)
        results = output(outcome)
        died, raised = results[50], results[60]
        assert (died.kind, died.name, died.attempts) == ("died", "noted[50]", 2)
        assert "SIGKILL" in died.message
        assert died.output == "about to go 2"
        assert raised.type_name == "ValueError"
        assert results[10] == [1, "x" * 3000]
        assert results[99] == 1
    assert runs(log) == {str(number): 2 if number == 50 else 1 for number in range(100)}


@on_a_loop
async def test_items_that_filled_the_spool_are_kept(tmp_path: Path) -> None:
    def die(value: int, count: int) -> Any:
        import os as system

        if value == 19 and count == 1:
            system.kill(system.getpid(), 9)
        return "x" * 50_000

    log = tmp_path / "log"
    async with seat(tmp_path / "seat") as host:
        (outcome,) = await host.run(collection(MAP, noting(log, die), values(*range(20))))
        assert output(outcome) == ["x" * 50_000] * 20
    assert runs(log) == {str(number): 2 if number == 19 else 1 for number in range(20)}


@on_a_loop
async def test_a_task_whose_process_always_dies_fails(tmp_path: Path) -> None:
    def die(value: int, count: int) -> None:
        import os as system

        print("last words")
        system._exit(7)

    log = tmp_path / "log"
    async with seat(tmp_path / "seat") as host:
        (outcome,) = await host.run(call(noting(log, die), 1))
        found = record(outcome)
        assert (found.kind, found.name, found.attempts) == ("died", "noted", 3)
        assert "exited with status 7" in found.message
        assert found.output == "last words"
        assert isinstance(found.exception(), WorkerDiedError)
    assert runs(log) == {"1": 3}


@on_a_loop
async def test_code_that_kills_when_loaded_fails_every_item(tmp_path: Path) -> None:
    class Deadly:
        def __call__(self, value: int) -> int:
            return value

        def __reduce__(self) -> Any:
            return os._exit, (5,)

    async with seat(tmp_path / "seat") as host:
        settings = Settings(packed=True, crash_retries=1)
        payload = collection(MAP, int, values(1, 2), settings=settings)
        payload.function = CodeReference("deadly", dumps(Deadly()).data)  # type: ignore[arg-type]
        (outcome,) = await host.run(payload)
        assert [found.kind for found in output(outcome)] == ["died", "died"]


@on_a_loop
async def test_a_killed_idle_child_is_replaced(tmp_path: Path) -> None:
    async with seat(tmp_path / "seat") as host:
        await host.run(call(int))
        first = host.supervisor.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        (outcome,) = await host.run(call(int))
        assert output(outcome) == [0]


@on_a_loop
async def test_a_spare_takes_over(tmp_path: Path) -> None:
    def process_id() -> int:
        import os as system

        return system.getpid()

    others = own_children()
    async with seat(tmp_path / "seat", delay=0.0) as host:
        (outcome,) = await host.run(call(process_id))
        (first,) = output(outcome)
        spare = await one_more_process({*others, first})
        os.kill(first, signal.SIGKILL)
        (outcome,) = await host.run(call(process_id))
        assert output(outcome) == [spare]


@on_a_loop
async def test_one_spare_for_all(tmp_path: Path) -> None:
    def process_id() -> int:
        import os as system

        return system.getpid()

    others = own_children()
    spares = Spares(tmp_path / "spares", worker_environment(), delay=0.0)
    async with seat(tmp_path, spares=spares) as one, seat(tmp_path, spares=spares) as two:
        firsts = []
        for host in (one, two):
            (outcome,) = await host.run(call(process_id))
            firsts += output(outcome)
        spare = await one_more_process({*others, *firsts})
        assert own_children() - others == {*firsts, spare}
        while spares._spare is None or not spares._spare.ready:
            await asyncio.sleep(0.01)
        os.kill(spare, signal.SIGKILL)
        await has_gone(spare)
        (outcome,) = await two.run(call(process_id))
        assert output(outcome) == [firsts[1]]
        spare = await one_more_process({*others, *firsts})
        os.kill(firsts[1], signal.SIGKILL)
        (outcome,) = await two.run(call(process_id))
        assert output(outcome) == [spare]
    assert own_children() <= others


async def has_gone(process_id: int) -> None:
    while process_id in own_children():
        await asyncio.sleep(0.01)


async def one_more_process(known: set[int]) -> int:
    while True:
        others = own_children() - known
        if others:
            return others.pop()
        await asyncio.sleep(0.01)


@on_a_loop
async def test_a_child_that_cannot_start_is_told_and_not_tried_for_ever(tmp_path: Path) -> None:
    broken = {**worker_environment(), "PYTHONHOME": str(tmp_path / "nowhere")}
    async with seat(tmp_path / "seat", environment=broken) as host:
        with pytest.raises(WorkerDiedError, match=r"cannot start.*last output"):
            await host.supervisor.start()
        (outcome,) = await host.run(call(int))
        assert record(outcome).kind == "died"
        assert "cannot start" in record(outcome).message


# --- timeouts -----------------------------------------------------------------------------------


def sleeping() -> Callable[[int, int], int]:
    def body(value: int, count: int) -> int:
        import time as clock

        if count == 1:
            clock.sleep(1000)
        return value

    return body


def looping() -> Callable[[int, int], int]:
    def body(value: int, count: int) -> int:
        while count == 1:
            pass
        return value

    return body


def inside_c() -> Callable[[int, int], int]:
    """A call that holds the interpreter lock all the while."""

    def body(value: int, count: int) -> int:
        if count == 1:
            sum(range(10**13))
        return value

    return body


@pytest.mark.parametrize("make", [sleeping, looping, inside_c])
def test_an_attempt_that_takes_too_long_is_killed(tmp_path: Path, make: Any) -> None:
    async def test() -> None:
        log = tmp_path / "log"
        async with seat(tmp_path / "seat") as host:
            settings = Settings(timeout=0.3, retries=0)
            (outcome,) = await host.run(call(noting(log, make()), 1, settings=settings))
            found = record(outcome)
            assert (found.kind, found.attempts) == ("timeout", 1)
            assert "0.3 s" in found.message
            settings = Settings(timeout=0.3, retries=1)
            (outcome,) = await host.run(call(noting(log, make()), 2, settings=settings))
            assert output(outcome) == [2]
        assert runs(log) == {"1": 1, "2": 2}

    asyncio.run(asyncio.wait_for(test(), 2 * PATIENCE))


@on_a_loop
async def test_a_timeout_is_of_one_item(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def body(value: int, count: int) -> int:
        import time as clock

        clock.sleep(1000 if value == 3 else 0.05)
        return value

    async with seat(tmp_path / "seat") as host:
        settings = Settings(timeout=1.0, packed=True)
        works = [
            host.work(collection(MAP, noting(log, body), values(*range(20)), settings=settings)),
            host.work(call(noting(log, body), 77)),
        ]
        host.supervisor.send(works)
        await host.wait_for(works)
        results = output(host.outcomes[0])
        assert [result for result in results if isinstance(result, int)] == [0, 1, 2, *range(4, 20)]
        assert (results[3].kind, results[3].name) == ("timeout", "noted[3]")
        assert output(host.outcomes[1]) == [77]
    assert set(runs(log).values()) == {1}


@on_a_loop
async def test_what_a_killed_task_started_ends_too(tmp_path: Path) -> None:
    path = tmp_path / "pid"

    def start(target: str) -> None:
        import subprocess as processes
        from pathlib import Path as Place

        child = processes.Popen(["sleep", "1000"])
        Place(target).write_text(str(child.pid))
        child.wait()

    async with seat(tmp_path / "seat") as host:
        (outcome,) = await host.run(call(start, str(path), settings=Settings(timeout=1.0)))
        assert record(outcome).kind == "timeout"
        await gone(int(path.read_text()))


async def gone(pid: int) -> None:
    def alive() -> bool:
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    while alive():
        await asyncio.sleep(0.01)


# --- cancelling ---------------------------------------------------------------------------------


@on_a_loop
async def test_cancel_kills_the_running_task_and_spares_its_neighbours(tmp_path: Path) -> None:
    log, started = tmp_path / "log", tmp_path / "started"
    path = str(started)

    def body(value: int, count: int) -> int:
        import time as clock
        from pathlib import Path as Place

        if value == 1:
            Place(path).touch()
            clock.sleep(1000)
        return value

    async with seat(tmp_path / "seat") as host:
        works = [host.work(call(noting(log, body), number)) for number in range(5)]
        host.supervisor.send(works)
        await file_appears(started)
        host.supervisor.cancel(works[3])
        host.supervisor.cancel(works[1])
        await host.wait_for([works[0], works[2], works[4]])
        assert set(host.outcomes) == {0, 2, 4}
        assert host.supervisor.load == 0
    assert runs(log) == {"0": 1, "1": 1, "2": 1, "4": 1}


# --- ends ---------------------------------------------------------------------------------------


@on_a_loop
async def test_stop_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    started = tmp_path / "started"
    path = str(started)

    def wait() -> None:
        import time as clock
        from pathlib import Path as Place

        Place(path).touch()
        clock.sleep(1000)

    others = own_children()
    host = Seat(tmp_path / "seat", delay=0.0)
    works = [host.work(call(wait)), host.work(call(int))]
    host.supervisor.send(works)
    await file_appears(started)
    assert host.supervisor.pid is not None
    await one_more_process({*others, host.supervisor.pid})
    assert await host.stop() == works
    assert own_children() <= others
    assert list((tmp_path / "seat").iterdir()) == []


_OWNER = """
import asyncio, sys
from pathlib import Path
from seats import Seat, call

def spin(path):
    import os
    from pathlib import Path
    Path(path).write_text(str(os.getpid()))
    {body}

async def main():
    host = Seat(Path(sys.argv[1]) / "seat")
    await host.run(call(spin, sys.argv[1] + "/pid"))

asyncio.run(main())
"""


@pytest.mark.parametrize(
    "body", ["import time; time.sleep(1000)", "while True: pass", "sum(range(10**13))"]
)
def test_a_child_ends_with_its_owner(tmp_path: Path, body: str) -> None:
    async def test() -> None:
        script = tmp_path / "owner.py"
        script.write_text(_OWNER.format(body=body))
        path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
        owner = subprocess.Popen(
            [sys.executable, str(script), str(tmp_path)], env={**os.environ, "PYTHONPATH": path}
        )
        try:
            await file_appears(tmp_path / "pid")
            while not (text := (tmp_path / "pid").read_text()):
                await asyncio.sleep(0.01)
        finally:
            owner.kill()
            owner.wait()
        await gone(int(text))

    asyncio.run(asyncio.wait_for(test(), 2 * PATIENCE))
