"""Serves gRPC-Web beside an engine, in its event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
import uvicorn

from armoflow.config import REQUEST_LIMIT
from armoflow.engine.address import Address
from armoflow.engine.web.access import Access, load_token
from armoflow.engine.web.application import WebApplication
from armoflow.errors import OptionError

GRACE = 1
"""Seconds that calls in flight get to end when the server stops."""


class _Embedded(uvicorn.Server):
    """One whose process sees to the signals itself."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield


class WebServer:
    """Passes calls of browsers on to an engine.

    Args:
        address: Where it listens: a host of the loopback, and a port.
        engine: The engine's address, as gRPC connects to it.
        state: The directory where the token is kept.
        origins: The pages that may call.
    """

    def __init__(
        self, address: Address, engine: str, state: Path, origins: Sequence[str] = ()
    ) -> None:
        self._address = address
        self._channel = grpc.aio.insecure_channel(
            engine,
            options=(
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", REQUEST_LIMIT),
                ("grpc.enable_http_proxy", 0),
            ),
        )
        self._access = Access(load_token(state), origins)
        self._server = _Embedded(
            uvicorn.Config(
                WebApplication(self._channel, self._access),
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=GRACE,
                lifespan="off",
                ws="none",
            )
        )
        self._serving: asyncio.Task[None] | None = None
        self.url = ""

    async def start(self) -> None:
        """Begin to serve.

        Raises:
            OptionError: If the address cannot be listened at.
        """
        host, port = self._address.host, self._address.port
        try:
            listening = socket.create_server(
                (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
            )
        except OSError as error:
            raise OptionError(f"cannot listen at {self._address.url}: {error.strerror}") from error
        bound = self._address._replace(port=listening.getsockname()[1])
        self.url = f"{bound.url}/{self._access.token}"
        self._serving = asyncio.create_task(self._server.serve([listening]))

    async def stop(self) -> None:
        """Let calls in flight end for a while, and serve no more."""
        if self._serving is not None:
            self._server.should_exit = True
            await self._serving
        await self._channel.close()
