"""The journal: every change, in SQLite, in the order of the commands, by group commit.

Changes gather in a batch while the previous one is written; records are dirty by id, so a record
that changed ten times meanwhile is one row. When the writer thread is free the event loop turns
the batch into plain values (no record is ever read by the thread) and hands it over.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, Final

from armoflow.engine import rows, schema
from armoflow.engine.options import Durability
from armoflow.engine.records import (
    Changes,
    Event,
    Options,
    ResultRecord,
    SessionRecord,
    TaskRecord,
)
from armoflow.errors import EngineError

CHUNKS: Final = {"tasks": (256, 64, 16, 4, 1), "results": (512, 128, 32, 8, 2, 1)}
"""Rows in one statement, by table: few statements for any number of rows."""

DATA_CHUNKS: Final = (16, 4, 1)
OTHER_CHUNKS: Final = (1,)

BUSY_ROWS: Final = 256
"""A batch of this many rows shows that work comes faster than commits."""

BUSY_PAUSE: Final = 0.004
"""Seconds that a busy engine lets changes gather: rows written twice in that time are one."""

KNOWN_OPTIONS: Final = 4096
"""Task options that are remembered as written."""


class Batch:
    """The changes of one transaction."""

    __slots__ = (
        "data",
        "deleted",
        "events",
        "future",
        "removed_sessions",
        "removed_tasks",
        "results",
        "rows",
        "sessions",
        "synchronize",
        "tasks",
        "unlink",
        "values",
    )

    def __init__(self, future: asyncio.Future[None]) -> None:
        self.future = future
        self.sessions: dict[str, SessionRecord] = {}
        self.tasks: dict[str, TaskRecord] = {}
        self.results: dict[str, ResultRecord] = {}
        self.removed_sessions: list[str] = []
        self.removed_tasks: list[str] = []
        self.data: dict[int, bytes] = {}
        self.deleted: list[int] = []
        self.unlink: list[Path] = []
        self.synchronize: list[Path] = []
        self.events: list[Collection[Event]] = []
        self.values: dict[str, list[Any]] = {}
        self.rows = 0

    def add(self, changes: Changes) -> None:
        """Take over the changes of a command."""
        if changes.sessions:
            self.sessions.update(changes.sessions)
        if changes.tasks:
            self.tasks.update(changes.tasks)
        if changes.results:
            self.results.update(changes.results)
        if changes.events:
            self.events.append(changes.events)
        if changes.removed_tasks:
            self.removed_tasks += changes.removed_tasks
            for task_id in changes.removed_tasks:
                self.tasks.pop(task_id, None)
        if changes.removed_sessions:
            self._remove_sessions(changes.removed_sessions)

    def _remove_sessions(self, session_ids: Iterable[str]) -> None:
        removed = set(session_ids)
        self.removed_sessions += removed
        for session_id in removed:
            self.sessions.pop(session_id, None)
        self.tasks = {key: v for key, v in self.tasks.items() if v.session_id not in removed}
        self.results = {key: v for key, v in self.results.items() if v.session_id not in removed}

    def freeze(self, options: _OptionsRows) -> None:
        """Turn the records into the values of their rows; later changes belong to other batches."""
        known = options.known
        written: list[Any] = []
        for records in (self.tasks, self.sessions):
            for record in records.values():
                if id(record.options) not in known:
                    written += options.add(record.options)
        self.rows = len(self.tasks) + len(self.results) + len(self.data)
        self.values = {
            "options": written,
            "sessions": rows.session_values(self.sessions.values(), known),
            "tasks": rows.task_values(self.tasks.values(), known),
            "results": rows.result_values(self.results.values()),
        }


class _OptionsRows:
    """Rows of task options: tasks share them, each is written once.

    ``known`` gives the row by the identity of the object; the objects are kept, so that an
    identity is not used again.
    """

    def __init__(self, next_row: int) -> None:
        self.known: dict[int, int] = {}
        self._kept: list[Options] = []
        self._rows: dict[tuple[Any, ...], int] = {}
        self._next = next_row

    def add(self, options: Options) -> list[Any]:
        """Learn options; returns the values of a new row, or nothing if equal ones have a row."""
        values = rows.options_values(options, self._next)
        key = tuple(values[1:])
        row = self._rows.get(key)
        self.known[id(options)] = self._next if row is None else row
        self._kept.append(options)
        if row is not None:
            return []
        self._rows[key] = self._next
        self._next += 1
        return values

    def trim(self) -> None:
        """Forget what is known if it became much."""
        if len(self._kept) > KNOWN_OPTIONS:
            self.known.clear()
            self._kept.clear()
            self._rows.clear()


class Journal:
    """Writes batches in a thread of its own; used from the event loop.

    Args:
        connection: The journal, opened for writing.
        durability: ``"full"`` synchronises files before the rows that name them.
        on_commit: Called with each batch once it is committed, before its future is done.
        on_failure: Called once with the error if a batch cannot be written; nothing can be
            journalled after that.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        durability: Durability,
        on_commit: Callable[[Batch], None],
        on_failure: Callable[[EngineError], None],
    ) -> None:
        self._connection = connection
        self._durability = durability
        self._on_commit = on_commit
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._done.set_result(None)
        last = connection.execute("SELECT max(id) FROM options").fetchone()[0]
        self._options = _OptionsRows((last or 0) + 1)
        self._pending = self._new_batch()
        self._writing: Batch | None = None
        self._scheduled = False
        self._failure: EngineError | None = None
        self._statements: dict[tuple[str, int], str] = {}
        self._queue: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="armoflow-journal", daemon=True)

    # --- event loop ---

    def start(self) -> None:
        """Begin to write; until then the connection is the caller's."""
        self._thread.start()

    def add(self, changes: Changes) -> asyncio.Future[None]:
        """Journal changes; the future, shared by the whole batch, is done when committed."""
        batch = self._pending
        batch.add(changes)
        if not self._has_pending():
            return self.committed()
        if not self._scheduled and self._writing is None:
            self._scheduled = True
            self._loop.call_soon(self._flush)
        return batch.future

    def committed(self) -> asyncio.Future[None]:
        """Done when all that was added so far is committed."""
        if self._scheduled:
            return self._pending.future
        if self._writing is None:
            return self._done
        # Changes that came while the last batch is written wait for it, then for their own.
        return self._pending.future if self._has_pending() else self._writing.future

    def put_data(self, key: int, data: bytes) -> None:
        """Write data with the next changes."""
        self._pending.data[key] = data

    def find_data(self, key: int) -> bytes | None:
        """Data that is not committed yet."""
        data = self._pending.data.get(key)
        if data is None and self._writing is not None:
            data = self._writing.data.get(key)
        return data

    def delete_data(self, key: int) -> None:
        """Delete data with the next changes; what was not written yet never will be."""
        if self._pending.data.pop(key, None) is None:
            self._pending.deleted.append(key)

    def put_file(self, path: Path) -> None:
        """A new file that must be durable before the next changes are."""
        if self._durability == "full":
            self._pending.synchronize.append(path)

    def delete_file(self, path: Path) -> None:
        """Remove a file once the next changes are committed."""
        self._pending.unlink.append(path)

    def is_dirty(self, record_id: str) -> bool:
        """Whether a task or result changed since the last batch was handed over."""
        return record_id in self._pending.tasks or record_id in self._pending.results

    async def stop(self) -> None:
        """Commit all that was added, end the thread, close the journal."""
        if self._failure is None:
            self.add(Changes())
        while self._failure is None and (self._scheduled or self._writing is not None):
            await asyncio.wait([self._pending.future if self._scheduled else self.committed()])
        self._queue.put(None)
        await self._loop.run_in_executor(None, self._thread.join)
        self._connection.close()

    def _new_batch(self) -> Batch:
        return Batch(self._loop.create_future())

    def _has_pending(self) -> bool:
        batch = self._pending
        return bool(
            batch.results
            or batch.tasks
            or batch.sessions
            or batch.removed_sessions
            or batch.removed_tasks
            or batch.data
            or batch.deleted
            or batch.unlink
            or batch.events
        )

    def _flush(self) -> None:
        self._scheduled = False
        batch, self._pending = self._pending, self._new_batch()
        if self._failure is not None:
            _fail(batch.future, self._failure)
            return
        batch.freeze(self._options)
        self._options.trim()
        self._writing = batch
        self._queue.put(batch)

    def _written(self, batch: Batch, error: Exception | None) -> None:
        self._writing = None
        if error is not None:
            self._failure = EngineError(f"the journal cannot be written: {error}", "INTERNAL")
            self._failure.__cause__ = error
            _fail(batch.future, self._failure)
            self._flush()
            self._on_failure(self._failure)
            return
        if self._has_pending():
            self._scheduled = True
            if batch.rows >= BUSY_ROWS:
                self._loop.call_later(BUSY_PAUSE, self._flush)
            else:
                self._loop.call_soon(self._flush)
        self._on_commit(batch)
        batch.future.set_result(None)

    # --- writer thread ---

    def _work(self) -> None:
        while (batch := self._queue.get()) is not None:
            error: Exception | None = None
            try:
                self._write(batch)
            except Exception as caught:  # told to the event loop, which fails the engine
                error = caught
            self._loop.call_soon_threadsafe(self._written, batch, error)

    def _write(self, batch: Batch) -> None:
        _synchronize(batch.synchronize)
        try:
            self._transact(batch)
        except UnicodeEncodeError:
            # A lone surrogate in a text; rare, so looked for only when it was found.
            for table, values in batch.values.items():
                batch.values[table] = [_encodable(value) for value in values]
            self._transact(batch)
        for path in batch.unlink:
            path.unlink(missing_ok=True)

    def _transact(self, batch: Batch) -> None:
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            for session_id in batch.removed_sessions:
                for table, column in (
                    ("tasks", "session_id"),
                    ("results", "session_id"),
                    ("sessions", "id"),
                ):
                    execute(f"DELETE FROM {table} WHERE {column}=?", (session_id,))
            if batch.removed_tasks:
                self._delete("tasks", batch.removed_tasks)
            for table, values in batch.values.items():
                self._insert(table, values, CHUNKS.get(table, OTHER_CHUNKS))
            if batch.data:
                data = [part for item in batch.data.items() for part in item]
                self._insert("objects", data, DATA_CHUNKS)
            if batch.deleted:
                self._delete("objects", batch.deleted)
            execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise

    def _insert(self, table: str, values: list[Any], chunks: tuple[int, ...]) -> None:
        width = len(schema.COLUMNS[table])
        start = 0
        left = len(values) // width
        for count in chunks:
            while left >= count:
                end = start + count * width
                self._connection.execute(self._statement(table, count), values[start:end])
                start = end
                left -= count

    def _statement(self, table: str, count: int) -> str:
        statement = self._statements.get((table, count))
        if statement is None:
            statement = self._statements[table, count] = schema.write_statement(table, count)
        return statement

    def _delete(self, table: str, keys: list[Any]) -> None:
        for count in (256, 16, 1):
            sql = f"DELETE FROM {table} WHERE id IN ({','.join('?' * count)})"
            while len(keys) >= count:
                self._connection.execute(sql, keys[:count])
                keys = keys[count:]


def _fail(future: asyncio.Future[None], error: EngineError) -> None:
    future.set_exception(error)
    future.exception()  # nobody has to wait for it: the engine stops by on_failure


def _synchronize(paths: list[Path]) -> None:
    for path in [*paths, *{path.parent for path in paths}]:
        if path.exists():  # a file may be deleted again before it was named
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return value
