"""What a child's messages and memory say, believed only where it makes sense."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import Any

from armoflow.agent import lane_frames
from armoflow.agent.effects import Effects
from armoflow.agent.lane_shapes import BrokenStreamError, check_cells, check_data, check_places
from armoflow.protocol.frames import UNREADABLE
from armoflow.worker.child_process import ChildProcess
from armoflow.worker.mark import Position, SpoolEntry, decode_entries
from armoflow.worker.work import Assignment

logger = logging.getLogger(__name__)


def is_of(message: Any, serials: Collection[int]) -> bool:
    """Whether a message tells of the end of one of these tasks."""
    serial = message[1] if type(message) is list and len(message) > 1 else None
    return type(serial) is int and serial in serials


def decode_done(message: Sequence[Any], work: Assignment, directory: str) -> Effects:
    """The effects of a task that a DONE message tells of.

    Raises:
        BrokenStreamError: If they are not the task's to have, or lie where the child has nothing
            to say.
    """
    _, serial, _, data, *more = message
    if work.folder is None:
        check_data(data, work.outputs, more[0] if more else (), serial)
    check_places(data, work.folder or directory, serial)
    return lane_frames.decode_effects(data, *more)


def decode_part(message: Sequence[Any], work: Assignment, directory: str) -> Effects:
    """The effects of a task that a PART message tells of.

    Raises:
        BrokenStreamError: As above.
    """
    _, serial, data, created, children = message
    return decode_done([lane_frames.DONE, serial, 0, data, created, children], work, directory)


def decode_partial(serial: int, base: int, lengths: bytes, spool: bytes) -> list[SpoolEntry]:
    """The finished items of a PARTIAL message.

    Raises:
        BrokenStreamError: If they are none.
    """
    try:
        entries = decode_entries(base, memoryview(lengths).cast("I"), spool)
    except UNREADABLE as error:
        raise BrokenStreamError(f"PARTIAL.spool holds no finished items: {error}", serial) from None
    for entry in entries:
        check_cells(entry.cells, serial)
    return entries


def kept(child: ChildProcess, position: Position) -> list[SpoolEntry]:
    """The finished items in a dead child's memory, unless that holds something else."""
    if child.mark.position().serial != position.serial:
        return []
    try:
        entries = child.mark.entries()
        for entry in entries:
            check_cells(entry.cells, position.serial)
    except UNREADABLE as error:
        logger.error("the items that process %d had finished are lost: %s", child.pid, error)
        return []
    return entries
