"""How an engine is reached: its address, how both sides prove who they are, where that was said."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict, get_args

from armoflow.errors import EngineUnreachableError, OptionError, shown
from armoflow.system.sockets import LONGEST_PATH, is_loopback, unix_path, unix_target

Compression: TypeAlias = Literal["none", "gzip", "deflate"]
PayloadMode: TypeAlias = Literal["auto", "delayed", "eager", "inline"]
"""When payloads go up; see :class:`~armoflow.client.client.Client`."""


class ConnectionOptions(TypedDict, total=False):
    """How a client proves who it is, and how it talks; see :class:`ConnectionSettings`."""

    certificate_authority: str | PathLike[str] | None
    client_certificate: str | PathLike[str] | None
    client_key: str | PathLike[str] | None
    client_p12: str | PathLike[str] | None
    client_p12_password: str | None
    target_name: str | None
    keepalive: float | None
    compression: Compression | None


CONNECTION_OPTIONS = tuple(ConnectionOptions.__annotations__)

_HOST = re.compile(r"[\w.-]+|\[[\w:.%]+\]|[\w:.%]+")
"""Names and addresses, those of IPv6 with brackets or without."""

_PORT_DIGITS, _LAST_PORT = 5, 65535

TLS_OPTIONS = CONNECTION_OPTIONS[:6]
"""Those that mean something with ``https://`` only."""

FILES = CONNECTION_OPTIONS[:4]
"""Those that name a file."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was said.

    Example:
        >>> str(Origin("variable", "AK_ENDPOINT")), str(Origin("file", "/run/armonik.yaml"))
        ('AK_ENDPOINT', 'AKCONFIG, /run/armonik.yaml')
    """

    kind: Literal["argument", "variable", "file", "default"]
    name: str = ""

    def __str__(self) -> str:
        if self.kind == "argument":
            return f"{self.name}=..."
        return f"AKCONFIG, {self.name}" if self.kind == "file" else self.name


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """How an engine is reached.

    Attributes:
        endpoint: ``http://host:port``, ``https://host:port`` or ``unix:/path``; empty: nowhere, a
            private engine is started.
        certificate_authority: File of the authorities that the server's certificate may be from
            (PEM); None: those that gRPC brings.
        client_certificate: File of the client's certificate, and of those that lead from it to an
            authority (PEM).
        client_key: File of its key (PEM); None: the key is in the certificate's file.
        client_p12: File of both (PKCS#12), instead.
        client_p12_password: What protects that file; a deployment leaves it empty.
        target_name: The name that the server's certificate must have, where it is not the host's.
        keepalive: Seconds of silence, with calls under way, after which the engine is asked whether
            it is still there; None: 30 for other machines, rarely on this one.
        compression: How messages are compressed.
        origins: Where each of these was said, by its name.
    """

    endpoint: str = ""
    certificate_authority: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    client_p12: Path | None = None
    client_p12_password: str = field(default="", repr=False)
    target_name: str = ""
    keepalive: float | None = None
    compression: Compression = "none"
    origins: Mapping[str, Origin] = field(default_factory=dict)

    @property
    def secure(self) -> bool:
        """Whether the engine is spoken to over TLS."""
        return is_secure(self.endpoint)

    @property
    def target(self) -> str:
        """The endpoint as gRPC writes it."""
        return grpc_target(self.endpoint)

    @property
    def host(self) -> str:
        """The host; nothing, for a socket's path."""
        return "" if self.path else self.target.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port."""
        return int(self.target.rpartition(":")[2])

    @property
    def path(self) -> str:
        """The path of a Unix socket; nothing, for a host."""
        endpoint = self.endpoint.strip()
        return unix_path(endpoint) if endpoint.startswith("unix:") else ""

    @property
    def local(self) -> bool:
        """Whether the engine is on this machine."""
        return bool(self.path) or is_loopback(self.host)

    @property
    def identified(self) -> bool:
        """Whether the client proves who it is."""
        return self.client_certificate is not None or self.client_p12 is not None

    def named(self, option: str) -> str:
        """An option's value, with where it was said."""
        origin = self.origins.get(option)
        return f"{getattr(self, option)}" + (f" ({origin})" if origin is not None else "")


def is_secure(endpoint: str) -> bool:
    """Whether an endpoint asks for TLS."""
    return endpoint.strip().startswith("https://")


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
    if text.startswith("unix:") and len(text) > len("unix:") and text.isprintable():
        path = unix_path(text)
        if len(os.fsencode(path)) > LONGEST_PATH:
            raise EngineUnreachableError(
                f"endpoint {shown(endpoint)} is too long: the path of a socket has at most "
                f"{LONGEST_PATH} bytes"
            )
        return unix_target(path)
    for scheme in ("http://", "https://"):
        text = text.removeprefix(scheme)
    text = text.rstrip("/")
    if "@" in text:
        raise EngineUnreachableError(
            "the endpoint holds a name or a password, before '@': who calls is known by its client "
            "certificate, client_certificate=... and client_key=..., or by nothing"
        )
    host, separator, port = text.rpartition(":")
    known = separator and port.isdecimal() and len(port) <= _PORT_DIGITS and int(port) <= _LAST_PORT
    if not (known and _HOST.fullmatch(host)):
        raise EngineUnreachableError(
            f"endpoint {shown(endpoint)} is not an address: write http://host:port, "
            "https://host:port or unix:/path"
        )
    return text


def check_option(name: str, value: Any, origin: Origin) -> Any:
    """A value as the settings hold it.

    Args:
        name: The option.
        value: What was said; text, for all of them, in variables and files.
        origin: Where.

    Raises:
        OptionError: If it is not what the option may be.

    Example:
        >>> check_option("keepalive", "30", Origin("variable", "ARMOFLOW_KEEPALIVE"))
        30.0
    """
    said = name if origin.kind == "argument" else f"{name} ({origin})"
    if name in FILES:
        if not isinstance(value, (str, PathLike)):
            raise OptionError(f"{said} must be the path of a file, not {shown(value)}")
        return Path(value).expanduser()
    if name == "keepalive":
        return _seconds(said, value)
    if name == "compression":
        if not isinstance(value, str) or value not in get_args(Compression):
            raise OptionError(f"{said} must be 'none', 'gzip' or 'deflate', not {shown(value)}")
        return value
    if not isinstance(value, str):
        told = "what it is" if "password" in name else shown(value)
        raise OptionError(f"{said} must be text, not {told}")
    return value


def _seconds(said: str, value: Any) -> float:
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise OptionError(f"{said} must be a positive number of seconds, not {shown(value)}")
    return seconds
