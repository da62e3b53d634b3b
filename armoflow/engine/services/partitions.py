"""The Partitions service."""

# ruff: noqa: N802 (the API names the methods)

from __future__ import annotations

from typing import Any

from armonik.protogen.client.partitions_service_pb2_grpc import PartitionsServicer
from armonik.protogen.common import partitions_common_pb2 as messages

from armoflow.engine.records import StateError
from armoflow.engine.services.common import Service
from armoflow.engine.services.convert import partition_to_message
from armoflow.engine.services.filter_messages import parse_list
from armoflow.protocol.filter_fields import PARTITIONS


class PartitionsService(Service, PartitionsServicer):  # type: ignore[misc]
    """Shows the partitions, which are fixed when the engine starts."""

    async def GetPartition(self, request: Any, context: Any) -> Any:
        """Read a partition."""
        partition = self._engine.partitions.get(request.id)
        if partition is None:
            raise StateError("NOT_FOUND", f"partition {request.id!r} does not exist")
        return messages.GetPartitionResponse(partition=partition_to_message(partition))

    async def ListPartitions(self, request: Any, context: Any) -> Any:
        """List partitions."""
        engine = self._engine
        filters, arguments = parse_list(request, PARTITIONS, strict=engine.options.strict)
        page = await engine.queries.partitions(filters, **arguments)
        return messages.ListPartitionsResponse(
            partitions=map(partition_to_message, page.items),
            page=request.page,
            page_size=request.page_size,
            total=page.total,
        )
