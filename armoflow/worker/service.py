"""ArmoniK's Worker service: runs armoflow's tasks in a child process.

The child can be killed, so a task that passes its deadline or is cancelled ends at once, whatever
it is doing, and the next one finds a fresh process. How it is served is the matter of
:mod:`armoflow.worker.serve`.
"""

# ruff: noqa: N802 (the API names the methods)

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from armonik.protogen.common import objects_pb2, worker_common_pb2
from armonik.protogen.worker.worker_service_pb2_grpc import WorkerServicer

from armoflow.agent.passages import Passage
from armoflow.codec.clipping import clip, short_error
from armoflow.codec.failure import ErrorRecord
from armoflow.config import STATUS_TEXT_LIMIT
from armoflow.errors import DataLostError
from armoflow.placement import GPUS_LABEL, read_wish
from armoflow.system.devices import visible_devices
from armoflow.system.memory import container_memory
from armoflow.tracing import trace_of
from armoflow.worker.addresses import Addresses
from armoflow.worker.agent_calls import AgentCalls
from armoflow.worker.environment import worker_environment
from armoflow.worker.home import Home
from armoflow.worker.leftovers import sweep_leftovers
from armoflow.worker.output_keeper import OutputKeeper
from armoflow.worker.preparations import Preparations, requirements_of
from armoflow.worker.spares import Spares
from armoflow.worker.supervisor import ChildSupervisor
from armoflow.worker.work import Assignment, TaskEnding

logger = logging.getLogger(__name__)

_HEALTH = worker_common_pb2.HealthCheckReply


@dataclass(eq=False)
class _Call:
    """One call of Process."""

    agent: AgentCalls
    outcome: asyncio.Future[TaskEnding]


