"""One client's work on one engine: plans submitted, results watched, values fetched, data freed.

Everything but :meth:`Orchestrator.run` and :meth:`Orchestrator.release` happens in the loop's
thread.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from armoflow import config
from armoflow.codec.container import Buffer
from armoflow.errors import ArmoflowError, ClientClosedError
from armoflow.orchestrator.code import CodeBook
from armoflow.orchestrator.failures import Blame
from armoflow.orchestrator.fetch import Fetcher
from armoflow.orchestrator.plan import Planner, PlanSettings, Target
from armoflow.orchestrator.planned import (
    Constant,
    PlannedTask,
    PlanPiece,
    Result,
    SlotRange,
)
from armoflow.orchestrator.submit import Pipeline
from armoflow.orchestrator.targets import WaitingTarget
from armoflow.orchestrator.tracker import Tracker
from armoflow.protocol.transport import ResultChange, Transport, WireOptions

logger = logging.getLogger(__name__)


class Orchestrator:
    """Runs graphs on an engine; made in the loop's thread.

    Args:
        transport: The way to the engine.
        session_options: Default task options of the session.
    """

    def __init__(self, transport: Transport, session_options: WireOptions) -> None:
        self.transport = transport
        self.tracker = Tracker()
        self.book = CodeBook()
        self._session_options = session_options
        self._loop = asyncio.get_running_loop()
        self._session_lock = asyncio.Lock()
        self._session_id: str | None = None
        self._old_sessions: list[str] = []
        self._runs: set[Run] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._watching: asyncio.Task[None] | None = None
        self._last_news = 0.0
        self._released: deque[str] = deque()
        self._release_planned = False
        self._closed = False
        self._lost: ArmoflowError | None = None
        self.pipeline = Pipeline(transport, self.session, self.tracker, self._abandon)
        self.fetcher = Fetcher(transport, self.session)
        self._start(self.pipeline.run())
        self._start(self._resync_after_silence())

    # --- sessions -------------------------------------------------------------------------------

    async def session(self) -> str:
        """The id of the open session; opens one if there is none."""
        async with self._session_lock:
            if self._closed:
                raise ClientClosedError("the client is closed")
            if self._lost is not None:
                raise self._lost
            if self._session_id is None:
                partitions = self.transport.info.partitions
                self._session_id = await self.transport.create_session(
                    self._session_options, partitions
                )
                self._watching = self._start(self._watch(self._session_id))
            return self._session_id

    async def interrupt(self) -> None:
        """Cancel everything that runs; the next graph opens another session."""
        self._stop_runs(asyncio.CancelledError())
        session_id, self._session_id = self._session_id, None
        if self._watching is not None:
            self._watching.cancel()
        for task in set(self.tracker.open.values()):
            self.tracker.fail(task, Blame(task.name, error=_cancelled()))
        if session_id is not None:
            self._old_sessions.append(session_id)
            await self.transport.cancel_session(session_id)

    async def close(self) -> None:
        """Cancel what runs, end the sessions, close the connection."""
        if self._closed:
            return
        busy = bool(self.tracker.open) or bool(self._runs)
        if busy and self._lost is None:
            await self.interrupt()
        self._closed = True
        self.pipeline.close()
        sessions = [*self._old_sessions, *filter(None, [self._session_id])]
        if self._lost is not None:
            sessions = []  # they went with the engine
        try:
            for session_id in sessions:
                await self.transport.end_session(session_id)
        except ArmoflowError as error:
            logger.warning("a session could not be ended: %s", error)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self.transport.close()

    async def store(self, name: str, parts: Sequence[Buffer]) -> str:
        """Store data for the life of the session; returns its result's id."""
        return await self.transport.store(await self.session(), name, parts)

    def engine_lost(self, error: ArmoflowError) -> None:
        """The engine is gone for good: whoever waits is told."""
        self._lost = error
        self._stop_runs(error)
        self._fail_all(error)

    # --- runs -----------------------------------------------------------------------------------

    def run(
        self, targets: Sequence[WaitingTarget], settings: PlanSettings, inline: int | None = 0
    ) -> Run:
        """Plan and submit what the targets stand for; may be called in any thread.

        Args:
            targets: What to plan.
            settings: How.
            inline: How much of the plan is made before this returns, in entries; None for all of
                it. The rest is planned in a thread of its own.
        """
        run = Run(self, targets, settings)
        self._loop.call_soon_threadsafe(self._runs.add, run)
        run.start(inline)
        return run

    def ended(self, run: Run) -> None:
        """A run's plan was submitted whole, or given up."""
        self._runs.discard(run)

    async def cancel(self, run: Run, target: WaitingTarget) -> bool:
        """Cancel what only this target needs.

        Returns:
            False if another target needs the very same items, or it is done already.
        """
        if self._shared(target):
            return False
        target.cancelled = True
        target.fail(_cancelled())
        if run.live():
            if run.planned:  # else others may still need what this target needs
                self._cancel_unwanted(target.pieces)
            return True
        run.stop()
        self.cancel_run(run)
        return True

    def _shared(self, target: WaitingTarget) -> bool:
        for piece in target.pieces:
            if isinstance(piece, SlotRange):
                for waiter in piece.result.waiters:
                    other = getattr(waiter, "target", target)
                    if other is not target and any(_overlap(piece, p) for p in other.pieces):
                        return True
        return False

    def cancel_run(self, run: Run) -> None:
        """Every target of a run was cancelled: so is what it submitted, unless others need it."""
        self._cancel_tasks(
            [
                task
                for task in set(self.tracker.open.values())
                if task.run is run.planner
                and not any(
                    consumer.run is not run.planner
                    for output in task.outputs
                    for consumer in output.consumers
                )
            ]
        )

    def _cancel_unwanted(self, pieces: Iterable[PlanPiece]) -> None:
        """Cancel tasks none of whose items is wanted, and those that only they need."""
        stack = [piece.result for piece in pieces if isinstance(piece, SlotRange)]
        cancelled: list[PlannedTask] = []
        while stack:
            result = stack.pop()
            task = self.tracker.open.get(result.id)
            if task is None or any(_wanted(output) for output in task.outputs):
                continue
            inputs = list(task.inputs)
            for upstream in inputs:
                if task in upstream.consumers:
                    upstream.consumers.remove(task)
            cancelled.append(task)
            self.tracker.fail(task, Blame(task.name, error=_cancelled()))
            stack.extend(inputs)
        self._cancel_tasks(cancelled)

    def _cancel_tasks(self, tasks: Sequence[PlannedTask]) -> None:
        ids = [task.task_id for task in tasks if task.task_id]
        for task in tasks:
            self.tracker.fail(task, Blame(task.name, error=_cancelled()))
        if ids and self._session_id is not None:
            self._start(self.transport.cancel_tasks(self._session_id, ids))
        self.pipeline.freed()

    def _stop_runs(self, error: BaseException) -> None:
        for run in list(self._runs):
            run.stop()
            for target in run.targets:
                target.fail(error)

    # --- results --------------------------------------------------------------------------------

    async def _watch(self, session_id: str) -> None:
        async for changes in self.transport.watch(session_id):
            self._last_news = self._loop.time()
            if changes:
                self._apply(changes)
            else:
                await self._resync(list(self.tracker.open))

    async def _resync_after_silence(self) -> None:
        """A dead change stream leaves an open, silent call: so silence is not believed."""
        while True:
            await asyncio.sleep(config.SILENCE_BEFORE_RESYNC)
            silent = self._loop.time() - self._last_news >= config.SILENCE_BEFORE_RESYNC
            if silent and self.tracker.open:
                await self._resync(list(self.tracker.open)[: config.RESYNC_RESULTS])

    async def _resync(self, result_ids: Sequence[str]) -> None:
        if result_ids and self._session_id is not None:
            try:
                self._apply(await self.transport.poll(self._session_id, result_ids))
            except ArmoflowError as error:
                logger.warning("listing open results failed: %s", error)
                self._fail_all(error)

    def _fail_all(self, error: ArmoflowError) -> None:
        """The engine is gone, or the session is: nobody shall wait for ever."""
        for task in set(self.tracker.open.values()):
            self.tracker.fail(task, Blame(task.name, error=error))

    def _apply(self, changes: Sequence[ResultChange]) -> None:
        unexplained = self.tracker.apply(changes)
        if unexplained:
            self._start(self._explain(unexplained))
        self._free_payloads()
        self.pipeline.freed()

    async def _explain(self, aborted: Sequence[tuple[Result, ResultChange]]) -> None:
        """Find out why results were aborted, roots first."""
        unknown = [
            result.id
            for result, change in aborted
            if change.failure is None and not self._has_cause(result)
        ]
        failures = {}
        if unknown:
            try:
                failures = await self.transport.failures(await self.session(), unknown)
            except ArmoflowError as error:
                logger.warning("failed tasks could not be listed: %s", error)
        abandoned: list[PlannedTask] = []
        for result, change in aborted:
            if result.id in self.tracker.open:
                abandoned += self.tracker.abort(result, change.failure or failures.get(result.id))
        if abandoned:
            self._abandon(abandoned)
        self.pipeline.freed()

    def _has_cause(self, result: Result) -> bool:
        task = self.tracker.open.get(result.id)
        return task is None or self.tracker.failed_input(task) is not None

    def _abandon(self, tasks: Sequence[PlannedTask]) -> None:
        """Submitted tasks whose input failed: an engine before 0.38 lets them wait for ever."""
        ids = [task.task_id for task in tasks if task.task_id]
        if ids and not self.transport.info.propagates_aborts and self._session_id is not None:
            self._start(self.transport.cancel_tasks(self._session_id, ids))

    # --- freeing --------------------------------------------------------------------------------

    def release(self, result_id: str) -> None:
        """Nobody needs a result any more; may be called in any thread, even by the collector."""
        self._released.append(result_id)
        if not self._release_planned and not self._closed:
            self._release_planned = True
            try:
                self._loop.call_soon_threadsafe(self._plan_release)
            except RuntimeError:  # the loop is closed, and the session with it
                self._closed = True

    def _plan_release(self) -> None:
        self._loop.call_later(config.RELEASE_DELAY, self._release_now)

    def _release_now(self) -> None:
        self._release_planned = False
        ids = list(self._released)
        for _ in ids:
            self._released.popleft()
        if ids and self._session_id is not None and not self._closed:
            self._start(self._delete(self._session_id, ids))

    async def _delete(self, session_id: str, result_ids: Sequence[str]) -> None:
        try:
            await self.transport.delete(session_id, result_ids)
        except ArmoflowError as error:
            logger.warning("%d results could not be deleted: %s", len(result_ids), error)

    def _free_payloads(self) -> None:
        payloads, self.tracker.ended_payloads = self.tracker.ended_payloads, []
        if not self.transport.info.frees_payloads:
            for payload_id in payloads:
                self.release(payload_id)

    def _start(self, coroutine: Any) -> asyncio.Task[Any]:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._finish)
        return task

    def _finish(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            error = task.exception()
            logger.error("the client's own work failed: %s", error, exc_info=error)
            wrapped = error if isinstance(error, ArmoflowError) else ArmoflowError(str(error))
            self._stop_runs(wrapped)
            self._fail_all(wrapped)


class Run:
    """One call's graph on its way: planned in a thread, because it reads the user's iterators."""

    def __init__(
        self,
        orchestrator: Orchestrator,
        targets: Sequence[WaitingTarget],
        settings: PlanSettings,
    ) -> None:
        self.targets = targets
        self.planned = False
        self._orchestrator = orchestrator
        self.planner = Planner(orchestrator.book, settings)
        self._stopped = False
        queued = [_QueuedTarget(target, orchestrator.pipeline) for target in targets]
        self._entries = self.planner.plan(queued)

    def start(self, inline: int | None) -> None:
        """Start planning; see :meth:`Orchestrator.run`."""
        if inline == 0 or not self._plan(inline):
            threading.Thread(target=self._plan, name="armoflow-plan", daemon=True).start()

    def stop(self) -> None:
        """Plan nothing more; what was planned and not submitted is dropped."""
        self._stopped = True
        for target in self.targets:
            if target.window is not None:
                target.window.close()

    def live(self) -> bool:
        """Whether somebody still waits for one of the targets."""
        return any(not target.cancelled for target in self.targets)

    def _plan(self, count: int | None = None) -> bool:
        """Put the next entries of the plan, or all, into the queue; whether that was the end."""
        pipeline = self._orchestrator.pipeline
        try:
            for entry in itertools.islice(self._entries, count):
                if self._stopped:
                    break
                if isinstance(entry, PlannedTask):
                    self._watch_releases(entry)
                pipeline.put(entry)
                if count is not None:
                    count -= 1
            if count == 0 and not self._stopped:
                return False
            pipeline.put(self._end)
        except ClientClosedError:
            logger.info("planning stopped: the client was closed")
        return True

    def _watch_releases(self, task: PlannedTask) -> None:
        if not task.keep:
            for output in task.outputs:
                output.on_release = self._orchestrator.release

    def _end(self) -> None:
        self.planned = True
        self._orchestrator.ended(self)
        if self._stopped and not self.live():
            self._orchestrator.cancel_run(self)


class _QueuedTarget:
    """A target as the plan's thread sees it: what it is told takes the queue, in order."""

    def __init__(self, target: WaitingTarget, pipeline: Pipeline) -> None:
        self.value = target.value
        self._target = target
        self._pipeline = pipeline
        self._whole = False

    def place(self, column: Sequence[PlanPiece], whole: bool) -> None:
        if whole:
            self._pipeline.put(lambda: self._target.place_all(column))
        else:
            self._pipeline.put(lambda: self._target.place(column, whole))
        self._whole = whole
        if self._target.window is not None:
            self._target.window.produce(sum(piece.length for piece in column))

    def seal(self) -> None:
        if not self._whole:
            self._pipeline.put(self._target.seal)

    def fail(self, error: Exception) -> None:
        self._pipeline.put(lambda: self._target.fail(error))


def _wanted(result: Result) -> bool:
    return bool(result.consumers) or any(
        not getattr(waiter, "target", result) or not waiter.target.cancelled  # type: ignore[attr-defined]
        for waiter in result.waiters
    )


def _overlap(first: PlanPiece, second: PlanPiece) -> bool:
    return (
        isinstance(first, SlotRange)
        and isinstance(second, SlotRange)
        and first.result is second.result
        and first.start < second.stop
        and second.start < first.stop
    )


def _cancelled() -> BaseException:
    from concurrent.futures import CancelledError

    return CancelledError()


__all__ = ["Constant", "Orchestrator", "Run", "Target"]
