"""Why an engine does not answer: what stands at its address is looked at before that is told."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import grpc

from armoflow.errors import EngineUnreachableError
from armoflow.protocol.caller import Caller
from armoflow.protocol.cases import Case
from armoflow.protocol.probe import ProbeOutcome, probe
from armoflow.protocol.refusals import explain

PROBE_SECONDS = 2.0
"""Seconds for each answer of what stands at an address: somebody waits to be told."""


async def look(
    caller: Caller, error: Exception, seconds: float, *, connecting: bool = False
) -> Case:
    """What is known of a call that got no answer.

    Args:
        caller: Who made it.
        error: How it ended.
        seconds: How long to wait at most for each answer of what stands at the address.
        connecting: It was one of the first calls: no engine has answered yet.
    """
    found = None
    with suppress(RuntimeError):  # at the interpreter's end there are no threads any more
        found = await asyncio.to_thread(_found, caller, seconds)
    return _case(caller, error, found, connecting=connecting)


def look_blocking(caller: Caller, error: Exception, seconds: float) -> Case:
    """The same as :func:`look`, in the caller's own thread, of an engine that has answered."""
    return _case(caller, error, _found(caller, seconds))


def _found(caller: Caller, seconds: float) -> ProbeOutcome | None:
    """What stands at the address; of what is behind a proxy nothing is known."""
    if caller.proxy:
        return None
    return probe(caller.settings, caller.authorities, min(PROBE_SECONDS, seconds))


def _case(
    caller: Caller, error: Exception, found: ProbeOutcome | None, *, connecting: bool = False
) -> Case:
    code, text = "DEADLINE_EXCEEDED", ""
    if isinstance(error, grpc.RpcError):
        code, text = error.code().name, error.details() or ""
    return Case(caller, code, text, connecting=connecting, found=found)


async def unanswered(
    what: str, caller: Caller, patience: float, error: Exception, said: str
) -> EngineUnreachableError:
    """The error for an engine that does not answer any more.

    Args:
        what: What was to be done.
        caller: Who was to do it.
        patience: For how many seconds it was tried.
        error: How the last attempt ended.
        said: What there is to say if nothing more is found out.
    """
    words = explain(await look(caller, error, patience))
    if words is None:
        words = f"no answer from {caller.endpoint}: {said}"
    return EngineUnreachableError(f"{what}, tried for {patience:.0f} s: {words}")
