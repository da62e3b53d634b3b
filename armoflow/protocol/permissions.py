"""What ArmoniK calls the right to make a call: ``Service:Method``."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from armonik.protogen.client import (
    applications_service_pb2,
    auth_service_pb2,
    events_service_pb2,
    health_checks_service_pb2,
    partitions_service_pb2,
    results_service_pb2,
    sessions_service_pb2,
    tasks_service_pb2,
    versions_service_pb2,
)

_MODULES = (
    applications_service_pb2,
    auth_service_pb2,
    events_service_pb2,
    health_checks_service_pb2,
    partitions_service_pb2,
    results_service_pb2,
    sessions_service_pb2,
    tasks_service_pb2,
    versions_service_pb2,
)

_OF_EVERYBODY = "Authentication"
"""The service that says who somebody is needs no permission."""


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
def all_permissions() -> frozenset[str]:
    """Every permission that there is.

    Example:
        >>> sorted(all_permissions())[:2]
        ['Applications:ListApplications', 'Events:GetEvents']
    """
    found = {name for _, name in methods()}
    return frozenset(name for name in found if not name.startswith(_OF_EVERYBODY))


@functools.cache
def _permissions() -> dict[str, str]:
    return {method.input_type.full_name: name for method, name in methods()}


def methods() -> Iterator[tuple[Any, str]]:
    """The methods of all services (descriptors), with their names as permissions."""
    for module in _MODULES:
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                yield method, f"{service.name.removesuffix('Service')}:{method.name}"
