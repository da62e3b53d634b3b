"""Connecting to an engine: at its socket for the batch stream, if there is one, or by calls.

gRPC and ArmoniK's messages take longer to import than an engine to start: a client that finds the
socket does without them until it makes a call that the stream does not take.
"""

from __future__ import annotations

import asyncio
import time

from armoflow.errors import EngineUnreachableError
from armoflow.protocol.batch import BatchTransport
from armoflow.protocol.caller import Caller
from armoflow.protocol.settings import ConnectionSettings, PayloadMode, grpc_target
from armoflow.protocol.stream import RefusedError
from armoflow.protocol.transport import Transport


async def connect(
    settings: ConnectionSettings, *, payloads: PayloadMode, extensions: bool, timeout: float
) -> Transport:
    """Connect to an engine.

    Args:
        settings: Where it is, and how it is reached.
        payloads: When payloads go up, on the standard calls.
        extensions: Whether to use the batch extension if the engine offers it.
        timeout: Seconds to wait for an answer, where there may be one.

    Raises:
        EngineUnreachableError: If nothing answers.
        EngineError: If what answers is not an ArmoniK, or refuses the caller.
        OptionError: If a file of the settings cannot be read.
    """
    begun = time.monotonic()
    grpc_target(settings.endpoint)  # which says what is no address
    if extensions and settings.path:
        joined = await _join(settings, payloads, timeout)
        if joined is not None:
            return joined
    # Imported here, see the module.
    from armoflow.protocol.introduction import connect_by_calls

    return await connect_by_calls(
        settings, payloads=payloads, extensions=extensions, timeout=timeout, begun=begun
    )


async def _join(
    settings: ConnectionSettings, payloads: PayloadMode, timeout: float
) -> Transport | None:
    """Connect at the socket for the batch stream; None if there is none, or none that is enough.

    Raises:
        EngineError: If the engine speaks another version of the extension.
    """
    batch = BatchTransport(Caller(settings), payloads)
    if not await batch.find_socket():
        return None
    try:
        await asyncio.wait_for(batch.start(), timeout)
    except (RefusedError, asyncio.TimeoutError, EngineUnreachableError):
        await batch.close()
        return None  # what stands there is looked into by calls
    except BaseException:
        await batch.close()
        raise
    return batch
