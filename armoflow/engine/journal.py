"""The journal: every change, in SQLite, in the order of the commands, by group commit.

Changes gather in a batch while the previous one is written; records are dirty by id, so a record
that changed ten times meanwhile is one row. When the writer thread is free the event loop turns
the batch into plain values (no record is ever read by the thread) and hands it over. A few rows
that somebody waits for it writes itself: handing them over would take as long as writing them.

A fault that passes, a full disk above all, is a state: the batch is kept and tried again, with
growing pauses, while what comes meanwhile gathers behind it and new work is refused elsewhere. Only
a journal that is damaged ends the engine.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Final

from armoflow.engine import checkpoints, compaction, schema
from armoflow.engine.compaction import Compaction
from armoflow.engine.data_files import synchronize
from armoflow.engine.engine_options import Durability
from armoflow.engine.faults import StorageError, passes
from armoflow.engine.holding import OBJECTS, remove
from armoflow.engine.records import Changes
from armoflow.engine.row_counts import RowCounts
from armoflow.engine.row_writer import RowWriter
from armoflow.engine.transaction import OptionsRows, Transaction
from armoflow.errors import EngineError

logger = logging.getLogger(__name__)

BUSY_ROWS: Final = 256
"""A batch of this many rows shows that work comes faster than commits."""

BUSY_PAUSE: Final = 0.004
"""Seconds that a busy engine lets changes gather: rows written twice in that time are one."""

BUSY_PAUSES: Final = 3
"""How many of these pauses follow each other as long as changes keep coming."""

STEADY_ROWS: Final = 64
"""Rows that come in such a pause where changes keep coming."""

OWN_ROWS: Final = 16
"""Rows that the event loop writes itself if they are urgent: about 0.1 ms of its time."""

OWN_BYTES: Final = 16 * 1024
"""Bytes of data in these rows."""

BATCH_PAGES: Final = 5
ROWS_PER_PAGE: Final = 20
"""What a transaction writes, roughly: at least some pages, and one for so many rows."""

PATIENCE: Final = 0.012
"""Seconds that changes nobody waits for may wait for others."""

GRACE: Final = 1.0
"""Seconds after which a fault is told, and new work refused: a task may have filled the disk that
makes room itself when it fails."""

FIRST_PAUSE: Final = 0.05
LAST_PAUSE: Final = 2.0
"""Seconds between two tries of a batch that cannot be written; doubles each time."""

_OWN_PATH = "SELECT CAST(file AS BLOB) FROM pragma_database_list"
"""As bytes: names of files need be no text."""


class Journal:
    """Writes batches in a thread of its own; used from the event loop.

    Args:
        connection: The journal, opened for writing.
        durability: ``"full"`` synchronises files before the rows that name them.
        on_commit: Called with each batch once it is committed, before those who wait for it go on.
        on_failure: Called once with the error if a batch can never be written; nothing can be
            journalled after that.
        on_fault: Called when nothing can be written for a while: who waits for a commit waits long.

    Attributes:
        fault: Why nothing can be written for a while; None if nothing is wrong.
        begun: What all batches do that were handed over, committed or not.
        on_begun: Called with each batch that is handed over.
        written: What those do that are committed.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        durability: Durability,
        on_commit: Callable[[Transaction], None],
        on_failure: Callable[[EngineError], None],
        on_fault: Callable[[StorageError], None],
    ) -> None:
        self._connection = connection
        self._durability = durability
        self._on_commit = on_commit
        self._on_failure = on_failure
        self._on_fault = on_fault
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._done.set_result(None)
        last = connection.execute("SELECT max(id) FROM options").fetchone()[0]
        self._options = OptionsRows((last or 0) + 1)
        self._pending = self._new_batch()
        self._writing: Transaction | None = None
        self._scheduled = False
        self._urgent = False
        self._timer: asyncio.TimerHandle | None = None
        self._gathering: asyncio.TimerHandle | None = None
        self._failure: EngineError | None = None
        self.fault: StorageError | None = None
        self.begun = RowCounts()
        self.on_begun: Callable[[Transaction], None] = _ignore
        self.written = RowCounts()
        self._suspended_at: float | None = None
        self._tried: asyncio.Future[None] = self._loop.create_future()
        self._path = Path(os.fsdecode(connection.execute(_OWN_PATH).fetchone()[0]))
        self._inode = self._path.stat().st_ino
        self._objects = self._path.with_name(OBJECTS)
        self._left_files: list[Path] = []
        self._stopping = False
        self._try_now = threading.Event()
        self._rows = RowWriter()
        self._pages = 0
        self._checkpoints = checkpoints.Checkpointer(self._path)
        self._compaction = Compaction(connection)
        self._freed = False
        self._finishing = False  # its thread has the connection, though nothing is being written
        self._quiet: asyncio.TimerHandle | None = None
        self._gave_back = False  # room that the file still has: a copy of all of the log frees it
        self._queue: queue.SimpleQueue[Transaction | Callable[[], None] | None] = (
            queue.SimpleQueue()
        )
        self._thread = threading.Thread(target=self._work, name="armoflow-journal", daemon=True)

    # --- event loop ---

    def start(self) -> None:
        """Begin to write; until then the connection is the caller's."""
        self._thread.start()

    def add(self, changes: Changes, *, urgent: bool = True) -> asyncio.Future[None]:
        """Journal changes; the future, shared by the whole batch, is done when committed.

        Args:
            changes: What to write.
            urgent: Somebody waits for it. Other changes wait a moment for company: a transaction
                costs the same for one row as for fifty.
        """
        batch = self._pending
        batch.add(changes)
        if not self._has_pending():
            return self.committed()
        if batch.since is None:
            batch.since = self._loop.time()
        self._urgent = self._urgent or urgent
        if self._writing is None:
            self._schedule()
        return batch.future

    @property
    def lag(self) -> float:
        """Seconds for which the oldest change waits for its commit."""
        oldest = self._pending if self._writing is None else self._writing
        return 0.0 if oldest.since is None else self._loop.time() - oldest.since

    @property
    def waiting(self) -> int:
        """Rows of tasks and results that the next transaction will have, so far."""
        return len(self._pending.tasks) + len(self._pending.results)

    def _schedule(self, busy: bool = False) -> None:
        if self._urgent and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._scheduled = False
        if self._scheduled:
            return
        self._scheduled = True
        if busy:
            self._gather(0, BUSY_PAUSES)
        elif self._urgent:
            self._loop.call_soon(self._flush)
        else:
            self._timer = self._loop.call_later(PATIENCE, self._flush)

    def hurry(self) -> None:
        """Nothing more is to come soon: what gathers is written now."""
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = self._loop.call_later(0, self._flush)

    def _gather(self, before: int, pauses: int) -> None:
        """Let changes gather for a pause, and for another one if more came in it."""
        self._gathering = self._loop.call_later(BUSY_PAUSE, self._look, before, pauses - 1)

    def _look(self, before: int, pauses: int) -> None:
        rows = len(self._pending.tasks) + len(self._pending.results)
        if pauses and rows - before >= STEADY_ROWS:
            self._gather(rows, pauses)
        else:
            self._flush()

    def committed(self) -> asyncio.Future[None]:
        """Done when all that was added so far is committed; failed if some of it never will be."""
        if self._scheduled:
            return self._pending.future
        if self._writing is None:
            return self._done
        # Changes that came while the last batch is written wait for it, then for their own.
        return self._pending.future if self._has_pending() else self._writing.future

    async def admit(self) -> None:
        """Refuse new work while nothing can be written; whether that is so yet is tried.

        Raises:
            StorageError: What is wrong, and what to do.
        """
        if self.fault is not None:
            self._try_now.set()
            await asyncio.wait([self._tried])
        if self.fault is not None:
            raise self.fault

    def note(self, name: str, value: str) -> None:
        """Set an entry of ``meta`` with the next changes, or without any."""
        self._pending.meta[name] = value
        self.add(Changes(), urgent=False)

    def put_data(self, key: int, data: bytes) -> None:
        """Write data with the next changes."""
        self._pending.data[key] = data

    def find_data(self, key: int) -> bytes | None:
        """Data that is not committed yet."""
        data = self._pending.data.get(key)
        if data is None and self._writing is not None:
            data = self._writing.data.get(key)
        return data

    def delete_data(self, keys: Iterable[int]) -> None:
        """Delete data with the next changes; what was not written yet never will be."""
        unwritten = self._pending.data
        self._pending.deleted += [key for key in keys if unwritten.pop(key, None) is None]

    def remove_rows(self, table: str, rows: Sequence[int]) -> asyncio.Future[None]:
        """Remove rows by their numbers; the future is done when that is committed."""
        self._pending.removed.setdefault(table, []).extend(rows)
        return self.add(Changes())

    def put_file(self, path: Path) -> None:
        """A new file that must be durable before the next changes are."""
        if self._durability == "full":
            self._pending.synchronize.append(path)

    def delete_file(self, path: Path) -> None:
        """Remove a file once the next changes are committed."""
        self._pending.unlink.append(path)

    @property
    def dirty_tasks(self) -> Collection[str]:
        """The ids of the tasks that changed since the last batch was handed over."""
        return self._pending.tasks

    @property
    def dirty_results(self) -> Collection[str]:
        """The ids of the results that changed since the last batch was handed over."""
        return self._pending.results

    async def stop(self) -> None:
        """Commit all that was added and end the thread; the connection stays open.

        What a full disk holds up is given up then: nobody was told that it is committed.
        """
        self._stopping = True
        self._try_now.set()
        if self._failure is None:
            self.add(Changes())
        while self._failure is None and (self._scheduled or self._writing is not None):
            await asyncio.wait([self.committed()])
        if self._quiet is not None:
            self._quiet.cancel()
        self._queue.put(None)
        await self._loop.run_in_executor(None, self._thread.join)
        await self._loop.run_in_executor(None, self._checkpoints.stop)

    def _new_batch(self) -> Transaction:
        return Transaction(self._loop.create_future())

    def _has_pending(self) -> bool:
        batch = self._pending
        return bool(
            batch.results
            or batch.tasks
            or batch.sessions
            or batch.meta
            or batch.removed
            or batch.data
            or batch.deleted
            or batch.unlink
            or batch.events
        )

    def _flush(self) -> None:
        urgent, self._scheduled, self._urgent = self._urgent, False, False
        for timer in (self._timer, self._gathering):
            if timer is not None:
                timer.cancel()
        self._timer = self._gathering = None
        batch, self._pending = self._pending, self._new_batch()
        if self._failure is not None:
            _fail(batch.future, self._failure)
            return
        try:
            batch.freeze(self._options)
        except Exception as error:  # a record of the wrong shape must not leave waiters hanging
            self._give_up(batch, error)
            return
        self._options.trim()
        self._writing = batch
        self.begun.add(batch)
        self.on_begun(batch)
        if urgent and self._is_quick(batch):
            problem = self._try_to_write(batch)
            if problem is None or not self._may_pass(problem):
                self._written(batch, problem)
                return
        self._queue.put(batch)

    def _is_quick(self, batch: Transaction) -> bool:
        """Whether writing a batch holds up the event loop no longer than handing it over would."""
        return (
            batch.rows <= OWN_ROWS
            and _data_bytes(batch) <= OWN_BYTES
            and self._durability != "full"
            and not (batch.unlink or self._left_files or batch.removed or self._finishing)
        )

    def _written(self, batch: Transaction, error: Exception | None) -> None:
        self._writing = None
        if error is None:
            self.written.add(batch)
            self._resume()
            # Those who wait are called in the loop's next turn, watchers now: what both have to say
            # to a client goes in one message then.
            batch.future.set_result(None)
            try:
                self._on_commit(batch)
            except Exception as caught:
                error = caught
        if error is not None:
            self._tell_tried()
            self._give_up(batch, error)
            return
        if self._has_pending() and not self._scheduled:
            self._schedule(busy=batch.rows >= BUSY_ROWS)
        if self._checkpoints.running or self._is_long():
            self._await_quiet()

    def _is_long(self) -> bool:
        return self._gave_back or self._checkpoints.file_length > checkpoints.MOST_PAGES

    def _await_quiet(self) -> None:
        """The log's file is made short when nothing was written for a while."""
        if self._quiet is not None:
            self._quiet.cancel()
        self._quiet = self._loop.call_later(checkpoints.QUIET, self._when_quiet)

    def _when_quiet(self) -> None:
        self._quiet = None
        if self._writing is not None or self._scheduled:
            return  # what is written then asks again
        if self._finishing or self._checkpoints.running:
            self._await_quiet()
        elif self._is_long():
            self._finishing = True
            self._queue.put(self._shorten)

    def _give_up(self, batch: Transaction, error: Exception) -> None:
        """Fail this batch and all that follow: memory is ahead of the journal for good."""
        text = f"the journal cannot be written: {error} ({self._path}; see armoflow up --check)"
        self._fail_all(text, error)
        assert self._failure is not None
        if not batch.future.done():
            _fail(batch.future, self._failure)
        self._flush()

    def abandon(self, error: BaseException) -> None:
        """Write nothing any more: what is in memory is no longer what follows from the commands."""
        if self._failure is None:
            self._fail_all(
                "memory ended in the middle of a change: the engine ends, and goes on from its "
                f"journal when it is started again ({type(error).__name__}: {error}; {self._path})",
                error,
            )
            self._flush()

    def _fail_all(self, text: str, error: BaseException) -> None:
        self._failure = EngineError(text, "INTERNAL")
        self._failure.__cause__ = error
        self._done = self._loop.create_future()
        _fail(self._done, self._failure)
        self._on_failure(self._failure)

    def _suspend(self, error: Exception) -> None:
        """A batch waits for a fault to pass."""
        now = self._loop.time()
        if self._suspended_at is None:
            self._suspended_at = now
        if now - self._suspended_at < GRACE:
            return
        first = self.fault is None
        self.fault = StorageError(error, self._path)
        self._tell_tried()
        if first:
            logger.error("new work is refused, the journal waits: %s", self.fault)
            self._on_fault(self.fault)

    def _resume(self) -> None:
        self._suspended_at = None
        if self.fault is not None:
            logger.warning("the journal is written again: new work is taken")
            self.fault = None
            self._tell_tried()

    def _tell_tried(self) -> None:
        tried, self._tried = self._tried, self._loop.create_future()
        tried.set_result(None)

    # --- writer thread, or event loop ---

    def _work(self) -> None:
        while (batch := self._queue.get()) is not None:
            if not isinstance(batch, Transaction):
                batch()
                continue
            error = self._write_in_the_end(batch)
            copying = self._checkpoints.running
            long = self._checkpoints.length > checkpoints.MOST_PAGES and not copying
            if self._freed and error is None:
                self._freed = False
                self._compaction.look()
            self._finishing = long or self._compaction.due
            self._loop.call_soon_threadsafe(self._written, batch, error)
            if long:
                self._checkpoints.finish(self._connection)
            if self._compaction.due:
                self._compact()
            self._finishing = False

    def _shorten(self) -> None:
        self._gave_back = False
        self._checkpoints.shorten(self._connection)
        self._finishing = False

    def _compact(self) -> None:
        """Give room back, at least a slice of it, for as long as nothing is to be written."""
        if not self._gave_back:
            self._gave_back = True
            self._loop.call_soon_threadsafe(self._await_quiet)  # what comes meanwhile may keep it
        while True:
            self._compaction.step()
            self._pages += compaction.SLICE
            if not self._compaction.due:
                self._checkpoints.ask()  # the file gets shorter when the log is copied to it
                return
            if not self._queue.empty():
                return

    def _write_in_the_end(self, batch: Transaction) -> Exception | None:
        """Try until it is written, or never will be; returns why."""
        pause = FIRST_PAUSE
        while True:
            error = self._try_to_write(batch)
            if error is None or self._stopping or not self._may_pass(error):
                return error
            self._loop.call_soon_threadsafe(self._suspend, error)
            self._try_now.wait(pause)
            self._try_now.clear()
            pause = min(2 * pause, LAST_PAUSE)

    def _may_pass(self, error: Exception) -> bool:
        """Whether a batch that was not written may be later: not so if the journal is gone."""
        if not passes(error):
            return False
        try:
            return self._path.stat().st_ino == self._inode
        except FileNotFoundError:
            return False
        except OSError:  # not to be looked at now
            return True

    def _try_to_write(self, batch: Transaction) -> Exception | None:
        try:
            self._write(batch)
        except Exception as error:  # told to the event loop, which fails the engine
            return error
        return None

    def _write(self, batch: Transaction) -> None:
        data = _data_bytes(batch) // schema.PAGE_BYTES
        self._pages += BATCH_PAGES + batch.rows // ROWS_PER_PAGE + data
        synchronize(batch.synchronize)
        self._rows.write(self._connection, batch)
        self._left_files = remove(self._objects, [*self._left_files, *batch.unlink])
        self._freed = self._freed or bool(batch.removed or batch.deleted)
        if self._pages >= checkpoints.PAGES and not self._checkpoints.running:
            self._pages = 0
            self._checkpoints.ask()


def _ignore(_: Transaction) -> None:
    """Nobody listens yet."""


def _fail(future: asyncio.Future[None], error: EngineError) -> None:
    future.set_exception(error)
    future.exception()  # nobody has to wait for it: the engine stops by on_failure


def _data_bytes(batch: Transaction) -> int:
    return sum(map(len, batch.data.values()))
