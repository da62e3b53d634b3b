"""Sessions by frames of the batch stream: what a client on an engine's socket needs no gRPC for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from armoflow import config
from armoflow.errors import EngineUnreachableError
from armoflow.protocol.engine_info import EngineInfo
from armoflow.protocol.frames import NAME_LIMIT, Kind
from armoflow.protocol.rpc_errors import DONE_ALREADY
from armoflow.protocol.stream import RefusedError, Stream
from armoflow.protocol.submission import NAMESPACE, SERVICE, WireOptions
from armoflow.version import __version__


class StreamSessions:
    """Asks an engine for what it is, and opens and ends sessions.

    Args:
        stream: The stream, on a socket.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def introduce(self) -> EngineInfo:
        """What the engine says of itself.

        Raises:
            RefusedError: If it does not say it here.
        """
        said = await self._stream.request(Kind.INTRODUCE)
        pods = dict(said.get("partitions", ()))
        return EngineInfo(
            core_version=said.get("core_version", ""),
            partitions=tuple(pods),
            chunk_bytes=said.get("chunk_bytes") or config.CHUNK_BYTES,
            pods=pods,
        )

    async def open(self, options: WireOptions, partitions: Sequence[str]) -> str:
        """Open a session that may end when this client is gone; returns its id."""
        said = encode_options(options)
        said |= {
            "max_retries": max(options.max_retries, 1),  # there, it must be at least 1
            # A script's name may hold bytes that are no text.
            "application_name": options.application.encode("utf-8", "replace").decode()[
                :NAME_LIMIT
            ],
            "application_version": __version__,
            "application_namespace": NAMESPACE,
            "application_service": SERVICE,
        }
        return str(await self._stream.request(Kind.OPEN, said, list(partitions)))

    async def cancel(self, session_id: str) -> None:
        """Cancel everything in a session."""
        await self._end(Kind.STOP, session_id, "cancelling a session")

    async def close(self, session_id: str) -> None:
        """Close a session, and have the data deleted that need not stay."""
        await self._end(Kind.CLOSE, session_id, "closing a session")

    async def _end(self, kind: Kind, session_id: str, what: str) -> None:
        # Who leaves does not wait long for an answer.
        patience = min(config.END_PATIENCE, config.ENGINE_PATIENCE)
        try:
            await asyncio.wait_for(self._stream.request(kind, session_id), patience)
        except asyncio.TimeoutError as error:
            text = f"{what}: no answer from the engine in {patience:g} s"
            raise EngineUnreachableError(text) from error
        except RefusedError as error:
            if error.code not in DONE_ALREADY:
                raise


def encode_options(options: WireOptions) -> dict[str, Any]:
    """Task options as frames have them."""
    labels = {"options": dict(options.labels)} if options.labels else {}
    return {
        "max_duration": options.max_duration,
        # Inside a task, 0 means inherit and -1 none.
        "max_retries": options.max_retries or -1,
        "priority": options.priority,
        "partition_id": options.partition,
        **labels,
    }
