"""The two channels between an agent and its worker: Unix sockets, or TCP where a worker wants it.

ArmoniK's environment variables tell a worker both addresses. Its Python, C# and Rust libraries
understand either kind; those for Java and C++ know TCP only.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from armoflow.system.sockets import unix_path, unix_target

SocketKind = Literal["unix", "tcp"]

KINDS: tuple[SocketKind, ...] = ("unix", "tcp")

_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Channels:
    """Where a worker and its agent listen, as gRPC writes it.

    Example:
        >>> channels = unix_channels(Path("/run/seat"))
        >>> channels.environment()["ComputePlane__AgentChannel__Address"]
        '/run/seat/agent.sock'
        >>> Channels("tcp", "127.0.0.1:1080", "127.0.0.1:1081").environment()[
        ...     "ComputePlane__WorkerChannel__Address"
        ... ]
        'http://127.0.0.1:1080'
    """

    kind: SocketKind
    worker: str
    agent: str

    @property
    def _places(self) -> list[str]:
        """Where both listen, as ArmoniK's libraries read it."""
        if self.kind == "unix":
            return [unquote(unix_path(target)) for target in (self.worker, self.agent)]
        return [f"http://{target}" for target in (self.worker, self.agent)]

    def environment(self) -> Mapping[str, str]:
        """ArmoniK's variables for the worker."""
        kind = "unixdomainsocket" if self.kind == "unix" else "tcp"
        return {
            f"ComputePlane__{side}Channel__{name}": value
            for side, place in zip(("Worker", "Agent"), self._places, strict=True)
            for name, value in (("Address", place), ("SocketType", kind))
        }

    def clear(self) -> None:
        """Remove the sockets of a worker and an agent that were here before."""
        if self.kind == "unix":
            for place in self._places:
                Path(place).unlink(missing_ok=True)


def unix_channels(directory: Path) -> Channels:
    """Two sockets in a directory."""
    return Channels(
        "unix", unix_target(directory / "worker.sock"), unix_target(directory / "agent.sock")
    )


def tcp_channels() -> Channels:
    """Two free ports of the loopback; the worker is told of its own, so it cannot choose one."""
    with socket.socket() as worker, socket.socket() as agent:
        # Both are bound at once, so that they differ.
        for probe in (worker, agent):
            probe.bind((_LOOPBACK, 0))
        ports = [probe.getsockname()[1] for probe in (worker, agent)]
    return Channels("tcp", *(f"{_LOOPBACK}:{port}" for port in ports))
