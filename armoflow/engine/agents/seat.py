"""A seat: one worker process after the other, and the task that it runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import grpc
from armonik.protogen.common import objects_pb2, worker_common_pb2
from armonik.protogen.worker.agent_service_pb2_grpc import add_AgentServicer_to_server

from armoflow.agent.passages import Passage
from armoflow.config import CHUNK_BYTES
from armoflow.engine.agents.agent_service import AgentService, Execution, MissingDataError
from armoflow.engine.agents.channels import Channels, SocketKind, tcp_channels, unix_channels
from armoflow.engine.agents.link import (
    KILL_GRACE,
    LIMITS,
    WorkerLink,
    read_answer,
)
from armoflow.engine.agents.worker_process import WorkerProcess
from armoflow.engine.core import Engine
from armoflow.engine.faults import StorageError
from armoflow.engine.pods import Pod
from armoflow.engine.postponed import FIRST_PAUSE, LAST_PAUSE, PATIENCE
from armoflow.engine.records import StateError, TaskRecord, TaskStatus
from armoflow.engine.services.call_log import CallLog
from armoflow.engine.services.convert import options_to_message
from armoflow.engine.services.guard import Guard
from armoflow.system.descendants import MARK
from armoflow.system.guardian import Guardian
from armoflow.system.temporary import TemporaryDirectory, socket_directory

logger = logging.getLogger(__name__)

STOP_GRACE = 5.0
"""Seconds that running tasks get to finish when the engine stops (ArmoniK.Core's GraceDelay)."""

RECOVERY_TIMEOUT = 2.0
"""Seconds that a worker has to come to itself after its task was cancelled or timed out."""

FIRST_DELAY, LAST_DELAY = 0.1, 30.0
"""Seconds before a worker is started again when it died before it was ready; doubles each time."""

DEATHS_BEFORE_ERROR = 3
"""Deaths in a row, before being ready, that are reported as an error."""

_PINGS = (("grpc.http2.max_ping_strikes", 0),)
"""A worker that makes sure that its agent is there is welcome, as at the reference agent."""

CALENDAR_END = 253_402_300_800.0
"""Seconds since the epoch: the reference engine's dates end with the year 9999."""

LONGEST_CALL = 10 * 365 * 24 * 3600.0
"""Seconds; gRPC cannot express a deadline that is much farther away."""


class Employer(Protocol):
    """Where a seat gets its tasks."""

    engine: Engine
    environment: Mapping[str, str]
    calls: CallLog
    kinds: Sequence[SocketKind]
    mark: str
    data_folder: Path | None
    guardian: Guardian
    work: asyncio.Event
    stopping: bool

    def take(self, owner: str) -> TaskRecord | None:
        """The next task, dispatched to ``owner``; None if there is none."""

    def forget(self, task: TaskRecord) -> None:
        """A seat does not run this task any more."""


class ExecutionFailure(NamedTuple):
    """How an execution failed: the task's error, its status, whether it may be retried."""

    error: str
    status: TaskStatus = TaskStatus.ERROR
    retry: bool = True


_GOING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
"""How calls to a worker end that is gone, or is about to go: its server cancels what comes then."""

_NOT_SEEN = ExecutionFailure("the worker had ended by itself")
"""A worker that ends after a task of before, as some do after so many, takes none along. One whose
first task this was may have ended for it: that is an attempt."""


class Seat:
    """Keeps a worker running and gives it one task at a time.

    Args:
        agent: The agent that the seat belongs to.
        pod: Its name, and what tasks show as their owner.
        directory: Where the seat's own directory goes.
        arguments: What starts a worker: a program, and its arguments.
        variables: Of the worker's environment, those that other seats' workers have otherwise.
    """

    def __init__(
        self,
        agent: Employer,
        pod: Pod,
        directory: Path,
        arguments: Sequence[str],
        variables: Mapping[str, str],
    ) -> None:
        self._agent = agent
        self._variables = variables
        self._arguments = arguments
        self._engine = agent.engine
        self._name = pod.name
        self._owner = pod.owner
        self._directory = directory / pod.name
        self._sockets = self._directory
        self._short: TemporaryDirectory | None = None
        self._service = AgentService(agent.engine)
        self._server: Any = None
        self._kind = 0
        self._channels: Channels
        self._loop: asyncio.Task[None] | None = None
        self._execution: Execution | None = None
        self._call: Any = None
        self._interrupted = False
        self._discarding: asyncio.Task[None] | None = None
        self._deaths = 0

    # --- life -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Serve the worker's calls and start it."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._short = socket_directory(self._directory, "worker.sock")
        if self._short is not None:
            self._sockets = self._short.path
        await self._serve()
        self._loop = asyncio.create_task(self._live(), name=f"armoflow seat {self._name}")

    async def _serve(self) -> None:
        """Serve the worker's calls, on channels of the present kind."""
        kinds = self._agent.kinds
        kind = kinds[self._kind % len(kinds)]
        self._channels = tcp_channels() if kind == "tcp" else unix_channels(self._sockets)
        self._channels.clear()
        strict = self._engine.options.strict  # the reference agent keeps gRPC's limit of 4 MiB
        self._server = grpc.aio.server(
            interceptors=(Guard(self._agent.calls),),
            options=_PINGS if strict else (*_PINGS, *LIMITS),
        )
        add_AgentServicer_to_server(self._service, self._server)
        self._server.add_insecure_port(self._channels.agent)
        await self._server.start()

    async def _change_channels(self) -> None:
        """Serve at other addresses, of another kind where there is a choice."""
        self._kind += 1
        await self._server.stop(None)
        await self._serve()

    async def stop(self) -> None:
        """Let the running task finish for a while, give it back otherwise, and end the worker."""
        if self._loop is None:
            return
        if self._execution is not None:
            await asyncio.wait([self._loop], timeout=STOP_GRACE)
        self._loop.cancel()
        await self._server.stop(None)
        with contextlib.suppress(asyncio.CancelledError):
            await self._loop
        await self._discarded()
        if self._short is not None:
            self._short.remove()

    async def _live(self) -> None:
        """Keep a worker running, and give it tasks."""
        while not self._agent.stopping:
            try:
                problem = await self._employ()
            except OSError as error:
                problem = f"cannot be started: {error}"
            except Exception as error:
                logger.exception("worker %s is given up", self._name)
                problem = f"is given up: {type(error).__name__}: {error}"
            if problem and not self._agent.stopping:
                await self._report_death(problem)

    async def _employ(self) -> str:
        """Start a worker and give it tasks until it must be replaced.

        Returns:
            How it died before it was ready; empty if it was ready.
        """
        process = WorkerProcess(
            self._arguments,
            {
                **self._agent.environment,
                **self._variables,
                **self._channels.environment(),
                MARK: f"{self._agent.mark}/{self._name}",
            },
            self._directory,
            self._agent.guardian,
            self._keep,
        )
        async with WorkerLink(process, self._channels.worker, self._agent.calls) as link:
            if not await link.wait_until_ready():
                await self._change_channels()  # it may not understand these
                return process.describe_end()
            self._deaths = 0
            while (task := await self._next_task(process)) is not None:
                if not await self._run(link, task):
                    break
            if self._agent.stopping:
                await self._server.stop(None)  # armoflow's worker serves as long as its agent does
            if not process.alive:
                logger.warning("worker %s %s", self._name, process.describe_end())
        return ""

    def _keep(self, passages: Iterable[Passage]) -> None:
        """Tasks wrote something, which is kept with their sessions."""
        sessions = self._engine.state.sessions
        self._engine.task_output.write(
            passage for passage in passages if passage.writer.session_id in sessions
        )

    async def _report_death(self, problem: str) -> None:
        """Say that the worker died before it was ready, and wait before the next try."""
        self._deaths += 1
        delay = min(FIRST_DELAY * 2 ** min(self._deaths - 1, 10), LAST_DELAY)
        logger.log(
            logging.ERROR if self._deaths >= DEATHS_BEFORE_ERROR else logging.WARNING,
            "worker %s (%s) was never ready, %d time(s) in a row: it %s\ntrying again in %.1f s",
            self._name,
            shlex.join(self._arguments),
            self._deaths,
            problem,
            delay,
        )
        await asyncio.sleep(delay)

    # --- tasks ----------------------------------------------------------------------------------

    def runs(self, task: TaskRecord) -> bool:
        """Whether this seat runs a task."""
        return self._execution is not None and self._execution.task.id == task.id

    def interrupt(self) -> None:
        """Stop the running task."""
        self._interrupted = True
        if self._call is not None:
            self._call.cancel()

    async def _next_task(self, process: WorkerProcess) -> TaskRecord | None:
        """The next task; None if the worker died, or the agent stops, before there was one."""
        agent = self._agent
        while process.alive and not agent.stopping:
            task = agent.take(self._owner)
            if task is not None:
                return task
            agent.work.clear()
            work = asyncio.ensure_future(agent.work.wait())
            try:
                await process.wait_for(work)
            finally:
                work.cancel()
        return None

    async def _run(self, link: WorkerLink, task: TaskRecord) -> bool:
        """Run a task to its end; False if the worker must be replaced."""
        self._interrupted = False
        execution = self._execution = Execution(self._engine, task, self._agent.data_folder)
        try:
            return await self._execute(link, execution)
        except asyncio.CancelledError:
            self._give_back(task)
            raise
        except Exception as error:
            logger.exception("the agent failed to run task %s", task.id)
            self._fail(task, ExecutionFailure(f"the agent failed: {type(error).__name__}: {error}"))
            return False
        finally:
            self._execution = self._call = None
            if not self._engine.options.strict:
                self._service.execution = None
            await self._discarded()
            self._discarding = asyncio.create_task(execution.discard())

    async def _discarded(self) -> None:
        """Wait until the data folder of the last task is removed, which the next one need not."""
        if self._discarding is not None:
            await asyncio.shield(self._discarding)

    async def _execute(self, link: WorkerLink, execution: Execution) -> bool:
        engine, task = self._engine, execution.task
        try:
            await self._prepare(execution)
        except MissingDataError as error:
            self._fail(task, ExecutionFailure(str(error), retry=False))
            return True
        except StorageError as fault:
            # One that may pass was waited for already.
            self._fail(task, ExecutionFailure(str(fault), retry=not fault.passing))
            return True
        if not await link.is_still_healthy():
            self._give_back(task)
            return False
        if not self._begin(task):
            return True
        verdict = self._refuse(task) or await self._process(link, execution)
        if self._interrupted:
            self._acknowledge(task)
        elif verdict is _NOT_SEEN:
            self._give_back(task)
        elif verdict is None:
            engine.complete([(task.id, execution.effects)])
            taken_in = engine.announcements.under_way(task.id)
            if taken_in is not None:  # its files are in this execution's folder
                await taken_in
            return True
        else:
            self._fail(task, verdict)
        # A worker with one thread may still be in the task that was given up.
        return link.process.alive and await link.is_healthy(RECOVERY_TIMEOUT)

    async def _prepare(self, execution: Execution) -> None:
        """Lay out a task's data; a fault that may pass is waited for, for a while.

        Raises:
            MissingDataError: If some of it is gone.
            StorageError: If it cannot be laid out.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + PATIENCE
        pause = FIRST_PAUSE
        while True:
            try:
                await execution.prepare()
                return
            except StorageError as fault:
                if not fault.passing or self._interrupted or clock() > deadline:
                    raise
                if pause == FIRST_PAUSE:
                    logger.warning("task %s waits: %s", execution.task.id, fault)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE)

    def _begin(self, task: TaskRecord) -> bool:
        """Mark the task as processing; False if it was taken away meanwhile."""
        engine = self._engine
        try:
            engine.apply(engine.state.start(engine.now(), task.id, self._owner))
        except StateError as error:
            logger.debug("task %s is not started: %s", task.id, error)
            self._acknowledge(task)
            return False
        return True

    def _refuse(self, task: TaskRecord) -> ExecutionFailure | None:
        """Strict: why a task cannot be given to the worker; the reference agent finds out now."""
        limit = task.options.max_duration
        if self._engine.options.strict and limit > CALENDAR_END - self._engine.now():
            return ExecutionFailure(f"max_duration, {limit:.0f} s, ends after the year 9999")
        return None

    async def _process(self, link: WorkerLink, execution: Execution) -> ExecutionFailure | None:
        """Call the worker; None if it ended in success and its effects are complete.

        Strict: as long as no other task is given, the token of one whose call failed stays good.
        """
        self._service.execution = execution
        limit = min(execution.task.options.max_duration, LONGEST_CALL)
        self._call = link.start_call(_request(execution), limit)
        try:
            code, reply = await read_answer(self._call)
        finally:
            self._call.cancel()  # changes nothing unless this seat is being stopped
        if not (self._engine.options.strict and reply is None):
            self._service.execution = None
        if self._interrupted:
            return None
        if reply is None:
            return await self._judge(link, code)
        link.served = True
        kind = reply.output.WhichOneof("type")
        if kind == "error":
            return ExecutionFailure(reply.output.error.details, retry=False)
        if kind is None:
            return ExecutionFailure("the worker's reply has no output")
        try:
            await execution.collect()
        except (OSError, StorageError) as error:
            return _not_collected(error)
        return None

    async def _judge(self, link: WorkerLink, code: Any) -> ExecutionFailure:
        """What becomes of a task whose Process call failed."""
        process = link.process
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return ExecutionFailure(
                "the task ran longer than its max_duration", TaskStatus.TIMEOUT, retry=False
            )
        details = await self._call.details()
        if code in _GOING:
            # That a worker died is known a moment later than that its connection is lost.
            await process.wait(KILL_GRACE)
        if process.left and link.served:
            return _NOT_SEEN
        if not process.alive:
            return ExecutionFailure(
                f"the worker was lost ({code.name}): it {process.describe_end()}"
            )
        return ExecutionFailure(f"the worker ended the call with {code.name}: {details}")

    def _fail(self, task: TaskRecord, verdict: ExecutionFailure) -> None:
        error, status, retry = verdict
        self._engine.fail(task.id, error, status=status, retry=retry)

    def _acknowledge(self, task: TaskRecord) -> None:
        """Say that the task does not run here any more: one that was cancelled has ended."""
        self._agent.forget(task)
        self._engine.apply(self._engine.state.stopped(self._engine.now(), [task.id]))

    def _give_back(self, task: TaskRecord) -> None:
        """Queue a task again, unharmed."""
        self._agent.forget(task)
        try:
            changes = self._engine.state.release(self._engine.now(), task.id, self._owner)
        except StateError as error:
            logger.debug("task %s is not given back: %s", task.id, error)
        else:
            self._engine.apply(changes)


def _not_collected(error: OSError | StorageError) -> ExecutionFailure:
    if isinstance(error, StorageError):
        return ExecutionFailure(str(error))
    return ExecutionFailure(f"a result that the worker announced cannot be read: {error}")


def _request(execution: Execution) -> Any:
    task = execution.task
    return worker_common_pb2.ProcessRequest(
        communication_token=execution.token,
        session_id=task.session_id,
        task_id=task.id,
        task_options=options_to_message(task.options),
        expected_output_keys=task.outputs,
        payload_id=task.payload_id,
        data_dependencies=task.dependencies,
        data_folder=str(execution.folder),
        configuration=objects_pb2.Configuration(data_chunk_max_size=CHUNK_BYTES),
    )
