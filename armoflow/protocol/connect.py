"""Connecting to an engine: which transport it gets."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from armonik.protogen.client import (
    partitions_service_pb2_grpc,
    results_service_pb2_grpc,
    versions_service_pb2_grpc,
)
from armonik.protogen.common import (
    objects_pb2,
    partitions_common_pb2,
    partitions_fields_pb2,
    partitions_filters_pb2,
    sort_direction_pb2,
    versions_common_pb2,
)

from armoflow import config
from armoflow.errors import EngineError, EngineUnreachableError
from armoflow.protocol.batch import BatchTransport
from armoflow.protocol.channel import open_channel
from armoflow.protocol.repeat import refused, repeat, unary
from armoflow.protocol.standard import StandardTransport
from armoflow.protocol.submission import PayloadMode
from armoflow.protocol.transport import EngineInfo, Transport


async def connect(
    endpoint: str, *, payloads: PayloadMode, extensions: bool, timeout: float
) -> Transport:
    """Connect to an engine.

    Args:
        endpoint: ``http://host:port`` or ``unix:/path``.
        payloads: When payloads go up, on the standard calls.
        extensions: Whether to use the batch extension if the engine offers it.
        timeout: Seconds to wait for an answer.

    Raises:
        EngineUnreachableError: If nothing answers.
        EngineError: If what answers is not an ArmoniK.
    """
    channel = open_channel(endpoint)
    try:
        info = await _describe(channel, endpoint, timeout)
    except BaseException:
        await channel.close()
        raise
    standard = StandardTransport(channel, endpoint, info, payloads)
    if not extensions or not _may_have_extensions(info):
        return standard
    batch = BatchTransport(channel, endpoint, standard)
    try:
        await asyncio.wait_for(batch.start(), timeout)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return standard
        await batch.close()
        raise refused(error, "connecting") from error
    except asyncio.TimeoutError as error:
        await batch.close()
        raise EngineUnreachableError(f"the engine at {endpoint} stopped answering") from error
    except BaseException:
        await batch.close()
        raise
    return batch


def _may_have_extensions(info: EngineInfo) -> bool:
    """Only an engine that says so is asked: to others the call would be an unexpected one."""
    return info.core_version.endswith("-armoflow.batch")


async def _describe(channel: grpc.aio.Channel, endpoint: str, timeout: float) -> EngineInfo:
    """Ask an engine for its versions, partitions and chunk size.

    Raises:
        EngineUnreachableError: If nothing answers within ``timeout`` seconds.
        EngineError: If what answers is not an ArmoniK.
    """
    versions = versions_service_pb2_grpc.VersionsStub(channel)
    partitions = partitions_service_pb2_grpc.PartitionsStub(channel)
    results = results_service_pb2_grpc.ResultsStub(channel)
    questions = (
        (versions.ListVersions, versions_common_pb2.ListVersionsRequest()),
        (partitions.ListPartitions, _all_partitions()),
        (results.GetServiceConfiguration, objects_pb2.Empty()),
    )

    def ask(method: Any, request: Any) -> Any:
        return repeat(lambda: unary(method, request), "connecting", endpoint, patience=timeout)

    try:
        version, listed, configuration = await asyncio.wait_for(
            asyncio.gather(*(ask(method, request) for method, request in questions)), timeout
        )
    except (EngineUnreachableError, asyncio.TimeoutError) as error:
        raise EngineUnreachableError(
            f"no ArmoniK answers at {endpoint}: start one with `armoflow up --listen "
            f"{endpoint.removeprefix('http://')}`, or leave the endpoint out to run on this machine"
        ) from error
    except grpc.RpcError as error:
        raise EngineError(
            f"what answers at {endpoint} is not an ArmoniK: {error.details()}", error.code().name
        ) from error
    return EngineInfo(
        core_version=version.core,
        api_version=version.api,
        partitions=tuple(partition.id for partition in listed.partitions),
        chunk_bytes=configuration.data_chunk_max_size or config.CHUNK_BYTES,
    )


def _all_partitions() -> Any:
    field = partitions_fields_pb2.PartitionField(
        partition_raw_field=partitions_fields_pb2.PartitionRawField(
            field=partitions_fields_pb2.PARTITION_RAW_ENUM_FIELD_ID
        )
    )
    return partitions_common_pb2.ListPartitionsRequest(
        page=0,
        page_size=1000,
        filters=partitions_filters_pb2.Filters(),
        sort=partitions_common_pb2.ListPartitionsRequest.Sort(
            field=field, direction=sort_direction_pb2.SORT_DIRECTION_ASC
        ),
    )
