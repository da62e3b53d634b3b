"""``armoflow worker``: serves one ArmoniK agent, in the pod that they share, until that one ends.

A pod that is taken away tells both its containers at once. The agent still lets its task finish,
and may even begin another one, so the worker serves on until the agent is gone, or a grace is over.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
from armonik.protogen.worker.agent_service_pb2_grpc import AgentStub
from armonik.protogen.worker.worker_service_pb2_grpc import add_WorkerServicer_to_server

from armoflow import config
from armoflow.agent.passages import NOBODY, Passage
from armoflow.codec.compatibility import described
from armoflow.errors import ArmoflowError, EngineError
from armoflow.system.descendants import MARK, new_mark
from armoflow.system.descriptors import require_files
from armoflow.system.disk_faults import describe
from armoflow.system.ending import Ending, watch_signals
from armoflow.system.first_process import bury_adopted
from armoflow.system.grants import granted
from armoflow.system.guardian import Guardian
from armoflow.system.printer import Printer
from armoflow.system.threads import Threads
from armoflow.worker.addresses import Addresses, target
from armoflow.worker.environment import worker_environment
from armoflow.worker.log_format import FORMATS, Format, LineHandler, lines_of
from armoflow.worker.place import habitable, own_directory
from armoflow.worker.service import WorkerService

logger = logging.getLogger(__name__)

GRACE_VARIABLE = "ARMOFLOW_GRACE"

_STOP_SECONDS = 0.5
"""How long answers may take to go out."""

_COMMON = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)
_CHANNEL = (
    *_COMMON,
    ("grpc.default_authority", "localhost"),
    ("grpc.enable_http_proxy", 0),  # the agent is beside this process
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)
_SERVER = (
    *_COMMON,
    # Without this a second worker would share the port, and get half of the first one's tasks.
    ("grpc.so_reuseport", 0),
    # ArmoniK's agent sends pings of its own while a long task runs: they are no abuse.
    ("grpc.http2.max_ping_strikes", 0),
)


def _keepalive() -> tuple[tuple[str, int], ...]:
    """A peer that hangs is no peer: what waits for it ends."""
    milliseconds = int(config.KEEPALIVE_SECONDS * 1000)
    return (
        ("grpc.keepalive_time_ms", milliseconds),
        ("grpc.keepalive_timeout_ms", milliseconds),
        ("grpc.http2.ping_timeout_ms", milliseconds),
    )


def grace_seconds(environment: Mapping[str, str]) -> float:
    """For how long to serve on once told to end.

    Raises:
        ValueError: If the variable holds no such number.

    Example:
        >>> grace_seconds({}), grace_seconds({"ARMOFLOW_GRACE": "0"})
        (20.0, 0.0)
    """
    text = environment.get(GRACE_VARIABLE)
    if not text:
        return config.WORKER_GRACE
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(
            f"{GRACE_VARIABLE} is {text!r}: write a number of seconds, less than the pod's "
            "terminationGracePeriodSeconds"
        )
    return seconds


async def serve(
    addresses: Addresses,
    told: Ending,
    *,
    grace: float = config.WORKER_GRACE,
    written: Callable[[Sequence[Passage]], None] = lambda _: None,
) -> None:
    """Serve until told to end; if that was by SIGTERM, until the agent has ended.

    Args:
        addresses: Where worker and agent listen.
        told: Set when to end.
        grace: Seconds that the agent has to end after SIGTERM.
        written: Called with what tasks have written.

    Raises:
        WorkerDiedError: If the child process cannot be started.
        EngineError: If too few files may be open.
    """
    require_files(config.WORKER_SERVICE_FILES, "a worker", raising=True)
    directory = own_directory(addresses.worker_socket)
    mark = new_mark()
    guardian = Guardian(mark, [directory.path])
    environment = {
        **habitable(worker_environment(granted=granted()), directory.path),
        MARK: mark,
    }
    try:
        options = (*_CHANNEL, *_keepalive())
        async with grpc.aio.insecure_channel(target(addresses.agent), options) as channel:
            service = WorkerService(
                AgentStub(channel),
                directory.path / "seat",
                environment,
                addresses=addresses,
                told=written,
            )
            server = grpc.aio.server(options=(*_SERVER, *_keepalive()))
            add_WorkerServicer_to_server(service, server)
            _listen(server, addresses)
            await server.start()
            logger.info(
                "worker at %s, agent at %s, %s", addresses.worker, addresses.agent, described()
            )
            try:
                await _until_told(service, told)
                if told.number == signal.SIGTERM:
                    await _until_agent_ended(channel, service, grace)
            finally:
                await server.stop(_STOP_SECONDS)
                await service.stop()
    finally:
        directory.remove()
        guardian.stop()


async def _until_told(service: WorkerService, told: Ending) -> None:
    """Wait for the word to end.

    Raises:
        WorkerDiedError: If the child process cannot be started.
    """
    waiting = asyncio.ensure_future(told.wait())
    ready = asyncio.ensure_future(service.ready())
    try:
        await asyncio.wait([waiting, ready], return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            ready.result()
        await waiting
    finally:
        waiting.cancel()
        ready.cancel()


async def _until_agent_ended(channel: Any, service: WorkerService, grace: float) -> None:
    """Serve on while the agent does: it ends its own task within its own grace."""
    logger.info("told to end: serving on until the agent has ended, for %g s at most", grace)
    try:
        await asyncio.wait_for(_agent_ended(channel), grace)
    except asyncio.TimeoutError:
        if service.busy:
            logger.warning("the agent has not ended within %g s: its task is cut off", grace)


async def _agent_ended(channel: Any) -> None:
    """Wait until nobody listens where the agent did."""
    ended = (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN)
    while (state := channel.get_state(try_to_connect=True)) not in ended:
        await channel.wait_for_state_change(state)


def _listen(server: Any, addresses: Addresses) -> None:
    if addresses.worker_socket is not None:
        addresses.worker_socket.parent.mkdir(parents=True, exist_ok=True)
        addresses.remove_worker_socket()
    try:
        server.add_insecure_port(target(addresses.worker))
    except RuntimeError as error:
        raise EngineError(
            f"cannot listen at {addresses.worker}, as ComputePlane__WorkerChannel__Address says: "
            "somebody else does, or it is no address of this machine"
        ) from error


async def _main(
    addresses: Addresses, grace: float, written: Callable[[Sequence[Passage]], None]
) -> int:
    told = watch_signals(addresses.remove_worker_socket)
    bury_adopted()
    try:
        asyncio.get_running_loop().set_default_executor(Threads(None, "armoflow"))
        await serve(addresses, told, grace=grace, written=written)
    except (ArmoflowError, OSError, RuntimeError) as error:
        path = error.filename if isinstance(error, OSError) else None
        print(f"armoflow worker: {describe(error, path) if path else error}", file=sys.stderr)
        return 1
    return 0


def main(log_format: str = "clef") -> int:
    """Run the worker; returns its exit code.

    Args:
        log_format: How the lines on the standard output look, of ``log_format.FORMATS``.
    """
    try:
        addresses = Addresses.from_environment(os.environ)
        grace = grace_seconds(os.environ)
    except ValueError as error:
        print(f"armoflow worker: {error}", file=sys.stderr)
        return 2
    form = FORMATS[log_format]
    printer = Printer(_write, lambda count: _left_out(form, count))
    handler = LineHandler(form, printer.put)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])

    def write(passages: Sequence[Passage]) -> None:
        now = time.time()
        for passage in passages:
            printer.put(lines_of(passage, now, form))

    try:
        return asyncio.run(_main(addresses, grace, write))
    finally:
        printer.close()


def _write(lines: Sequence[bytes]) -> None:
    sys.stdout.buffer.write(b"".join(line + b"\n" for line in lines))
    sys.stdout.buffer.flush()


def _left_out(form: Format, count: int) -> bytes:
    text = f"{count} lines were left out: nobody reads the standard output as fast as that"
    return form(time.time(), logging.WARNING, logger.name, text, NOBODY).encode()
