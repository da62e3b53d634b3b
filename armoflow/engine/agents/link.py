"""A worker process and the gRPC channel to it, as one thing that lives and dies together."""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Any

import grpc
from armonik.protogen.common import objects_pb2, worker_common_pb2
from armonik.protogen.worker.worker_service_pb2_grpc import WorkerStub

from armoflow.config import REQUEST_LIMIT
from armoflow.engine.agents.worker_process import WorkerProcess
from armoflow.engine.services.call_log import CallLog

logger = logging.getLogger(__name__)

KILL_GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL of a worker."""

HEALTH_TIMEOUT = 5.0
"""Seconds that a worker has to answer a health check (ArmoniK.Core's WorkerCheckTimeout)."""

PATIENCE = 30.0
"""Seconds between two warnings about a worker that runs but does not serve."""

HEALTH_INTERVAL = 1.0
"""Seconds for which a worker that said that it serves is believed: not longer than a short task."""

LIMITS = (
    ("grpc.max_receive_message_length", REQUEST_LIMIT),
    ("grpc.max_send_message_length", -1),
)
_CHANNEL_OPTIONS = (
    *LIMITS,
    ("grpc.default_authority", "localhost"),
    # Each worker process gets a fresh connection, without the back-off of its predecessor's.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.enable_http_proxy", 0),
)


class WorkerLink:
    """One run of a worker's process, connected.

    Args:
        process: The process, not started yet.
        target: Where the worker will listen, as gRPC writes it.
        calls: Counts the calls.

    Attributes:
        served: It has answered for a task.
    """

    def __init__(self, process: WorkerProcess, target: str, calls: CallLog) -> None:
        self.process = process
        self._calls = calls
        self._target = target
        self._health = ""
        self._channel = grpc.aio.insecure_channel(target, options=_CHANNEL_OPTIONS)
        self._worker = WorkerStub(self._channel)
        self._healthy_until = 0.0
        self.served = False

    async def __aenter__(self) -> WorkerLink:
        """Start the process.

        Raises:
            OSError: If it cannot be started.
        """
        try:
            await self.process.start()
        except BaseException:
            await self._channel.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.process.stop(KILL_GRACE)
        await self._channel.close()

    async def wait_until_ready(self) -> bool:
        """Ask for the worker's health until it serves; False if it died before."""
        clock = asyncio.get_running_loop().time
        begin = said = clock()
        delay = 0.02
        while self.process.alive:
            if await self.is_healthy(HEALTH_TIMEOUT, wait_for_ready=True):
                return True
            if clock() - said > PATIENCE:
                said = clock()
                logger.warning(
                    "%s runs, but does not serve at %s, for %.0f s now: asked for its health, %s",
                    self.process.name,
                    self._target,
                    said - begin,
                    self._health,
                )
            await self.process.wait(delay)
            delay = min(2 * delay, 1.0)
        return False

    async def is_healthy(self, limit: float, *, wait_for_ready: bool = False) -> bool:
        """Whether the worker serves; one that does not implement the check does.

        Args:
            limit: Seconds that it has to answer.
            wait_for_ready: Wait for the connection, too.
        """
        self._calls.record("Worker/HealthCheck")
        call = self._worker.HealthCheck(
            objects_pb2.Empty(), timeout=limit, wait_for_ready=wait_for_ready
        )
        answer = asyncio.ensure_future(read_answer(call))
        try:
            await self.process.wait_for(answer)
        finally:
            call.cancel()  # changes nothing if the answer is there
        code, reply = await answer
        serving = worker_common_pb2.HealthCheckReply.SERVING
        self._health = _say_health(code, reply)
        healthy = code is grpc.StatusCode.UNIMPLEMENTED or (
            reply is not None and bool(reply.status == serving)
        )
        if healthy:
            self._healthy_until = asyncio.get_running_loop().time() + HEALTH_INTERVAL
        return healthy

    async def is_still_healthy(self) -> bool:
        """Whether the worker serves, asked for again if the last answer is old."""
        if asyncio.get_running_loop().time() < self._healthy_until:
            return self.process.alive
        return await self.is_healthy(HEALTH_TIMEOUT)

    def start_call(self, request: Any, limit: float) -> Any:
        """Begin a ``Process`` call, which may be cancelled; see :func:`read_answer`."""
        self._calls.record("Worker/Process")
        return self._worker.Process(request, timeout=limit)


def _say_health(code: Any, reply: Any) -> str:
    """What a worker said to the question for its health."""
    if reply is not None:
        names = worker_common_pb2.HealthCheckReply.ServingStatus.DESCRIPTOR.values_by_number
        status = names[reply.status].name if reply.status in names else reply.status
        return f"it says that it is {status}"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "nobody there answers by gRPC"
    return f"it says {code.name}"


async def read_answer(call: Any) -> tuple[Any, Any]:
    """The status code of a call, and its reply, which is None unless the code is OK.

    Awaiting a cancelled call itself would raise CancelledError, as if the awaiting task were the
    one that was cancelled; its code only says what happened to the call.
    """
    code = await call.code()
    return code, (await call if code is grpc.StatusCode.OK else None)
