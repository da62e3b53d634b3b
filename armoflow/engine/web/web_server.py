"""Serves gRPC-Web beside an engine, in its event loop."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import grpc
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from armoflow.config import REQUEST_LIMIT
from armoflow.engine.access.authentication import Certificate, fingerprint
from armoflow.engine.access.tls import ServerTls
from armoflow.engine.address import Address
from armoflow.engine.web.application import CERTIFICATE, WebApplication
from armoflow.engine.web.web_access import Access, load_token
from armoflow.system.http_server import open_listener, web_config


class _Embedded(uvicorn.Server):
    """One whose process sees to the signals itself."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield


class _Identifying(H11Protocol):
    """One that tells the application which certificate a connection was made with."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        super().connection_made(cast("asyncio.Transport", transport))
        secured = transport.get_extra_info("ssl_object")
        shown = secured.getpeercert(True) if secured is not None else None
        if shown:
            names = dict(name[0] for name in secured.getpeercert().get("subject", ()))
            certificate = Certificate(names.get("commonName", ""), fingerprint(shown))
            self.app_state = {**self.app_state, CERTIFICATE: certificate}


def _tls(tls: ServerTls | None) -> dict[str, Any]:
    """What uvicorn is told of it.

    A browser asks whether it may call without showing its certificate, so none is wanted before
    the call itself.
    """
    if tls is None:
        return {}
    files = {"ssl_certfile": tls.certificate, "ssl_keyfile": tls.key}
    if tls.client_ca is None:
        return files
    return {**files, "ssl_ca_certs": str(tls.client_ca), "ssl_cert_reqs": ssl.CERT_OPTIONAL}


class WebServer:
    """Passes calls of browsers on to an engine.

    Args:
        address: Where it listens: a host and a port.
        engine: The engine's address, as gRPC connects to it.
        state: The directory where the token is kept.
        origins: The pages that may call.
        tls: With what it proves who it is, and knows its clients; None: without TLS.
    """

    def __init__(
        self,
        address: Address,
        engine: str,
        state: Path,
        origins: Sequence[str] = (),
        tls: ServerTls | None = None,
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
        known = tls is not None and tls.client_ca is not None
        token = "" if known else load_token(state)
        self._access = Access(token, origins, secure=tls is not None)
        application = WebApplication(self._channel, self._access)
        self._server = _Embedded(web_config(application, http=_Identifying, **_tls(tls)))
        self._serving: asyncio.Task[None] | None = None
        self.url = ""

    async def start(self) -> None:
        """Begin to serve.

        Raises:
            OptionError: If the address cannot be listened at.
        """
        address = self._address
        listening = open_listener(address.host, address.port, address.url)
        bound = address._replace(port=listening.getsockname()[1])
        self.url = f"{bound.url}/{self._access.token}".rstrip("/")
        self._serving = asyncio.create_task(self._server.serve([listening]))

    async def stop(self) -> None:
        """Let calls in flight end for a while, and serve no more."""
        if self._serving is not None:
            self._server.should_exit = True
            await self._serving
        await self._channel.close()
