"""The worker in its pod: how it starts, what it withstands, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from agents import Worker, agent_and_stub, worker
from armonik.protogen.common import worker_common_pb2
from armonik.protogen.worker.worker_service_pb2_grpc import WorkerStub
from seats import PATIENCE, call, file_appears

from armoflow import config
from armoflow.codec.payload import CodeReference, Payload
from armoflow.errors import EngineError, WorkerDiedError
from armoflow.system.ending import Ending
from armoflow.worker.addresses import Addresses
from armoflow.worker.serve import grace_seconds, serve

COMMAND = (sys.executable, "-m", "armoflow.cli.main", "worker")
SERVING = worker_common_pb2.HealthCheckReply.SERVING


def run(test: Awaitable[None]) -> None:
    asyncio.run(asyncio.wait_for(test, 2 * PATIENCE))


def gated(folder: Path) -> tuple[Payload, Path, Path]:
    """A task that says that it has started, and waits for a file."""
    started, gate = folder / "started", folder / "gate"
    paths = str(started), str(gate)

    def wait() -> None:
        import os as system
        import time as clock
        from pathlib import Path as Place

        Place(paths[0] + ".part").write_text(str(system.getpid()))
        Place(paths[0] + ".part").rename(paths[0])
        while not Place(paths[1]).exists():
            clock.sleep(0.01)

    return call(wait), started, gate


async def gone(pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.01)


# --- the command --------------------------------------------------------------------------------


class Command:
    """``armoflow worker`` as a process, and its agent."""

    def __init__(self, process: Any, pair: Worker) -> None:
        self.process = process
        self.pair = pair

    async def says(self, text: str) -> None:
        while text not in (line := (await self.process.stdout.readline()).decode()):
            assert line, f"it never said {text!r}"


@asynccontextmanager
async def command(path: Path, *prefix: str, **variables: str) -> AsyncIterator[Command]:
    environment = {
        **os.environ,
        "ComputePlane__WorkerChannel__Address": str(path / "worker.sock"),
        "ComputePlane__AgentChannel__Address": str(path / "agent.sock"),
        "TMPDIR": str(path),
        **variables,
    }
    process = await asyncio.create_subprocess_exec(
        *prefix, *COMMAND, env=environment, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with agent_and_stub(path) as pair:
            yield Command(process, pair)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def test_what_tasks_write_are_lines_for_the_log_collector(short_path: Path) -> None:
    def speak() -> int:
        import logging
        import os

        print("printed\nprinted again")
        logging.getLogger("mine").error("logged")
        return os.getpid()

    async def test() -> None:
        async with command(short_path) as one:
            output = await one.pair.process(call(speak))
            assert output.WhichOneof("type") == "ok"
            lines: list[dict[str, str]] = []
            while not lines or lines[-1]["@m"] != "logged":
                lines.append(json.loads(await one.process.stdout.readline()))
        about = {"taskId": "task", "sessionId": "session", "taskName": "speak"}
        told = [
            {name: value for name, value in line.items() if name != "@t"}
            for line in lines
            if "taskId" in line
        ]
        assert told == [
            {"@m": "printed", **about},
            {"@m": "printed again", **about},
            {"@m": "logged", "@l": "Error", "SourceContext": "mine", **about},
        ]
        assert any(line["@m"].startswith("worker at ") for line in lines)

    run(test())


async def nothing_left(path: Path) -> None:
    """What cleans up after a worker that was killed does so by itself."""
    while {one.name for one in path.iterdir()} - {"worker.sock", "agent.sock", "data"}:
        await asyncio.sleep(0.01)


def test_sigterm_ends_it_with_its_agent_and_leaves_nothing(short_path: Path) -> None:
    """An agent that ends lets its task finish, and may have another one at hand."""

    async def test() -> None:
        async with command(short_path) as one:
            payload, started, gate = gated(one.pair.agent.folder)
            running = asyncio.create_task(one.pair.process(payload))
            await file_appears(started)
            children = psutil.Process(one.process.pid).children(recursive=True)
            assert children
            one.process.send_signal(signal.SIGTERM)
            await one.says("serving on until the agent has ended")
            assert await one.pair.health() == SERVING
            gate.touch()
            assert (await running).WhichOneof("type") == "ok"
            assert (await one.pair.process(call(int))).WhichOneof("type") == "ok"
            assert one.process.returncode is None
            await one.pair.end_agent()
            assert await one.process.wait() == 0
            for child in children:
                await gone(child.pid)
        await nothing_left(short_path)

    run(test())


def test_the_grace_is_over_before_the_agent_has_ended(short_path: Path) -> None:
    async def test() -> None:
        async with command(short_path, ARMOFLOW_GRACE="0.2") as one:
            payload, started, _ = gated(one.pair.agent.folder)
            running = asyncio.create_task(one.pair.process(payload))
            await file_appears(started)
            one.process.send_signal(signal.SIGTERM)
            await one.says("its task is cut off")
            with pytest.raises(grpc.aio.AioRpcError):
                await running
            assert await one.process.wait() == 0
            await gone(int(started.read_text()))

    run(test())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_other_signals_end_it_at_once(short_path: Path, number: int) -> None:
    async def test() -> None:
        async with command(short_path) as one:
            assert (await one.pair.process(call(int))).WhichOneof("type") == "ok"
            one.process.send_signal(number)
            assert await one.process.wait() == 0

    run(test())


def test_a_second_signal_ends_it_on_the_spot(short_path: Path) -> None:
    async def test() -> None:
        async with command(short_path) as one:
            one.process.send_signal(signal.SIGTERM)
            await one.says("serving on")
            one.process.send_signal(signal.SIGTERM)
            assert await one.process.wait() == -signal.SIGTERM
        await nothing_left(short_path)

    run(test())


def may_unshare() -> bool:
    return os.geteuid() == 0 and os.system("unshare --pid --fork true 2>/dev/null") == 0


@pytest.mark.skipif(not may_unshare(), reason="needs the right to make a PID namespace")
def test_the_first_process_of_a_container_ends_at_the_second_signal_too(short_path: Path) -> None:
    """The kernel spares it what a signal does by default."""

    async def test() -> None:
        unshare = ("unshare", "--pid", "--fork", "--kill-child")
        async with command(short_path, *unshare) as one:
            (init,) = psutil.Process(one.process.pid).children()
            init.send_signal(signal.SIGTERM)
            await one.says("serving on")
            init.send_signal(signal.SIGTERM)
            assert await one.process.wait() == 128 + signal.SIGTERM

    run(test())


@pytest.mark.parametrize("text", ["soon", "-1", "inf", "nan"])
def test_a_grace_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"ARMOFLOW_GRACE is '{text}': write a number of seconds"):
        grace_seconds({"ARMOFLOW_GRACE": text})


def test_addresses_come_from_armoniks_variables() -> None:
    default = Addresses.from_environment({})
    assert default == Addresses("unix:/cache/armonik_worker.sock", "unix:/cache/armonik_agent.sock")
    given = Addresses.from_environment(
        {
            "ComputePlane__WorkerChannel__Address": "http://0.0.0.0:1080",
            "ComputePlane__WorkerChannel__SocketType": "tcp",
            "ComputePlane__AgentChannel__Address": "unix:///run/agent.sock",
        }
    )
    assert given == Addresses("0.0.0.0:1080", "unix:/run/agent.sock")
    assert given.worker_socket is None and given.agent_socket == Path("/run/agent.sock")
    with pytest.raises(ValueError, match="SocketType"):
        Addresses.from_environment({"ComputePlane__AgentChannel__SocketType": "pigeon"})


@pytest.mark.parametrize(
    ("kind", "address", "place"),
    [
        ("tcp", "http://127.0.0.1:1080/", "127.0.0.1:1080"),
        ("TCP", "HTTP://[::1]:1080", "[::1]:1080"),
        ("tcp", "localhost:1080", "localhost:1080"),
        ("tcp", "https://127.0.0.1:1080", None),
        ("tcp", "http://127.0.0.1", None),
        ("tcp", "http://127.0.0.1:99999", None),
        ("tcp", "http://127.0.0.1:port", None),
        ("tcp", "http://[::1:1080", None),
        ("tcp", "/cache/worker.sock", None),
        ("tcp", "", None),
        ("unixdomainsocket", "http://127.0.0.1:1080", None),
        ("", "tcp://127.0.0.1:1080", None),
    ],
)
def test_an_address_is_of_its_kind(kind: str, address: str, place: str | None) -> None:
    """gRPC would listen at some other port, or tell of a domain name."""
    variables = {
        "ComputePlane__WorkerChannel__Address": address,
        "ComputePlane__WorkerChannel__SocketType": kind,
    }
    if place is not None:
        assert Addresses.from_environment(variables).worker == place
        return
    with pytest.raises(ValueError, match=r"WorkerChannel__Address is .*SocketType .*: write "):
        Addresses.from_environment(variables)


def test_two_workers_cannot_share_a_port() -> None:
    """Each would get half of the other's tasks."""

    async def test() -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            place = f"127.0.0.1:{probe.getsockname()[1]}"
        addresses = Addresses(place, "unix:/nobody")
        told = Ending()
        first = asyncio.create_task(serve(addresses, told))
        async with grpc.aio.insecure_channel(place) as channel:
            await asyncio.wait_for(channel.channel_ready(), PATIENCE)
            with pytest.raises(EngineError, match=r"cannot listen at .*:\d+, as ComputePlane__Wo"):
                await serve(addresses, Ending())
        told.set()
        await first

    run(test())


