"""The HealthChecks service."""

# ruff: noqa: N802 (the API names the methods)

from __future__ import annotations

from typing import Any

from armonik.protogen.client.health_checks_service_pb2_grpc import HealthChecksServiceServicer
from armonik.protogen.common import health_checks_common_pb2 as messages

from armoflow.engine.services.common import Service

COMPONENTS = ("database", "object", "queue")
"""The names that the reference engine reports on."""


class HealthService(Service, HealthChecksServiceServicer):  # type: ignore[misc]
    """Says whether the engine can work."""

    async def CheckHealth(self, request: Any, context: Any) -> Any:
        """The health of the journal, of the data and of the queues, which fail together."""
        failed = self._engine.failed
        error = failed.exception() if failed.done() and not failed.cancelled() else None
        health = messages.HEALTH_STATUS_ENUM_HEALTHY
        if error is not None:
            health = messages.HEALTH_STATUS_ENUM_UNHEALTHY
        service = messages.CheckHealthResponse.ServiceHealth
        return messages.CheckHealthResponse(
            services=[
                service(name=name, message=str(error or ""), healthy=health) for name in COMPONENTS
            ]
        )
