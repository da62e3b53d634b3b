"""The timeline's intervals, packed for a page: some bytes a task. Pure."""

from __future__ import annotations

import base64
import sys
import zlib
from array import array
from collections.abc import Mapping, Sequence
from heapq import nlargest
from typing import Any, NamedTuple

from armoflow.protocol.states import ENDED
from armoflow.report.lanes import Lanes
from armoflow.report.trace import TaskRun

SHOWN = 150_000
"""Intervals that a page holds at most: of more, the longest."""

LANES = 500
"""Rows at most: of more, the first ones."""

NAMES = 1_000
"""Names that are told apart."""

FINEST = 1e-6
"""Seconds that a start and a length are told to, at best."""

STEPS = 1 << 22
"""Into how many steps the time is cut: finer than any screen shows."""

FLAGS = {"done": 0, "failed": 1, "cancelled": 2, "retried": 3}


class Scale(NamedTuple):
    """How times are written: the first one, and the seconds of a step."""

    origin: float
    tick: float

    @classmethod
    def of(cls, origin: float, seconds: float) -> Scale:
        """One in which so many seconds have enough steps."""
        return cls(origin, max(seconds / STEPS, FINEST))


def chart(runs: Sequence[TaskRun], lanes: Lanes) -> dict[str, Any]:
    """All that a page needs to draw when which task ran where, for JSON.

    Columns, one after the other, compressed: start (steps after the one before, 32 bits), length
    (32 bits), lane, name (16 bits each), state (8 bits); numbers with their least byte first.
    """
    drawn = [number for number, lane in enumerate(lanes.of) if lane >= 0]
    order = lanes.order[:LANES]
    rows = {lane: row for row, lane in enumerate(order)}
    kept = [number for number in drawn if lanes.of[number] in rows]
    if len(kept) > SHOWN:
        kept = nlargest(SHOWN, kept, key=lambda number: runs[number].seconds or 0.0)
    kept.sort(key=lambda number: runs[number].started or 0.0)
    origin = (runs[kept[0]].started or 0.0) if kept else 0.0
    last = max((_end(runs[number]) for number in kept), default=origin)
    scale = Scale.of(origin, last - origin)
    names = _names([runs[number] for number in kept])
    return {
        "origin": scale.origin,
        "tick": scale.tick,
        "names": list(names),
        "lanes": [lanes.labels[lane] for lane in order],
        "left_out": len(drawn) - len(kept),
        "chunks": [pack([runs[n] for n in kept], [rows[lanes.of[n]] for n in kept], names, scale)],
    }


def pack(
    runs: Sequence[TaskRun], rows: Sequence[int], names: Mapping[str, int], scale: Scale
) -> dict[str, Any]:
    """Some intervals, sorted by their start, each with its row."""
    starts, lengths = array("I"), array("I")
    lanes, titles, flags = array("H", rows), array("H"), array("B")
    before = 0
    for run in runs:
        start = max(round(((run.started or 0.0) - scale.origin) / scale.tick), before)
        starts.append(start - before)
        before = start
        lengths.append(round((run.seconds or 0.0) / scale.tick))
        titles.append(names.get(run.name, NAMES))
        flags.append(FLAGS[run.state if run.state in ENDED else "done"])
    if sys.byteorder == "big":
        for column in (starts, lengths, lanes, titles):
            column.byteswap()
    columns = b"".join(column.tobytes() for column in (starts, lengths, lanes, titles, flags))
    return {"count": len(runs), "data": base64.b64encode(zlib.compress(columns)).decode()}


def _names(runs: Sequence[TaskRun]) -> dict[str, int]:
    """Numbers for names; what takes longest in all is first."""
    totals: dict[str, float] = {}
    for run in runs:
        totals[run.name] = totals.get(run.name, 0.0) + (run.seconds or 0.0)
    ordered = sorted(totals, key=lambda name: -totals[name])[:NAMES]
    return {name: number for number, name in enumerate(ordered)}


def _end(run: TaskRun) -> float:
    return (run.started or 0.0) + (run.seconds or 0.0)
