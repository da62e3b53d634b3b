"""What a child has written, and what it had said when it died."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from armoflow.agent.lane_shapes import BrokenStreamError
from armoflow.agent.passages import NOBODY, Passage, Writer
from armoflow.worker.child_process import ChildProcess
from armoflow.worker.dialogue import Dialogue
from armoflow.worker.mark import NO_ITEM, Position

logger = logging.getLogger(__name__)

Printed = Callable[[Sequence[Passage]], None]
"""Is told what tasks wrote."""


def listen(child: ChildProcess, dialogue: Dialogue, printed: Printed) -> None:
    """Tell what tasks have written since this was asked last."""
    output = child.output
    if not output.behind:
        return
    before = child.mark.position()
    passages = output.read()
    if output.unmarked:
        # It was written by what runs, if that is the same as before it was read.
        work = dialogue.sent.get(before.serial)
        if work is not None and child.mark.position() == before:
            passages += output.settle(work.writer(before))
    if passages:
        printed(passages)


def hear_out(
    child: ChildProcess, dialogue: Dialogue, position: Position, printed: Printed
) -> Writer | None:
    """Tell what a dead child has written; returns who has, if it was in a task."""
    work = dialogue.sent.get(position.serial)
    writer = None if work is None else work.writer(position)
    passages = child.output.finish(writer or NOBODY)
    if passages:
        printed(passages)
    return writer


def drain(child: ChildProcess, dialogue: Dialogue) -> None:
    """Take what a dead child had said; what breaks off there breaks off its stream."""
    try:
        dialogue.hear(child.drain())
    except BrokenStreamError as error:
        logger.error("worker process %d left what makes no sense: %s", child.pid, error)
        child.broken = error


def last_position(child: ChildProcess, dialogue: Dialogue) -> Position:
    """What a dead child ran; if its stream was broken, the task that it spoke of then."""
    position = child.mark.position()
    if child.broken is None or dialogue.killing:
        return position
    suspects = [child.broken.serial, position.serial]
    if child.broken.serial is None:
        suspects += dialogue.sent  # they run in order: most likely the first
    serial = next((one for one in suspects if one in dialogue.sent), position.serial)
    return position if serial == position.serial else Position(serial, NO_ITEM, 1, 0)
