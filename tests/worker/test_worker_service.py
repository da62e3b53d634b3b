from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from armonik.protogen.common import agent_common_pb2, objects_pb2, worker_common_pb2
from armonik.protogen.worker.agent_service_pb2_grpc import (
    AgentServicer,
    add_AgentServicer_to_server,
)
from armonik.protogen.worker.worker_service_pb2_grpc import WorkerStub
from seats import KEY, PATIENCE, call, encode, envelope, file_appears, read

import armoflow
from armoflow.codec.failure import ErrorRecord
from armoflow.codec.payload import CodeReference, Payload
from armoflow.codec.pickling import dumps
from armoflow.config import ERROR_RECORD_LIMIT
from armoflow.worker.service import Addresses, serve

TOKEN = "the-token"


class FakeAgent(AgentServicer):
    """Records what a worker asks for, in order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: list[str] = []
        self.requests: list[Any] = []
        self.stored: dict[str, bytes] = {}
        self.refuse: grpc.StatusCode | None = None
        self._made = 0

    async def _note(self, name: str, request: Any, context: Any) -> None:
        if request.communication_token != TOKEN:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "wrong token")
        self.calls.append(name)
        self.requests.append(request)
        if self.refuse is not None:
            await context.abort(self.refuse, "not today")

    def _new(self, name: str) -> Any:
        self._made += 1
        return agent_common_pb2.ResultMetaData(result_id=f"made-{self._made}", name=name)

    async def CreateResults(self, request: Any, context: Any) -> Any:
        await self._note("CreateResults", request, context)
        results = [self._new(item.name) for item in request.results]
        for result, item in zip(results, request.results, strict=True):
            self.stored[result.result_id] = item.data
        return agent_common_pb2.CreateResultsResponse(results=results)

    async def CreateResultsMetaData(self, request: Any, context: Any) -> Any:
        await self._note("CreateResultsMetaData", request, context)
        results = [self._new(item.name) for item in request.results]
        return agent_common_pb2.CreateResultsMetaDataResponse(results=results)

    async def NotifyResultData(self, request: Any, context: Any) -> Any:
        await self._note("NotifyResultData", request, context)
        for item in request.ids:
            self.stored[item.result_id] = (self.folder / item.result_id).read_bytes()
        return agent_common_pb2.NotifyResultDataResponse()

    async def SubmitTasks(self, request: Any, context: Any) -> Any:
        await self._note("SubmitTasks", request, context)
        return agent_common_pb2.SubmitTasksResponse()

    async def GetResourceData(self, request: Any, context: Any) -> Any:
        await self._note("GetResourceData", request, context)
        if request.result_id not in self.stored:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such data")
        (self.folder / request.result_id).write_bytes(self.stored[request.result_id])
        return agent_common_pb2.DataResponse(result_id=request.result_id)


class Worker:
    """A worker, its fake agent, and the agent's side of Process."""

    def __init__(self, agent: FakeAgent, stub: Any) -> None:
        self.agent = agent
        self.stub = stub

    def request(self, payload: Payload | bytes, *outputs: str, **inputs: bytes) -> Any:
        data = payload if isinstance(payload, bytes) else encode(payload)
        (self.agent.folder / "payload").write_bytes(data)
        for name, content in inputs.items():
            (self.agent.folder / name).write_bytes(content)
        return worker_common_pb2.ProcessRequest(
            communication_token=TOKEN,
            session_id="session",
            task_id="task",
            expected_output_keys=list(outputs) or ["output"],
            payload_id="payload",
            data_dependencies=list(inputs),
            data_folder=str(self.agent.folder),
            configuration=objects_pb2.Configuration(data_chunk_max_size=2**21),
        )

    async def process(self, payload: Payload | bytes, *outputs: str, **inputs: bytes) -> Any:
        request = self.request(payload, *outputs, **inputs)
        return (await self.stub.Process(request, timeout=PATIENCE)).output

    async def health(self) -> int:
        reply = await self.stub.HealthCheck(objects_pb2.Empty(), timeout=PATIENCE)
        return int(reply.status)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Paths of Unix sockets are limited to about 100 bytes."""
    path = Path(tempfile.mkdtemp(prefix="armoflow-test-"))
    yield path
    shutil.rmtree(path)


@asynccontextmanager
async def worker(path: Path) -> AsyncIterator[Worker]:
    addresses = Addresses(f"unix:{path}/worker.sock", f"unix:{path}/agent.sock")
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(addresses, stop))
    try:
        async with agent_and_stub(path) as pair:
            yield pair
    finally:
        stop.set()
        await serving


@asynccontextmanager
async def agent_and_stub(path: Path) -> AsyncIterator[Worker]:
    folder = path / "data"
    folder.mkdir()
    agent = FakeAgent(folder)
    server = grpc.aio.server()
    add_AgentServicer_to_server(agent, server)
    server.add_insecure_port(f"unix:{path}/agent.sock")
    await server.start()
    options = [("grpc.default_authority", "localhost")]
    try:
        async with grpc.aio.insecure_channel(f"unix:{path}/worker.sock", options) as channel:
            await asyncio.wait_for(channel.channel_ready(), PATIENCE)
            yield Worker(agent, WorkerStub(channel))
    finally:
        await server.stop(None)


def with_worker(test: Callable[..., Awaitable[None]]) -> Callable[[Path], None]:
    def run(short_path: Path) -> None:
        async def bounded() -> None:
            async with worker(short_path) as pair:
                await test(pair)

        asyncio.run(asyncio.wait_for(bounded(), 2 * PATIENCE))

    run.__name__ = test.__name__
    return run


def found(output: Any) -> ErrorRecord:
    assert output.WhichOneof("type") == "error"
    record = ErrorRecord.find(output.error.details, KEY)
    assert record is not None, output.error.details
    return record


# --- one task -----------------------------------------------------------------------------------


@with_worker
async def test_a_task_writes_its_output_and_announces_it(pair: Worker) -> None:
    def add(left: int, right: int) -> int:
        return left + right

    payload = call(add)
    marks = [object(), object()]
    payload.arguments = dumps(
        (tuple(marks), {}),
        lambda part: ("slot", marks.index(part), 0) if part in marks else None,
    )
    payload.inputs = ["a", "b"]
    output = await pair.process(payload, a=envelope(40), b=envelope(2))
    assert output.WhichOneof("type") == "ok"
    assert pair.agent.calls == ["NotifyResultData"]
    assert read(pair.agent.stored["output"]) == [42]


@with_worker
async def test_a_failing_task_announces_nothing(pair: Worker) -> None:
    def broken() -> None:
        raise ArithmeticError("no")

    record = found(await pair.process(call(broken)))
    assert isinstance(record.exception(), ArithmeticError)
    assert pair.agent.calls == []


def test_the_log_holds_what_the_engine_is_not_told(
    short_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    message = "the beginning " + "".join(str(number) for number in range(20_000)) + " the reason"

    def broken() -> None:
        raise ArithmeticError(message)

    async def test(pair: Worker) -> None:
        output = await pair.process(call(broken))
        assert len(output.error.details.encode()) <= ERROR_RECORD_LIMIT
        error = found(output).exception()
        assert isinstance(error, ArithmeticError)
        assert str(error).startswith("the beginning") and str(error).endswith("the reason")

    with_worker(test)(short_path)
    (entry,) = [record for record in caplog.records if "failed" in record.getMessage()]
    assert message in entry.getMessage()


@with_worker
async def test_a_task_of_somebody_else_is_refused_clearly(pair: Worker) -> None:
    output = await pair.process(b'{"command": "a payload that another worker would understand"}')
    assert "not written by armoflow" in output.error.details
    output = await pair.process(call(int))
    assert output.WhichOneof("type") == "ok"


@with_worker
async def test_code_is_fetched_on_a_miss_only(pair: Worker) -> None:
    def one() -> int:
        return 1

    payload = call(one)
    assert payload.function is not None
    pair.agent.stored["code"] = payload.function.data or b""
    payload.function = CodeReference(payload.function.digest, None, "code")
    for _ in range(2):
        assert (await pair.process(payload)).WhichOneof("type") == "ok"
    assert pair.agent.calls == ["GetResourceData", "NotifyResultData", "NotifyResultData"]
    payload.function = CodeReference("other", None, "gone")
    assert found(await pair.process(payload)).kind == "lost"


@with_worker
async def test_a_lost_agent_fails_the_call_not_the_task(pair: Worker) -> None:
    """An error of the task would be final; a failed call is tried again."""
    pair.agent.refuse = grpc.StatusCode.UNAVAILABLE
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await pair.process(call(int))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    pair.agent.refuse = grpc.StatusCode.FAILED_PRECONDITION
    output = await pair.process(call(int))
    assert "not today" in output.error.details


@with_worker
async def test_health_is_told_while_a_task_runs(pair: Worker) -> None:
    started, gate = pair.agent.folder / "started", pair.agent.folder / "gate"
    paths = str(started), str(gate)

    def wait() -> None:
        import time as clock
        from pathlib import Path as Place

        Place(paths[0]).touch()
        while not Place(paths[1]).exists():
            clock.sleep(0.01)

    running = asyncio.create_task(pair.process(call(wait)))
    await file_appears(started)
    assert await pair.health() == worker_common_pb2.HealthCheckReply.SERVING
    gate.touch()
    assert (await running).WhichOneof("type") == "ok"


# --- killing ------------------------------------------------------------------------------------


def spinning(path: Path) -> Payload:
    target = str(path)

    def spin() -> None:
        import os as system
        from pathlib import Path as Place

        Place(target + ".part").write_text(str(system.getpid()))
        Place(target + ".part").rename(target)
        sum(range(10**13))

    return call(spin)


async def gone(pid: int) -> None:
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        await asyncio.sleep(0.01)


@with_worker
async def test_a_task_past_its_deadline_is_killed(pair: Worker) -> None:
    path = pair.agent.folder / "pid"
    assert (await pair.process(call(int))).WhichOneof("type") == "ok"  # the child is warm
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await pair.stub.Process(pair.request(spinning(path)), timeout=5.0)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await gone(int(path.read_text()))
    assert (await pair.process(call(int))).WhichOneof("type") == "ok"


@with_worker
async def test_a_cancelled_task_is_killed(pair: Worker) -> None:
    path = pair.agent.folder / "pid"
    running = pair.stub.Process(pair.request(spinning(path)), timeout=PATIENCE)
    await file_appears(path)
    running.cancel()
    await gone(int(path.read_text()))
    assert (await pair.process(call(int))).WhichOneof("type") == "ok"


# --- graphs -------------------------------------------------------------------------------------


@with_worker
async def test_a_returned_graph_goes_up_in_the_protocols_order(pair: Worker) -> None:
    @armoflow.task
    def square(value: int) -> int:
        return value * value

    @armoflow.task
    def add(*values: int) -> int:
        return sum(values)

    def graph(count: int) -> Any:
        return add(*[square(number) for number in range(count)])

    output = await pair.process(call(graph, 5))
    assert output.WhichOneof("type") == "ok", output.error.details
    agent = pair.agent
    assert agent.calls == [
        "CreateResults",
        "CreateResultsMetaData",
        "CreateResultsMetaData",
        "NotifyResultData",
        "SubmitTasks",
    ]
    (submission,) = [
        request
        for request in agent.requests
        if isinstance(request, agent_common_pb2.SubmitTasksRequest)
    ]
    *leaves, last = submission.task_creations
    assert len(leaves) == 5
    assert list(last.expected_output_keys) == ["output"]
    outputs = [leaf.expected_output_keys[0] for leaf in leaves]
    assert sorted(last.data_dependencies) == sorted(outputs)
    for creation in submission.task_creations:
        assert creation.payload_id in agent.stored
        assert creation.task_options.priority > 0
        assert creation.task_options.max_duration.seconds > 0
    results = {}
    for leaf in leaves:
        payload = agent.stored[leaf.payload_id]
        assert (await pair.process(payload, leaf.expected_output_keys[0])).HasField("ok")
        (output_id,) = leaf.expected_output_keys
        results[output_id] = agent.stored[output_id]
    output = await pair.process(agent.stored[last.payload_id], "output", **results)
    assert output.HasField("ok"), output.error.details
    assert read(agent.stored["output"]) == [30]


@with_worker
async def test_large_child_payloads_go_through_the_data_folder(pair: Worker) -> None:
    @armoflow.task
    def measure(data: bytes) -> int:
        return len(data)

    def graph(length: int) -> Any:
        return measure(b"x" * length)

    output = await pair.process(call(graph, 5_000_000))
    assert output.WhichOneof("type") == "ok", output.error.details
    largest = max(request.ByteSize() for request in pair.agent.requests)
    assert largest < 100_000
    assert max(map(len, pair.agent.stored.values())) > 5_000_000


# --- the program --------------------------------------------------------------------------------


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
    with pytest.raises(ValueError, match="SocketType"):
        Addresses.from_environment({"ComputePlane__AgentChannel__SocketType": "pigeon"})


def test_the_command_serves_and_leaves_nothing(short_path: Path) -> None:
    environment = {
        **os.environ,
        "ComputePlane__WorkerChannel__Address": str(short_path / "worker.sock"),
        "ComputePlane__AgentChannel__Address": str(short_path / "agent.sock"),
        "TMPDIR": str(short_path),
    }

    async def test() -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "armoflow.cli.main", "worker"), env=environment
        )
        try:
            async with agent_and_stub(short_path) as pair:
                assert (await pair.process(call(int))).WhichOneof("type") == "ok"
                children = psutil.Process(process.pid).children(recursive=True)
                assert children
                process.send_signal(signal.SIGTERM)
                assert await process.wait() == 0
                for child in children:
                    await gone(child.pid)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        left = {path.name for path in short_path.iterdir()} - {"worker.sock", "agent.sock", "data"}
        assert left == set()

    asyncio.run(asyncio.wait_for(test(), 2 * PATIENCE))
