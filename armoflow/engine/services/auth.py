"""The Authentication service."""

# ruff: noqa: N802 (the API names the methods)

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from armonik.protogen.client import (
    applications_service_pb2,
    events_service_pb2,
    health_checks_service_pb2,
    partitions_service_pb2,
    results_service_pb2,
    sessions_service_pb2,
    tasks_service_pb2,
    versions_service_pb2,
)
from armonik.protogen.client.auth_service_pb2_grpc import AuthenticationServicer
from armonik.protogen.common import auth_common_pb2 as messages

_SERVICES = {
    "Applications": applications_service_pb2,
    "Events": events_service_pb2,
    "HealthChecks": health_checks_service_pb2,
    "Partitions": partitions_service_pb2,
    "Results": results_service_pb2,
    "Sessions": sessions_service_pb2,
    "Tasks": tasks_service_pb2,
    "Versions": versions_service_pb2,
}


class AuthenticationService(AuthenticationServicer):  # type: ignore[misc]
    """Everybody is the same user, who may do everything: access is limited by the socket."""

    async def GetCurrentUser(self, request: Any, context: Any) -> Any:
        """The caller, as the engine sees it."""
        user = messages.User(username="Anonymous", permissions=_all_permissions())
        return messages.GetCurrentUserResponse(user=user)


def _all_permissions() -> Iterable[str]:
    """Permissions are named ``<Service>:<Rpc>``."""
    for name, module in _SERVICES.items():
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                yield f"{name}:{method.name}"
