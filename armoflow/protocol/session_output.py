"""What the tasks of a session have written: kept by an engine, or stored on a cluster.

An engine of armoflow's own keeps it, and serves it as lines of JSON. On a cluster it is there where
the client has asked for it (see :mod:`armoflow.codec.written`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgpack
from armonik.common import Result, ResultStatus, SessionStatus

from armoflow.codec.written import PREFIX, read_written, wanted_level
from armoflow.protocol.frames import OUTPUT_METHOD
from armoflow.protocol.introduction import offers_extension

if TYPE_CHECKING:
    from armoflow.protocol.inspection import Inspection

INTERVAL = 1.0
"""Seconds between two looks for more on a cluster."""

OVERLAP = timedelta(minutes=1)
"""What is listed again: results appear later than they say, by clocks of their own."""

_LIVE = (SessionStatus.RUNNING, SessionStatus.PAUSED)


def session_output(
    inspection: Inspection, session_id: str, *, follow: bool
) -> Iterator[dict[str, Any]] | None:
    """What tasks of a session have written: time, task, name, level, logger and text.

    Args:
        inspection: The engine.
        session_id: The session.
        follow: Go on until it ends.

    Returns:
        None if it is not kept.
    """
    if offers_extension(inspection.info):
        return _kept(inspection, session_id, follow=follow)
    options = inspection.session(session_id).options
    if options is None or wanted_level(options.options or {}) is None:
        return None
    return _stored(inspection, session_id, follow=follow)


def _kept(inspection: Inspection, session_id: str, *, follow: bool) -> Iterator[dict[str, Any]]:
    request = msgpack.packb([session_id, follow])
    rest = b""
    for part in inspection.stream(OUTPUT_METHOD, request, "reading the output of tasks"):
        *lines, rest = (rest + part).split(b"\n")
        yield from map(json.loads, lines)


def _stored(inspection: Inspection, session_id: str, *, follow: bool) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    newest: datetime | None = None
    while True:
        # Asked before the list: what was written until the session's end is in it.
        live = follow and inspection.session(session_id).status in _LIVE
        wanted = (Result.session_id == session_id) & Result.name.startswith(PREFIX)
        wanted = wanted & (Result.status == ResultStatus.COMPLETED)
        if newest is not None:
            wanted = wanted & (Result.created_at >= newest - OVERLAP)
        for result in inspection.listed(wanted):
            if result.result_id not in seen:
                seen.add(result.result_id)
                newest = max(newest or result.created_at, result.created_at)
                yield from _lines(inspection, result)
        if not live:
            return
        time.sleep(INTERVAL)


def _lines(inspection: Inspection, result: Result) -> Iterator[dict[str, Any]]:
    data = inspection.data(result)
    for text in read_written(data) if data is not None else ():
        yield {"time": text.time, "task": result.created_by, **text._asdict()}
