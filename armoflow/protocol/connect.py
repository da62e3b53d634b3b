"""Connecting to an engine: which transport it gets."""

from __future__ import annotations

import asyncio

import grpc

from armoflow.errors import EngineUnreachableError
from armoflow.protocol.batch import BatchTransport
from armoflow.protocol.channel import open_channel
from armoflow.protocol.repeat import refused
from armoflow.protocol.standard import StandardTransport, describe_engine
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
        info = await describe_engine(channel, endpoint, timeout, frozenset())
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
