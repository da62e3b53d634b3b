"""Workers that the test plays: what they are given they hold, until it is said how that ends."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from armonik.protogen.common import agent_common_pb2, objects_pb2, worker_common_pb2
from armonik.protogen.worker.agent_service_pb2_grpc import AgentStub
from armonik.protogen.worker.worker_service_pb2_grpc import (
    WorkerServicer,
    add_WorkerServicer_to_server,
)

ANNOUNCE = (
    'echo "$$ $ComputePlane__WorkerChannel__Address $ComputePlane__AgentChannel__Address" > "$0"; '
    "exec sleep 1000000"
)
"""What a worker's process does: it says where it would serve, and lives."""

PATIENCE = 60.0

Ending = worker_common_pb2.ProcessReply | grpc.StatusCode


class Held:
    """A task that a worker holds."""

    def __init__(self, worker: StandIn, request: Any) -> None:
        self.worker = worker
        self.task_id: str = request.task_id
        self.session_id: str = request.session_id
        self.outputs = list(request.expected_output_keys)
        self.inputs = [request.payload_id, *request.data_dependencies]
        self.folder = Path(request.data_folder)
        self._token = request.communication_token
        self._ending: Ending | None = None
        self._ended = threading.Event()

    def read(self, result_id: str) -> bytes:
        """An input, as it lies in the data folder."""
        return (self.folder / result_id).read_bytes()

    def produce(self, result_id: str, data: bytes) -> None:
        """Write a result, and announce it."""
        (self.folder / result_id).write_bytes(data)
        one = agent_common_pb2.NotifyResultDataRequest.ResultIdentifier(
            session_id=self.session_id, result_id=result_id
        )
        request = agent_common_pb2.NotifyResultDataRequest(
            communication_token=self._token, ids=[one]
        )
        self.worker.agent.NotifyResultData(request, timeout=PATIENCE)

    def create(self, data: bytes) -> str:
        """Create a result with its data."""
        one = agent_common_pb2.CreateResultsRequest.ResultCreate(name="made", data=data)
        request = agent_common_pb2.CreateResultsRequest(
            session_id=self.session_id, communication_token=self._token, results=[one]
        )
        reply = self.worker.agent.CreateResults(request, timeout=PATIENCE)
        return str(reply.results[0].result_id)

    def submit(self, payload: str, needs: list[str], outputs: list[str]) -> None:
        """Submit a child task."""
        one = agent_common_pb2.SubmitTasksRequest.TaskCreation(
            payload_id=payload, data_dependencies=needs, expected_output_keys=outputs
        )
        request = agent_common_pb2.SubmitTasksRequest(
            session_id=self.session_id, communication_token=self._token, task_creations=[one]
        )
        self.worker.agent.SubmitTasks(request, timeout=PATIENCE)

    def end(self, ending: Ending) -> None:
        """Say how it ends."""
        self.worker.pool.let_go(self)
        self._ending = ending
        self._ended.set()

    def succeed(self) -> None:
        """End it well."""
        output = objects_pb2.Output(ok=objects_pb2.Empty())
        self.end(worker_common_pb2.ProcessReply(output=output))

    def fail(self, text: str) -> None:
        """End it in error, as a worker says."""
        output = objects_pb2.Output(error=objects_pb2.Output.Error(details=text))
        self.end(worker_common_pb2.ProcessReply(output=output))

    def crash(self) -> None:
        """The worker dies in it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.worker.process_id, signal.SIGKILL)
        self.end(grpc.StatusCode.UNAVAILABLE)

    def wait(self) -> Ending | None:
        """How it ends; None if its call was cancelled before."""
        self._ended.wait()
        return self._ending

    def cancelled(self) -> None:
        """The call is over."""
        self.worker.pool.let_go(self)
        self._ended.set()


class StandIn(WorkerServicer):  # type: ignore[misc]
    """One worker: a process that does nothing, and its service in this one."""

    def __init__(self, pool: StandIns, process_id: int, address: str, agent: str) -> None:
        self.pool = pool
        self.process_id = process_id
        authority = (("grpc.default_authority", "localhost"),)
        self._channel = grpc.insecure_channel(f"unix:{agent}", options=authority)
        self.agent = AgentStub(self._channel)
        self._server = grpc.server(ThreadPoolExecutor(4))
        add_WorkerServicer_to_server(self, self._server)
        self._server.add_insecure_port(f"unix:{address}")
        self._server.start()

    def HealthCheck(self, request: Any, context: Any) -> Any:
        """It serves."""
        serving = worker_common_pb2.HealthCheckReply.SERVING
        return worker_common_pb2.HealthCheckReply(status=serving)

    def Process(self, request: Any, context: Any) -> Any:
        """Hold a task until the test says how it ends."""
        held = Held(self, request)
        self.pool.hold(held)
        if not context.add_callback(held.cancelled):
            held.cancelled()
        ending = held.wait()
        if isinstance(ending, grpc.StatusCode):
            context.abort(ending, "as the test wants it")
        return ending or worker_common_pb2.ProcessReply()

    def stop(self) -> None:
        """Serve no more."""
        self._server.stop(None).wait()
        self._channel.close()


class StandIns:
    """All workers of an engine, as they are announced.

    Attributes:
        doubled: Ids of tasks that two workers held at a time.
    """

    def __init__(self, directory: Path) -> None:
        self._pipe = directory / "announced"
        os.mkfifo(self._pipe)
        self._file = os.open(self._pipe, os.O_RDWR)  # so that it never ends
        self._lock = threading.Lock()
        self._held: dict[str, Held] = {}
        self._workers: dict[str, StandIn] = {}
        self.doubled: list[str] = []
        self._reader = threading.Thread(target=self._follow)
        self._reader.start()

    @property
    def command(self) -> list[str]:
        """What starts a worker."""
        return ["sh", "-c", ANNOUNCE, str(self._pipe)]

    def _follow(self) -> None:
        with os.fdopen(self._file, closefd=False) as announced:
            while words := announced.readline().split():
                process_id, address, agent = words
                if address in self._workers:
                    self._workers.pop(address).stop()
                self._workers[address] = StandIn(self, int(process_id), address, agent)

    def hold(self, held: Held) -> None:
        """A worker has been given a task."""
        with self._lock:
            if held.task_id in self._held:
                self.doubled.append(held.task_id)
            self._held[held.task_id] = held

    def let_go(self, held: Held) -> None:
        """It does not hold it any more."""
        with self._lock:
            if self._held.get(held.task_id) is held:
                del self._held[held.task_id]

    def held(self) -> dict[str, Held]:
        """What the workers hold, by task."""
        with self._lock:
            return dict(self._held)

    def drop(self) -> None:
        """The engine was killed, and its workers with it."""
        for held in self.held().values():
            held.cancelled()

    def close(self) -> None:
        """End all of them."""
        self.drop()
        os.write(self._file, b"\n")
        self._reader.join()
        os.close(self._file)
        for worker in self._workers.values():
            worker.stop()
