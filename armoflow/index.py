"""The index of a cache: which data of an engine has the values that a key stands for.

One SQLite file for each engine, used by several clients at once. The data itself stays with the
engine, which is told by its endpoint, and by a *canary*: a result stored there, which is not found
any more when the engine has lost what it had.
"""

from __future__ import annotations

import sqlite3
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import msgpack

from armoflow import config, index_entries, index_makings
from armoflow.errors import EngineError
from armoflow.index_entries import Key
from armoflow.index_files import VARIABLE
from armoflow.index_makings import Making
from armoflow.system.disk_faults import why_unwritable

_FORMAT = b"2"
_UPGRADED = b"1"
"""The format before, of which what was known is taken over."""

_PATIENCE = 30.0
_NO_SENSE = (struct.error, TypeError, ValueError, msgpack.UnpackException)
"""What reading a row ends with that nobody of armoflow has written so."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS data (
    id INTEGER PRIMARY KEY, opaque BLOB NOT NULL UNIQUE, size INTEGER NOT NULL,
    checksum INTEGER NOT NULL, seconds REAL NOT NULL, task TEXT NOT NULL, version TEXT,
    made REAL NOT NULL, used REAL NOT NULL);
CREATE INDEX IF NOT EXISTS data_of_task ON data (task, id);
CREATE TABLE IF NOT EXISTS expected (
    session TEXT NOT NULL, result TEXT NOT NULL, task TEXT NOT NULL, version TEXT,
    keys BLOB NOT NULL, since REAL NOT NULL);
CREATE INDEX IF NOT EXISTS expected_results ON expected (session, result);
CREATE TABLE IF NOT EXISTS departed (
    key BLOB PRIMARY KEY, why TEXT NOT NULL, at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS departed_at ON departed (at);
CREATE TABLE IF NOT EXISTS recipes (
    data INTEGER PRIMARY KEY, output INTEGER NOT NULL, recipe BLOB NOT NULL, modules TEXT);
CREATE INDEX IF NOT EXISTS recipes_of_modules ON recipes (modules);
CREATE TABLE IF NOT EXISTS bundles (modules TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS recipes_go AFTER DELETE ON data BEGIN
    DELETE FROM recipes WHERE data = OLD.id; END;
CREATE TRIGGER IF NOT EXISTS bundles_go AFTER DELETE ON recipes BEGIN
    DELETE FROM bundles WHERE modules = OLD.modules
    AND NOT EXISTS (SELECT 1 FROM recipes WHERE modules = OLD.modules); END;
"""


class UnusableIndexError(EngineError):
    """An index cannot be opened, read or written: what asks for values can do without."""


class Data(NamedTuple):
    """What an engine stores: an envelope with the values of one task.

    Attributes:
        opaque_id: The engine's name for it.
        size: Its bytes.
        checksum: What its header must say.
        seconds: How long it took to make.
        task: The name of the task.
        version: What stood for the task's code.
        made: When, in seconds since 1970.
    """

    opaque_id: bytes
    size: int
    checksum: int
    seconds: float
    task: str
    version: str | None
    made: float


class Expected(NamedTuple):
    """A result that will be entered once it is there, by its client or by a later one.

    Attributes:
        session: Id of its session.
        result: Its id.
        keys: The keys of its slots.
        task: The name of the task.
        version: What stands for the task's code.
        since: Since when, in seconds since 1970.
    """

    session: str
    result: str
    keys: Sequence[tuple[Key, int]]
    task: str
    version: str | None
    since: float


class CachedPlace(NamedTuple):
    """Where a value is."""

    data: Data
    slot: int


class Measured(NamedTuple):
    """What calls of a task took, on average.

    Attributes:
        seconds: Each; None: it is not known.
        size: Bytes of the value of each; None: it is not known.
    """

    seconds: float | None = None
    size: float | None = None


