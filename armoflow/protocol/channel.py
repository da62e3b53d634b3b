"""Opening a gRPC channel to an endpoint."""

from __future__ import annotations

from typing import Any

import grpc

from armoflow.errors import EngineUnreachableError
from armoflow.system.sockets import is_loopback, unix_path, unix_target

OPTIONS: tuple[tuple[str, Any], ...] = (
    # The client limits what it asks for; what an engine answers is never refused here.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A C-core server answers pings more frequent than every five minutes by hanging up.
    ("grpc.keepalive_time_ms", 310_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.initial_reconnect_backoff_ms", 50),
    # Despite its name, how long one attempt to connect may take.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


def grpc_target(endpoint: str) -> str:
    """The gRPC name of an endpoint.

    Args:
        endpoint: ``http://host:port``, ``host:port``, ``unix:/path`` or ``unix:///path``.

    Raises:
        EngineUnreachableError: If it is none of these.

    Example:
        >>> grpc_target("http://127.0.0.1:5001")
        '127.0.0.1:5001'
        >>> grpc_target("unix:/tmp/engine.sock")
        'unix:/tmp/engine.sock'
    """
    text = endpoint.strip()
    if text.startswith("unix:") and len(text) > len("unix:"):
        return unix_target(unix_path(text))
    for scheme in ("http://", "https://"):
        text = text.removeprefix(scheme)
    text = text.rstrip("/")
    host, separator, port = text.rpartition(":")
    if not (separator and host and port.isdecimal()) or int(port) > 65535 or "/" in text:
        raise EngineUnreachableError(
            f"endpoint {endpoint!r} is not an address: write http://host:port, "
            "https://host:port or unix:/path"
        )
    return text


def open_channel(endpoint: str) -> grpc.aio.Channel:
    """Open a channel; nothing is sent before the first call."""
    target = grpc_target(endpoint)
    options = list(OPTIONS)
    if target.startswith("unix:"):
        # gRPC would send the socket's path as authority, which servers refuse.
        options.append(("grpc.default_authority", "localhost"))
    elif is_loopback(target.rpartition(":")[0]):
        options.append(("grpc.enable_http_proxy", 0))  # a proxy has another loopback
    if endpoint.strip().startswith("https://"):
        return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(), options=options)
    return grpc.aio.insecure_channel(target, options=options)
