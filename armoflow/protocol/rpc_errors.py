"""What is to be made of a call that gRPC says has failed."""

from __future__ import annotations

import asyncio

import grpc

AMBIGUOUS = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,  # not by us: that is an asyncio.CancelledError
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

_UNTOLD = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)


def is_ambiguous(error: Exception) -> bool:
    """Whether a failed call may have been carried out and should be repeated."""
    if not isinstance(error, grpc.RpcError):
        return isinstance(error, asyncio.TimeoutError)
    code, details = error.code(), error.details() or ""
    return code in AMBIGUOUS or (
        code in _UNTOLD and any(text in details for text in (*BROKEN, *SERVER_FAULTS))
    )


def is_broken(error: grpc.RpcError) -> bool:
    """Whether gRPC itself says that a connection was cut, not the engine."""
    details = error.details() or ""
    return error.code() in _UNTOLD and any(text in details for text in BROKEN)


def is_server_fault(error: Exception) -> bool:
    """Whether the engine answered, but could not do its work."""
    if not isinstance(error, grpc.RpcError):
        return False
    details = error.details() or ""
    return any(text in details for text in SERVER_FAULTS)


def describe(error: Exception) -> str:
    """What went wrong, in a few words."""
    if isinstance(error, grpc.RpcError):
        return f"{error.code().name}: {error.details()}"
    return "nothing came any more" if isinstance(error, asyncio.TimeoutError) else str(error)
