"""Owns the child process of one seat: feeds it, times it, kills it, replaces it.

Work that was sent and did not end when a child dies is sent again to the next one; only the item
that the child had marked as running spends an attempt. A spare process waits, warm, to take over.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from armoflow.agent import frames
from armoflow.agent.effects import Effects
from armoflow.agent.shapes import (
    BrokenStreamError,
    check_message,
    check_places,
    check_returned,
    is_done,
    is_plain,
)
from armoflow.errors import WorkerDiedError
from armoflow.worker.child_process import ChildProcess
from armoflow.worker.heard import decode_done, decode_partial, is_of, kept, last_words
from armoflow.worker.host import Host
from armoflow.worker.killing import Killing, memory_is_short
from armoflow.worker.mark import (
    NO_ITEM,
    SERIAL,
    WAITING,
    Entry,
    Position,
)
from armoflow.worker.prefetch import Prefetch
from armoflow.worker.spares import Spares
from armoflow.worker.troubles import Troubles
from armoflow.worker.work import Assignment, Cause, Death, TaskEnding, account, refuse

logger = logging.getLogger(__name__)

_CHECK_SECONDS = 0.02
_CHECKS_PER_TRIM = 50
_AFTER_OUTCOMES = (frames.ABSENT, frames.PAUSED)
"""Messages that others may follow from: what has ended before them is told first."""

_LIE_SECONDS = 1.0
"""How long a child may seem to run what it said had ended: machines are busy."""


class ChildSupervisor:
    """One seat.

    Args:
        host: Gets the outcomes.
        spares: Where its processes come from; its maker stops them, after this.

    Attributes:
        window: How much work the child should hold.
    """

    def __init__(self, host: Host, spares: Spares) -> None:
        self.window = Prefetch()
        self._host = host
        self._spares = spares
        self._memory = spares.memory
        self._loop = asyncio.get_running_loop()
        self._pack = frames.packer().pack
        self._serials = itertools.count(1)
        self._child: ChildProcess | None = None
        self._backlog: deque[Assignment] = deque()
        self._sent: dict[int, Assignment] = {}
        self._partial: dict[int, list[Entry]] = {}
        self._early: set[int] = set()
        self._cancelled: set[int] = set()
        self._recalls: deque[set[int]] = deque()
        self._killing = Killing()
        self._dying = False
        self._timer: asyncio.TimerHandle | None = None
        self._checks = 0
        self._running = 0
        self._running_since = 0.0
        self._troubles = Troubles()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._settling: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._answers: set[asyncio.Task[None]] = set()
        self._stopping = False

    # --- for the owner --------------------------------------------------------------------------

    async def start(self) -> None:
        """Start a process and wait until it is ready.

        Raises:
            WorkerDiedError: If it cannot start; the message holds what it wrote.
        """
        self.prepare()
        await asyncio.shield(self._ready)

    def prepare(self) -> None:
        """Start a process, without waiting for it."""
        self._push()

    @property
    def hopeful(self) -> bool:
        """Whether its process runs, or may yet."""
        ready = self._ready
        return not ready.done() or ready.cancelled() or ready.exception() is None

    @property
    def load(self) -> int:
        """Tasks that it has."""
        return len(self._sent) + len(self._backlog)

    @property
    def room(self) -> int:
        """How many more tasks it should be given."""
        return max(0, self.window.size - self.load)

    @property
    def works(self) -> list[Assignment]:
        """The tasks that it has."""
        return [*self._sent.values(), *self._backlog]

    @property
    def recalling(self) -> bool:
        """Whether it waits for tasks to be given back."""
        return bool(self._recalls)

    @property
    def pid(self) -> int | None:
        """The process id of its child."""
        return None if self._child is None else self._child.pid

    def send(self, works: Iterable[Assignment]) -> None:
        """Run tasks, after those that it has."""
        self._backlog.extend(works)
        self._push()

    def recall(self, count: int) -> None:
        """Ask for the return of tasks that were not started, the last ones first."""
        here = [self._backlog.pop() for _ in range(min(count, len(self._backlog)))]
        if here:
            self._host.returned(self, here)
        there = [serial for serial in self._sent if serial not in self._cancelled][1:]
        count -= len(here)
        if count > 0 and there:
            self._ask_back(set(there[-count:]))

    def cancel(self, work: Assignment) -> None:
        """Stop a task; nothing more is told of it, unless it has just ended."""
        if work in self._backlog:
            self._backlog.remove(work)
            return
        serial = next((number for number, sent in self._sent.items() if sent is work), None)
        if serial is None or self._child is None:
            return
        self._cancelled.add(serial)
        if not self._kill_if_running(serial):
            self._ask_back({serial})

    async def stop(self) -> list[Assignment]:
        """End all processes; returns the tasks that did not end."""
        self._stopping = True
        self._stop_checking()
        if self._settling is not None:
            await asyncio.wait([self._settling])
        child, self._child = self._child, None
        for answer in self._answers:
            answer.cancel()
        if child is not None:
            child.unwatch()
            await child.end(gently=not self._sent)
            self._drain(child)
            child.close()
        await asyncio.gather(*self._answers, *self._background, return_exceptions=True)
        self._ready.cancel()
        return self.works

    # --- sending --------------------------------------------------------------------------------

    def _push(self) -> None:
        """Send the backlog, as soon as there is a child that takes it."""
        if self._stopping or self._dying:
            return
        child = self._child
        if child is None:
            try:
                child = self._child = self._spares.take(self)
            except OSError as error:
                self._dying = True
                self._settling = self._run(self._background, self._try_later(error))
                return
            if child.ready:
                self._started()
        if not (child.ready and self._backlog) or self._killing:
            return
        messages = []
        sources: dict[str, Any] = {}
        for work in self._backlog:
            serial = next(self._serials)
            self._sent[serial] = work
            messages.append(work.message(serial))
            sources.update(work.inputs)
        self._backlog.clear()
        child.send(self._pack([frames.RUN, messages, sources]))
        self._spares.expect()
        if self._timer is None:
            self._timer = self._loop.call_later(_CHECK_SECONDS, self._check)

    def _ask_back(self, serials: set[int]) -> None:
        if self._child is not None and self._child.ask(self._pack([frames.RECALL, list(serials)])):
            self._recalls.append(serials)

    def _kill_if_running(self, serial: int) -> bool:
        assert self._child is not None
        position = self._child.mark.position()
        if position.serial == serial:
            self._killing.kill(self._child, position, Cause.OWNER)
        return position.serial == serial

    # --- receiving ------------------------------------------------------------------------------

    def on_messages(self, child: ChildProcess, messages: Iterable[Any]) -> None:
        """The child said something.

        Raises:
            BrokenStreamError: When it comes to what it cannot have meant to say; what it said
                before is done.
        """
        outcomes: list[TaskEnding] = []
        nanoseconds = 0
        try:
            for message in messages:
                outcome = self._outcome(child, message)
                if outcome is not None:
                    nanoseconds += message[2]
                    outcomes.append(outcome)
                elif message[0] in _AFTER_OUTCOMES:
                    told, outcomes = outcomes, []
                    self._tell(told, nanoseconds)
                    nanoseconds = 0
                    self._take_back(child, message)
        finally:
            self._tell(outcomes, nanoseconds)

    def _outcome(self, child: ChildProcess, message: Any) -> TaskEnding | None:
        """The end of a task, if a message tells of one; other messages are taken at once."""
        sent = self._sent
        work = sent.get(message[1]) if is_done(message) else None
        if work is not None and is_plain(message, work.outputs):
            effects: Effects | None = Effects(data=message[3])
            error = kind = ""
        else:
            check_message(message)
            if message[0] not in {frames.DONE, frames.FAILED}:
                self._take_other(child, message)
                return None
            work = self._find(child, message[1])
            if work is None:
                return None
            if message[0] == frames.DONE:
                error = kind = ""
                effects = decode_done(message, work, child.directory)
            else:
                effects = None
                kind, error = message[3:]
        serial = message[1]
        del sent[serial]
        if self._partial:
            self._partial.pop(serial, None)
        return TaskEnding(work, effects, error, kind, message[2] * 1e-9)

    def _find(self, child: ChildProcess, serial: int) -> Assignment | None:
        """The task that a child speaks of; None if its end was read from the memory before.

        Raises:
            BrokenStreamError: If it has no such task.
        """
        work = self._sent.get(serial)
        if work is None and child is self._child and not self._dying:
            if serial not in self._early:
                raise BrokenStreamError(f"it speaks of task {serial}, which it does not have")
            self._early.discard(serial)
        return work

    def _tell(self, outcomes: Sequence[TaskEnding], nanoseconds: int) -> None:
        if outcomes:
            self._troubles.worked()
            self.window.observe(len(outcomes), nanoseconds * 1e-9)
            self._host.completed(self, outcomes)

    def _take_back(self, child: ChildProcess, message: Sequence[Any]) -> None:
        if message[0] == frames.PAUSED:
            self._pause(child, message)
        else:
            self._take_absent(message[1])

    def _take_absent(self, serial: int) -> None:
        work = self._sent.pop(serial, None)
        if work is not None and serial not in self._cancelled:
            self._host.returned(self, [work])
        self._cancelled.discard(serial)

    def _take_other(self, child: ChildProcess, message: Sequence[Any]) -> None:
        kind = message[0]
        if kind == frames.READY:
            child.ready = True
            self._started()
            if child is self._child:
                self._push()
        elif kind == frames.PARTIAL:
            _, serial, base, lengths, spool = message
            if self._find(child, serial) is not None:
                entries = decode_partial(serial, base, lengths, spool)
                self._partial.setdefault(serial, []).extend(entries)
        elif kind == frames.REQUEST:
            _, number, serial, method, argument = message
            work = self._find(child, serial)
            if work is not None and child is self._child:
                answer = self._answer(child, work, number, method, argument)
                self._run(self._answers, answer)

    def _pause(self, child: ChildProcess, message: Sequence[Any]) -> None:
        """A task waits for a retry: its process goes on to others."""
        _, serial, ran, due, spent, saved = message
        work = self._find(child, serial)
        if work is None:
            return
        check_places({"saved": saved}, child.directory, serial)
        del self._sent[serial]
        self._partial.pop(serial, None)
        attempts = {item: (count, moment) for item, count, moment in spent}
        seconds = work.pause(ran * 1e-9, due, attempts, saved)
        if serial in self._cancelled:
            self._cancelled.discard(serial)
            work.history.discard()
            self._host.returned(self, [])
            return
        left = work.left()
        if left is None or left > 0:
            self._host.paused(self, work, seconds)
        else:
            self._host.completed(self, [_overran(work)])

    async def _answer(
        self, child: ChildProcess, work: Assignment, number: int, method: str, argument: Any
    ) -> None:
        try:
            value = await self._host.answer(work, method, argument)
            reply = [frames.REPLY, number, True, value]
        except Exception as error:
            reply = [frames.REPLY, number, False, str(error)]
        if child is self._child:
            child.send(self._pack(reply))

    def _run(
        self, tasks: set[asyncio.Task[None]], coroutine: Coroutine[Any, Any, None]
    ) -> asyncio.Task[None]:
        task = self._loop.create_task(coroutine)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

    def on_control(self, child: ChildProcess, messages: Iterable[Any]) -> None:
        """The child gave tasks back.

        Raises:
            BrokenStreamError: If it cannot give them back.
        """
        for message in messages:
            returned = check_returned(message)
            if child is not self._child:
                continue
            asked = self._recalls.popleft() if self._recalls else set()
            if not returned <= asked or not returned <= self._sent.keys():
                raise BrokenStreamError(f"it gives back tasks {returned}: asked for were {asked}")
            self._on_returned(asked, returned)

    def _on_returned(self, asked: set[int], returned: set[int]) -> None:
        works = []
        for serial in sorted(returned):
            work = self._sent.pop(serial)
            if serial not in self._cancelled:
                works.append(work)
        for serial in (asked - returned) & self._cancelled & self._sent.keys():
            self._kill_if_running(serial)
        self._cancelled &= self._sent.keys()
        if works or returned:
            self._host.returned(self, works)

    def _started(self) -> None:
        self._troubles.started()
        if not self._ready.done():
            self._ready.set_result(None)

    # --- watching -------------------------------------------------------------------------------

    def _check(self) -> None:
        """While there is work: look for what takes too long, and for an unnoticed death."""
        self._timer = None
        child = self._child
        if child is None or self._dying or not self._sent:
            return
        if child.has_ended():
            child.unwatch()
            self.on_end(child)
            return
        self._checks += 1
        if self._checks % _CHECKS_PER_TRIM == 0:
            child.trim_output()
        position = child.mark.position()
        if position.serial in self._cancelled:  # it began before it could be taken back
            self._killing.kill(child, position, Cause.OWNER)
        elif self._memory is not None and (reason := memory_is_short(self._memory, child)):
            self._killing.kill(child, position, Cause.MEMORY, reason)
        delay = _CHECK_SECONDS
        if position.deadline and position.serial in self._sent:
            left = (position.deadline - time.monotonic_ns()) * 1e-9
            if left <= 0 and child.mark.position() == position:
                self._killing.kill(child, position, Cause.TIMEOUT)
            delay = min(delay, max(left, 0.001))
        self._timer = self._loop.call_later(delay, self._check)
        if position.serial and position.serial == self._running:
            self._hurry(child, position.serial)
        else:
            self._running, self._running_since = position.serial, self._loop.time()

    def _hurry(self, child: ChildProcess, serial: int) -> None:
        """The same task has run for a while: look after it, and those before and behind it."""
        work = self._sent.get(serial)
        left = None if work is None else work.left()
        if work is not None and left and self._loop.time() - self._running_since > left:
            self.cancel(work)
            self._host.completed(self, [_overran(work)])
            return
        if work is None and self._loop.time() - self._running_since > _LIE_SECONDS:
            text = f"it goes on running task {serial}, which it said had ended"
            child.break_off(BrokenStreamError(text, serial))
            return
        if child.mark.words[WAITING]:
            self._read_early(child, serial)
        if len(self._sent) > 1:
            self._host.lagging(self)

    def _read_early(self, child: ChildProcess, serial: int) -> None:
        """Completions that a busy child has not sent yet, from the shared memory."""
        try:
            messages = list(child.unsent())
            if child.mark.words[SERIAL] == serial:  # it was busy all the while: they are whole
                had = set(self._sent)
                self.on_messages(child, [one for one in messages if is_of(one, had)])
                self._early |= had - self._sent.keys()
        except BrokenStreamError as error:
            child.break_off(error)

    def _stop_checking(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- death ----------------------------------------------------------------------------------

    def on_end(self, child: ChildProcess) -> None:
        """A child is gone, or as good as gone."""
        child.kill()
        if child is self._child and not self._dying:
            self._dying = True
            self._settling = self._run(self._background, self._settle(child))

    async def _settle(self, child: ChildProcess) -> None:
        """Find out what the dead child was doing, and go on with another one."""
        status = await child.wait()
        await child.kill_left()
        self._drain(child)
        position = self._position(child)
        entries = [*self._partial.pop(position.serial, ()), *kept(child, position)]
        cause = self._killing.cause(position)
        death = Death(position, status, last_words(child), cause, self._killing.reason)
        child.close()
        sent, cancelled = self._sent, self._cancelled
        self._sent, self._cancelled = {}, set()
        self._partial.clear()
        self._early.clear()
        self._recalls.clear()
        self._stop_checking()
        self._killing, self._child = Killing(), None
        self._dying = False
        running = None if position.serial in cancelled else sent.pop(position.serial, None)
        again = [work for serial, work in sent.items() if serial not in cancelled]
        outcomes = []
        if running is not None:
            outcome = account(running, entries, death)
            if outcome is None:
                again.insert(0, running)
            else:
                outcomes.append(outcome)
        self._backlog.extendleft(reversed(again))
        outcomes.extend(await self._explain(child, death, begun=position.serial != 0))
        if outcomes or cancelled:  # what was cancelled has left room for others
            self._host.completed(self, outcomes)
        if self._backlog or not self._ready.done():
            self._push()

    def _drain(self, child: ChildProcess) -> None:
        """Take what a dead child had said; what breaks off there breaks off its stream."""
        try:
            self.on_messages(child, child.drain())
        except BrokenStreamError as error:
            logger.error("worker process %d left what makes no sense: %s", child.pid, error)
            child.broken = error

    def _position(self, child: ChildProcess) -> Position:
        """What a dead child ran; if its stream was broken, the task that it spoke of then."""
        position = child.mark.position()
        if child.broken is None or self._killing:
            return position
        suspects = [child.broken.serial, position.serial]
        if child.broken.serial is None:
            suspects += self._sent  # they run in order: most likely the first
        serial = next((one for one in suspects if one in self._sent), position.serial)
        return position if serial == position.serial else Position(serial, NO_ITEM, 1, 0)

    async def _explain(self, child: ChildProcess, death: Death, *, begun: bool) -> list[TaskEnding]:
        """Give up what no process can run; returns how that ends."""
        if not child.ready:
            reason = self._troubles.cannot_start(death)
            if reason is None:
                await asyncio.sleep(self._troubles.pause)
                return []
            return self._give_up(reason)
        if not begun and self._backlog:
            reason = self._troubles.died_between_tasks(death)
            if reason is not None:
                return [refuse(self._backlog.popleft(), reason)]
        return []

    async def _try_later(self, error: OSError) -> None:
        """A process could not be made: try again after a pause, or give up what waits for it."""
        reason = self._troubles.cannot_make(error)
        outcomes: list[TaskEnding] = []
        if reason is None:
            await asyncio.sleep(self._troubles.pause)
        else:
            outcomes = self._give_up(reason)
        self._dying = False
        if outcomes:
            self._host.completed(self, outcomes)
        if self._backlog or not self._ready.done():
            self._push()

    def _give_up(self, reason: str) -> list[TaskEnding]:
        """No process can be had; returns how the work that waits ends."""
        logger.error(reason)
        if not self._ready.done():
            self._ready.set_exception(WorkerDiedError(reason))
            self._ready.exception()  # nobody may be waiting
        works, self._backlog = list(self._backlog), deque()
        return [refuse(work, reason) for work in works]


def _overran(work: Assignment) -> TaskEnding:
    text = f"the task took longer than its max_duration of {work.limit:g} s"
    return TaskEnding(work, error=text, kind="deadline")
