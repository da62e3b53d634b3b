"""Where a worker and its agent listen: ArmoniK's environment variables say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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
            ValueError: If one of them names no kind of socket.
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
    if kind.lower() == "tcp":
        return address.removeprefix("http://").rstrip("/")
    if kind.lower() != "unixdomainsocket":
        raise ValueError(f"{prefix}SocketType is {kind!r}: known are unixdomainsocket and tcp")
    return _UNIX + address.removeprefix("unix://").removeprefix(_UNIX)
