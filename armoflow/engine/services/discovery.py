"""What generic gRPC tools ask of any server: which services it has, and whether these serve.

Reflection (v1 and v1alpha, whose messages are the same on the wire) and ``grpc.health.v1``, from
gRPC's own packages; a stock ArmoniK has neither of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from functools import cached_property
from typing import Any

import grpc
from google.protobuf import descriptor_pool, json_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from armoflow.engine.core import Engine

REFLECTION = ("grpc.reflection.v1.ServerReflection", reflection.SERVICE_NAME)
HEALTH = "grpc.health.v1.Health"


def register_discovery(server: Any, engine: Engine, services: Iterable[str]) -> ServingService:
    """Add reflection and health.

    Args:
        server: The gRPC server.
        engine: Whose health is asked for.
        services: Full names of the other services that it has.

    Returns:
        The health service, whose streams are to be closed before the server stops.
    """
    names = (*services, HEALTH, *REFLECTION)
    serving = ServingService(engine, names)
    health_pb2_grpc.add_HealthServicer_to_server(serving, server)
    handler = grpc.stream_stream_rpc_method_handler(
        Reflection(names).ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        tuple(
            grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler})
            for name in REFLECTION
        )
    )
    return serving


class Reflection:
    """Which services there are, and what they are made of.

    Args:
        names: The services.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(names)

    @cached_property
    def _servicer(self) -> Any:
        # Made when somebody asks: few engines are.
        return reflection.aio.ReflectionServicer(
            self._names, pool=_Symbols(_described(self._names))
        )

    async def ServerReflectionInfo(  # noqa: N802
        self, requests: Any, context: Any
    ) -> AsyncIterator[Any]:
        """Answer what is asked about services, files and messages."""
        async for reply in self._servicer.ServerReflectionInfo(requests, context):
            yield reply


class _Symbols:
    """A pool of descriptions that finds methods too, as the protocol asks.

    Args:
        pool: The pool, which finds services and messages.
    """

    def __init__(self, pool: DescriptorPool) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> Any:  # noqa: N802 (the pool's name)
        """The file in which something is described.

        Raises:
            KeyError: If it is in none of them.
        """
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            name, _, method = symbol.rpartition(".")
            service = self._pool.FindServiceByName(name)
            if method not in service.methods_by_name:
                raise
            return service.file


def _described(names: Iterable[str]) -> DescriptorPool:
    """The files of services, with all that they stand on."""
    pool, known = DescriptorPool(), descriptor_pool.Default()

    def add(file: Any) -> None:
        for each in file.dependencies:
            add(each)
        pool.AddSerializedFile(file.serialized_pb)

    for name in names:
        if name not in REFLECTION:
            add(known.FindFileContainingSymbol(name))
    alpha = FileDescriptorProto.FromString(reflection_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(alpha)
    pool.Add(_as_v1(alpha))
    return pool


def _as_v1(alpha: FileDescriptorProto) -> FileDescriptorProto:
    """The description of v1, which gRPC's package lacks: the messages are those of v1alpha."""
    text = json_format.MessageToJson(alpha)
    return json_format.Parse(text.replace("v1alpha", "v1"), FileDescriptorProto())


class ServingService(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """Health of the services, which is that of the engine.

    Args:
        engine: The engine.
        names: The services; an empty name stands for the server as a whole.
    """

    def __init__(self, engine: Engine, names: Iterable[str]) -> None:
        self._engine = engine
        self._names = frozenset(("", *names))
        self._closed = asyncio.Event()

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 (the API's name)
        """The health of a service."""
        if request.service not in self._names:
            text = f"no service is called {request.service!r}"
            await context.abort(grpc.StatusCode.NOT_FOUND, text)
        return health_pb2.HealthCheckResponse(status=self._status())

    async def List(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The health of all services."""
        status = health_pb2.HealthCheckResponse(status=self._status())
        return health_pb2.HealthListResponse(statuses=dict.fromkeys(self._names, status))

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """The health of a service now, and again when it changes."""
        statuses = health_pb2.HealthCheckResponse
        if request.service not in self._names:
            yield statuses(status=statuses.SERVICE_UNKNOWN)
            await self._closed.wait()
            return
        yield statuses(status=self._status())
        closed: asyncio.Future[Any] = asyncio.ensure_future(self._closed.wait())
        try:
            # An engine fails once, and for good.
            ends = (closed, self._engine.failed)
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            closed.cancel()
        yield statuses(status=statuses.NOT_SERVING)

    def close(self) -> None:
        """End all streams."""
        self._closed.set()

    def _status(self) -> int:
        statuses = health_pb2.HealthCheckResponse
        failed = self._engine.failed.done() or self._closed.is_set()
        status: int = statuses.NOT_SERVING if failed else statuses.SERVING
        return status
