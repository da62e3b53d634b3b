"""What generic gRPC tools ask for: reflection and health."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from serving import PATIENCE, Serving, serve

SERVING = health_pb2.HealthCheckResponse.SERVING
VERSIONS = "armonik.api.grpc.v1.versions.Versions.ListVersions"
TASKS = "armonik.api.grpc.v1.tasks.Tasks"


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serve(tmp_path_factory.mktemp("state")) as running:
        yield running


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_the_services_describe_themselves(serving: Serving, version: str) -> None:
    listed, described = ask(
        serving,
        version,
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=TASKS),
    )
    names = {service.name for service in listed.list_services_response.service}
    assert {TASKS, "grpc.health.v1.Health"} <= names
    assert described.file_descriptor_response.file_descriptor_proto


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_a_symbol_may_be_a_method(serving: Serving, version: str) -> None:
    """As `grpcurl HOST describe SERVICE.METHOD` asks."""
    symbols = [TASKS, f"{TASKS}.GetTask", f"{TASKS}.NoSuch", "no.Such.Thing", "", "."]
    requests = [reflection_pb2.ServerReflectionRequest(file_containing_symbol=s) for s in symbols]
    service, method, *unknown = ask(serving, version, *requests)
    assert method.original_request == requests[1]
    assert method.file_descriptor_response == service.file_descriptor_response
    codes = {reply.error_response.error_code for reply in unknown}
    assert codes == {grpc.StatusCode.NOT_FOUND.value[0]}


def ask(serving: Serving, version: str, *requests: Any) -> list[Any]:
    call = serving.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    return list(call(iter(requests), timeout=PATIENCE))


def test_every_method_can_be_called_by_its_description(serving: Serving) -> None:
    """What generic tools do: gRPC's own client reads all that is listed, and calls by that."""
    database = ProtoReflectionDescriptorDatabase(serving.channel)
    pool = DescriptorPool(database)
    services = [pool.FindServiceByName(name) for name in database.get_services()]
    assert len(services) == 12
    methods = {each.full_name: each for service in services for each in service.methods}
    kinds = [(each.input_type, each.output_type) for each in methods.values()]
    assert all(GetMessageClass(kind)() is not None for pair in kinds for kind in pair)
    request, reply = map(GetMessageClass, kinds[[*methods].index(VERSIONS)])
    service, _, name = VERSIONS.rpartition(".")
    call = serving.channel.unary_unary(
        f"/{service}/{name}",
        request_serializer=request.SerializeToString,
        response_deserializer=reply.FromString,
    )
    assert call(request(), timeout=PATIENCE).api


def test_a_service_of_the_engine_serves(serving: Serving) -> None:
    health = health_pb2_grpc.HealthStub(serving.channel)
    for name in ("", TASKS):
        request = health_pb2.HealthCheckRequest(service=name)
        assert health.Check(request, timeout=PATIENCE).status == SERVING


@pytest.mark.skipif(not hasattr(health_pb2, "HealthListResponse"), reason="not in this gRPC")
def test_all_services_are_listed_with_their_health(serving: Serving) -> None:
    health = health_pb2_grpc.HealthStub(serving.channel)
    statuses = health.List(health_pb2.HealthListRequest(), timeout=PATIENCE).statuses
    assert {TASKS, "", "grpc.health.v1.Health"} <= set(statuses)
    assert {each.status for each in statuses.values()} == {SERVING}


def test_an_unknown_service_is_named(serving: Serving) -> None:
    health = health_pb2_grpc.HealthStub(serving.channel)
    with pytest.raises(grpc.RpcError, match="'nobody'") as caught:
        health.Check(health_pb2.HealthCheckRequest(service="nobody"), timeout=PATIENCE)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_who_watches_is_told_when_the_server_stops(tmp_path: Path) -> None:
    with serve(tmp_path / "state") as running:
        health = health_pb2_grpc.HealthStub(running.channel)
        replies = health.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        assert next(replies).status == SERVING
        running.run(running.server.stop())
        assert [reply.status for reply in replies] == [health_pb2.HealthCheckResponse.NOT_SERVING]
