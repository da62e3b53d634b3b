"""``armoflow worker``: an ArmoniK worker that runs armoflow's tasks in a child process.

It serves ArmoniK's Worker API and calls its Agent API, both at the addresses that ArmoniK's own
environment variables name. The child can be killed, so a task that passes its deadline or is
cancelled ends at once, whatever it is doing, and the next one finds a fresh process.
"""

# ruff: noqa: N802 (the API names the methods)

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from armonik.protogen.common import objects_pb2, worker_common_pb2
from armonik.protogen.worker.agent_service_pb2_grpc import AgentStub
from armonik.protogen.worker.worker_service_pb2_grpc import (
    WorkerServicer,
    add_WorkerServicer_to_server,
)

from armoflow.codec.clipping import short_error
from armoflow.codec.failure import ErrorRecord
from armoflow.errors import ArmoflowError, WorkerDiedError
from armoflow.system.descendants import MARK, new_mark
from armoflow.system.ending import watch_signals
from armoflow.system.guardian import Guardian
from armoflow.system.sockets import unix_path, unix_target
from armoflow.system.temporary import TemporaryDirectory
from armoflow.worker.agent_calls import AgentCalls
from armoflow.worker.environment import worker_environment
from armoflow.worker.spares import Spares
from armoflow.worker.supervisor import ChildSupervisor
from armoflow.worker.work import Outcome, Work

logger = logging.getLogger(__name__)

STOP_SECONDS = 5.0
"""How long a running task may take to end when the worker is told to stop."""

_UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_HEALTH = worker_common_pb2.HealthCheckReply


@dataclass(frozen=True)
class Addresses:
    """Where the worker listens, and where its agent does, as gRPC writes it.

    Example:
        >>> Addresses.from_environment({}).worker
        'unix:/cache/armonik_worker.sock'
    """

    worker: str
    agent: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Addresses:
        """Read ArmoniK's variables; its defaults hold for those that are not set."""
        return cls(_address(environment, "Worker"), _address(environment, "Agent"))


def _address(environment: Mapping[str, str], side: str) -> str:
    prefix = f"ComputePlane__{side}Channel__"
    address = environment.get(f"{prefix}Address") or f"/cache/armonik_{side.lower()}.sock"
    kind = environment.get(f"{prefix}SocketType") or "unixdomainsocket"
    if kind.lower() == "tcp":
        return address.removeprefix("http://").rstrip("/")
    if kind.lower() != "unixdomainsocket":
        raise ValueError(f"{prefix}SocketType is {kind!r}: known are unixdomainsocket and tcp")
    return "unix:" + address.removeprefix("unix://").removeprefix("unix:")


@dataclass(eq=False)
class _Call:
    """One call of Process."""

    agent: AgentCalls
    outcome: asyncio.Future[Outcome]


class WorkerService(WorkerServicer):  # type: ignore[misc]
    """Serves one agent.

    Args:
        agent: The agent's stub.
        directory: Where the child keeps its log.
        environment: The child's variables.
        spare_delay: See :class:`~armoflow.worker.spares.Spares`.
    """

    def __init__(
        self,
        agent: Any,
        directory: Path,
        environment: Mapping[str, str] | None = None,
        *,
        spare_delay: float | None = 2.0,
    ) -> None:
        self._agent = agent
        self._spares = Spares(directory, environment or worker_environment(), spare_delay)
        self._supervisor = ChildSupervisor(self, self._spares)
        self._supervisor.prepare()

    async def ready(self) -> None:
        """Wait for the child.

        Raises:
            WorkerDiedError: If it cannot be started.
        """
        await self._supervisor.start()

    async def stop(self) -> None:
        """End the child."""
        await self._supervisor.stop()
        await self._spares.stop()

    async def HealthCheck(self, request: Any, context: Any) -> Any:
        """Serving, as soon as the child is ready, and while it runs a task."""
        try:
            await self._supervisor.start()
        except WorkerDiedError:
            return _HEALTH(status=_HEALTH.NOT_SERVING)
        return _HEALTH(status=_HEALTH.SERVING)

    async def Process(self, request: Any, context: Any) -> Any:
        """Run one task."""
        call = _Call(AgentCalls(self._agent, request), asyncio.get_running_loop().create_future())
        work = _work(request, call)
        self._supervisor.send([work])
        try:
            outcome = await call.outcome
            error = await self._commit(call, outcome)
        except asyncio.CancelledError:
            # The deadline has passed, or the task was cancelled: the agent waits no longer.
            self._supervisor.cancel(work)
            raise
        lost = call.agent.lost
        if lost is not None:
            text = f"the agent failed: {lost.details()} ({lost.code().name})"
            await context.abort(grpc.StatusCode.UNAVAILABLE, text)
        return worker_common_pb2.ProcessReply(output=_output(error))

    async def _commit(self, call: _Call, outcome: Outcome) -> str | None:
        """Tell the agent what the task made; returns the error that it ends with, if any."""
        effects = outcome.effects
        if effects is None:
            return _told(outcome)
        missing = effects.undelivered(outcome.work.outputs)
        if missing:
            return f"the task made neither its output {missing[0]} nor a child task for it"
        try:
            await call.agent.commit(effects)
        except grpc.aio.AioRpcError as error:
            call.agent.note(error)
            return f"the agent refused what the task made: {error.details()} ({error.code().name})"
        return None

    # --- the supervisor's side ------------------------------------------------------------------

    def completed(self, supervisor: ChildSupervisor, outcomes: Sequence[Outcome]) -> None:
        """Tasks ended."""
        for outcome in outcomes:
            call: _Call = outcome.work.key
            if not call.outcome.done():
                call.outcome.set_result(outcome)

    def returned(self, supervisor: ChildSupervisor, works: Sequence[Work]) -> None:
        """Nothing is recalled here."""

    def paused(self, supervisor: ChildSupervisor, work: Work, seconds: float) -> None:
        """Tasks wait in their child here: an agent knows no delay."""

    def lagging(self, supervisor: ChildSupervisor) -> None:
        """There is no other child to give work to."""

    async def answer(self, work: Work, method: str, argument: Any) -> Any:
        """Ask the agent what a task asks for."""
        call: _Call = work.key
        return await call.agent.answer(method, argument)