class Index:
    """An index file, open; used by any thread.

    Attributes:
        path: The file, if it is one.
        closed: It was closed.

    Args:
        path: The file; None: one in memory, which goes with this object.
        engine: What its engine is told by, to be shown.

    Raises:
        UnusableIndexError: If it cannot be opened.
    """

    def __init__(self, path: Path | None, engine: str = "") -> None:
        self.path = path
        self.closed = False
        self._lock = threading.Lock()
        try:
            if path is not None:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                ":memory:" if path is None else path,
                timeout=_PATIENCE,
                isolation_level=None,
                check_same_thread=False,
            )
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute(f"PRAGMA cache_size=-{config.CACHE_INDEX_BYTES // config.KIB}")
            self._connection.executescript(index_entries.SCHEMA + index_makings.SCHEMA + _SCHEMA)
        except (OSError, sqlite3.Error) as error:
            why = "" if path is None else why_unwritable(path.parent)
            raise UnusableIndexError(
                f"the index of the cache cannot be opened at {path}: {error}; "
                f"{f'{why}: ' if why else ''}the variable {VARIABLE} may name another directory"
            ) from error
        if self.fact("format") in (None, _UPGRADED):
            self._begin(engine)
        if self.fact("format") != _FORMAT:
            raise UnusableIndexError(f"{path} is the index of another armoflow: remove it")

    def _begin(self, engine: str) -> None:
        """Write down what it is, unless another client has done so meanwhile."""
        with self._using("IMMEDIATE") as execute:
            found = execute("SELECT value FROM facts WHERE name = 'format'").fetchone()
            if found == (_UPGRADED,):
                index_entries.upgrade(self._connection)
            if found in (None, (_UPGRADED,)):
                execute("INSERT OR REPLACE INTO facts VALUES ('format', ?)", (_FORMAT,))
                execute("INSERT OR IGNORE INTO facts VALUES ('engine', ?)", (engine.encode(),))

    def close(self) -> None:
        """Close it."""
        with self._lock:
            self.closed = True
            self._connection.close()

    # --- facts ----------------------------------------------------------------------------------

    def fact(self, name: str) -> bytes | None:
        """What is noted under a name."""
        with self._using("DEFERRED") as execute:
            row = execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else row[0]

    def set_fact(self, name: str, value: bytes) -> None:
        """Note something."""
        with self._using("IMMEDIATE") as execute:
            execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    # --- entries --------------------------------------------------------------------------------

    def find(self, keys: Iterable[Key]) -> dict[Key, CachedPlace]:
        """Where values are, of those that are known; they count as used now."""
        found: dict[Key, CachedPlace] = {}
        known: dict[int, Data] = {}
        with self._using("DEFERRED") as execute:  # as it is at one moment: others may forget
            for key, number, slot in index_entries.find(execute, keys):
                data = known.get(number)
                if data is None:
                    data = known[number] = _data(execute, number)
                found[key] = CachedPlace(data, slot)
        if known:
            now = time.time()
            with self._using("IMMEDIATE") as execute:
                for number in known:
                    execute("UPDATE data SET used = ? WHERE id = ?", (now, number))
        return found

    def add(
        self,
        entries: Iterable[tuple[Data, Sequence[tuple[Key, int]]]],
        makings: Iterable[tuple[bytes, Making]] = (),
    ) -> None:
        """Enter data, each with its keys and their slots; what was known of these keys goes.

        Args:
            entries: The data.
            makings: What keys were made of, by the opaque ids of some of it.
        """
        with self._using("IMMEDIATE") as execute:
            for data, keys in entries:
                execute(
                    "INSERT INTO data (opaque, size, checksum, seconds, task, version, made, used)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
                    " ON CONFLICT (opaque) DO UPDATE SET used = excluded.used",
                    (*data, data.made),
                )
                (number,) = execute("SELECT id FROM data WHERE opaque = ?", data[:1]).fetchone()
                index_entries.add(self._connection, number, keys)
            index_makings.add(execute, makings)

    def forget(self, opaque_ids: Iterable[bytes]) -> None:
        """Data is gone: so are its entries, and what explains only these."""
        with self._using("IMMEDIATE") as execute:
            for opaque_id in opaque_ids:
                row = execute("SELECT id FROM data WHERE opaque = ?", (opaque_id,)).fetchone()
                if row is not None:
                    index_entries.remove(execute, row[0])
                    execute("DELETE FROM data WHERE id = ?", row)
                    index_makings.forget(execute, row[0])

    def clear(self) -> int:
        """The engine has lost everything: so does the index. Returns how many entries that were."""
        with self._using("IMMEDIATE") as execute:
            count = index_entries.clear(execute)
            for table in ("data", "makings", "codes", "making_of_data", "expected"):
                execute(f"DELETE FROM {table}")
        return count

    def measured(self, task: str) -> Measured:
        """What calls of a task took, of those whose values were kept last."""
        query = (
            "SELECT SUM(seconds), SUM(size), SUM(slots)"
            " FROM (SELECT id, seconds, size FROM data WHERE task = ? AND seconds > 0"
            " ORDER BY id DESC LIMIT 100) AS latest JOIN keys ON keys.data = latest.id"
        )
        with self._using("DEFERRED") as execute:
            seconds, size, values = execute(query, (task,)).fetchone()
        if not values:
            return Measured()
        return Measured(seconds / values or None, size / values)

    # --- what explains them ---------------------------------------------------------------------

    def makings(self, task: str, before: float) -> list[Making]:
        """What earlier keys of a task were made of, without the code's parts; the newest first."""
        query = "SELECT task, parts, code FROM makings WHERE task = ? AND made < ? ORDER BY id DESC"
        with self._using("DEFERRED") as execute:
            return [Making(*row) for row in execute(query, (task, before)).fetchall()]

    def code_parts(self, digest: bytes) -> bytes | None:
        """What is kept of code, by its digest."""
        with self._using("DEFERRED") as execute:
            row = execute("SELECT parts FROM codes WHERE digest = ?", (digest,)).fetchone()
        return None if row is None else row[0]

    # --- what is under way ----------------------------------------------------------------------

    def expect(self, expected: Iterable[Expected]) -> None:
        """Note results that are not there yet."""
        rows = [
            (each.session, each.result, each.task, each.version, _packed(each.keys), each.since)
            for each in expected
        ]
        with self._using("IMMEDIATE") as execute:
            for row in rows:
                execute("INSERT INTO expected VALUES (?, ?, ?, ?, ?, ?)", row)

    def expected(self, *, besides: str) -> list[Expected]:
        """The results that were noted, but for those of one session."""
        columns = "session, result, keys, task, version, since"
        with self._using("DEFERRED") as execute:
            query = f"SELECT {columns} FROM expected WHERE session != ?"
            rows = execute(query, (besides,)).fetchall()
            return [Expected(row[0], row[1], _unpacked(row[2]), *row[3:]) for row in rows]

    def settle(self, results: Iterable[tuple[str, str]]) -> None:
        """Results, by session and id, that were entered or will not come."""
        with self._using("IMMEDIATE") as execute:
            for pair in results:
                execute("DELETE FROM expected WHERE session = ? AND result = ?", pair)

    # --- size -----------------------------------------------------------------------------------

    def size(self) -> int:
        """The bytes of all data."""
        with self._using("DEFERRED") as execute:
            return int(execute("SELECT coalesce(sum(size), 0) FROM data").fetchone()[0])

    def cheapest(self, size: int, used_before: float) -> list[Data]:
        """Data of so many bytes: first what took the fewest seconds for a byte, and the oldest.

        Args:
            size: Bytes, at least; less where there is no more.
            used_before: What was used since then is spared; in seconds since 1970.
        """
        columns = "opaque, size, checksum, seconds, task, version, made"
        query = f"""SELECT {columns} FROM data WHERE used < ?
            ORDER BY seconds / max(size, 1), used"""
        chosen: list[Data] = []
        with self._using("DEFERRED") as execute:
            for row in execute(query, (used_before,)):
                if size <= 0:
                    break
                chosen.append(Data(*row))
                size -= chosen[-1].size
        return chosen

    # --- transactions ---------------------------------------------------------------------------

    def reading(self) -> AbstractContextManager[Callable[..., sqlite3.Cursor]]:
        """A transaction that reads: all of it is as at one moment.

        Raises:
            EngineError: Says what went wrong with the file.
        """
        return self._using("DEFERRED")

    def writing(self) -> AbstractContextManager[Callable[..., sqlite3.Cursor]]:
        """A transaction that changes something: all of it, or nothing.

        Raises:
            EngineError: Says what went wrong with the file.
        """
        return self._using("IMMEDIATE")

    def copy(self, path: Path) -> None:
        """Write a copy, as it is at one moment, whoever uses it.

        Raises:
            EngineError: If that cannot be.
        """
        try:
            copied = sqlite3.connect(path)
            try:
                with self._lock:
                    self._connection.backup(copied)
            finally:
                copied.close()
        except sqlite3.Error as error:
            raise EngineError(
                f"a copy of the index cannot be written to {path}: {error}"
            ) from error

    @contextmanager
    def _using(self, kind: str) -> Iterator[Callable[..., sqlite3.Cursor]]:
        """A transaction; what goes wrong with the file in it leaves nothing behind.

        Raises:
            UnusableIndexError: Says what went wrong.
        """
        with self._lock:
            try:
                self._connection.execute(f"BEGIN {kind}")
                yield self._connection.execute
                self._connection.execute("COMMIT")
            except BaseException as error:
                with suppress(sqlite3.Error):  # what went wrong first is what is told
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                where = f"the index of the cache at {self.path}"
                if isinstance(error, sqlite3.Error):
                    raise UnusableIndexError(
                        f"{where} cannot be used: {error}; the variable {VARIABLE} may name "
                        "another directory"
                    ) from error
                if isinstance(error, _NO_SENSE):
                    raise UnusableIndexError(
                        f"{where} has a row that makes no sense ({error}): remove it, and what it "
                        "led to is computed anew"
                    ) from error
                raise


def _packed(keys: Sequence[tuple[Key, int]]) -> bytes:
    return bytes(msgpack.packb([part for key, slot in keys for part in (*key, slot)]))


def _unpacked(data: bytes) -> list[tuple[Key, int]]:
    parts = msgpack.unpackb(data)
    return [
        ((key, item), slot)
        for key, item, slot in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    ]


def _data(execute: Callable[..., sqlite3.Cursor], number: int) -> Data:
    columns = "opaque, size, checksum, seconds, task, version, made"
    return Data(*execute(f"SELECT {columns} FROM data WHERE id = ?", (number,)).fetchone())
