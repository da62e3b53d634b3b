"""What an owner and one of its children say to each other: tasks, their ends, what comes back.

A dialogue lasts as long as its child. What was sent and has not ended by then is in ``sent``.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, Protocol

from armoflow.agent import lane_frames
from armoflow.agent.effects import Effects
from armoflow.agent.lane_shapes import (
    BrokenStreamError,
    check_message,
    check_places,
    check_returned,
    plain_output,
)
from armoflow.worker.child_process import ChildProcess
from armoflow.worker.heard import HeardParts, decode_done, decode_partial, is_of
from armoflow.worker.item_checkpoints import Checkpoints
from armoflow.worker.killing import Killing
from armoflow.worker.mark import SERIAL, SpoolEntry
from armoflow.worker.work import Assignment, Cause, TaskEnding, overran

_AFTER_OUTCOMES = (lane_frames.ABSENT, lane_frames.PAUSED)
"""Messages that others may follow from: what has ended before them is told first."""


class ChildOwner(Protocol):
    """Who has the child."""

    def started(self) -> None:
        """The child is ready."""

    def ended(self, outcomes: Sequence[TaskEnding], seconds: float) -> None:
        """Tasks ended, which it has run for so many seconds."""

    def overran(self, outcome: TaskEnding) -> None:
        """A task that waits for a retry has no time for it any more."""

    def returned(self, works: Sequence[Assignment]) -> None:
        """Tasks are given back, or were cancelled."""

    def paused(self, work: Assignment, seconds: float) -> None:
        """A task waits for a retry."""

    async def answer(self, work: Assignment, method: str, argument: Any) -> Any:
        """Do what a task asks of its agent.

        Raises:
            Exception: If it cannot be done; the task is told the message.
        """


class Dialogue:
    """What is said to a child, and what it says.

    Args:
        seat: Is told what follows from it.
        child: The child.

    Attributes:
        sent: The tasks that the child has, by the numbers that they have between the two.
        partial: Finished items of tasks that it runs, as far as it has sent them.
        cancelled: The numbers of tasks of which nothing more is told.
        killing: Why the child was killed, if it was.
        over: The child is gone, or as good as gone: only what it had said is still heard.
        heard: How many of its tasks have left it.
    """

    def __init__(self, seat: ChildOwner, child: ChildProcess) -> None:
        self.sent: dict[int, Assignment] = {}
        self.partial: dict[int, list[SpoolEntry]] = {}
        self._parts: dict[int, HeardParts] = {}
        self.cancelled: set[int] = set()
        self.killing = Killing()
        self.over = False
        self.heard = 0
        self._seat = seat
        self._child = child
        self._pack = lane_frames.packer().pack
        self._serials = itertools.count(1)
        self._early: set[int] = set()
        self._recalls: deque[set[int]] = deque()
        self._answers: set[asyncio.Task[None]] = set()

    # --- what is said ---------------------------------------------------------------------------

    def run(self, works: Iterable[Assignment]) -> None:
        """Have tasks run, after those that the child has."""
        messages = []
        sources: dict[str, Any] = {}
        for work in works:
            serial = next(self._serials)
            self.sent[serial] = work
            messages.append(work.message(serial, self._child.payloads.name(work.payload)))
            sources.update(work.inputs)
        self._child.send(self._pack([lane_frames.RUN, messages, sources]))

    def recall(self, count: int, *, followers: bool) -> bool:
        """Ask for the return of tasks that were not started, the last ones first.

        Args:
            count: How many at most.
            followers: Also of those that wait for what one before them makes.

        Returns:
            Whether there are any.
        """
        sent = self.sent
        there = [serial for serial in sent if serial not in self.cancelled][1:]
        if not followers:
            there = [serial for serial in there if not sent[serial].passed]
        if count <= 0 or not there:
            return False
        self._ask_back(set(there[-count:]))
        return True

    @property
    def recalling(self) -> bool:
        """Whether it waits for tasks to be given back."""
        return bool(self._recalls)

    @property
    def quiet(self) -> bool:
        """Whether nothing was said that is still to be answered."""
        return not (self.sent or self._recalls or self._early)

    def cancel(self, work: Assignment) -> None:
        """Stop a task; nothing more is told of it, unless it has just ended."""
        serial = next((number for number, sent in self.sent.items() if sent is work), None)
        if serial is None:
            return
        self.cancelled.add(serial)
        if not self._kill_if_running(serial):
            self._ask_back({serial})

    def _ask_back(self, serials: set[int]) -> None:
        if self._child.ask(self._pack([lane_frames.RECALL, list(serials)])):
            self._recalls.append(serials)

    def _kill_if_running(self, serial: int) -> bool:
        position = self._child.mark.position()
        if position.serial == serial:
            self.killing.kill(self._child, position, Cause.OWNER)
        return position.serial == serial

    async def end(self) -> None:
        """Nothing more is answered."""
        self.over = True
        for answer in self._answers:
            answer.cancel()
        await asyncio.gather(*self._answers, return_exceptions=True)

    # --- what is heard --------------------------------------------------------------------------

    def hear(self, messages: Iterable[Any]) -> None:
        """The child said something.

        Raises:
            BrokenStreamError: When it comes to what it cannot have meant to say; what it said
                before is done.
        """
        outcomes: list[TaskEnding] = []
        nanoseconds = 0
        try:
            for message in messages:
                outcome = self._outcome(message)
                if outcome is not None:
                    nanoseconds += message[2]
                    outcomes.append(outcome)
                elif message[0] in _AFTER_OUTCOMES:
                    told, outcomes = outcomes, []
                    self._tell(told, nanoseconds)
                    nanoseconds = 0
                    self._take_back(message)
        finally:
            self._tell(outcomes, nanoseconds)

    def hear_early(self, serial: int) -> None:
        """Completions that a busy child has not sent yet, from the shared memory.

        Raises:
            BrokenStreamError: If they make no sense.
        """
        messages = list(self._child.unsent())
        if self._child.mark.words[SERIAL] == serial:  # it was busy all the while: they are whole
            had = set(self.sent)
            self.hear([one for one in messages if is_of(one, had)])
            self._early |= had - self.sent.keys()

    def hear_control(self, messages: Iterable[Any]) -> None:
        """The child gave tasks back.

        Raises:
            BrokenStreamError: If it cannot give them back.
        """
        for message in messages:
            returned = check_returned(message)
            asked = self._recalls.popleft() if self._recalls else set()
            if not returned <= asked or not returned <= self.sent.keys():
                raise BrokenStreamError(f"it gives back tasks {returned}: asked for were {asked}")
            self._on_returned(asked, returned)

    def _on_returned(self, asked: set[int], returned: set[int]) -> None:
        works = []
        for serial in sorted(returned):
            work = self.sent.pop(serial)
            if serial not in self.cancelled:
                works.append(work)
        for serial in (asked - returned) & self.cancelled & self.sent.keys():
            self._kill_if_running(serial)
        self.cancelled &= self.sent.keys()
        if works or returned:
            self._seat.returned(works)

    def _outcome(self, message: Any) -> TaskEnding | None:
        """The end of a task, if a message tells of one; other messages are taken at once."""
        sent = self.sent
        output = plain_output(message)
        work = None if output is None else sent.get(message[1])
        if work is not None and output in work.outputs:
            effects: Effects | None = Effects(data=message[3])
            error = kind = ""
        else:
            check_message(message)
            if message[0] not in {lane_frames.DONE, lane_frames.FAILED}:
                self._take_other(message)
                return None
            work = self._find(message[1])
            if work is None:
                return None
            if message[0] == lane_frames.DONE:
                error = kind = ""
                effects = decode_done(message, work, self._child.directory)
            else:
                effects = None
                kind, error = message[3:]
        ending = TaskEnding(work, effects, error, kind, message[2] * 1e-9)
        serial = message[1]
        del sent[serial]
        self.heard += 1
        if self.partial:
            self.partial.pop(serial, None)
        if self._parts and (parts := self._parts.pop(serial, None)) and effects is not None:
            parts.effects.add(effects)
            ending.effects = parts.effects
        return ending

    def _find(self, serial: int) -> Assignment | None:
        """The task that the child speaks of; None if its end was read from the memory before.

        Raises:
            BrokenStreamError: If it has no such task.
        """
        work = self.sent.get(serial)
        if work is None and not self.over:
            if serial not in self._early:
                raise BrokenStreamError(f"it speaks of task {serial}, which it does not have")
            self._early.discard(serial)
        return work

    def _tell(self, outcomes: Sequence[TaskEnding], nanoseconds: int) -> None:
        if outcomes:
            self._seat.ended(outcomes, nanoseconds * 1e-9)

    def _take_back(self, message: Sequence[Any]) -> None:
        if message[0] == lane_frames.PAUSED:
            self._pause(message)
        else:
            self._take_absent(message[1])

    def _take_absent(self, serial: int) -> None:
        work = self.sent.pop(serial, None)
        if work is not None and serial not in self.cancelled:
            self._seat.returned([work])
        self.cancelled.discard(serial)

    def _take_other(self, message: Sequence[Any]) -> None:
        kind = message[0]
        if kind == lane_frames.READY:
            self._child.ready = True
            self._seat.started()
        elif kind == lane_frames.PARTIAL:
            _, serial, base, lengths, spool = message
            if self._find(serial) is not None:
                entries = decode_partial(serial, base, lengths, spool)
                self.partial.setdefault(serial, []).extend(entries)
        elif kind == lane_frames.PART:
            work = self._find(message[1])
            if work is not None:
                parts = self._parts.setdefault(message[1], HeardParts())
                parts.take(message, work, self._child.directory)
        elif kind == lane_frames.REQUEST:
            _, number, serial, method, argument = message
            work = self._find(serial)
            if work is not None and not self.over:
                self._keep(self._answer(work, number, method, argument))

    def _pause(self, message: Sequence[Any]) -> None:
        """A task waits for a retry: its process goes on to others."""
        _, serial, ran, due, spent, saved = message
        work = self._find(serial)
        if work is None:
            return
        check_places({"saved": saved}, self._child.directory, serial)
        del self.sent[serial]
        self.heard += 1
        self.partial.pop(serial, None)
        attempts = {item: (count, moment) for item, count, moment in spent}
        seconds = work.pause(ran * 1e-9, due, attempts, saved)
        work.history.left_behind = Checkpoints(self._child.directory).removal(work.task_id)
        if serial in self.cancelled:
            self.cancelled.discard(serial)
            work.discard()
            self._seat.returned([])
            return
        left = work.left()
        if left is None or left > 0:
            self._seat.paused(work, seconds)
        else:
            self._seat.overran(overran(work))

    async def _answer(self, work: Assignment, number: int, method: str, argument: Any) -> None:
        try:
            value = await self._seat.answer(work, method, argument)
            reply = [lane_frames.REPLY, number, True, value]
        except Exception as error:
            reply = [lane_frames.REPLY, number, False, str(error)]
        if not self.over:
            self._child.send(self._pack(reply))

    def _keep(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)
