"""One client's work on one engine: plans submitted, results watched, values fetched, data freed.

Everything but :meth:`Orchestrator.run` happens in the loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from armoflow import config
from armoflow.content import DataPart
from armoflow.errors import ArmoflowError, ClientClosedError, SessionEndedError
from armoflow.graph.collection import DelayedList
from armoflow.index import Index
from armoflow.orchestrator import calls
from armoflow.orchestrator.background import Background
from armoflow.orchestrator.backlog import Backlog
from armoflow.orchestrator.backups import ClientBackups
from armoflow.orchestrator.caching.cache import Cache
from armoflow.orchestrator.caching.hits import CachedPlan
from armoflow.orchestrator.calls import PlainCalls
from armoflow.orchestrator.cancelling import Canceller, cancelled
from armoflow.orchestrator.client_sessions import ClientSessions
from armoflow.orchestrator.codebook import CodeBook
from armoflow.orchestrator.constant import Constant
from armoflow.orchestrator.durations import Durations
from armoflow.orchestrator.fetch import Fetcher
from armoflow.orchestrator.freeing import Freeing
from armoflow.orchestrator.named.second_runs import SecondRuns
from armoflow.orchestrator.overview import Overview
from armoflow.orchestrator.packs import ItemReceiver, ItemsTarget
from armoflow.orchestrator.planned import PlannedTask
from armoflow.orchestrator.planning.plan_settings import PlanSettings
from armoflow.orchestrator.planning.planner import Planner
from armoflow.orchestrator.root_causes import RootCauses
from armoflow.orchestrator.run import Run
from armoflow.orchestrator.stalls import Stalls
from armoflow.orchestrator.submit import Pipeline
from armoflow.orchestrator.tally import Tally
from armoflow.orchestrator.targets import WaitingTarget
from armoflow.orchestrator.tracker import Tracker, blame_for
from armoflow.orchestrator.watching import Watching
from armoflow.protocol.result_handle import ResultChange
from armoflow.protocol.submission import WireOptions
from armoflow.protocol.transport import TaskState, Transport
from armoflow.tracing import Labels

if TYPE_CHECKING:
    from armoflow.orchestrator.named.recorder import PlanRecorder  # few clients name their runs

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Orchestrator:
    """Runs graphs on an engine; made in the loop's thread.

    Args:
        transport: The way to the engine.
        session_options: Default task options of the session.
        key: What the errors of the tasks are sealed with.
        lasting: The engine outlives this client: what its sessions leave has to be seen to.
        shared: A session that others come back to, and that this client does not end.
    """

    def __init__(
        self,
        transport: Transport,
        session_options: WireOptions,
        key: bytes = b"",
        *,
        lasting: bool = True,
        shared: str | None = None,
    ) -> None:
        self.transport = transport
        self._lasting = lasting
        self._shared = shared
        self._sessions = ClientSessions(transport, session_options, shared, self._session_begun)
        self._durations = Durations(transport, self._open_session)
        info = transport.info
        backlog = Backlog(
            None if "batch" in info.extensions else info,
            round_trip=lambda: transport.round_trip,
            whole=shared is not None,
        )
        self.tally = Tally()

        def ended(task: PlannedTask) -> None:
            backlog.ended(task)
            if task.original is None:
                if task.backup:
                    self._backups.stragglers.ended(task)
                self.tally.ended(task)

        self.tracker = Tracker(self._durations.ended, ended)
        self.book = CodeBook()
        self._loop = asyncio.get_running_loop()
        self._runs: set[Run] = set()
        self._background = Background(self._give_up)
        self._watching: asyncio.Task[None] | None = None
        self._asking: set[asyncio.Task[Any]] = set()
        self._closing: asyncio.Task[None] | None = None
        self.freeing = Freeing(
            transport,
            self._open_session,
            self._background.start_spare,
            self._freed,
            resumable=shared is not None,
        )
        unsettled = self.freeing.unsettled
        self.pipeline = Pipeline(
            transport,
            self._sessions.open,
            self.tracker,
            self._settle,
            self._cancel_in_engine,
            backlog=backlog,
            release=self.freeing.release,
            unfreed=lambda: unsettled.bytes,
            session_ended=self._session_ended,
            whole=shared is not None,
        )
        self._canceller = Canceller(self.tracker, self.pipeline, self._cancel_in_engine)
        self.second_runs = None if shared is None else SecondRuns()
        self._backups = ClientBackups(
            transport,
            self._sessions,
            self.tracker,
            self.pipeline,
            named=self.second_runs,
            cancel=self._canceller.cancel_task,
            cancel_in_engine=self._cancel_in_engine,
        )
        backlog.on_backup = self._backups.stragglers.begun
        self._watcher = Watching(
            transport,
            self.tracker,
            self._open_session,
            apply=self._apply,
            fail=self._fail_all,
            tell=self._background.tell,
        )
        self._causes = RootCauses(
            transport,
            self.tracker,
            key,
            session=self._sessions.open,
            start=self._background.start,
            abandon=self._abandon,
            freed=self._freed,
            others=self._backups.made,
        )
        self.fetcher = Fetcher(transport, self._sessions.open)
        batched = "batch" in info.extensions
        self.calls = PlainCalls(
            self.book,
            self.pipeline,
            self._canceller,
            fetch=self.fetcher.fetch,
            pace=calls.LOCAL if batched else calls.CLUSTER,
            look=lambda partition, told: self._background.start(self._look(partition, told)),
            watch=self.will_submit,
        )
        self.stalls = Stalls(transport, self.tracker, self._open_session)
        self.overview = Overview(
            transport,
            self.tracker,
            self.tally,
            self.stalls,
            waiting=self.calls.waiting,
            session=self._open_session,
        )
        self.cache: Cache | None = None
        for work in (
            self.pipeline.run(),
            self._durations.run(),
            self._backups.stragglers.run(),
            self.stalls.run(),
            unsettled.run(),
            self._watcher.look(),
            self._watcher.look_after_silence(),
        ):
            self._background.start(work)

    # --- sessions -------------------------------------------------------------------------------

    async def session(self) -> str:
        """The id of the open session; opens one if there is none."""
        return await self._sessions.open()

    def _open_session(self) -> str | None:
        return self._sessions.current

    def _session_begun(self, session_id: str) -> None:
        self._watching = self._background.start(self._watch(session_id))

    @property
    def last_session(self) -> str | None:
        """The id of the session that was opened last; None if none was."""
        return self._sessions.last

    @property
    def sessions_ended(self) -> int:
        """How many sessions were ended before the client was: what they stored is gone."""
        return self._sessions.left

    async def catch_up(self) -> None:
        """Have told what the tasks that have ended wrote, as far as it can be known now."""
        session_id = self._sessions.current
        if session_id is not None and self._sessions.lost is None:
            await self.transport.catch_up(session_id)

    async def interrupt(self) -> None:
        """Cancel everything that runs; the next graph opens another session."""
        session_id = self._sessions.leave()
        if self._watching is not None:
            self._watching.cancel()
        self.book.forget_stored()
        self._stop_runs(cancelled())
        self._canceller.cancel_all()
        self.freeing.unsettled.forget()
        if session_id is None:
            return
        try:
            await self.transport.cancel_session(session_id)
        except ArmoflowError as error:  # why it is cancelled is what the user has to hear of
            logger.warning("what runs could not be cancelled: %s", error)

    def abandon(self, error: ArmoflowError) -> None:
        """Plan and submit nothing more; what the engine has goes on."""
        self._stop_runs(error)
        self.pipeline.interrupt(error)

    async def close(self) -> None:
        """Cancel what runs, end the sessions, close the connection; may be called again."""
        if self._closing is None:
            self._closing = self._loop.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        try:
            if self._shared is not None:
                self._stop_runs(ClientClosedError("the client was closed; the run goes on"))
            elif self._sessions.lost is None and await self._is_busy():
                await self.interrupt()
            if self.cache is not None and self._sessions.lost is None:
                await self.cache.close()
            self._sessions.closed = True
            self.calls.close(ClientClosedError("the client was closed"))
            await self.fetcher.close()
            self.pipeline.close()
            self.freeing.close()
            self.overview.close()
            if self._sessions.lost is None and self._lasting and self._shared is None:
                await self._sessions.end_all()  # others go with the engine, or go on
        finally:
            await self._background.stop()
            await self.transport.close()

    async def _is_busy(self) -> bool:
        """Whether something runs still; the news of its end may not have come yet."""
        if self.tracker.open and not self._runs:
            await self._watcher.look_once()
        waiting = len(self.calls) or self.pipeline.unsubmitted()
        return bool(self.tracker.open or self._runs or waiting)

    async def store(self, name: str, parts: Sequence[DataPart]) -> Constant:
        """Store data, until the constant that stands for it goes or the session ends."""
        constant = Constant(name, parts)
        result_id = await self.transport.store(await self._sessions.open(), name, parts)
        constant.stored_as(result_id, self.freeing.release)
        return constant

    def engine_lost(self, error: ArmoflowError) -> None:
        """The engine is gone for good: whoever waits is told."""
        self._sessions.lost = error
        self._stop_runs(error)
        self.pipeline.interrupt(error)
        self._fail_all(error)
        for task in self._asking:
            task.cancel()

    async def while_there(self, work: Coroutine[Any, Any, T]) -> T:
        """What some work with the engine returns: calls wait for one that may come back.

        Raises:
            ArmoflowError: What the work raises, or why the engine is gone for good.
        """
        task = asyncio.ensure_future(work)
        self._asking.add(task)
        try:
            if self._sessions.lost is not None:
                task.cancel()
            return await task
        except asyncio.CancelledError:
            if self._sessions.lost is None:
                raise
            raise self._sessions.lost from None
        finally:
            self._asking.discard(task)

    # --- runs -----------------------------------------------------------------------------------

    def planner(self, settings: PlanSettings, cached: CachedPlan | None = None) -> Planner:
        """A planner for one graph; may be called in any thread.

        Args:
            settings: What holds for it.
            cached: What the cache has of it.
        """
        if cached is None:
            return Planner(self.book, settings)
        planner = Planner(self.book, settings, cached)
        planner.tell(cached.made)
        return planner

    async def open_cache(self, index: Index, *, lasting: bool, limit: int | None) -> Cache:
        """The cache of the engine, ready to be asked.

        Args:
            index: What says where values are.
            lasting: The engine outlives this client.
            limit: Bytes that it may have; None: as many as there are.
        """
        if self.cache is None:
            self.cache = Cache(
                self.transport,
                index,
                lambda: self.last_session,
                self._background.start,
                limit=limit,
                code=self.book.code_of,
            )
            self.pipeline.on_named = self.cache.keeper.named
            await self.cache.begin(await self._sessions.open(), lasting=lasting)
        return self.cache

    def run(
        self,
        targets: Sequence[WaitingTarget | ItemsTarget],
        planner: Planner,
        inline: int | None = 0,
        trace: Labels = (),
        recorder: PlanRecorder | None = None,
    ) -> Run:
        """Plan and submit what the targets stand for; may be called in any thread.

        Args:
            targets: What to plan.
            planner: Was told what they want; see :meth:`planner`.
            inline: How much of the plan is made before this returns, in entries; None for all of
                it. The rest is planned in a thread of its own.
            trace: The trace that its tasks belong to.
            recorder: Notes what is planned.
        """
        if recorder is not None:
            if self.second_runs is not None:
                self.second_runs.recorder = recorder
            planner.tell(recorder.made)
            planner.tell_combined(recorder.combined)
        run = Run(
            targets,
            planner,
            self.pipeline if recorder is None else recorder,
            watch=self.will_submit,
            refuse=self.refuse,
            ended=self.ended if recorder is None else partial(self._recorded, recorder),
            trace=trace,
        )
        self._loop.call_soon_threadsafe(self._begin, run)
        run.start(inline)
        return run

    def restore(self, tasks: Sequence[PlannedTask], changes: Sequence[ResultChange]) -> None:
        """Take over tasks that others have submitted to the session, and what became of them."""
        for task in tasks:
            self.tally.planned(task)
        self.tracker.add(tasks)
        self._apply([change for change in changes if change.result_id in self.tracker.open])

    def will_submit(self, task: PlannedTask) -> None:
        """A task will be submitted."""
        self.tally.planned(task)
        self.freeing.watch(task)

    def _begin(self, run: Run) -> None:
        if not run.planned:  # else its plan was taken before this was called
            self._runs.add(run)

    def refuse(self, targets: Sequence[WaitingTarget | ItemsTarget], error: ArmoflowError) -> None:
        """Tell who waits for targets that nothing will come; may be called in any thread."""
        for target in targets:
            self._loop.call_soon_threadsafe(target.fail, error)

    def ended(self, run: Run) -> None:
        """A run's plan was submitted whole, or given up."""
        self._runs.discard(run)
        self._canceller.planned(run)

    def _recorded(self, recorder: PlanRecorder, run: Run) -> None:
        self.ended(run)
        recorder.planned()

    def cancel(self, run: Run, target: WaitingTarget) -> bool:
        """Cancel what only this target needs.

        Returns:
            False if another target needs the very same items, or it is done already.
        """
        return self._canceller.cancel(run, target)

    def items(self, value: DelayedList[Any], receivers: Sequence[ItemReceiver]) -> ItemsTarget:
        """A target that tells each item of a collection to somebody else; see :meth:`run`."""
        cancel = self._canceller.cancel_result
        return ItemsTarget(value, receivers, self.fetcher.fetch, cancel)

    def unwanted(self, run: Run) -> None:
        """Nobody waits for one of a run's targets any more."""
        if not run.live():
            run.stop()
            self._canceller.cancel_run(run)

    def cancel_run(self, run: Run) -> None:
        """Nobody waits for anything of a run any more, whatever has ended of it."""
        run.stop()
        self._canceller.cancel_run(run)

    def _stop_runs(self, error: BaseException) -> None:
        for run in list(self._runs):
            run.stop()
            for target in run.targets:
                target.fail(error)
        self._runs.clear()
        self.calls.drop(error)

    # --- results --------------------------------------------------------------------------------

    async def _watch(self, session_id: str) -> None:
        try:
            await self._watcher.watch(session_id)
        except SessionEndedError as error:
            self._session_ended(error)

    def _session_ended(self, error: SessionEndedError) -> None:
        """The engine has ended the session: whoever waits is told; the next graph opens another."""
        if self._sessions.current != error.session_id:
            return
        self._sessions.leave()
        self.book.forget_stored()
        self._stop_runs(error)
        self.pipeline.interrupt(error)
        self._fail_all(error)
        self.freeing.unsettled.forget()

    async def _settle(self) -> None:
        """Learn what has ended in the engine, and why, before something is decided by it."""
        session_id = await self._sessions.open()
        result_ids = list(self.tracker.open)[: config.RESYNC_RESULTS]
        unexplained = self.tracker.apply(await self.transport.poll(session_id, result_ids))
        await self._causes.find(unexplained)

    async def _look(self, partition: str, told: Callable[[bool], None]) -> None:
        """Find out whether tasks of the session run; if that is not known, they are taken to."""
        try:
            counts = await self.transport.count_tasks(await self._sessions.open(), partition)
        except ArmoflowError as error:
            logger.debug("whether tasks run is not known: %s", error)
            told(True)
        else:
            told(not counts.get(TaskState.QUEUED) or bool(counts.get(TaskState.RUNNING)))

    def _fail_all(self, error: ArmoflowError) -> None:
        """The engine is gone, or the session is: nobody shall wait for ever."""
        for task in set(self.tracker.open.values()):
            self.tracker.fail(task, blame_for(task, error=error))
        self.pipeline.freed()  # what needs them has its turn, and fails

    def _apply(self, changes: Sequence[ResultChange]) -> None:
        self._causes.find_soon(self.tracker.apply(changes))
        self.pipeline.freed()

    def _abandon(self, tasks: Sequence[PlannedTask]) -> None:
        """Submitted tasks whose input failed: an engine before 0.38 lets them wait for ever."""
        if not self.transport.info.propagates_aborts:
            self._cancel_in_engine(tasks)

    def _cancel_in_engine(self, tasks: Sequence[PlannedTask]) -> None:
        ids = [task.task_id for task in tasks if task.task_id]
        session_id = self._sessions.current
        if ids and session_id is not None:
            cancelling = self._background.start_spare(
                "what nobody wants any more runs on, for the engine does not cancel it",
                partial(self.transport.cancel_tasks, session_id, ids),
            )
            self.freeing.after(cancelling)

    def _freed(self) -> None:
        self.pipeline.freed()

    def _give_up(self, error: ArmoflowError) -> None:
        """The client's own work has failed, which it should not: nobody shall wait for it."""
        self._stop_runs(error)
        self._fail_all(error)
