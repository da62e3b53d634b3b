"""Adds all services of an engine to a gRPC server."""

from __future__ import annotations

from typing import Any

from armonik.protogen.client.applications_service_pb2_grpc import add_ApplicationsServicer_to_server
from armonik.protogen.client.auth_service_pb2_grpc import add_AuthenticationServicer_to_server
from armonik.protogen.client.events_service_pb2_grpc import add_EventsServicer_to_server
from armonik.protogen.client.health_checks_service_pb2_grpc import (
    add_HealthChecksServiceServicer_to_server,
)
from armonik.protogen.client.partitions_service_pb2_grpc import add_PartitionsServicer_to_server
from armonik.protogen.client.results_service_pb2_grpc import add_ResultsServicer_to_server
from armonik.protogen.client.sessions_service_pb2_grpc import add_SessionsServicer_to_server
from armonik.protogen.client.tasks_service_pb2_grpc import add_TasksServicer_to_server
from armonik.protogen.client.versions_service_pb2_grpc import add_VersionsServicer_to_server

from armoflow.engine.access.authentication import Authentication
from armoflow.engine.core import Engine
from armoflow.engine.services.applications import ApplicationsService
from armoflow.engine.services.auth import AuthenticationService
from armoflow.engine.services.events import EventsService
from armoflow.engine.services.extension import ExtensionService
from armoflow.engine.services.health import HealthService
from armoflow.engine.services.partitions import PartitionsService
from armoflow.engine.services.results import ResultsService
from armoflow.engine.services.sessions import SessionsService
from armoflow.engine.services.submitter import SubmitterNotice
from armoflow.engine.services.tasks import TasksService
from armoflow.engine.services.versions import VersionsService
from armoflow.protocol.permissions import methods

_API = tuple(dict.fromkeys(method.containing_service.full_name for method, _ in methods()))


def register_services(
    server: Any,
    engine: Engine,
    authentication: Authentication,
    *,
    extensions: bool,
    discovery: bool,
) -> list[Any]:
    """Add the services.

    Args:
        server: The gRPC server.
        engine: What they serve.
        authentication: Knows who calls.
        extensions: Serve what ArmoniK does not have, too.
        discovery: Serve what generic gRPC tools ask for: reflection and health.

    Returns:
        Those with endless streams, to be closed before the server stops.
    """
    events = EventsService(engine)
    add_ApplicationsServicer_to_server(ApplicationsService(engine), server)
    add_AuthenticationServicer_to_server(AuthenticationService(authentication), server)
    add_EventsServicer_to_server(events, server)
    add_HealthChecksServiceServicer_to_server(HealthService(engine), server)
    add_PartitionsServicer_to_server(PartitionsService(engine), server)
    add_ResultsServicer_to_server(ResultsService(engine), server)
    add_SessionsServicer_to_server(SessionsService(engine), server)
    add_TasksServicer_to_server(TasksService(engine), server)
    add_VersionsServicer_to_server(VersionsService(extensions=extensions), server)
    server.add_generic_rpc_handlers((SubmitterNotice(),))
    streams: list[Any] = [events]
    if extensions:
        extension = ExtensionService(engine)
        extension.register(server)
        streams.append(extension)
    if discovery:
        # Imported here: private engines, which have to start fast, go without.
        from armoflow.engine.services.discovery import register_discovery

        streams.append(register_discovery(server, engine, _API))
    return streams
