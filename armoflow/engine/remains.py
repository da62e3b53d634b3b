"""What stays of a session whose client is gone: what was to be kept, and what failed tasks need.

The same as a client leaves that ends its session itself (:mod:`armoflow.protocol.remains`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from armoflow.codec.needs import constants_of
from armoflow.config import FAILED_PAYLOADS
from armoflow.engine.records import ResultRecord, ResultStatus
from armoflow.protocol.frames import CONSTANT_PREFIX, STAYING_PREFIXES

if TYPE_CHECKING:
    from armoflow.engine.core import Engine


async def tidy(engine: Engine, session_id: str) -> None:
    """Delete the data of a session that has ended, but what stays; done when it is committed."""
    await engine.sweeper.in_slices(
        await _unneeded(engine, session_id),
        lambda ids: engine.state.delete_results(engine.now(), ids),
        urgent=False,
    )


async def _unneeded(engine: Engine, session_id: str) -> list[str]:
    """The results of a session whose data goes."""
    stored = [
        result
        for result in engine.state.results_of(session_id)
        if result.status is ResultStatus.COMPLETED and not result.name.startswith(STAYING_PREFIXES)
    ]
    if not stored:
        return []
    await engine.committed()
    needed, payloads = await engine.queries.failed_inputs(session_id)
    going = [result for result in stored if result.id not in needed]
    constants = [result for result in going if result.name.startswith(CONSTANT_PREFIX)]
    spared = await _named(engine, constants, payloads) if constants and payloads else set()
    return [result.id for result in going if result.id not in spared]


async def _named(
    engine: Engine, constants: Iterable[ResultRecord], payloads: list[str]
) -> set[str]:
    """Those constants that payloads name; all, where the payloads are too many to be read."""
    if len(payloads) > FAILED_PAYLOADS:
        return {constant.id for constant in constants}
    results = await engine.read_results(payloads)
    found = await engine.objects.read_many(result.opaque_id for result in results.values())
    return await asyncio.to_thread(_names, list(found.values()))


def _names(payloads: Iterable[bytes | Path]) -> set[str]:
    return {name for payload in payloads for name in constants_of(_content(payload))}


def _content(payload: bytes | Path) -> bytes:
    if isinstance(payload, bytes):
        return payload
    try:
        return payload.read_bytes()
    except FileNotFoundError:  # deleted meanwhile: nobody runs it again
        return b""
