"""Serves the dashboard until it is told to stop."""

from __future__ import annotations

import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from armoflow.dashboard.app import make_app
from armoflow.dashboard.page_access import new_token
from armoflow.dashboard.processes import Processes
from armoflow.dashboard.watch import Hub
from armoflow.protocol.inspection import Inspection
from armoflow.system.http_server import open_listener, web_config
from armoflow.system.sockets import page_place


def bind(address: str) -> socket.socket:
    """A socket that listens at an address of this machine's loopback.

    Raises:
        OptionError: If it is none, or is in use.
    """
    host, port = page_place(address)
    return open_listener(host, port, repr(address))


def serve(
    inspection: Inspection,
    listening: socket.socket,
    *,
    engine: int | None,
    ready: Callable[[str], None],
) -> None:
    """Serve until a signal comes.

    Args:
        inspection: A connection to the engine.
        listening: Where to serve.
        engine: The engine's process, if it is on this machine.
        ready: Called with the link, as soon as it can be opened.
    """
    token = new_token()
    hub = Hub(inspection, lambda: None if engine is None else Processes(engine))
    config = web_config(make_app(hub, token))
    host, port = listening.getsockname()[:2]
    where = f"[{host}]" if ":" in host else host
    ready(f"http://{where}:{port}/#{token}")
    _Server(config, hub).run(sockets=[listening])


class _Server(uvicorn.Server):
    """One whose viewers' streams end with it."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal tells it to stop."""
        self._hub.end()
        super().handle_exit(sig, frame)
