"""Connecting by calls: what is learnt of an engine, and what is said if it does not answer."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import grpc
from armonik.protogen.client import (
    auth_service_pb2_grpc,
    partitions_service_pb2_grpc,
    results_service_pb2_grpc,
    versions_service_pb2_grpc,
)
from armonik.protogen.common import (
    auth_common_pb2,
    objects_pb2,
    partitions_common_pb2,
    versions_common_pb2,
)

from armoflow import config
from armoflow.errors import EngineUnreachableError
from armoflow.protocol.batch import BatchTransport
from armoflow.protocol.caller import Caller
from armoflow.protocol.cases import proxy_of
from armoflow.protocol.channel import open_channel
from armoflow.protocol.credentials import Credentials, facts_of, load
from armoflow.protocol.engine_info import EngineInfo
from armoflow.protocol.filter_fields import PARTITIONS, sort_upwards
from armoflow.protocol.refusals import explain, find, refusal
from armoflow.protocol.rpc_errors import describe, is_ambiguous
from armoflow.protocol.settings import ConnectionSettings, PayloadMode
from armoflow.protocol.silence import look
from armoflow.protocol.standard import StandardTransport
from armoflow.protocol.transport import Transport

logger = logging.getLogger(__name__)

_NOT_ALLOWED = ("PERMISSION_DENIED",)
_NOT_SERVED = (
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.INTERNAL,
)
"""With these the batch extension is not for this caller: standard calls are."""


async def connect_by_calls(
    settings: ConnectionSettings,
    *,
    payloads: PayloadMode,
    extensions: bool,
    timeout: float,
    begun: float,
) -> Transport:
    """Connect to an engine; see :func:`armoflow.protocol.connect.connect`.

    Args:
        settings: As there.
        payloads: As there.
        extensions: As there.
        timeout: As there.
        begun: When that was begun (``time.monotonic()``).
    """
    reached = await _reach(settings, timeout, begun)
    channel, info = reached.channel, reached.info

    def another() -> grpc.aio.Channel:
        return open_channel(settings, reached.credentials, alone=True)

    standard = StandardTransport(channel, reached.caller, info, payloads, another)
    if not extensions or not offers_extension(info):
        return standard
    batch = BatchTransport(reached.caller, payloads, standard)
    try:
        await asyncio.wait_for(batch.start(), timeout)
    except grpc.RpcError as error:
        if error.code() in _NOT_SERVED:
            return standard
        await batch.close()
        raise refusal(error, "connecting", reached.caller) from error
    except asyncio.TimeoutError as error:
        await batch.close()
        raise EngineUnreachableError(
            f"the engine at {settings.endpoint} stopped answering"
        ) from error
    except BaseException:
        await batch.close()
        raise
    return batch


class Introduction(NamedTuple):
    """What was learnt of an engine, and what it learnt of the caller.

    Attributes:
        info: What the engine says of itself.
        caller: Who calls, as the engine sees it.
        credentials: What was shown.
    """

    info: EngineInfo
    caller: Caller
    credentials: Credentials


async def introduce(settings: ConnectionSettings, timeout: float) -> Introduction:
    """Ask an engine what it is, and hang up; see :func:`connect_by_calls`."""
    reached = await _reach(settings, timeout, time.monotonic())
    await reached.channel.close()
    return Introduction(reached.info, reached.caller, reached.credentials)


class _Reached(NamedTuple):
    channel: grpc.aio.Channel
    info: EngineInfo
    caller: Caller
    credentials: Credentials


async def _reach(settings: ConnectionSettings, timeout: float, begun: float) -> _Reached:
    loaded = load(settings) if settings.secure else Credentials()
    certificate = facts_of(loaded.certificate) if loaded.certificate else None
    caller = Caller(settings, certificate, proxy=proxy_of(settings), authorities=loaded.authorities)
    channel = open_channel(settings, loaded)
    connecting = _Connecting(channel, caller, timeout, begun)
    try:
        info = await connecting.describe()
    except BaseException:
        await channel.close()
        raise
    return _Reached(channel, info, connecting.caller, loaded)


def offers_extension(info: EngineInfo) -> bool:
    """Only an engine that says so is asked: to others the call would be an unexpected one."""
    return info.core_version.endswith("-armoflow.batch")


class _Connecting:
    """The first calls to an engine: each is repeated where that may help, and told where not."""

    def __init__(
        self, channel: grpc.aio.Channel, caller: Caller, timeout: float, begun: float
    ) -> None:
        self.caller = caller
        self._channel = channel
        self._begun = begun
        self._timeout = timeout

    async def describe(self) -> EngineInfo:
        """Ask an engine for its versions, partitions and chunk size.

        Raises:
            EngineUnreachableError: If nothing answers in time.
            EngineError: If what answers is not an ArmoniK, or refuses the caller.
        """
        versions = versions_service_pb2_grpc.VersionsStub(self._channel)
        partitions = partitions_service_pb2_grpc.PartitionsStub(self._channel)
        results = results_service_pb2_grpc.ResultsStub(self._channel)
        # One after the other until one is answered: what keeps it from that is told once.
        await self._learn_user()
        version = await self._ask(
            versions.ListVersions, versions_common_pb2.ListVersionsRequest(), _NOT_ALLOWED
        )
        listed, configuration = await asyncio.gather(
            self._ask(partitions.ListPartitions, _all_partitions()),
            self._ask(results.GetServiceConfiguration, objects_pb2.Empty(), _NOT_ALLOWED),
        )
        return EngineInfo(
            core_version=version.core if version else "",
            partitions=tuple(partition.id for partition in listed.partitions),
            chunk_bytes=(configuration and configuration.data_chunk_max_size) or config.CHUNK_BYTES,
            pods={partition.id: partition.pod_max for partition in listed.partitions},
        )

    async def _learn_user(self) -> None:
        """Who the engine takes the caller for: asked by those who prove who they are."""
        if self.caller.settings.identified:
            stub = auth_service_pb2_grpc.AuthenticationStub(self._channel)
            request = auth_common_pb2.GetCurrentUserRequest()
            reply = await self._ask(stub.GetCurrentUser, request, (*_NOT_ALLOWED, "UNIMPLEMENTED"))
            if reply is not None:
                self.caller = dataclasses.replace(self.caller, user=reply.user.username)

    async def _ask(self, method: Any, request: Any, spared: Sequence[str] = ()) -> Any:
        """The reply to a call, repeated while it may still come.

        Args:
            method: What to call.
            request: With what.
            spared: Statuses with which it is gone on without a reply: None.
        """
        pause = 0.05
        problem: grpc.RpcError | None = None
        while True:
            left = max(self._begun + self._timeout - time.monotonic(), 0.001)
            try:
                return await method(request, timeout=left)
            except grpc.RpcError as error:
                if not is_ambiguous(error):
                    refused = refusal(
                        error, "connecting", self.caller, request=request, connecting=True
                    )
                    if refused.code not in spared:
                        raise refused from error
                    logger.info("going on without an answer: %s", refused)
                    return None
                # That there was no more time is not why there is no answer.
                if problem is None or error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                    problem = error
                await self._check_patience(problem)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)

    async def _check_patience(self, error: grpc.RpcError) -> None:
        """Look at what stands at the address; return if it may answer by itself in time.

        Raises:
            EngineUnreachableError: If it may not.
        """
        case = await look(self.caller, error, self._timeout, connecting=True)
        row = find(case)
        patience = self._timeout if row is None else min(row.patience, self._timeout)
        if time.monotonic() - self._begun < patience:
            logger.info("connecting: %s, repeating", describe(error))
            return
        raise EngineUnreachableError(
            explain(case)
            or f"no ArmoniK answers at {case.where} within {self._timeout:g} s: {describe(error)}"
        ) from error


def _all_partitions() -> Any:
    request = partitions_common_pb2.ListPartitionsRequest(page=0, page_size=1000)
    request.filters.SetInParent()
    return sort_upwards(request, PARTITIONS, "id")
