"""Opening a gRPC channel to an endpoint."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.experimental

from armoflow.protocol.credentials import Credentials
from armoflow.protocol.settings import ConnectionSettings

OPTIONS: tuple[tuple[str, Any], ...] = (
    # The client limits what it asks for; what an engine answers is never refused here.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Pings go on while a stream says nothing; without calls there are none.
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    # Despite its name, how long one attempt to connect may take.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)

KEEPALIVE = 30.0
"""Seconds of silence before another machine is asked whether it is there, as ArmoniK's own clients
do: networks forget connections that say nothing. Neither Kestrel nor nginx minds."""

KEEPALIVE_HERE = 310.0
"""The same on this machine, where the end of a process is told at once: a gRPC server of C answers
pings more frequent than every five minutes by hanging up."""

KEEPALIVE_ANSWER = 20.0
"""Seconds, at most, for the answer: without one, the connection is given up."""

_COMPRESSIONS = {
    "none": grpc.Compression.NoCompression,
    "gzip": grpc.Compression.Gzip,
    "deflate": grpc.Compression.Deflate,
}


def open_channel(
    settings: ConnectionSettings, credentials: Credentials, *, alone: bool = False
) -> grpc.aio.Channel:
    """Open a channel; nothing is sent before the first call.

    Args:
        settings: Where to, and how.
        credentials: What the settings' files hold.
        alone: It has a connection of its own: else channels to the same place share one.
    """
    own = [("grpc.use_local_subchannel_pool", 1)] if alone else []
    return _open(grpc.aio, settings, credentials, *own)


def open_blocking_channel(settings: ConnectionSettings, credentials: Credentials) -> grpc.Channel:
    """The same for calls that block their thread, which needs no other."""
    # Without it, each stream is read by a thread: at the interpreter's end none can be started.
    alone = (grpc.experimental.ChannelOptions.SingleThreadedUnaryStream, 1)
    return _open(grpc, settings, credentials, alone)


def _open(
    module: Any, settings: ConnectionSettings, credentials: Credentials, *more: tuple[str, Any]
) -> Any:
    target = settings.target
    options = [*OPTIONS, *more, *_keepalive(settings)]
    if settings.path:
        # gRPC would send the socket's path as authority, which servers refuse.
        options.append(("grpc.default_authority", "localhost"))
    if settings.local:
        options.append(("grpc.enable_http_proxy", 0))  # a proxy has another loopback
    if settings.target_name:
        options.append(("grpc.ssl_target_name_override", settings.target_name))
    compression = _COMPRESSIONS[settings.compression]
    if not settings.secure:
        return module.insecure_channel(target, options=options, compression=compression)
    secure = grpc.ssl_channel_credentials(
        credentials.authorities, credentials.key, credentials.certificate
    )
    return module.secure_channel(target, secure, options=options, compression=compression)


def _keepalive(settings: ConnectionSettings) -> list[tuple[str, Any]]:
    here = settings.local and not settings.secure
    seconds = settings.keepalive or (KEEPALIVE_HERE if here else KEEPALIVE)
    answer = int(min(seconds, KEEPALIVE_ANSWER) * 1000)
    options = [
        ("grpc.keepalive_time_ms", int(seconds * 1000)),
        ("grpc.keepalive_timeout_ms", answer),
    ]
    if not here:
        # gRPC's own pings, which measure a network, would be given a minute, and none is sent
        # behind one.
        options.append(("grpc.http2.ping_timeout_ms", answer))
    return options
