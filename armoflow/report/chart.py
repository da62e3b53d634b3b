"""The timeline's intervals, packed for a page: some bytes a task. Pure."""

from __future__ import annotations

import base64
import sys
import zlib
from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

from armoflow.report.lanes import Lane
from armoflow.report.trace import TaskRun

LANES = 500
"""Rows that are drawn at most: of more, the first ones."""

NAMES = 1_000
"""NumberedNames that are told apart."""

FINEST = 1e-6
"""Seconds that a start and a length are told to, at best."""

STEPS = 1 << 22
"""Into how many steps the time is cut: finer than any screen shows."""

LONGEST = (1 << 32) - 1
"""Steps that a start or a length may have."""

FLAGS = {"done": 0, "failed": 1, "cancelled": 2, "retried": 3}


class Interval(NamedTuple):
    """A task in a row."""

    run: TaskRun
    row: int


class Scale(NamedTuple):
    """How times are written: the first one, and the seconds of a step."""

    origin: float
    tick: float

    @classmethod
    def of(cls, origin: float, seconds: float) -> Scale:
        """One in which so many seconds have enough steps."""
        return cls(origin, max(seconds / STEPS, FINEST))


class NumberedNames:
    """Numbers for names: those that come first have colours of their own."""

    def __init__(self, known: Sequence[str] = ()) -> None:
        self.numbers = {name: number for number, name in enumerate(known[:NAMES])}

    def number(self, name: str) -> int:
        """The number of a name; all that are too many share one."""
        return self.numbers.setdefault(name, min(len(self.numbers), NAMES))


def pack(intervals: Sequence[Interval], names: NumberedNames, scale: Scale) -> dict[str, Any]:
    """Some intervals, for JSON.

    Columns, one after the other, compressed: start (steps after the one before, 32 bits), length
    (32 bits), row, name (16 bits each), state (8 bits); numbers with their least byte first.

    Args:
        intervals: Sorted by their start.
        names: Of tasks; new ones get numbers.
        scale: Of times.
    """
    starts, lengths = array("I"), array("I")
    rows, titles, flags = array("H"), array("H"), array("B")
    before = 0
    for run, row in intervals:
        start = max(round(((run.started or 0.0) - scale.origin) / scale.tick), before)
        starts.append(min(start - before, LONGEST))
        before = start
        lengths.append(min(round((run.seconds or 0.0) / scale.tick), LONGEST))
        rows.append(min(row, (1 << 16) - 1))
        titles.append(names.number(run.name))
        flags.append(FLAGS.get(run.state, 0))
    if sys.byteorder == "big":
        for column in (starts, lengths, rows, titles):
            column.byteswap()
    columns = b"".join(column.tobytes() for column in (starts, lengths, rows, titles, flags))
    data = base64.b64encode(zlib.compress(columns)).decode()
    return {"count": len(intervals), "data": data}


def frame(
    names: NumberedNames, rows: Sequence[Lane], order: Sequence[int], scale: Scale
) -> dict[str, Any]:
    """What intervals are drawn into, for JSON: the rows as they are drawn, and which is which."""
    shown = order[:LANES]
    return {
        "origin": scale.origin,
        "tick": scale.tick,
        "names": list(names.numbers),
        "rows": [[number, rows[number].label] for number in shown],
        "hidden": len(order) - len(shown),
    }
