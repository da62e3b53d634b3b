"""Connecting to an engine: which transport it gets."""

from __future__ import annotations

from armoflow.protocol.channel import open_channel
from armoflow.protocol.standard import StandardTransport, describe_engine
from armoflow.protocol.submission import PayloadMode
from armoflow.protocol.transport import Transport


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
    return StandardTransport(channel, endpoint, info, payloads)
