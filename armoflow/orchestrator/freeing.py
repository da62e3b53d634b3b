"""Freeing: what nobody needs any more is deleted, but not while a retry may need it.

Where a task ends in the moment in which its results are there, what it needed goes with it. On
ArmoniK.Core the results come first, and the task may still be lost and run again; so there the data
of ended tasks waits until the engine says that they are over, which it is asked in batches.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from armoflow import config
from armoflow.errors import ArmoflowError, EngineUnreachableError
from armoflow.orchestrator.planned import PlannedTask
from armoflow.protocol.transport import Transport

logger = logging.getLogger(__name__)

LONGEST_DELAY = 5.0
"""Seconds between two questions for the same task."""


class Freeing:
    """Deletes data; lives in the loop's thread, but for :meth:`release`.

    Args:
        transport: The way to the engine.
        session: Gives the id of the open session, if there is one.
        spare: Makes a call whose failure only costs the engine something.
        freed: Called when data has been freed that held up plans.
        resumable: What failed may be run again: what it was given stays, and that of packs, of
            whose items some may have failed, until it is known that none has.
    """

    def __init__(
        self,
        transport: Transport,
        session: Callable[[], str | None],
        spare: Callable[[str, Callable[[], Awaitable[None]]], object],
        freed: Callable[[], None],
        *,
        resumable: bool = False,
    ) -> None:
        self._transport = transport
        self._resumable = resumable
        self._spared: list[str] = []
        self._at_once = transport.info.commits_at_once
        self._frees_payloads = transport.info.frees_payloads
        self._shared_payloads: dict[str, int] = {}
        self._session = session
        self._spare = spare
        self._loop = asyncio.get_running_loop()
        self._released: deque[tuple[str, int]] = deque()
        self._planned = False
        self._bytes = 0
        self._closed = False
        self._before: set[asyncio.Task[Any]] = set()
        self.unsettled = Unsettled(transport, session, self._delete, freed)
        # One bound method for all results, and one for all tasks.
        self._on_release, self._on_end = self.release, self.ended

    def watch(self, task: PlannedTask) -> None:
        """A task will be submitted: free what it needed when it ends, and what it makes later."""
        task.on_end = self._on_end
        if not (task.keep or task.cached):
            for output in task.outputs:
                output.on_release = self._on_release

    def release(self, result_id: str, size: int = 0) -> None:
        """Nobody needs a result any more; may be called in any thread, even by the collector."""
        self._released.append((result_id, size))
        before = self._bytes
        self._bytes = before + size
        if self._closed:
            return
        try:
            if before < config.RELEASE_BYTES <= before + size:
                self._loop.call_soon_threadsafe(self._release_now)
            elif not self._planned:
                self._planned = True
                self._loop.call_soon_threadsafe(self._plan)
        except RuntimeError:  # the loop is closed, and the session with it
            self._closed = True

    def after(self, cancelling: asyncio.Task[Any]) -> None:
        """The engine is told to cancel tasks: what they need goes when that is done.

        Else they would end in error, for want of it.
        """
        self._before.add(cancelling)
        cancelling.add_done_callback(self._before.discard)

    def close(self) -> None:
        """What is released from now on goes with its session."""
        self._closed = True

    def ended(self, task: PlannedTask) -> None:
        """A task has ended: its payload goes, and what only it needed, unless it failed."""
        stays = task.broken or (self._resumable and (task.failed or task.items > 1))
        if stays:
            _keep(task)
            if task.payload_id and not (task.broken or task.failed):
                self._spared.append(task.payload_id)
        if not self._at_once and task.task_id:
            self.unsettled.add(task, stays=stays)
        elif task.payload_id and not self._frees_payloads and not stays:
            self._release_payload(task)

    def _release_payload(self, task: PlannedTask) -> None:
        """A payload goes when no task needs it any more; one that failed keeps it."""
        left = self._shared_payloads.pop(task.payload_id, task.sharers) - 1
        if left:
            self._shared_payloads[task.payload_id] = left
        else:
            self.release(task.payload_id)

    async def all_well(self) -> None:
        """Nothing has failed, so nothing will be run again: delete what stayed for that."""
        spared, self._spared = self._spared, []
        session_id = self._session()
        if spared and self._at_once and session_id is not None:  # elsewhere a task may be lost yet
            with contextlib.suppress(ArmoflowError):  # it goes with the session
                await self._transport.delete(session_id, spared)

    def _plan(self) -> None:
        self._loop.call_later(config.RELEASE_DELAY, self._release_now)

    def _release_now(self) -> None:
        self._planned = False
        self._bytes = 0
        released = []
        while self._released:  # others append meanwhile
            released.append(self._released.popleft())
        self._delete(self.unsettled.without_needed(released))

    def _delete(self, result_ids: Sequence[str]) -> None:
        session_id = self._session()
        if result_ids and session_id is not None and not self._closed:
            self._spare(
                "results that nobody needs any more stay until the session ends",
                partial(self._delete_after, [*self._before], session_id, result_ids),
            )

    async def _delete_after(
        self, cancelling: Sequence[asyncio.Task[Any]], session_id: str, result_ids: Sequence[str]
    ) -> None:
        if cancelling:
            await asyncio.wait(cancelling)
        await self._transport.delete(session_id, result_ids)


def _keep(task: PlannedTask) -> None:
    """Leave what a task was given in the engine: it failed, and may be run again to see why."""
    for result in task.inputs:
        result.on_release = None
    for constant in task.all_constants():
        constant.on_release = None


class _Ended(NamedTuple):
    """A task whose results are there.

    Attributes:
        task_id: The task.
        outputs: Its results.
        needs: Payload, inputs and constants, where they go when it is over.
    """

    task_id: str
    outputs: Sequence[str]
    needs: Sequence[str]


class _Question(NamedTuple):
    """When to ask for a task."""

    due: float
    number: int
    since: float
    delay: float
    ended: _Ended


class Unsettled:
    """Tasks whose results are there, and that may be run again all the same.

    Args:
        transport: The way to the engine.
        session: Gives the id of the open session, if there is one.
        delete: Called with results that can go.
        freed: Called when data has been freed that held up plans.

    Attributes:
        bytes: Of data that nobody needs but a retry.
    """

    def __init__(
        self,
        transport: Transport,
        session: Callable[[], str | None],
        delete: Callable[[Sequence[str]], None],
        freed: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._session = session
        self._delete = delete
        self._freed = freed
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._questions: list[_Question] = []
        self._needed: Counter[str] = Counter()
        self._waiting: dict[str, int] = {}
        self._sizes: dict[str, int] = {}  # of large results
        self._number = 0
        self._blind = False
        self.bytes = 0

    def add(self, task: PlannedTask, *, stays: bool) -> None:
        """A task has ended, and lets go of what it needed, unless that stays."""
        if self._blind:
            return
        needs: dict[str, None] = {}
        if not stays:
            needs = {result.id: None for result in task.inputs}
            needs.update((constant.result_id, None) for constant in task.all_constants())
            needs[task.payload_id] = None
        ended = _Ended(task.task_id, [output.id for output in task.outputs], list(needs))
        self._needed.update(ended.outputs)
        self._needed.update(ended.needs)
        now = self._loop.time()
        self._ask_at(_Question(now + config.SETTLE_DELAY, 0, now, config.SETTLE_DELAY, ended))
        if task.payload_id and not stays:
            self._wait(task.payload_id, task.size)

    def without_needed(self, released: Iterable[tuple[str, int]]) -> list[str]:
        """Those of these results that can go now; the others go when they can."""
        if self._blind:
            return []
        if not (self._needed or self._sizes):  # as where all goes at once
            return [result_id for result_id, _ in released]
        free = []
        for result_id, size in released:
            if result_id in self._needed:
                self._wait(result_id, size)
            else:
                self._sizes.pop(result_id, None)
                free.append(result_id)
        return free

    def forget(self) -> None:
        """The session has ended: nothing of it is run again."""
        self._questions.clear()
        for known in (self._needed, self._waiting, self._sizes):
            known.clear()
        self.bytes = 0
        self._freed()

    async def run(self) -> None:
        """Ask until cancelled, for many tasks at a time."""
        earliest = 0.0
        while True:
            await self._arrived.wait()
            if not self._questions:
                self._arrived.clear()
                continue
            due = max(earliest, self._questions[0].due)
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            if await self._ask() < config.BATCH_TASKS:
                earliest = self._loop.time() + config.SETTLE_INTERVAL

    async def _ask(self) -> int:
        """Ask for those whose time has come, a batch at most; returns how many."""
        now = self._loop.time()
        asked: list[_Question] = []
        while self._questions and self._questions[0].due <= now and len(asked) < config.BATCH_TASKS:
            asked.append(heapq.heappop(self._questions))
        session_id = self._session()
        if not asked or session_id is None:
            return 0
        try:
            over, sizes = await self._transport.ended_tasks(
                session_id, {question.ended.task_id: question.ended.outputs for question in asked}
            )
        except EngineUnreachableError as error:
            logger.info("whether tasks are over is not known: %s", error)
            over, sizes = set(), {}
        except ArmoflowError as error:
            if session_id == self._session():
                self._give_up(error)
            return len(asked)
        if session_id == self._session():
            self._take(asked, over, sizes)
        return len(asked)

    def _take(self, asked: Sequence[_Question], over: set[str], sizes: dict[str, int]) -> None:
        """What the engine has said of tasks."""
        self._sizes |= {key: size for key, size in sizes.items() if size > config.INLINE_DATA_LIMIT}
        free: list[str] = []
        for question in asked:
            if question.ended.task_id in over:
                free += self._settle(question.ended)
            else:
                self._ask_again(question)
        self._delete(free)
        self._freed()

    def _ask_again(self, question: _Question) -> None:
        now = self._loop.time()
        if now - question.since > config.SETTLE_PATIENCE:  # it holds up nobody any more
            for result_id in (*question.ended.outputs, *question.ended.needs):
                self.bytes -= self._waiting.get(result_id, 0)
                if result_id in self._waiting:
                    self._waiting[result_id] = 0
        delay = min(2 * question.delay, LONGEST_DELAY)
        self._ask_at(question._replace(due=now + delay, delay=delay))

    def _settle(self, ended: _Ended) -> list[str]:
        """A task is over; returns what can go with it."""
        free = []
        for result_id in (*ended.outputs, *ended.needs):
            self._needed[result_id] -= 1
            if self._needed[result_id]:
                continue
            del self._needed[result_id]
            size = self._waiting.pop(result_id, None)
            if size is not None:
                self.bytes -= size
                self._sizes.pop(result_id, None)
                free.append(result_id)
        return free

    def _give_up(self, error: ArmoflowError) -> None:
        """The engine does not say which tasks are over: what they needed stays."""
        self._blind = True
        logger.warning("what ended tasks needed stays until the session ends: %s", error)
        self.forget()

    def _ask_at(self, question: _Question) -> None:
        self._number += 1
        heapq.heappush(self._questions, question._replace(number=self._number))
        self._arrived.set()

    def _wait(self, result_id: str, size: int) -> None:
        """A result goes when the tasks that it has to do with are over."""
        size = size or self._sizes.get(result_id, 0)
        self.bytes += size - self._waiting.get(result_id, 0)
        self._waiting[result_id] = size
