"""Where a worker and its agent listen: ArmoniK's environment variables say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from armoflow.system.sockets import unix_path, unix_target

_UNIX = "unix:"


@dataclass(frozen=True)
class Addresses:
    """Where the worker listens, and where its agent does, as gRPC writes it.

    Example:
        >>> Addresses.from_environment({}).worker
        'unix:/cache/armonik_worker.sock'
    """

    worker: str
    agent: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Addresses:
        """Read ArmoniK's variables; its defaults hold for those that are not set.

        Raises:
            ValueError: If one of them names no kind of socket, or no place of its kind.
        """
        return cls(_address(environment, "Worker"), _address(environment, "Agent"))

    @property
    def worker_socket(self) -> Path | None:
        """The worker's socket; None if it listens on TCP."""
        return _socket(self.worker)

    @property
    def agent_socket(self) -> Path | None:
        """The agent's socket; None if it listens on TCP."""
        return _socket(self.agent)

    def remove_worker_socket(self) -> None:
        """Remove what the worker, or one before it, has left of its socket."""
        if self.worker_socket is not None:
            self.worker_socket.unlink(missing_ok=True)


def target(address: str) -> str:
    """An address as gRPC takes it, whatever characters are in a socket's path."""
    return unix_target(unix_path(address)) if address.startswith(_UNIX) else address


def _socket(address: str) -> Path | None:
    return Path(unix_path(address)) if address.startswith(_UNIX) else None


def _address(environment: Mapping[str, str], side: str) -> str:
    prefix = f"ComputePlane__{side}Channel__"
    address = environment.get(f"{prefix}Address") or f"/cache/armonik_{side.lower()}.sock"
    kind = environment.get(f"{prefix}SocketType") or "unixdomainsocket"
    if kind.lower() not in ("unixdomainsocket", "tcp"):
        raise ValueError(f"{prefix}SocketType is {kind!r}: known are unixdomainsocket and tcp")
    place: str | None
    if kind.lower() == "tcp":
        place, form = _host_and_port(address), "http://host:port"
    else:
        path = address.removeprefix("unix://").removeprefix(_UNIX)
        place, form = None if "://" in path else _UNIX + path, "/path/of/the.sock"
    if place is None:
        raise ValueError(
            f"{prefix}Address is {address!r}, and {prefix}SocketType {kind!r}: write {form}, or "
            "name the other kind"
        )
    return place


def _host_and_port(address: str) -> str | None:
    """An address of TCP as gRPC takes it; None if it is none: gRPC makes some port of anything.

    Example:
        >>> _host_and_port("http://[::1]:1080/"), _host_and_port("0.0.0.0:1080")
        ('[::1]:1080', '0.0.0.0:1080')
        >>> _host_and_port("https://127.0.0.1:1080"), _host_and_port("127.0.0.1:99999")
        (None, None)
    """
    try:
        place = urlsplit(address if "://" in address else f"http://{address}")
        whole = place.scheme == "http" and place.hostname and place.port
    except ValueError:  # a host with half a bracket, or a port that is none
        return None
    return place.netloc if whole and place.path in ("", "/") else None
