"""What ArmoniK calls the right to make a call: ``Service:Method``."""

from __future__ import annotations

import functools
from typing import Any

from armonik.protogen.client import (
    auth_service_pb2,
    events_service_pb2,
    partitions_service_pb2,
    results_service_pb2,
    sessions_service_pb2,
    tasks_service_pb2,
    versions_service_pb2,
)

_MODULES = (
    auth_service_pb2,
    events_service_pb2,
    partitions_service_pb2,
    results_service_pb2,
    sessions_service_pb2,
    tasks_service_pb2,
    versions_service_pb2,
)


def permission_of(request: Any) -> str:
    """The permission that a request needs: each method has a kind of request of its own.

    Args:
        request: The message, or its type.

    Example:
        >>> from armonik.protogen.common.sessions_common_pb2 import CreateSessionRequest
        >>> permission_of(CreateSessionRequest())
        'Sessions:CreateSession'
    """
    return _permissions().get(request.DESCRIPTOR.full_name, "")


@functools.cache
def _permissions() -> dict[str, str]:
    return {
        method.input_type.full_name: f"{service.name}:{method.name}"
        for module in _MODULES
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
