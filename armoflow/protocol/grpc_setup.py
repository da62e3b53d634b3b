"""How gRPC is set up in armoflow's processes: by variables that it reads when it is imported."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from typing import Final

from armoflow.system.packages import version_of

_UNTRIED = (1, 86)
"""The first minor version of grpcio that the experiments were not tried with."""

_EXPERIMENTS = "-event_engine_client,-event_engine_listener"

GRPC_SETTINGS: Final[Mapping[str, str]] = {
    "GRPC_ENABLE_FORK_SUPPORT": "0",
    "GRPC_EXPERIMENTS": _EXPERIMENTS,
}
"""What armoflow sets: for itself, not for what runs in its workers."""


def prepare_grpc() -> None:
    """Set what gRPC should find in the environment; what the user has set stays.

    * Processes that the script forks have no use for gRPC: its own care for them, where other
      threads are at work, makes them crash.
    * From 1.80 on grpcio hands every read and write to a thread of a pool: a message there and back
      takes 230 us on a Unix socket instead of 140 (``benchmarks/micro_grpc.py``). Its older way is
      still there. A version that does not know it any more would say so on the standard error, so
      it is asked of those only that do.

    Example:
        >>> prepare_grpc()
        >>> os.environ["GRPC_ENABLE_FORK_SUPPORT"]
        '0'
    """
    for name, value in GRPC_SETTINGS.items():
        if name != "GRPC_EXPERIMENTS" or ("grpc" not in sys.modules and _version() < _UNTRIED):
            os.environ.setdefault(name, value)


def _version() -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", version_of("grpcio"))
    return (int(found[1]), int(found[2])) if found else _UNTRIED