class WorkerService(WorkerServicer):  # type: ignore[misc]
    """Serves one agent.

    Args:
        agent: The agent's stub.
        directory: Where the child keeps its log.
        environment: The child's variables.
        addresses: Where both listen; None: not known.
        spare_delay: See :class:`~armoflow.worker.spares.Spares`.
        told: Called with what tasks have written.
    """

    def __init__(
        self,
        agent: Any,
        directory: Path,
        environment: Mapping[str, str] | None = None,
        *,
        addresses: Addresses | None = None,
        spare_delay: float | None = 2.0,
        told: Callable[[Sequence[Passage]], None] = lambda _: None,
    ) -> None:
        self._tell = told
        self._options: dict[str, Mapping[str, str]] = {}  # of the tasks that run
        self._written = OutputKeeper(self._options.get)
        self._agent = agent
        self._addresses = addresses
        self._sweeping: asyncio.Future[None] | None = None
        environment = environment or worker_environment()
        self._devices = visible_devices(environment)
        self._spares = Spares(directory, environment, spare_delay, container_memory())
        self._preparations = Preparations(directory)
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
        if self._sweeping is not None:
            await self._sweeping
        await self._supervisor.stop()
        await self._spares.stop()
        await self._preparations.stop()

    @property
    def busy(self) -> bool:
        """Whether it runs a task."""
        return self._supervisor.load > 0

    async def HealthCheck(self, request: Any, context: Any) -> Any:
        """Serving, also while the child starts or runs a task; unless it cannot be started."""
        serving = self._supervisor.hopeful
        return _HEALTH(status=_HEALTH.SERVING if serving else _HEALTH.NOT_SERVING)

    async def Process(self, request: Any, context: Any) -> Any:
        """Run one task."""
        if self._sweeping is None:
            self._sweeping = asyncio.ensure_future(self._sweep(Path(request.data_folder)))
        call = _Call(AgentCalls(self._agent, request), asyncio.get_running_loop().create_future())
        work = _work(request, call)
        self._options[request.task_id] = request.task_options.options
        try:
            options = request.task_options.options
            found, work.refused = await self._preparations.get(requirements_of(options))
            work.home = Home(found, self._share(read_wish(options, GPUS_LABEL)))
            self._supervisor.send([work])
            outcome = await call.outcome
            lost = self._lost(call, outcome)
            if not lost:
                error = await self._commit(call, outcome)
                lost = self._lost(call, outcome)
        except asyncio.CancelledError:
            # The deadline has passed, or the task was cancelled: the agent waits no longer.
            self._supervisor.cancel(work)
            raise
        finally:
            work.discard()
            self._options.pop(request.task_id, None)
            self._written.take(request.task_id)
        if lost:
            await context.abort(grpc.StatusCode.UNAVAILABLE, clip(lost, STATUS_TEXT_LIMIT))
        return worker_common_pb2.ProcessReply(output=_output(error))

    def _share(self, gpus: int) -> tuple[str, ...] | None:
        """The devices of a task that wants so many of them; None: all that there are."""
        return self._devices[:gpus] if 0 < gpus < len(self._devices) else None

    async def _sweep(self, folder: Path) -> None:
        """With its first task the present agent shows that it is the one whose socket is there."""
        if self._addresses is not None:
            agent, worker = self._addresses.agent_socket, self._addresses.worker_socket
            await asyncio.to_thread(sweep_leftovers, folder, agent, worker)

    def _lost(self, call: _Call, outcome: TaskEnding) -> str:
        """Why the attempt is lost through no fault of the task's: the engine makes another."""
        fault = call.agent.lost
        if fault is not None:
            return f"the agent failed: {fault.details()} ({fault.code().name})"
        if not outcome.unharmed:
            return ""
        record = ErrorRecord.find(outcome.error)
        return outcome.error if record is None else record.message

    async def _commit(self, call: _Call, outcome: TaskEnding) -> str | None:
        """Tell the agent what the task made; returns the error that it ends with, if any."""
        effects = outcome.effects
        if effects is None:
            return _told(outcome)
        missing = effects.undelivered(outcome.work.outputs)
        if missing:
            return f"the task made neither its output {missing[0]} nor a child task for it"
        await self._store_written(call, outcome.work.task_id)
        try:
            await call.agent.commit(effects)
        except grpc.aio.AioRpcError as error:
            return f"the agent refused what the task made: {error.details()} ({error.code().name})"
        return None

    async def _store_written(self, call: _Call, task_id: str) -> None:
        """Leave what a task has written to its client, if that wants it."""
        written = self._written.take(task_id)
        if written is not None:
            try:
                await call.agent.answer("store_results", [written])
            except DataLostError as error:  # it is in the log, and the task has ended well
                logger.warning("what task %s has written is not stored: %s", task_id, error)

    # --- the supervisor's side ------------------------------------------------------------------

    def completed(self, supervisor: ChildSupervisor, outcomes: Sequence[TaskEnding]) -> None:
        """Tasks ended."""
        for outcome in outcomes:
            call: _Call = outcome.work.key
            if not call.outcome.done():
                call.outcome.set_result(outcome)

    def returned(self, supervisor: ChildSupervisor, works: Sequence[Assignment]) -> None:
        """Nothing is recalled here."""

    def paused(self, supervisor: ChildSupervisor, work: Assignment, seconds: float) -> None:
        """Tasks wait in their child here: an agent knows no delay."""

    def lagging(self, supervisor: ChildSupervisor, running: Assignment) -> None:
        """There is no other child to give work to."""

    def printed(self, passages: Sequence[Passage]) -> None:
        """Tasks wrote something."""
        self._written.hear(passages)
        self._tell(passages)

    async def answer(self, work: Assignment, method: str, argument: Any) -> Any:
        """Ask the agent what a task asks for."""
        call: _Call = work.key
        return await call.agent.answer(method, argument)


def _told(outcome: TaskEnding) -> str:
    """What the engine is told of a failure; where that is not all, the log holds the whole."""
    text = short_error(outcome.error)
    if text != outcome.error:
        record = ErrorRecord.find(outcome.error)
        whole = outcome.error if record is None else record.cause().full_text()
        logger.error("task %s failed: %s", outcome.work.task_id, whole)
    return text


def _work(request: Any, call: _Call) -> Assignment:
    folder = request.data_folder
    return Assignment(
        request.task_id,
        request.session_id,
        list(request.expected_output_keys),
        [f"{folder}/{request.payload_id}", 0],
        {result_id: [f"{folder}/{result_id}", 0] for result_id in request.data_dependencies},
        folder,
        key=call,
        trace=trace_of(request.task_options.options),
    )


def _output(error: str | None) -> Any:
    if error is None:
        return objects_pb2.Output(ok=objects_pb2.Empty())
    return objects_pb2.Output(error=objects_pb2.Output.Error(details=error))
