"""Repeating calls whose outcome is unknown.

A call that ends in UNAVAILABLE or DEADLINE_EXCEEDED, in silence, or in a fault of the server that
says nothing of the request, may or may not have been carried out. Every call of armoflow says what
to do then: most are simply made again; a submission and an upload first look whether they took
effect; a deletion is let go.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc

from armoflow import config
from armoflow.errors import EngineUnreachableError
from armoflow.protocol.caller import Caller
from armoflow.protocol.rpc_errors import describe, is_ambiguous, is_server_fault
from armoflow.protocol.silence import unanswered

logger = logging.getLogger(__name__)

T = TypeVar("T")

CALL_DEADLINE = 60.0
"""Seconds that one unary call may take: a connection that went silent must not hold it for ever."""

LAST_DEADLINE = 15.0
"""The same where little depends on the answer: whoever leaves does not wait for one that hangs."""


async def repeat(
    call: Callable[[], Awaitable[T]],
    what: str,
    caller: Caller,
    *,
    patience: float | None = None,
    faults: bool = True,
    settled: Callable[[], Awaitable[T | None]] | None = None,
) -> T:
    """Make a call, again and again while its outcome is unknown.

    Args:
        call: Makes the call.
        what: What it does, for errors.
        caller: Who makes it, and where: for errors.
        patience: Seconds after which to give up; None for ``config.ENGINE_PATIENCE``.
        faults: Whether to go on after faults of the server, too.
        settled: Asked before each repetition: a value if the earlier call took effect.

    Raises:
        EngineError: If the engine refuses the call.
        EngineUnreachableError: If nothing answered for ``patience`` seconds, or only faults.
    """
    loop = asyncio.get_running_loop()
    patience = config.ENGINE_PATIENCE if patience is None else patience
    deadline = loop.time() + patience
    pause = 0.05
    with caller.traffic.calling() as unanswered:
        while True:
            try:
                return await call()
            except (grpc.RpcError, asyncio.TimeoutError) as error:
                if not is_ambiguous(error) or (not faults and is_server_fault(error)):
                    raise
                last: Exception = error
            while True:
                if loop.time() > deadline:
                    raise await _given_up(what, caller, patience, last) from last
                unanswered(describe(last))
                logger.info("%s: %s, repeating", what, describe(last))
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, 2.0)
                if settled is None:
                    break
                try:
                    value = await settled()
                except grpc.RpcError as error:
                    if not is_ambiguous(error):
                        raise
                    last = error
                    continue
                if value is not None:
                    return value
                break


async def _given_up(
    what: str, caller: Caller, patience: float, last: Exception
) -> EngineUnreachableError:
    if is_server_fault(last):
        return EngineUnreachableError(
            f"{what}: the engine at {caller.endpoint} has answered with faults for "
            f"{patience:.0f} s: {describe(last)}"
        )
    return await unanswered(what, caller, patience, last, describe(last))


async def unary(method: Any, request: Any, patience: float | None = None) -> Any:
    """One unary call with a deadline, which is shorter for who has little patience."""
    short = patience is not None and patience < LAST_DEADLINE
    return await method(request, timeout=LAST_DEADLINE if short else CALL_DEADLINE)
