"""What a child's messages and memory say, believed only where it makes sense."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import Any

from armoflow.agent import lane_frames
from armoflow.agent.effects import Effects
from armoflow.agent.lane_shapes import BrokenStreamError, check_cells, check_data, check_places
from armoflow.config import LANE_ENTRIES, LANE_MESSAGE_LIMIT
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


class HeardParts:
    """What the PART messages of a task tell of: no more altogether than one message may.

    Attributes:
        effects: It.
    """

    def __init__(self) -> None:
        self.effects = Effects()
        self._entries = LANE_ENTRIES
        self._bytes = LANE_MESSAGE_LIMIT

    def take(self, message: Sequence[Any], work: Assignment, directory: str) -> None:
        """Add one.

        Raises:
            BrokenStreamError: As above; or if it is too much.
        """
        _, serial, data, created, children = message
        self._entries -= 2 * len(data) + 3 * len(created)
        self._entries -= sum([5 + len(child[1]) + len(child[2]) for child in children])
        self._bytes -= sum([len(value) for value in data.values() if isinstance(value, bytes)])
        if self._entries < 0 or self._bytes < 0:
            most = f"{LANE_ENTRIES:,} entries, or {LANE_MESSAGE_LIMIT:,} bytes"
            raise BrokenStreamError(f"its parts hold more than {most}", serial)
        whole = [lane_frames.DONE, serial, 0, data, created, children]
        self.effects.add(decode_done(whole, work, directory))


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
