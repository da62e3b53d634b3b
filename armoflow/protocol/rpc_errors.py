"""What is to be made of a call that gRPC says has failed.

gRPC is not imported for that: a client whose engine listens at a socket of this machine may do
without, and where it was not imported it has raised nothing.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

AMBIGUOUS = frozenset(
    {
        "UNAVAILABLE",
        "DEADLINE_EXCEEDED",
        "CANCELLED",  # not by us: that is an asyncio.CancelledError
    }
)

BROKEN = ("Stream removed", "Internal error from Core", "RST_STREAM")
"""What gRPC says, as UNKNOWN or INTERNAL, when a connection is cut under a call."""

SERVER_FAULTS = (
    "Unknown exception, see ArmoniK logs",
    "Exception was thrown by handler",
    "See cluster logs",
)
"""What ArmoniK says, as UNKNOWN or INTERNAL, when it could not do its work: its database was away,
for example."""

DONE_ALREADY = ("FAILED_PRECONDITION", "NOT_FOUND")
"""What an engine says of an end that has come already."""

_UNTOLD = ("UNKNOWN", "INTERNAL")


def is_rpc_error(error: object) -> bool:
    """Whether gRPC has raised it."""
    grpc = sys.modules.get("grpc")
    # Another thread may be importing it just now.
    return grpc is not None and isinstance(error, getattr(grpc, "RpcError", ()))


def is_ambiguous(error: Any) -> bool:
    """Whether a failed call may have been carried out and should be repeated."""
    if not is_rpc_error(error):
        return isinstance(error, asyncio.TimeoutError)
    code, details = error.code().name, error.details() or ""
    return code in AMBIGUOUS or (
        code in _UNTOLD and any(text in details for text in (*BROKEN, *SERVER_FAULTS))
    )


def is_broken(error: Any) -> bool:
    """Whether gRPC itself says that a connection was cut, not the engine."""
    details = error.details() or ""
    return error.code().name in _UNTOLD and any(text in details for text in BROKEN)


def is_server_fault(error: Any) -> bool:
    """Whether the engine answered, but could not do its work."""
    if not is_rpc_error(error):
        return False
    details = error.details() or ""
    return any(text in details for text in SERVER_FAULTS)


def describe(error: Any) -> str:
    """What went wrong, in a few words."""
    if is_rpc_error(error):
        return f"{error.code().name}: {error.details()}"
    return "nothing came any more" if isinstance(error, asyncio.TimeoutError) else str(error)