# --- its child ----------------------------------------------------------------------------------


def start_children_with(path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Code that every child process runs before anything else."""
    place = path / "site"
    place.mkdir()
    (place / "sitecustomize.py").write_text(
        "import os, sys, time\n"
        f"if any('armoflow.worker.child' in text for text in sys.orig_argv):\n    {code}\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(place))


def test_health_is_told_while_the_child_starts(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = short_path / "gate"
    code = f"while not os.path.exists({str(gate)!r}): time.sleep(0.01)"
    start_children_with(short_path, monkeypatch, code)

    async def test() -> None:
        async with worker(short_path) as pair:
            assert await pair.health() == SERVING
            running = asyncio.create_task(pair.process(call(int)))
            assert await pair.health() == SERVING
            assert not running.done()
            gate.touch()
            assert (await running).WhichOneof("type") == "ok"

    run(test())


def test_a_worker_whose_child_cannot_start_ends_and_says_why(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_children_with(short_path, monkeypatch, "print('no such library'); os._exit(3)")

    async def test() -> None:
        addresses = Addresses(f"unix:{short_path}/w.sock", f"unix:{short_path}/a.sock")
        with pytest.raises(WorkerDiedError, match=r"with status 3(?s:.*)no such library"):
            await serve(addresses, Ending())

    run(test())


def test_a_task_that_finds_no_process_is_a_lost_attempt(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another pod may do it: an error of the task would be final."""
    broken = short_path / "broken"
    start_children_with(short_path, monkeypatch, f"os.path.exists({str(broken)!r}) and os._exit(3)")

    def die() -> None:
        import os as system

        system._exit(1)

    async def test() -> None:
        async with worker(short_path) as pair:
            assert (await pair.process(call(int))).WhichOneof("type") == "ok"
            broken.touch()
            with pytest.raises(grpc.aio.AioRpcError, match="a worker process cannot start") as lost:
                await pair.process(call(die))
            assert lost.value.code() is grpc.StatusCode.UNAVAILABLE
            broken.unlink()
            assert (await pair.process(call(int))).WhichOneof("type") == "ok"

    run(test())


def test_the_first_task_sweeps_what_a_killed_agent_has_left(short_path: Path) -> None:
    pod = short_path / "pod"  # others' sockets are not beside it
    left = pod / str(uuid.uuid4())
    left.mkdir(parents=True)
    os.utime(left, (1e9, 1e9))

    async def test() -> None:
        async with worker(pod) as pair:
            assert (await pair.process(call(int))).WhichOneof("type") == "ok"
        assert not left.exists()

    run(test())


def test_an_agent_that_is_started_again_finds_its_worker(short_path: Path) -> None:
    """In a pod the agent's container may end alone."""

    async def test() -> None:
        async with worker(short_path) as pair:
            assert (await pair.process(call(int))).WhichOneof("type") == "ok"
            await pair.end_agent()
            with pytest.raises(grpc.aio.AioRpcError, match="the agent failed"):
                await pair.process(call(int))
            async with agent_and_stub(short_path) as again:
                # The first call may still meet the broken connection: that is an attempt.
                while True:
                    try:
                        output = await again.process(call(int))
                        break
                    except grpc.aio.AioRpcError as error:
                        assert error.code() is grpc.StatusCode.UNAVAILABLE
                assert output.WhichOneof("type") == "ok"

    run(test())


# --- peers that hang ----------------------------------------------------------------------------


class Relay:
    """Passes bytes on between two sockets, until it is told to keep all of them for itself."""

    def __init__(self, front: Path, back: Path) -> None:
        self._front, self._back = front, back
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_unix_server(self._serve, self._front)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def freeze(self) -> None:
        self._open.clear()

    async def _serve(self, reader: Any, writer: Any) -> None:
        other = await asyncio.open_unix_connection(self._back)
        for source, sink in ((reader, other[1]), (other[0], writer)):
            task = asyncio.ensure_future(self._pass_on(source, sink))
            self._tasks.add(task)

    async def _pass_on(self, source: Any, sink: Any) -> None:
        try:
            while data := await source.read(65536):
                await self._open.wait()
                sink.write(data)
        finally:
            sink.close()


def test_an_agent_that_hangs_costs_an_attempt(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "KEEPALIVE_SECONDS", 0.3)
    monkeypatch.setattr(config, "FETCH_PATIENCE", 0.1)
    payload = call(int)
    payload.function = CodeReference("other", None, "code")

    async def test() -> None:
        front = short_path / "front.sock"
        async with (
            Relay(front, short_path / "agent.sock") as relay,
            worker(short_path, agent_socket=front) as pair,
        ):
            assert (await pair.process(call(int))).WhichOneof("type") == "ok"
            relay.freeze()
            with pytest.raises(grpc.aio.AioRpcError, match="the agent failed") as lost:
                await pair.process(payload)
            assert lost.value.code() is grpc.StatusCode.UNAVAILABLE
            assert await pair.health() == SERVING

    run(test())


def test_the_task_of_an_agent_that_hangs_is_ended(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "KEEPALIVE_SECONDS", 0.3)

    async def test() -> None:
        front = short_path / "front.sock"
        async with Relay(front, short_path / "worker.sock") as relay, worker(short_path) as pair:
            payload, started, _ = gated(pair.agent.folder)
            options = [("grpc.default_authority", "localhost")]
            async with grpc.aio.insecure_channel(f"unix:{front}", options) as channel:
                running = WorkerStub(channel).Process(pair.request(payload), timeout=PATIENCE)
                await file_appears(started)
                relay.freeze()
                await gone(int(started.read_text()))
                running.cancel()
            assert (await pair.process(call(int))).WhichOneof("type") == "ok"

    run(test())
