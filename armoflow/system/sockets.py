"""Names of sockets, as gRPC reads them."""

from __future__ import annotations

import ipaddress
import os
import sys
from urllib.parse import quote_from_bytes

from armoflow.errors import OptionError

LONGEST_PATH = 103 if sys.platform == "darwin" else 107
"""Bytes that the path of a Unix socket may have here."""


def unix_target(path: str | os.PathLike[str]) -> str:
    """The gRPC name of a Unix socket: a URI, in which odd characters are escaped.

    Example:
        >>> unix_target("/tmp/a b#1/100%.sock")
        'unix:/tmp/a%20b%231/100%25.sock'
    """
    return "unix:" + quote_from_bytes(os.fsencode(path), safe="/")


def unix_path(address: str) -> str:
    """The path in ``unix:/path`` or ``unix:///path``.

    Example:
        >>> unix_path("unix:///tmp/x"), unix_path("unix:/tmp/x"), unix_path("unix:x")
        ('/tmp/x', '/tmp/x', 'x')
    """
    path = address.removeprefix("unix:")
    return path[2:] if path.startswith("///") else path


def stream_path(path: str) -> str:
    """The path of the socket for batch streams, beside the one that an engine listens at.

    Example:
        >>> stream_path("/run/armoflow.sock")
        '/run/armoflow.sock.stream'
    """
    return path + ".stream"


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name or address.

    Example:
        >>> is_loopback("localhost"), is_loopback("[::1]"), is_loopback("127.0.0.2")
        (True, True, True)
        >>> is_loopback("10.0.0.1"), is_loopback("example.org")
        (False, False)
    """
    host = host.strip("[]")
    if host in ("localhost", "ip6-localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def page_place(address: str) -> tuple[str, int]:
    """Host and port at which a page may be served without TLS: of this machine's loopback.

    Raises:
        OptionError: If it is no address, or one that others reach.

    Example:
        >>> page_place("[::1]:5080")
        ('::1', 5080)
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise OptionError(f"{address!r} is no address to listen at: write host:port")
    if not is_loopback(host):
        raise OptionError(
            f"refusing to listen at {address!r}: what the page shows would cross the network "
            "readable by all. Listen at 127.0.0.1, and reach it through an SSH tunnel"
        )
    return host, int(port)
