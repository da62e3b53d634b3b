"""Looks after a child while it has work: its time, its memory, and an unnoticed death."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Container
from typing import Protocol

from armoflow.agent.lane_shapes import BrokenStreamError
from armoflow.config import MEMORY_PACE
from armoflow.system.memory import ContainerMemory
from armoflow.worker.child_process import ChildProcess
from armoflow.worker.dialogue import Dialogue
from armoflow.worker.killing import memory_is_short, memory_left
from armoflow.worker.listening import Printed, listen
from armoflow.worker.mark import WAITING, Position
from armoflow.worker.prefetch import PREFETCH_SECONDS
from armoflow.worker.work import Assignment, Cause, TaskEnding, overran

_CHECK_SECONDS = 0.02

_SHORTEST_CHECK = 0.001
"""How soon is looked again at what is about to have too much memory."""

_IDLE_SECONDS = 1.0
"""How often is looked whether a process without work writes: what its tasks have left may."""

_LIE_SECONDS = 1.0
"""How long a child may seem to run what it said had ended: machines are busy."""


class Watched(Protocol):
    """The seat whose child it is."""

    @property
    def load(self) -> int:
        """Tasks that it has."""

    def cancel(self, work: Assignment) -> None:
        """Stop a task; nothing more is told of it."""

    def overran(self, outcome: TaskEnding) -> None:
        """A task has no time for a retry any more."""

    def lagging(self, work: Assignment) -> None:
        """Tasks wait behind one that takes long."""

    def on_end(self, child: ChildProcess) -> None:
        """The child is gone, or as good as gone."""


class Vigil:
    """Looks at the child of a seat, as often as it has to.

    Args:
        seat: Is told what follows.
        printed: Is told what tasks wrote.
        memory: What the container has, where there is one.
    """

    def __init__(self, seat: Watched, printed: Printed, memory: ContainerMemory | None) -> None:
        self._seat = seat
        self._printed = printed
        self._memory = memory
        self._loop = asyncio.get_running_loop()
        self._child: ChildProcess | None = None
        self._dialogue: Dialogue | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._idle = False
        self._running = 0
        self._running_since = 0.0

    def begin(self, child: ChildProcess, dialogue: Dialogue) -> None:
        """It has work: look soon, unless that is about to be done."""
        self._child, self._dialogue = child, dialogue
        if self._idle:
            self.stop()
        if self._timer is None:
            self._timer = self._loop.call_later(_CHECK_SECONDS, self._check)

    def stop(self) -> None:
        """Look no more, until it has work again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._idle = False

    def is_held_up(self, sent: Container[int]) -> bool:
        """Whether what runs, of what was sent, takes longer than tasks behind it should wait."""
        if self._running not in sent:
            return False
        return self._loop.time() - self._running_since > PREFETCH_SECONDS

    def _check(self) -> None:
        """While there is work: look for what takes too long, and for an unnoticed death."""
        self._timer = None
        child, dialogue = self._child, self._dialogue
        if child is None or dialogue is None or dialogue.over:
            return
        listen(child, dialogue, self._printed)
        self._idle = not dialogue.sent
        if self._idle:
            pause = _CHECK_SECONDS if child.output.behind else _IDLE_SECONDS
            self._timer = self._loop.call_later(pause, self._check)
            return
        if child.has_ended():
            child.unwatch()
            self._seat.on_end(child)
            return
        position = child.mark.position()
        if position.serial in dialogue.cancelled:  # it began before it could be taken back
            dialogue.killing.kill(child, position, Cause.OWNER)
        elif self._memory is not None and (reason := memory_is_short(self._memory, child)):
            dialogue.killing.kill(child, position, Cause.MEMORY, reason)
        delay = min(_CHECK_SECONDS, self._check_memory(child, dialogue, position))
        if position.deadline and position.serial in dialogue.sent:
            left = (position.deadline - time.monotonic_ns()) * 1e-9
            if left <= 0 and child.mark.position() == position:
                dialogue.killing.kill(child, position, Cause.TIMEOUT)
            delay = min(delay, max(left, 0.001))
        self._timer = self._loop.call_later(delay, self._check)
        if position.serial and position.serial == self._running:
            self._hurry(child, dialogue, position.serial)
        else:
            self._running, self._running_since = position.serial, self._loop.time()

    def _check_memory(self, child: ChildProcess, dialogue: Dialogue, position: Position) -> float:
        """End what takes more memory than it may; in how many seconds to look again."""
        left, told = memory_left(child)
        if left < 0 and position.serial in dialogue.sent and child.mark.position() == position:
            dialogue.killing.kill(child, position, Cause.LIMIT, told)
        return max(left / MEMORY_PACE, _SHORTEST_CHECK)

    def _hurry(self, child: ChildProcess, dialogue: Dialogue, serial: int) -> None:
        """The same task has run for a while: look after it, and those before and behind it."""
        work = dialogue.sent.get(serial)
        left = None if work is None else work.left()
        if work is not None and left and self._loop.time() - self._running_since > left:
            writer = work.writer(child.mark.position())
            self._seat.cancel(work)
            self._seat.overran(overran(work, child.output.last.of(writer)))
            return
        if work is None and self._loop.time() - self._running_since > _LIE_SECONDS:
            text = f"it goes on running task {serial}, which it said had ended"
            child.break_off(BrokenStreamError(text, serial))
            return
        if child.mark.words[WAITING]:
            try:
                dialogue.hear_early(serial)
            except BrokenStreamError as error:
                child.break_off(error)
        if work is not None and self._seat.load > 1:
            self._seat.lagging(work)
