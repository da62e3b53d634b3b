"""A server in a thread of its own, so that synchronous clients can talk to it."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar

import grpc
from armonik.common import TaskOptions

from armoflow.engine.access.access_options import AccessOptions
from armoflow.engine.address import Address
from armoflow.engine.engine_options import EngineOptions
from armoflow.engine.records import Partition
from armoflow.engine.server import Server, ServerOptions

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds after which a test that waits for an event gives up."""


class Serving:
    """A running server, its event loop, and a channel to it."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self.server = server
        self._loop = loop
        self.target = server.address.target
        self.channel = grpc.insecure_channel(self.target)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE)


@contextmanager
def serve(
    state: Path,
    *,
    workers: int = 0,
    command: str = "",
    log_calls: Path | None = None,
    commands: Mapping[str, Sequence[str]] | None = None,
    data_folder: Path | None = None,
    channel: Literal["auto", "unix", "tcp"] = "auto",
    address: Address | None = None,
    access: AccessOptions | None = None,
    web: Address | None = None,
    web_origins: Sequence[str] = (),
    late_calls: bool = False,
    **options: Any,
) -> Iterator[Serving]:
    """Serve, on a Unix socket if nothing else is said, for the length of a block."""
    partitions = (Partition("default"), Partition("other"))
    with tempfile.TemporaryDirectory(prefix="armoflow-") as directory:
        server_options = ServerOptions(
            address=address or Address(path=f"{directory}/engine.sock"),
            access=access or AccessOptions(),
            engine=EngineOptions(state_directory=state, partitions=partitions, **options),
            workers={"default": workers},
            command=command,
            commands=commands or {},
            data_folders={"default": data_folder} if data_folder is not None else {},
            log_calls=log_calls,
            channel=channel,
            web=web,
            web_origins=web_origins,
            late_calls=late_calls,
        )
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            server = asyncio.run_coroutine_threadsafe(_start(server_options), loop).result(PATIENCE)
            serving = Serving(server, loop)
            try:
                yield serving
            finally:
                serving.channel.close()
                serving.run(server.stop())
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


async def _start(options: ServerOptions) -> Server:
    server = Server(options)
    await server.start()
    return server


def task_options(**changes: Any) -> TaskOptions:
    """Default task options of a session."""
    values = {"max_duration": timedelta(seconds=60), "priority": 1, "max_retries": 2} | changes
    return TaskOptions(**values)
