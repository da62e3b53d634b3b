"""The engine without its services: state machine, journal, data, queues and watchers as one."""

from __future__ import annotations

import asyncio
import functools
import secrets
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Concatenate, Final, ParamSpec, TypeVar

from armoflow.agent.effects import Effects
from armoflow.codec.clipping import clip
from armoflow.config import ERROR_TEXT_LIMIT, INLINE_DATA_LIMIT
from armoflow.engine import commits, loading
from armoflow.engine.admission import Admission
from armoflow.engine.announcements import Announcements, is_large
from armoflow.engine.clock import Clock
from armoflow.engine.creation_order import CreationOrder
from armoflow.engine.directory import JOURNAL, prepare_directory
from armoflow.engine.ended_tasks import EndedLists
from armoflow.engine.engine_options import EngineOptions
from armoflow.engine.faults import StorageError, unusable
from armoflow.engine.journal import Journal
from armoflow.engine.kept_data import KeptData
from armoflow.engine.leases import Leases
from armoflow.engine.lock import DirectoryLock
from armoflow.engine.meter import Meter
from armoflow.engine.objects import ObjectStore
from armoflow.engine.output_store import TaskOutput
from armoflow.engine.pauses import KeptForRetry, Pauses
from armoflow.engine.postponed import Postponed
from armoflow.engine.queries import Queries
from armoflow.engine.reader import Reader, Scanner
from armoflow.engine.records import (
    FINAL,
    Changes,
    Event,
    Partition,
    ResultRecord,
    ResultStatus,
    SessionStatus,
    StateError,
    TaskRecord,
    TaskStatus,
)
from armoflow.engine.retention import Retention
from armoflow.engine.room import Room
from armoflow.engine.row_blocks import RowBlocks
from armoflow.engine.scheduler import Scheduler
from armoflow.engine.schema import damaged, open_journal
from armoflow.engine.state import State
from armoflow.engine.submissions import Submissions
from armoflow.engine.sweeper import FIRST, Sweeper
from armoflow.engine.task_counts import TaskCounts
from armoflow.engine.transaction import Transaction
from armoflow.engine.watchers import Listener, Watcher, Watchers
from armoflow.errors import EngineError
from armoflow.protocol.frames import PASSING_PREFIXES, WANTED_PREFIXES

BEHIND: Final = 4_000
"""Rows that wait for the next commit from which on no more tasks are begun: it takes some 50 ms for
them, and what the others do meanwhile would make the one after it larger still."""

P = ParamSpec("P")
R = TypeVar("R")


def _whole(
    function: Callable[Concatenate[Engine, P], R],
) -> Callable[Concatenate[Engine, P], R]:
    """Have it done whole: where memory ends in the middle, the engine ends.

    Nothing else would do what is left of it, and an engine that is started again does.
    """

    @functools.wraps(function)
    def run(engine: Engine, /, *arguments: P.args, **options: P.kwargs) -> R:
        try:
            return function(engine, *arguments, **options)
        except MemoryError as error:
            engine._journal.abandon(error)
            raise

    return run


