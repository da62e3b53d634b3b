"""How HTTP is served, wherever it is: by uvicorn, at a socket that is open, with few words."""

from __future__ import annotations

import socket
from typing import Any

import uvicorn

from armoflow.errors import OptionError

GRACE = 1
"""Seconds that requests in flight get to end when a server stops: streams would go on for ever."""


def web_config(app: Any, **more: Any) -> uvicorn.Config:
    """What uvicorn is told.

    Args:
        app: What answers, by ASGI.
        more: Of uvicorn's own options.
    """
    return uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
        lifespan="off",
        ws="none",
        **more,
    )


def open_listener(host: str, port: int, address: str) -> socket.socket:
    """A socket at which connections wait from now on.

    Args:
        host: A name, or an address of either family, without brackets.
        port: 0: any that is free.
        address: What the user calls it.

    Raises:
        OptionError: If it cannot be listened at.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise OptionError(f"cannot listen at {address}: {error.strerror}") from error
