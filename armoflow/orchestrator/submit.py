"""From the plan's thread to the engine: batches bounded by count and bytes, several in flight.

A plan is made in a thread of its own, because it reads the user's iterators. What it yields goes
into a queue; the loop takes what has come meanwhile as one batch, so that batches are small when
the engine is quick and large when it is not. Credit bounds what is queued and what is under way.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import logging
import weakref
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

from armoflow import config
from armoflow.errors import ClientClosedError, EngineError, SessionEndedError
from armoflow.orchestrator.backlog import Backlog
from armoflow.orchestrator.blame import Blame
from armoflow.orchestrator.constant import Constant
from armoflow.orchestrator.planned import PlannedTask, Result
from armoflow.orchestrator.queue import Entry, PlanQueue
from armoflow.orchestrator.storing import Storing
from armoflow.orchestrator.tracker import Tracker, blame_for, derive
from armoflow.protocol.result_handle import ResultState
from armoflow.protocol.submission import InputsAbortedError, Note
from armoflow.protocol.transport import Transport

logger = logging.getLogger(__name__)


class Notes(Protocol):
    """What the engine is told of tasks, for whoever goes on with them."""

    def of(self, tasks: Sequence[PlannedTask]) -> Note:
        """What is to be told with these tasks."""

    def sent(self, tasks: Sequence[PlannedTask]) -> None:
        """Tasks were submitted, or will not be."""


class Pipeline:
    """Submits what plans yield; see the module.

    Args:
        transport: The way to the engine.
        session: Gives the id of the session to submit to.
        tracker: Told of tasks as soon as their results have ids.
        settle: Brings the tracker up to date with the engine.
        cancel: Cancels tasks in the engine that the client has given up.
        backlog: Says which tasks the engine gets now, and keeps the others.
        release: Called with id and size of a stored constant that nobody needs any more.
        unfreed: The bytes of data that nobody needs and that cannot be freed yet.
        session_ended: Called when the engine says that it has ended the session.
        whole: Plans are taken as fast as the engine takes them, whatever is under way.

    Attributes:
        notes: What the engine is told of tasks.
    """

    def __init__(
        self,
        transport: Transport,
        session: Callable[[], Awaitable[str]],
        tracker: Tracker,
        settle: Callable[[], Awaitable[None]],
        cancel: Callable[[Sequence[PlannedTask]], None],
        *,
        backlog: Backlog,
        release: Callable[[str, int], None],
        unfreed: Callable[[], int],
        session_ended: Callable[[SessionEndedError], None],
        whole: bool = False,
    ) -> None:
        self.notes: Notes | None = None
        self._transport = transport
        self._session = session
        self._tracker = tracker
        self._backlog = backlog
        self._settle = settle
        self._cancel = cancel
        self._session_ended = session_ended
        self._queue = PlanQueue(() if whole else tracker, unfreed)
        backlog.on_room = self._queue.wake
        self._in_flight = asyncio.Semaphore(transport.batches)
        self._sending: dict[asyncio.Task[None], list[PlannedTask]] = {}
        self._taken: list[PlannedTask] = []  # of which a batch is being made
        self._unnamed: set[asyncio.Event] = set()  # of batches whose results may have no ids yet
        self._unnoted: weakref.WeakSet[Result] = weakref.WeakSet()  # nobody else knows of them
        self._storing = Storing(
            transport,
            session,
            stored=self._queue.stored,
            release=release,
            session_ended=session_ended,
        )
        self.on_named: Callable[[Sequence[PlannedTask]], None] | None = None

    # --- the plan's thread ----------------------------------------------------------------------

    def put(self, entry: Entry) -> None:
        """Queue what a plan yielded; waits while too much is queued or under way.

        Raises:
            ClientClosedError: If the client was closed meanwhile.
        """
        self._queue.put(entry)

    # --- the loop's thread ----------------------------------------------------------------------

    def put_now(self, entry: Entry) -> None:
        """Queue an entry, whether there is room or not; see :meth:`has_room`."""
        self._queue.put_now(entry)

    def has_room(self) -> bool:
        """Whether little enough is queued and under way."""
        return self._queue.has_room()

    async def run(self) -> None:
        """Submit until cancelled."""
        try:
            while True:
                await self._queue.wait()
                try:
                    await self._submit_queued()
                except Exception as error:  # a defect: who waits for what is here is told of it
                    logger.exception("what was queued cannot be submitted")
                    self.interrupt(error)
        finally:
            for sending in self._sending:
                sending.cancel()
            self._storing.stop()

    async def _submit_queued(self) -> None:
        """Submit what is queued, until nothing is, or nothing may go."""
        while len(self._queue) or self._backlog.count:
            # Wait first: what arrives meanwhile goes into the same batch.
            await self._in_flight.acquire()
            if self._sending and self._transport.collecting:
                await asyncio.sleep(self._transport.collecting)
            try:
                batch = self._next_batch()
            except BaseException:
                self._in_flight.release()
                raise
            if not batch:
                self._in_flight.release()
                if self._is_held_up():
                    break
                continue
            earlier = frozenset(self._sending)
            unnamed = frozenset(self._unnamed)
            named = asyncio.Event()
            self._unnamed.add(named)
            task = asyncio.create_task(self._send(batch, earlier, unnamed, named))
            self._sending[task] = batch
            task.add_done_callback(functools.partial(self._sent, batch, named))
            self._taken = []
            del batch, task  # what was sent is not kept until more comes

    def freed(self) -> None:
        """Tasks have ended: there may be room again."""
        self._queue.freed()

    def close(self) -> None:
        """Let waiting plans go; nothing more is taken."""
        self._queue.close()

    def interrupt(self, error: BaseException) -> None:
        """Drop all that is queued or being submitted, whatever it waits for."""
        self._fail(self.unsubmitted(), error)
        self._queue.drop()
        self._backlog.drop()
        self._storing.interrupt(error)
        for sending in self._sending:
            sending.cancel()

    def drop(self, unwanted: Callable[[PlannedTask], bool], error: BaseException) -> None:
        """Fail tasks that have not been submitted yet."""
        for entry in self.unsubmitted():
            if unwanted(entry):
                self._tracker.fail(entry, blame_for(entry, error=error))

    def unsubmitted(self) -> list[PlannedTask]:
        """The tasks that are queued or being submitted."""
        sending = [task for batch in self._sending.values() for task in batch]
        return [*sending, *self._taken, *self._backlog.tasks(), *self._queue.tasks()]

    def _is_held_up(self) -> bool:
        """Whether nothing can be submitted until tasks have ended."""
        return self._backlog.full or not len(self._queue)

    def _next_batch(self) -> list[PlannedTask]:
        backlog = self._backlog
        batch = self._taken = list[PlannedTask]()
        total = links = 0
        while (
            len(batch) < config.BATCH_TASKS
            and total < 4 * config.BATCH_BYTES
            and links < config.BATCH_LINKS
        ):
            waited = backlog.next() if backlog.count else None
            if waited is not None:
                batch.append(waited)
                total += waited.size
                links += len(waited.inputs) + len(waited.outputs)
                continue
            entry = None if backlog.count and backlog.full else self._queue.take()
            if entry is None:
                break
            if isinstance(entry, PlannedTask):
                batch.append(entry)  # before it is offered: it is nowhere else now
                if backlog.offer(entry):
                    total += entry.size
                    links += len(entry.inputs) + len(entry.outputs)
                else:
                    batch.pop()
            elif isinstance(entry, Constant):
                self._storing.store(entry)
            else:
                entry()
        self._queue.freed()
        return batch

    async def _send(
        self,
        batch: list[PlannedTask],
        earlier: frozenset[asyncio.Task[None]],
        unnamed: frozenset[asyncio.Event],
        named: asyncio.Event,
    ) -> None:
        for task in batch:
            task.hold()
        try:
            await self._wait_for_constants(batch)
            if not all(result.id for task in batch for result in task.inputs):
                for before in unnamed:  # what it needs is named there, or by itself
                    await before.wait()
            await self._submit(batch, earlier, named)
        except Exception as error:  # the engine refused, or is gone: told to whoever waits
            if isinstance(error, SessionEndedError):
                self._session_ended(error)  # first: who is told may submit again at once
            self._unnoted.update(result for task in batch for result in task.outputs)
            self._fail(batch, self._as_closed(error))
            self._cancel(batch)  # of a batch that was refused in part, something may run
        finally:
            # Now, not in the loop's next turn: who cancels one until then tells the engine.
            self._sending.pop(asyncio.current_task(), None)  # type: ignore[arg-type]
            if self.notes is not None:
                self.notes.sent(batch)
            for task in batch:
                task.submitted()

    def _as_closed(self, error: Exception) -> Exception:
        """What the engine says of a session that the client is closing is not the reason."""
        if not self._queue.closed or isinstance(error, ClientClosedError):
            return error
        closed = ClientClosedError("the client was closed while a graph was being submitted")
        closed.__cause__ = error
        return closed

    def _sent(
        self, batch: list[PlannedTask], named: asyncio.Event, task: asyncio.Task[None]
    ) -> None:
        """A batch was submitted, or failed, or was cancelled, maybe before it began."""
        self._sending.pop(task, None)
        self._unnamed.discard(named)
        if task.cancelled():
            self._fail(batch, concurrent.futures.CancelledError())
        named.set()
        self._in_flight.release()

    def _fail(self, batch: Sequence[PlannedTask], error: BaseException) -> None:
        for task in batch:
            self._tracker.fail(task, blame_for(task, error=error))

    async def _wait_for_constants(self, batch: list[PlannedTask]) -> None:
        pending = [task for task in batch if task.pending_constants()]
        if not pending:
            return
        await self._storing.wait_for(
            constant for task in pending for constant in task.pending_constants()
        )
        for task in pending:
            for constant in task.pending_constants():
                error = constant.error or ClientClosedError(f"{constant.name} was not stored")
                self._tracker.fail(task, blame_for(task, error=error))
                break

    async def _submit(
        self,
        batch: Sequence[PlannedTask],
        earlier: frozenset[asyncio.Task[None]],
        named: asyncio.Event,
    ) -> None:
        """Submit a batch, without the tasks that cannot run or are no longer wanted."""
        session_id = await self._session()
        asked, before = batch, earlier

        ids: list[str] = []  # under which the batch's results are tracked

        def on_named() -> None:
            if named.is_set():
                self._tracker.forget(batch, ids)
            ids[:] = _output_ids(batch)
            self._tracker.add(batch)
            if self.on_named is not None:
                self.on_named(batch)
            named.set()

        while batch := self._runnable(batch):
            if named.is_set():  # refused before, submitted again
                ids[:] = _output_ids(batch)
                self._tracker.add(batch)
            try:
                note = None if self.notes is None else self.notes.of(batch)
                await self._transport.submit(session_id, batch, on_named, note)
                break
            except InputsAbortedError as error:
                self._tracker.forget(batch, ids)
                if not await self._blame_inputs(batch, error.result_ids):
                    raise
            except EngineError as error:
                if error.code != "NOT_FOUND":
                    raise
                self._tracker.forget(batch, ids)
                if earlier:
                    # One of them was refused, and with it the results that this one names.
                    await asyncio.wait(earlier)
                    earlier = frozenset()
                elif not await self._blame_inputs(batch, await self._gone(session_id, batch)):
                    raise
        self._runnable(batch)
        if self.notes is not None:
            await self._lay_out(session_id, [task for task in asked if task not in batch], before)
        if given_up := [task for task in batch if task.failed]:
            self._cancel(given_up)

    async def _lay_out(
        self,
        session_id: str,
        tasks: Sequence[PlannedTask],
        earlier: frozenset[asyncio.Task[None]],
    ) -> None:
        """Store what hangs on a failure, and was not submitted for that: it may be run later."""
        assert self.notes is not None
        if tasks and earlier:
            await asyncio.wait(earlier)  # what they need may be laid out there
        hanging: list[PlannedTask] = []
        for task in tasks:
            if _hangs_on_failure(task) and self._unnoted.isdisjoint(task.inputs):
                hanging.append(task)
            else:
                self._unnoted.update(task.outputs)
        if not hanging:
            return
        try:
            await self._transport.lay_out(session_id, hanging, self.notes.of(hanging))
        except EngineError as error:
            logger.warning("what hangs on a failure was not laid out: %s", error)
            self._unnoted.update(result for task in hanging for result in task.outputs)

    def _runnable(self, batch: Sequence[PlannedTask]) -> list[PlannedTask]:
        """The tasks that have not ended; those whose inputs failed end now."""
        runnable = []
        dependents: list[PlannedTask] = []
        for task in batch:
            if task.open_outputs == 0:
                continue
            cause = self._tracker.failed_input(task)
            if cause is None:
                runnable.append(task)
            else:
                dependents += self._tracker.fail(task, derive(task, cause))
        if dependents:
            self._cancel(dependents)
        return runnable

    async def _gone(self, session_id: str, batch: Sequence[PlannedTask]) -> frozenset[str]:
        """The inputs of a batch that the engine does not have any more: somebody deleted them."""
        inputs = {result.id for task in batch for result in task.inputs} - {*_output_ids(batch)}
        changes = await self._transport.poll(session_id, sorted(inputs))
        return frozenset(one.result_id for one in changes if one.state is ResultState.DELETED)

    async def _blame_inputs(self, batch: Sequence[PlannedTask], result_ids: frozenset[str]) -> bool:
        """Find out why inputs are lost; returns whether the batch has any of them."""
        lost = {
            result.id: result for task in batch for result in task.inputs if result.id in result_ids
        }
        await self._settle()
        for result in lost.values():
            if result.id in self._tracker.open:
                self._tracker.abort(result, None)
            elif result.blame is None:
                result.blame = Blame(result.name, gone=result.id)
        return bool(lost)


def _hangs_on_failure(task: PlannedTask) -> bool:
    """Whether a task will not run because something that it needs has failed by itself."""
    causes = [result.blame for result in task.inputs if result.blame is not None]
    return task.payload is not None and bool(causes) and not any(b.cancelled for b in causes)


def _output_ids(batch: Iterable[PlannedTask]) -> list[str]:
    return [output.id for task in batch for output in task.outputs]
