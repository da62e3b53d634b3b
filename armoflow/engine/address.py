"""Where a server listens: parsed and checked before anything is started."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from typing import Any, NamedTuple

from armoflow.errors import OptionError
from armoflow.system.disk_faults import why_unwritable
from armoflow.system.sockets import stream_path, unix_path, unix_target
from armoflow.system.temporary import SOCKET_PATH_LIMIT


class Address(NamedTuple):
    """A place to listen at: a path, or a host and a port (0: any free one).

    Example:
        >>> parse_address("unix:/run/armoflow.sock").url
        'unix:/run/armoflow.sock'
        >>> parse_address("127.0.0.1:5001").url
        'http://127.0.0.1:5001'

    Attributes:
        path: Of a Unix socket.
        host: Or a host.
        port: And its port.
        secure: What listens there speaks TLS.
    """

    path: str = ""
    host: str = ""
    port: int = 0
    secure: bool = False

    @property
    def target(self) -> str:
        """The address as gRPC binds it."""
        return unix_target(self.path) if self.path else _join(self.host, self.port)

    @property
    def url(self) -> str:
        """The address as clients write it."""
        scheme = "https" if self.secure else "http"
        return f"unix:{self.path}" if self.path else f"{scheme}://{self.target}"

    @property
    def stream_path(self) -> str:
        """Where batch streams are served besides; empty: nowhere."""
        path = stream_path(self.path) if self.path else ""
        return path if len(os.fsencode(path)) < SOCKET_PATH_LIMIT else ""

    def remove_socket(self) -> None:
        """Remove the files of the sockets, where they are some."""
        for path in filter(None, (self.path, self.stream_path)):
            with suppress(OSError):
                os.unlink(path)  # noqa: PTH108


def parse_address(text: str) -> Address:
    """Read ``unix:/path`` or ``host:port``.

    Raises:
        OptionError: If it is neither.
    """
    if text.startswith("unix:"):
        if not unix_path(text):
            raise OptionError(f"{text!r} is no address to listen at: write unix:/path")
        path = os.path.abspath(unix_path(text))  # noqa: PTH100
        if len(os.fsencode(path)) >= SOCKET_PATH_LIMIT:
            raise OptionError(
                f"the path of the socket, {path!r}, is too long: a Unix socket's path must be "
                f"shorter than {SOCKET_PATH_LIMIT} bytes"
            )
        return Address(path=path)
    place = text.removeprefix("http://").removeprefix("https://").rstrip("/")
    host, separator, port = place.rpartition(":")
    if not separator or not port.isdecimal() or int(port) > 65535:
        raise OptionError(f"{text!r} is no address to listen at: write host:port or unix:/path")
    return Address(host=host.strip("[]"), port=int(port))


def check_free(address: Address) -> None:
    """Refuse an address at which somebody listens already; remove a dead socket's file.

    Raises:
        OptionError: If it is in use.
    """
    if address.path:
        _check_path(address.path)
    elif address.port:
        _check_port(address)


def _check_port(address: Address) -> None:
    """Try to listen at each address that a name has here; one that this machine has is enough."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        missing = [error for entry in found if (error := _try_to_bind(*entry)) is not None]
        if len(missing) == len(found):
            raise missing[0]
    except OSError as error:
        raise OptionError(f"cannot listen at {address.url}: {error.strerror}") from error


def _try_to_bind(family: int, kind: int, protocol: int, _: str, place: Any) -> OSError | None:
    """Returns the error of an address that this machine does not have; raises that of another."""
    try:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            return error
        raise
    return None


def _check_path(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except FileNotFoundError:
            directory = os.path.dirname(path)  # noqa: PTH120
            if not os.path.isdir(directory):  # noqa: PTH112
                raise OptionError(f"cannot listen at unix:{path}: no such directory") from None
            if why := why_unwritable(directory):
                raise OptionError(f"cannot listen at unix:{path}: {why}") from None
        except ConnectionRefusedError:
            try:
                os.unlink(path)  # noqa: PTH108 - left behind by a server that was killed
            except OSError as error:
                raise OptionError(f"cannot listen at unix:{path}: {error.strerror}") from error
        except OSError as error:
            raise OptionError(f"cannot listen at unix:{path}: {error.strerror}") from error
        else:
            raise OptionError(f"cannot listen at unix:{path}: another server does")


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
