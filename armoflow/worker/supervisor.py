"""Owns the child process of one seat: gives it work, times it, kills it, replaces it.

Work that was sent and did not end when a child dies is sent again to the next one; only the item
that the child had marked as running spends an attempt. A spare process waits, warm, to take over.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from armoflow.errors import WorkerDiedError
from armoflow.worker.child_process import ChildProcess
from armoflow.worker.dialogue import Dialogue
from armoflow.worker.heard import kept
from armoflow.worker.home import USUAL, Home
from armoflow.worker.host import Host
from armoflow.worker.item_checkpoints import Checkpoints
from armoflow.worker.listening import drain, hear_out, last_position, listen
from armoflow.worker.mark import HANDS
from armoflow.worker.prefetch import Prefetch
from armoflow.worker.spares import Spares
from armoflow.worker.troubles import Troubles
from armoflow.worker.vigil import Vigil
from armoflow.worker.work import Assignment, Death, TaskEnding, account, refuse

logger = logging.getLogger(__name__)

_CUT_OFF = (
    "ran on without its connection to armoflow, and was ended: a task must not close descriptors "
    "that it did not open (os.closerange), nor run another program in its process (os.exec; start "
    "one with subprocess)"
)

_ROUNDS = 16
"""How often output is read at once, before tasks are told to have ended."""


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
        self._loop = asyncio.get_running_loop()
        self._child: ChildProcess | None = None
        self._dialogue: Dialogue | None = None
        self._backlog: deque[Assignment] = deque()
        self._dying = False
        self._hands = 0
        self._vigil = Vigil(self, host.printed, spares.memory)
        self._heard_at = 0.0
        self._troubles = Troubles()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._settling: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()
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
        sent = 0 if self._dialogue is None else len(self._dialogue.sent)
        return sent + len(self._backlog)

    @property
    def room(self) -> int:
        """How many more tasks it should be given."""
        return max(0, self.window.size - self.load)

    @property
    def held_up(self) -> bool:
        """Whether what it runs takes longer than tasks behind it should wait: for ever, perhaps."""
        return self._dialogue is not None and self._vigil.is_held_up(self._dialogue.sent)

    @property
    def silence(self) -> float:
        """Seconds since a task of it ended, or since it was given some where it had none."""
        return self._loop.time() - self._heard_at

    @property
    def works(self) -> list[Assignment]:
        """The tasks that it has."""
        sent = () if self._dialogue is None else self._dialogue.sent.values()
        return [*sent, *self._backlog]

    @property
    def recalling(self) -> bool:
        """Whether it waits for tasks to be given back."""
        return self._dialogue is not None and self._dialogue.recalling

    @property
    def pid(self) -> int | None:
        """The process id of its child."""
        return None if self._child is None else self._child.pid

    def send(self, works: Iterable[Assignment]) -> None:
        """Run tasks, after those that it has."""
        self._backlog.extend(works)
        self._push()

    def tell(self, hands: int) -> None:
        """Let the child know of other processes; see ``HANDS_FREE``."""
        if hands != self._hands:
            self._hands = hands
            if self._child is not None:
                self._child.mark.words[HANDS] = hands

    def recall(self, count: int, *, followers: bool = True) -> bool:
        """Ask for the return of tasks that were not started, the last ones first.

        Args:
            count: How many at most.
            followers: Also of those that wait for what one before them makes.

        Returns:
            Whether there are any; those that the child has not seen yet, it cannot give back.
        """
        here = [self._backlog.pop() for _ in range(min(count, len(self._backlog)))]
        if here:
            self._host.returned(self, here)
        if self._dialogue is None:
            return bool(here)
        return self._dialogue.recall(count - len(here), followers=followers) or bool(here)

    def cancel(self, work: Assignment) -> None:
        """Stop a task; nothing more is told of it, unless it has just ended."""
        if work in self._backlog:
            self._backlog.remove(work)
        elif self._dialogue is not None:
            self._dialogue.cancel(work)

    async def stop(self) -> list[Assignment]:
        """End all processes; returns the tasks that did not end."""
        self._stopping = True
        self._vigil.stop()
        if self._settling is not None:
            await asyncio.wait([self._settling])
        child, dialogue = self._child, self._dialogue
        self._child = None
        if child is not None and dialogue is not None:
            dialogue.over = True
            child.unwatch()
            await child.end(gently=not dialogue.sent)
            listen(child, dialogue, self._host.printed)
            drain(child, dialogue)
            hear_out(child, dialogue, child.mark.position(), self._host.printed)
            child.close()
            await dialogue.end()
        await asyncio.gather(*self._background, return_exceptions=True)
        self._ready.cancel()
        return self.works

    # --- the child ------------------------------------------------------------------------------

    def _push(self) -> None:
        """Send the backlog, as soon as there is a child that takes it."""
        if self._stopping or self._dying:
            return
        if self._child is None:
            try:
                self._child = self._spares.take(self, self._next_home())
            except (OSError, MemoryError) as error:
                self._dying = True
                self._settling = self._run(self._try_later(error))
                return
            self._dialogue = Dialogue(self, self._child)
            self._child.mark.words[HANDS] = self._hands
            if self._child.ready:
                self.started()
                return
        dialogue = self._dialogue
        assert dialogue is not None
        if not (self._child.ready and self._backlog) or dialogue.killing:
            return
        works = self._take_alike(self._child.home)
        if not works:
            if dialogue.quiet:
                self._change(self._child, dialogue)
            return
        if not dialogue.sent:
            self._heard_at = self._loop.time()
        dialogue.run(works)
        self._spares.expect()
        self._vigil.begin(self._child, dialogue)

    def _next_home(self) -> Home:
        return self._backlog[0].home if self._backlog else USUAL

    def _take_alike(self, home: Home) -> list[Assignment]:
        """The first of the backlog, as far as they are at home there."""
        backlog, works = self._backlog, []
        while backlog and backlog[0].home == home:
            works.append(backlog.popleft())
        return works

    def _change(self, child: ChildProcess, dialogue: Dialogue) -> None:
        """It is the turn of tasks of another home, and so of another process."""
        self._vigil.stop()
        listen(child, dialogue, self._host.printed)
        dialogue.over = True
        self._child = self._dialogue = None
        self._spares.park(child)
        self._push()

    def on_messages(self, child: ChildProcess, messages: Iterable[Any]) -> None:
        """The child said something.

        Raises:
            BrokenStreamError: If that makes no sense.
        """
        assert self._dialogue is not None
        for _ in range(_ROUNDS):  # what a task has written comes before its end
            if not child.output.behind:
                break
            listen(child, self._dialogue, self._host.printed)
        self._dialogue.hear(messages)
        if self._backlog:
            self._push()

    def on_control(self, child: ChildProcess, messages: Iterable[Any]) -> None:
        """The child gave tasks back.

        Raises:
            BrokenStreamError: If it cannot give them back.
        """
        assert self._dialogue is not None
        self._dialogue.hear_control(messages)
        if self._backlog:
            self._push()

    # --- what follows from what it says ---------------------------------------------------------

    def started(self) -> None:
        """The child is ready."""
        self._troubles.started()
        if not self._ready.done():
            self._ready.set_result(None)
        self._push()

    def ended(self, outcomes: Sequence[TaskEnding], seconds: float) -> None:
        """Tasks ended, which the child has run for so many seconds."""
        self._troubles.worked()
        self._heard_at = self._loop.time()
        self.window.observe(len(outcomes), seconds)
        self._host.completed(self, outcomes)

    def overran(self, outcome: TaskEnding) -> None:
        """A task that waits for a retry has no time for it any more."""
        self._host.completed(self, [outcome])

    def lagging(self, work: Assignment) -> None:
        """Tasks wait behind one that takes long."""
        self._host.lagging(self, work)

    def returned(self, works: Sequence[Assignment]) -> None:
        """Tasks are given back, or were cancelled."""
        self._host.returned(self, works)

    def paused(self, work: Assignment, seconds: float) -> None:
        """A task waits for a retry."""
        self._host.paused(self, work, seconds)

    async def answer(self, work: Assignment, method: str, argument: Any) -> Any:
        """Do what a task asks of its agent.

        Raises:
            Exception: If it cannot be done; the task is told the message.
        """
        return await self._host.answer(work, method, argument)

    # --- death ----------------------------------------------------------------------------------

    def on_end(self, child: ChildProcess) -> None:
        """The child is gone, or as good as gone."""
        dialogue = self._dialogue
        known = dialogue is None or dialogue.killing or child.broken
        cut_off = not known and child.cut_off
        child.kill()
        if child is self._child and dialogue is not None and not self._dying:
            self._dying = dialogue.over = True
            self._settling = self._run(self._settle(child, dialogue, _CUT_OFF if cut_off else ""))

    async def _settle(self, child: ChildProcess, dialogue: Dialogue, how: str) -> None:
        """Find out what the dead child was doing, and go on with another one.

        Args:
            child: The child.
            dialogue: What was said with it.
            how: How it ended, where its status does not say so.
        """
        status = await child.wait()
        await child.kill_left()
        await dialogue.end()
        listen(child, dialogue, self._host.printed)
        drain(child, dialogue)
        position = last_position(child, dialogue)
        writer = hear_out(child, dialogue, position, self._host.printed)
        entries = [*dialogue.partial.pop(position.serial, ()), *kept(child, position)]
        killing = dialogue.killing
        cause = killing.cause(position)
        reason = killing.reason or how
        if child.broken is not None:
            reason = f"was ended by armoflow: what it sent made no sense: {child.broken}"
        output, alone = child.output.last.of(writer), not dialogue.heard
        death = Death(position, status, output, cause, reason, alone)
        child.close()
        sent, cancelled = dialogue.sent, dialogue.cancelled
        self._vigil.stop()
        self._child = self._dialogue = None
        self._dying = False
        checkpoints = Checkpoints(child.directory)
        for serial in cancelled & sent.keys():
            checkpoints.forget(sent[serial].task_id)
        running = None if position.serial in cancelled else sent.pop(position.serial, None)
        again = [work for serial, work in sent.items() if serial not in cancelled]
        outcomes = []
        if running is not None:
            running.history.left_behind = checkpoints.removal(running.task_id)
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

    async def _explain(self, child: ChildProcess, death: Death, *, begun: bool) -> list[TaskEnding]:
        """Give up what no process can run; returns how that ends."""
        if not child.ready:
            reason = self._troubles.cannot_start(death)
            if reason is None:
                await asyncio.sleep(self._troubles.pause)
                return []
            return self._give_up(reason, child.home)
        if not begun and self._backlog:
            reason = self._troubles.died_between_tasks(death)
            if reason is not None:
                return [refuse(self._backlog.popleft(), reason)]
        return []

    async def _try_later(self, error: OSError | MemoryError) -> None:
        """A process could not be made: try again after a pause, or give up what waits for it."""
        reason = self._troubles.cannot_make(error)
        outcomes: list[TaskEnding] = []
        if reason is None:
            await asyncio.sleep(self._troubles.pause)
        else:
            outcomes = self._give_up(reason, self._next_home())
        self._dying = False
        if outcomes:
            self._host.completed(self, outcomes)
        if self._backlog or not self._ready.done():
            self._push()

    def _give_up(self, reason: str, home: Home) -> list[TaskEnding]:
        """No process can be had there; returns how the work that waits for one ends."""
        logger.error(reason)
        if not self._ready.done() and home == USUAL:
            self._ready.set_exception(WorkerDiedError(reason))
            self._ready.exception()  # nobody may be waiting
        works = [one for one in self._backlog if one.home == home]
        self._backlog = deque(one for one in self._backlog if one not in works)
        return [refuse(work, reason) for work in works]

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task
