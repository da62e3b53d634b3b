"""A fake agent, and a worker that it drives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from armonik.protogen.common import agent_common_pb2, objects_pb2, worker_common_pb2
from armonik.protogen.worker.agent_service_pb2_grpc import (
    AgentServicer,
    add_AgentServicer_to_server,
)
from armonik.protogen.worker.worker_service_pb2_grpc import WorkerStub
from seats import PATIENCE, encode

from armoflow.codec.payload import Payload
from armoflow.system.ending import Ending
from armoflow.worker.addresses import Addresses
from armoflow.worker.serve import serve

TOKEN = "the-token"


class FakeAgent(AgentServicer):
    """Records what a worker asks for, in order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: list[str] = []
        self.requests: list[Any] = []
        self.stored: dict[str, bytes] = {}
        self.refuse: grpc.StatusCode | None = None
        self.missing = "no such data"
        self.faults: list[grpc.StatusCode] = []  # of the next calls, one each
        self._made = 0

    async def _note(self, name: str, request: Any, context: Any) -> None:
        if request.communication_token != TOKEN:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "wrong token")
        self.calls.append(name)
        self.requests.append(request)
        if self.refuse is not None:
            await context.abort(self.refuse, "not today")
        if self.faults:
            await context.abort(self.faults.pop(0), "not just now")

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
            await context.abort(grpc.StatusCode.NOT_FOUND, self.missing)
        (self.folder / request.result_id).write_bytes(self.stored[request.result_id])
        return agent_common_pb2.DataResponse(result_id=request.result_id)


class Worker:
    """A worker, its fake agent, and the agent's side of Process."""

    def __init__(self, agent: FakeAgent, stub: Any, server: Any) -> None:
        self.agent = agent
        self.stub = stub
        self._server = server

    async def end_agent(self) -> None:
        await self._server.stop(None)

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


@asynccontextmanager
async def worker(path: Path, agent_socket: Path | None = None) -> AsyncIterator[Worker]:
    agent_socket = agent_socket or path / "agent.sock"
    addresses = Addresses(f"unix:{path}/worker.sock", f"unix:{agent_socket}")
    stop = Ending()
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
    folder.mkdir(exist_ok=True)
    agent = FakeAgent(folder)
    server = grpc.aio.server()
    add_AgentServicer_to_server(agent, server)
    server.add_insecure_port(f"unix:{path}/agent.sock")
    await server.start()
    options = [("grpc.default_authority", "localhost")]
    try:
        async with grpc.aio.insecure_channel(f"unix:{path}/worker.sock", options) as channel:
            await asyncio.wait_for(channel.channel_ready(), PATIENCE)
            yield Worker(agent, WorkerStub(channel), server)
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