def _told(outcome: Outcome) -> str:
    """What the engine is told of a failure; where that is not all, the log holds the whole."""
    text = short_error(outcome.error)
    if text != outcome.error:
        record = ErrorRecord.find(outcome.error)
        whole = outcome.error if record is None else record.cause().full_text()
        logger.error("task %s failed: %s", outcome.work.task_id, whole)
    return text


def _work(request: Any, call: _Call) -> Work:
    folder = request.data_folder
    return Work(
        request.task_id,
        request.session_id,
        list(request.expected_output_keys),
        [f"{folder}/{request.payload_id}", 0],
        {result_id: [f"{folder}/{result_id}", 0] for result_id in request.data_dependencies},
        folder,
        key=call,
    )


def _output(error: str | None) -> Any:
    if error is None:
        return objects_pb2.Output(ok=objects_pb2.Empty())
    return objects_pb2.Output(error=objects_pb2.Output.Error(details=error))


async def serve(addresses: Addresses, stop: asyncio.Event) -> None:
    """Serve until told to stop.

    Raises:
        WorkerDiedError: If the child process cannot be started.
    """
    directory = TemporaryDirectory()
    mark = new_mark()
    guardian = Guardian(mark, [directory.path])
    environment = {**worker_environment(), MARK: mark}
    options = [
        ("grpc.default_authority", "localhost"),
        ("grpc.enable_http_proxy", 0),  # the agent is beside this process
        *_UNLIMITED,
    ]
    try:
        async with grpc.aio.insecure_channel(_target(addresses.agent), options=options) as channel:
            service = WorkerService(AgentStub(channel), directory.path / "seat", environment)
            server = grpc.aio.server(options=_UNLIMITED)
            add_WorkerServicer_to_server(service, server)
            _listen(server, addresses.worker)
            await server.start()
            logger.info("worker at %s, agent at %s", addresses.worker, addresses.agent)
            try:
                await _ready_or_told(service, stop)
                await stop.wait()
            finally:
                await server.stop(STOP_SECONDS)
                await service.stop()
    finally:
        directory.remove()
        guardian.stop()


async def _ready_or_told(service: WorkerService, stop: asyncio.Event) -> None:
    told = asyncio.ensure_future(stop.wait())
    ready = asyncio.ensure_future(service.ready())
    await asyncio.wait([told, ready], return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if ready.done():
        ready.result()
    ready.cancel()


def _listen(server: Any, address: str) -> None:
    if address.startswith("unix:"):
        Path(address.removeprefix("unix:")).parent.mkdir(parents=True, exist_ok=True)
        _remove_socket(address)
    server.add_insecure_port(_target(address))


def _target(address: str) -> str:
    return unix_target(unix_path(address)) if address.startswith("unix:") else address


def _remove_socket(address: str) -> None:
    if address.startswith("unix:"):
        Path(address.removeprefix("unix:")).unlink(missing_ok=True)


async def _main() -> int:
    addresses = Addresses.from_environment(os.environ)
    stop = watch_signals(lambda: _remove_socket(addresses.worker))
    try:
        await serve(addresses, stop)
    except (ArmoflowError, OSError, RuntimeError) as error:
        print(f"armoflow worker: {error}", file=sys.stderr)
        return 1
    return 0


def main() -> int:
    """Run the worker; returns its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        return asyncio.run(_main())
    except ValueError as error:
        print(f"armoflow worker: {error}", file=sys.stderr)
        return 2
