"""Calls that come one by one, from any thread: those of one moment travel in packs.

A loop of ``client.submit`` gives as many graphs as it has turns, each a single call. Planned one by
one they cost the client a planner and the engine a task each. So such calls meet here: what all
calls of a task have in common (options, code) is worked out once, in a :class:`Template`, and a
call costs its own arguments. The first of a kind go alone, to be measured; while they are out, for
a moment at most, the others wait, and then they go in packs of the time that a task should take.
A call that nothing is ahead of never waits.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from armoflow import config
from armoflow.codec.payload import Operation, PickledItems
from armoflow.errors import ClientClosedError
from armoflow.orchestrator.cancelling import Canceller, cancelled
from armoflow.orchestrator.codebook import CodeBook
from armoflow.orchestrator.packs import Fetch, Pack, Receiver
from armoflow.orchestrator.planned import PlannedTask, Result
from armoflow.orchestrator.planning.drafts import Draft
from armoflow.orchestrator.templates import PlainCall, Template, Templates
from armoflow.protocol.submission import labelled
from armoflow.tracing import Labels

if TYPE_CHECKING:
    from armoflow.graph.base_task import BaseTask
    from armoflow.orchestrator.submit import Pipeline


class Pace(NamedTuple):
    """How many calls go alone, and how long the others are held back; times are seconds.

    Attributes:
        wave: Unmeasured calls that go alone, for each worker.
        look: After which the engine is asked whether any of these runs.
        unmeasured: After which more go, though none was measured.
        ahead: Tasks of a kind for each worker, while which are under way others gather.
        busy: After which what has gathered goes all the same.
    """

    wave: int
    look: float
    unmeasured: float
    ahead: int
    busy: float


LOCAL = Pace(wave=2, look=math.inf, unmeasured=0.05, ahead=1, busy=0.005)
CLUSTER = Pace(wave=1, look=0.1, unmeasured=0.2, ahead=3, busy=0.1)
"""A task is away for some forty milliseconds: a worker has the next two waiting."""

logger = logging.getLogger(__name__)

_ALONE = 64
"""Calls that are taken at once where each goes alone."""

BLIND = 8
"""Unmeasured calls in one task at most, where tasks wait behind those of others."""


class PlainCalls:
    """The plain calls of one client; made in the loop's thread.

    Args:
        book: The code that was sent already.
        pipeline: Takes their tasks.
        canceller: Cancels what nobody wants any more.
        fetch: Downloads a result.
        pace: How long they are held back.
        look: Finds out whether tasks of the client's run in a partition, then calls back.
        watch: Called with each task before it is queued.

    Attributes:
        templates: What they have in common.
    """

    def __init__(
        self,
        book: CodeBook,
        pipeline: Pipeline,
        canceller: Canceller,
        *,
        fetch: Fetch,
        pace: Pace,
        look: Callable[[str, Callable[[bool], None]], object],
        watch: Callable[[PlannedTask], None],
    ) -> None:
        self._pipeline = pipeline
        self._canceller = canceller
        self._fetch = fetch
        self._pace = pace
        self._look = look
        self._watch = watch
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._open: dict[Template, None] = {}  # those with calls that wait, oldest first
        self._count = 0
        self._woken = False
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self.templates = Templates(book, self._wake, self.cancel, owner=self)

    def __len__(self) -> int:
        return self._count

    def waiting(self) -> dict[str, int]:
        """How many calls of which name no task was made for yet."""
        with self._lock:
            found: dict[str, int] = {}
            for template in self._open:
                name = template.node.name
                found[name] = found.get(name, 0) + len(template.waiting)
        return found

    # --- any thread -----------------------------------------------------------------------------

    def start(
        self, calls: Sequence[PlainCall], receivers: Iterable[Receiver], trace: Labels = ()
    ) -> None:
        """Start calls; waits while too many wait already.

        Args:
            calls: The calls; see :meth:`Templates.prepare`.
            receivers: Who waits for each.
            trace: The trace that they belong to; a pack is that of its first one.

        Raises:
            ClientClosedError: If the client was closed.
        """
        for call, receiver in zip(calls, receivers, strict=True):
            call.receiver = receiver
            if trace:
                call.trace = trace
        with self._lock:
            while self._count >= config.ITEMS_QUEUED and not self._closed:
                self._room.wait(0.2)  # now and then the main thread looks for Ctrl-C
            if self._closed:
                raise ClientClosedError("the client was closed while calls were being submitted")
            held = True
            for call in calls:
                template = call.template
                if not template.waiting:
                    self._open[template] = None
                    template.since = 0.0
                    template.enough = 0
                template.waiting.append(call)
                held = held and len(template.waiting) < template.enough
            self._count += len(calls)
            woken, self._woken = self._woken, self._woken or not held
        if not woken and not held:
            self._loop.call_soon_threadsafe(self._send_now)

    # --- the loop's thread ----------------------------------------------------------------------

    def cancel(self, call: PlainCall) -> bool:
        """Cancel one call; False if it is done already."""
        pack = call.pack
        if not call.give_up(cancelled()):
            return False
        call.sent()  # if it waits, it is passed over when its turn comes
        if pack is not None and pack.cancelled:
            self._canceller.cancel_result(pack.result)
        return True

    def drop(self, error: BaseException) -> None:
        """Nothing that waits here is sent any more: who waits for it is told."""
        with self._lock:
            dropped = [call for template in self._open for call in template.waiting]
            for template in self._open:
                template.waiting.clear()
            self._open.clear()
            self._count = 0
            self._room.notify_all()
        for call in dropped:
            call.give_up(error)

    def close(self, error: BaseException) -> None:
        """Take nothing more."""
        with self._lock:
            self._closed = True
        self.drop(error)

    def _wake(self) -> None:
        """Something ended or was measured: it may be the turn of others."""
        if not self._count:  # whoever adds some now sees to it
            return
        with self._lock:
            if not self._count or self._woken:
                return
            self._woken = True
        self._loop.call_soon(self._send_now)

    def _send_now(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._loop.time()
        with self._lock:
            self._woken = False
            templates = list(self._open)
        due = math.inf
        for template in templates:
            due = min(due, self._send_of(template, now))
        if due < math.inf:
            self._timer = self._loop.call_later(max(due - now, 0.0), self._send_now)

    def _send_of(self, template: Template, now: float) -> float:
        """Send what may go of one kind; returns when to look again at what waits, or never."""
        try:
            return self._send_some(template, now)
        except Exception as error:  # whatever it is: nobody shall wait for ever
            logger.exception("calls of %r could not be sent", template.node.name)
            for call in self._take(template, len(template.waiting)):
                call.give_up(error)
            return math.inf

    def _send_some(self, template: Template, now: float) -> float:
        template.enough = 0
        while template.waiting:
            if not self._pipeline.has_room():
                return now + self._pace.busy
            size, due = self._next(template, now)
            if not size:
                return due
            alone = template.sizer.most == 1
            taken = self._take(template, _ALONE if alone else size)
            try:
                if taken:
                    self._emit(template, [[call] for call in taken] if alone else [taken])
            except Exception as error:
                for call in taken:
                    call.give_up(error)
                raise
            if template.sizer.known:
                template.since = now
        return math.inf

    def _next(self, template: Template, now: float) -> tuple[int, float]:
        """How many go into the next task; if none, when to look again."""
        if template.sizer.most == 1:
            return 1, 0.0
        template.since = template.since or now
        return self._packed(template, now) if template.sizer.known else self._blind(template, now)

    def _blind(self, template: Template, now: float) -> tuple[int, float]:
        """The same of calls that nothing is known of."""
        sizer, pace = template.sizer, self._pace
        wave = pace.wave * sizer.probes
        if template.under_way < wave + template.failed:
            return 1, 0.0
        look = max(template.since, template.looked) + pace.look
        if now >= look:
            template.looked = now
            self._look(template.partition, functools.partial(self._looked, template))
        if template.queued:  # then their time says nothing of them
            if (room := pace.ahead * sizer.workers - template.under_way) > 0:
                return min(-(-len(template.waiting) // room), BLIND, sizer.most), 0.0
            return 0, now + pace.unmeasured
        due = template.since + pace.unmeasured
        if now >= due:
            # They take long. Where many more pods may be, twice as many have some each time.
            room = pace.ahead * sizer.workers - template.under_way
            template.since, template.wave = now, max(wave, min(template.under_way, room))
        if template.wave:  # they are taken to need as long as the others have waited
            template.wave -= 1
            return max(min(int(sizer.target / pace.unmeasured), sizer.most), 1), 0.0
        template.enough = config.ITEMS_QUEUED
        return 0, min(template.since + pace.unmeasured, max(look, now + pace.look))

    def _looked(self, template: Template, running: bool) -> None:
        """Whether any of a kind runs is known; if not, all wait behind those of others."""
        if template.queued and running:
            template.since = self._loop.time()  # now they begin
        template.queued = not running
        self._send_now()

    def _packed(self, template: Template, now: float) -> tuple[int, float]:
        """The same of calls that were measured."""
        sizer, pace = template.sizer, self._pace
        waiting, probes = len(template.waiting), sizer.probes
        full, trusted = sizer.largest, sizer.trusted
        due = template.since + pace.busy
        enough = full * sizer.workers if sizer.seen >= probes and trusted == full else math.inf
        ahead = 1 if sizer.growing else pace.ahead  # larger ones soon do more than many small ones
        idle = template.under_way < sizer.workers * ahead
        if (
            template.under_way < probes * ahead
            or (idle and waiting >= sizer.worth)
            or now >= due
            or waiting >= enough
            or enough == sizer.workers  # each goes alone
        ):
            return sizer.next(waiting), 0.0
        template.enough = min(enough, sizer.worth) if idle else enough
        return 0, due

    def _take(self, template: Template, size: int) -> list[PlainCall]:
        """The next ones, without those that were cancelled meanwhile."""
        taken: list[PlainCall] = []
        with self._lock:
            while template.waiting and len(taken) < size:
                call = template.waiting.popleft()
                self._count -= 1
                if call.code is not None:
                    taken.append(call)
            if not template.waiting:
                self._open.pop(template, None)
            self._room.notify_all()
        return taken

    def _emit(self, template: Template, packs: Sequence[Sequence[PlainCall]]) -> None:
        """Make a task for each of these packs."""
        code = packs[0][0].code
        assert code is not None
        template.emitter.use(code.task, code.function, code.modules)
        draft = Draft()
        for calls in packs:
            self._emit_task(template, calls, code.task, draft)
        template.emitter.clear()

    def _emit_task(
        self,
        template: Template,
        calls: Sequence[PlainCall],
        function: BaseTask[Any, Any],
        draft: Draft,
    ) -> None:
        pickles = [call.arguments for call in calls if call.arguments is not None]
        draft.size = sum([pickled.size for pickled in pickles])
        alone, sizer = len(calls) == 1, template.sizer
        result = Result(template.node.name)
        entries = template.emitter.emit(
            template.node,
            Operation.CALL if alone else Operation.MAP,
            draft,
            function=function,
            arguments=pickles[0] if alone else None,
            columns=() if alone else [[PickledItems(pickles)]],
            count=len(calls),
            calls=not alone,
            sizer=sizer if sizer.most > 1 else None,  # else there is nothing to find out
            outputs=[result],
        )
        template.under_way += 1
        paces = template.emitter.settings.paces

        def ended(pack: Pack) -> None:
            template.under_way -= 1
            template.queued = False
            seconds = result.seconds
            if sizer.most > 1:
                sizer.ended(len(calls), result.size, seconds)
            if seconds is None and not sizer.seen:
                template.failed += len(calls)
            if seconds is not None:
                paces.note_size(function.function, result.size / len(calls))
                paces.note(function.function, seconds / len(calls), len(calls))
            self._wake()

        for call in calls:
            call.sent()
        Pack(result, 0, calls, self._fetch, ended)
        for entry in entries:
            if isinstance(entry, PlannedTask):
                entry.wanted = True
                if calls[0].trace:
                    entry.options = labelled(entry.options, calls[0].trace)
                template.partition = entry.options.partition
                self._watch(entry)
            self._pipeline.put_now(entry)