class Engine:
    """All that happens in the engine goes through here, in one event loop.

    A command is ``engine.apply(engine.state.<command>(engine.now(), ...))``: the state machine
    checks and changes, ``apply`` queues, journals, and tells. A reply that promises something
    awaits what ``apply`` returned.

    Attributes:
        identity: A name that this state directory keeps for ever (for caches).
        task_output: What tasks have written.
        failed: Done, with an exception, when the journal cannot be written: the engine must stop.
        meter: Counts what is committed, where somebody measures the engine from outside.
    """

    options: EngineOptions
    state: State
    objects: ObjectStore
    scheduler: Scheduler
    pauses: Pauses
    leases: Leases
    kept_data: KeptData
    task_counts: TaskCounts
    ended_tasks: EndedLists
    sweeper: Sweeper
    announcements: Announcements
    submissions: Submissions
    queries: Queries
    partitions: Mapping[str, Partition]
    admission: Admission
    clock: Clock
    creation_order: CreationOrder
    row_blocks: RowBlocks
    identity: str
    failed: asyncio.Future[None]

    def __init__(self, options: EngineOptions) -> None:
        self.options = options
        self.partitions = {partition.id: partition for partition in options.partitions}
        self.state = State(
            options.partitions,
            options.default_partition,
            max_priority=options.highest_priority,
            delete_payload=options.delete_payload,
            strict=options.strict,
            slice_size=FIRST,
        )
        self.scheduler = Scheduler(
            *(self.partitions, self._run, self._acquire, self._is_delayed, self._end_cancelled),
            is_behind=self._is_behind,
            devices=options.devices,
            own_devices=options.own_devices,
        )
        self.pauses = Pauses(self.scheduler.push)
        self.leases = Leases(self, options.client_lease)
        self.kept_data = KeptData(self)
        self.task_counts = TaskCounts(lambda session_id: session_id in self.state.sessions)
        self.ended_tasks = EndedLists(time.monotonic)
        self._retention = Retention(self, options.retention)
        self.meter: Meter | None = None
        self.state.watched = False
        self._watchers = Watchers(options.watcher_limit, self._watch)
        self.task_output = TaskOutput(options.state_directory / "output")
        self.clock = Clock()
        self._id_prefix = _random_prefix()
        self._next_id = 0

    async def start(self) -> None:
        """Lock the state directory, recover what it holds, queue what was ready.

        Raises:
            EngineError: If another engine or user has the directory, it cannot be written, or its
                journal is corrupt or newer.
        """
        directory = self.options.state_directory
        try:
            prepare_directory(directory)
            self._lock = DirectoryLock(directory)
        except OSError as error:
            raise unusable(directory, error) from error
        try:
            self._open()
        except OSError as error:
            self._lock.release()
            raise unusable(directory, error) from error
        except BaseException:
            self._lock.release()
            raise

    async def stop(self) -> None:
        """Commit what was applied, end the watchers, close the journal, free the directory."""
        self._postponed.stop()
        await self.announcements.stop()
        await self.submissions.stop()
        await self._retention.stop()
        await self.sweeper.stop()
        await self.row_blocks.stop()
        await self.creation_order.stop()
        try:
            await self.leases.stop()
            await self._journal.stop()
        finally:
            self.pauses.close()
            self.task_output.close()
            self._watchers.close()
            # The last connection to close, which empties the write-ahead log, has to be a writer.
            self._reader.close()
            self._scanner.close()
            self._connection.close()
            self._lock.release()

    def now(self) -> float:
        """The time given to commands: seconds since the epoch."""
        return self.clock.now()

    def new_id(self) -> str:
        """A new id, shaped as a GUID, for a session, task or result.

        Ids of one run follow each other, so that their rows are written side by side.
        """
        number = self._next_id
        self._next_id = number + 1
        return f"{self._id_prefix}{number:012x}"

    @_whole
    def apply(self, changes: Changes, *, urgent: bool = True) -> asyncio.Future[None]:
        """Take over what a command changed; call it at once after the command, without awaiting.

        Ready tasks are queued and running ones interrupted before it returns. Changes that are not
        urgent may be committed a few milliseconds later, with others.

        Returns:
            A future, shared by many calls, that is done when the changes are committed and
            watchers are told. Never cancel it: ``await asyncio.shield(future)`` under a timeout.
        """
        if changes.deleted:
            self.objects.delete(changes.deleted)
        future = self._journal.add(changes, urgent=urgent)
        for session in changes.sessions.values():
            # Strict: what is queued ends when an agent takes it.
            if session.status is SessionStatus.PAUSED or (
                session.status is not SessionStatus.RUNNING and not self.options.strict
            ):
                self.scheduler.drop(session.id)
        if changes.ready:
            self.scheduler.push(changes.ready)
        if changes.delayed:
            self.pauses.add(self.now(), changes.delayed)
        if changes.interrupted:
            self.scheduler.interrupt(changes.interrupted)
            self.pauses.forget(task.id for task in changes.interrupted)
        if changes.removed_sessions:
            self.task_output.remove(changes.removed_sessions)
            self.kept_data.forget(changes.removed_sessions)
            self.task_counts.forget(changes.removed_sessions)
        self.sweeper.wake(changes)
        return future

    def hurry(self) -> None:
        """Have committed what gathers: nothing runs that would add to it."""
        self._journal.hurry()

    def held(self, session_id: str) -> list[str]:
        """The ids of the tasks of a session that agents hold."""
        tasks = self.state.tasks
        return [
            task_id
            for task_id in self.scheduler.running
            if (task := tasks.get(task_id)) is not None and task.session_id == session_id
        ]

    def count_records(self) -> int:
        """How many tasks and results are in memory."""
        return len(self.state.tasks) + len(self.state.results) + self.announcements.entries

    def busy(self) -> bool:
        """Whether tasks run, or will without anybody's doing."""
        scheduler = self.scheduler
        waiting = any(map(scheduler.queued, self.partitions))
        return bool(waiting or scheduler.running or self.pauses.waiting)

    def committed(self) -> asyncio.Future[None]:
        """A future that is done when everything applied so far is committed."""
        return self._journal.committed()

    @property
    def journal_lag(self) -> float:
        """Seconds for which the oldest change waits for its commit."""
        return self._journal.lag

    def watch(self, session_id: str) -> Watcher:
        """All events of a session, from now on, in batches as they are committed.

        Of what was changed before, and is committed later, some events are missing.
        """
        return self._watchers.watch(session_id)

    def listen(self, session_id: str, hear: Callable[[str, Sequence[Event]], None]) -> Listener:
        """Have it told which results of a session are completed, aborted or deleted.

        ``hear`` gets the session's id and the events of one commit, as it is made. Their tasks are
        still in memory. It must return at once, and raise nothing.
        """
        return self._watchers.listen(session_id, hear)

    async def read_task(self, task_id: str) -> TaskRecord | None:
        """A task, live or from the journal."""
        return (await self.read_tasks([task_id])).get(task_id)

    async def read_result(self, result_id: str) -> ResultRecord | None:
        """A result, live or from the journal."""
        return (await self.read_results([result_id])).get(result_id)

    async def read_tasks(self, task_ids: Collection[str]) -> dict[str, TaskRecord]:
        """Tasks, live or from the journal; unknown ones are missing."""
        live = self.state.tasks
        found = {key: live[key] for key in task_ids if key in live}
        missing = [key for key in dict.fromkeys(task_ids) if key not in found]
        return found | await self.queries.read_tasks(missing) if missing else found

    async def read_results(self, result_ids: Collection[str]) -> dict[str, ResultRecord]:
        """Results, live or from the journal; unknown ones are missing."""
        live = self.state.results
        found = {key: live[key] for key in result_ids if key in live}
        missing = [key for key in dict.fromkeys(result_ids) if key not in found]
        return found | await self.queries.read_results(missing) if missing else found

    @_whole
    def complete(
        self, completions: Sequence[tuple[str, Effects]], *, at_once: bool = False
    ) -> asyncio.Future[None]:
        """Commit executions that ended in success, as one change; large ones after the others.

        A task that is no longer processing (cancelled, session deleted) is skipped, its data
        removed. One whose effects are refused (a child with an unknown input...) fails with that
        message; one whose data cannot be stored is tried again. The others are not harmed.
        """
        prepared = []
        large: asyncio.Future[None] | None = None
        for task_id, effects in completions:
            task = self.state.tasks.get(task_id)
            if task is None or task.status is not TaskStatus.PROCESSING:
                self.skip(task, effects)
                continue
            if is_large(effects) and not at_once:
                large = self.announcements.take_in(task_id, effects)
                continue
            try:
                if not self.options.strict:
                    commits.check_own(
                        task, effects.data.keys(), effects.created, self.state.results
                    )
                prepared.append(commits.prepare(task_id, effects, self.objects, self.new_id))
            except StorageError as fault:
                self.hold_up(task_id, effects, fault)
            except StateError as error:
                self.fail(task_id, str(error), effects=effects)
            except MemoryError as error:
                full = StorageError(error, self.options.state_directory)
                self.hold_up(task_id, effects, full)
        if not prepared:
            return large or self.committed()
        self.kept_data.completing(prepared)
        changes = self.state.complete_tasks(self.now(), prepared)
        urgent = self._is_awaited(changes) or any(
            self._frees(commit.task_id) for commit in prepared
        )
        return self.apply(changes, urgent=urgent)

    @_whole
    def fail(
        self,
        task_id: str,
        error: str,
        *,
        status: TaskStatus = TaskStatus.ERROR,
        retry: bool = False,
        effects: Effects | None = None,
    ) -> asyncio.Future[None]:
        """End an execution that failed; ``effects`` are those whose staged files go.

        Args:
            task_id: The task; skipped if it is no longer processing.
            error: What the task shows, and its dependents with it.
            status: ERROR or TIMEOUT.
            retry: Try it again while its ``max_retries`` allow (lost workers).
            effects: What the execution had asked for.
        """
        if effects is not None:
            commits.discard(effects)
        task = self.state.tasks.get(task_id)
        if task is None or task.status not in (TaskStatus.PROCESSING, TaskStatus.DISPATCHED):
            self.skip(task, Effects())
            return self.committed()
        error = clip(error, ERROR_TEXT_LIMIT)
        changes = self.state.fail_task(self.now(), task_id, error, status=status, retry=retry)
        return self.apply(changes)

    @_whole
    def delay(self, task_id: str, seconds: float, kept: KeptForRetry) -> None:
        """Take back a running task that waits for a retry; its next run gets what its agent keeps.

        A task that is no longer processing is skipped.
        """
        task = self.state.tasks.get(task_id)
        if task is None or task.status is not TaskStatus.PROCESSING:
            kept.discard()
            self.skip(task, Effects())
            return
        self.pauses.keep(task_id, kept)
        self.scheduler.forget([task_id])
        now = self.now()
        self.apply(self.state.delay(now, task_id, now + seconds), urgent=False)

    # --- parts --------------------------------------------------------------------------------

    def _open(self) -> None:
        path = self.options.state_directory / JOURNAL
        self._connection = connection = open_journal(path, self.options.durability)
        self.failed = asyncio.get_running_loop().create_future()
        self._postponed = Postponed(self.complete)
        self._reader = Reader(path)
        self._scanner = Scanner(path)
        try:
            self.identity = loading.load_identity(connection)
            loading.write_partitions(connection, self.options.partitions)
            loading.finish_deletions(connection)
            self._journal = Journal(
                connection, self.options.durability, self._committed, self._fail, self._on_fault
            )
            self.state.on_break = self.scheduler.on_break = self._journal.abandon
            room = Room(self.options.state_directory, self.options.room, path)
            self.admission = Admission(self._journal, room)
            self.creation_order = CreationOrder(connection, self._journal, self.clock)
            self.row_blocks = RowBlocks(
                self._scanner, self.creation_order, self._journal.committed, self._journal.begun
            )
            self._journal.on_begun = self.row_blocks.begin
            self.queries = Queries(
                self._reader,
                self._scanner,
                self.partitions,
                self.task_counts.total,
                order=self.creation_order,
                blocks=self.row_blocks,
                begun=self._journal.begun,
                written=self._journal.written,
            )
            self.objects = ObjectStore(
                self.options.state_directory,
                self._journal,
                self._reader,
                self.options.memory_limit,
            )
            loading.drop_announced(connection)
            recovered = loading.load(connection, with_deleted=self.options.strict)
            loading.remove_orphans(connection, self.objects, recovered.results.values())
            self.task_output.keep_only(loading.load_session_ids(connection))
            for given in loading.load_given(connection, recovered.results.values()):
                self.kept_data.note(*given)
            turn = asyncio.Lock()
            self.announcements = Announcements(self, self._journal, turn)
            self.submissions = Submissions(self, self._journal, turn)
            self.sweeper = Sweeper(
                *(self.state, self._journal, self._reader, self.apply, self.now),
                in_order=lambda: self.creation_order.holds,
            )
        except sqlite3.DatabaseError as error:
            connection.close()
            raise damaged(path, error) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            connection.close()
            text = f"a row makes no sense: {error}; armoflow up --check says which"
            raise damaged(path, ValueError(text)) from error
        self._journal.start()
        self.task_counts.begin(recovered.counts, recovered.tasks.values())
        self.apply(
            self.state.restore(
                self.now(),
                recovered.sessions,
                recovered.tasks,
                recovered.results,
                recovered.deleted,
                failed=recovered.failed,
            )
        )
        for session_id in self.state.sessions:
            self.leases.begin(session_id)
        self._retention.start()
        self.creation_order.begin(self._scanner)
        self.row_blocks.look()

    @_whole
    def _run(self, task_ids: list[str], owner: str) -> None:
        self.apply(self.state.run(self.now(), task_ids, owner), urgent=False)

    @_whole
    def _acquire(self, task_id: str, owner: str) -> None:
        self.apply(self.state.acquire(self.now(), task_id, owner), urgent=False)

    @_whole
    def _end_cancelled(self, task_ids: list[str]) -> None:
        self.apply(self.state.stopped(self.now(), task_ids), urgent=False)

    def _is_delayed(self, task_id: str) -> bool:
        return self.pauses.delays(task_id)

    def _is_behind(self) -> bool:
        return self._journal.waiting > BEHIND

    def _is_awaited(self, changes: Changes) -> bool:
        """Whether somebody may wait for the news: not so for results on the way to other tasks."""
        for record in changes.results.values():
            name = record.name
            if record.status is not ResultStatus.DELETED and (
                name.startswith(WANTED_PREFIXES) or not name.startswith(PASSING_PREFIXES)
            ):
                return True
        return False

    def _frees(self, task_id: str) -> bool:
        """Whether much data may go when a task has ended: then its client should know soon."""
        results = self.state.results
        for result_id in self.state.tasks[task_id].dependencies:
            record = results.get(result_id)
            if record is not None and record.size > INLINE_DATA_LIMIT:
                return True
        return False

    @_whole
    def hold_up(self, task_id: str, effects: Effects, fault: StorageError) -> None:
        """What becomes of a success whose data cannot be stored."""
        if not fault.passing:
            # A file is gone, for example: the task makes it anew.
            self.fail(task_id, str(fault), retry=True, effects=effects)
        elif not self._postponed.keep(task_id, effects):
            self.fail(task_id, str(fault), effects=effects)

    @_whole
    def skip(self, task: TaskRecord | None, effects: Effects) -> None:
        """What becomes of a success of a task that is no longer processing."""
        commits.discard(effects)
        if task is not None and task.status is TaskStatus.CANCELLING:
            self.apply(self.state.stopped(self.now(), [task.id]))

    def _committed(self, batch: Transaction) -> None:
        state, tasks = self.state, batch.tasks
        dirty_tasks, dirty_results = self._journal.dirty_tasks, self._journal.dirty_results
        ended = [task_id for task_id, task in tasks.items() if task.status in FINAL]
        # What changed again meanwhile is over with the commit of that change.
        over = [task_id for task_id in ended if task_id not in dirty_tasks]
        if self.meter is not None:
            self.meter.committed(batch, [tasks[task_id] for task_id in over])
        self.row_blocks.written(batch)
        self.task_counts.committed(tasks, dirty_tasks)
        self.ended_tasks.committed(tasks[task_id] for task_id in over)
        self._watchers.tell(batch.events)
        self.scheduler.forget(ended)
        self.scheduler.committed()
        self.pauses.forget(ended)
        self.task_output.progress.forget(ended)
        state.evict(over)
        deleted = ResultStatus.DELETED
        state.evict_results(
            [
                result_id
                for result_id, result in batch.results.items()
                if result.status is deleted and result_id not in dirty_results
            ]
        )

    def _watch(self, watched: bool) -> None:
        self.state.watched = watched

    def _on_fault(self, fault: StorageError) -> None:
        self.admission.stop(fault)

    def _fail(self, error: EngineError) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)
            self.failed.exception()  # a stopping engine does not wait for it


def _random_prefix() -> str:
    digits = secrets.token_hex(10)
    return f"{digits[:8]}-{digits[8:12]}-4{digits[12:15]}-8{digits[15:18]}-"
