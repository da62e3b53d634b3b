"""The entries of an index: which data has the value of a key, and in which slot.

There may be millions, and a client that ends waits until its own are in. So a row is told by a
number of 64 bits that is made of the key, and whole keys stand in one piece beside the data. They
are compared: of two keys with one number the newer one is known, and never taken for the other.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from operator import itemgetter
from typing import NamedTuple

from armoflow import config

Key = tuple[bytes, int]
"""A value's key, and which output of its node it is; -1 for what a filter leaves."""

Execute = Callable[..., sqlite3.Cursor]

SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY, data INTEGER NOT NULL, place INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS keys (
    data INTEGER PRIMARY KEY, records BLOB NOT NULL, slots INTEGER NOT NULL);
"""

_RECORD = struct.Struct("<32sii")
"""A key, the number of the output, and the slot."""


class IndexEntry(NamedTuple):
    """Where the value of a key is.

    Attributes:
        key: The key, as it was asked for.
        data: The number of the data.
        slot: The slot.
    """

    key: Key
    data: int
    slot: int


def find(execute: Execute, keys: Iterable[Key]) -> Iterator[IndexEntry]:
    """The entries of those keys that have one."""
    records: dict[int, bytes] = {}
    asked = iter(keys)
    while some := [(_number(key), key) for key in islice(asked, config.CACHE_ENTRIES_ASKED)]:
        marks = ",".join("?" * len(some))
        query = f"SELECT id, data, place FROM entries WHERE id IN ({marks})"
        rows = {row[0]: row for row in execute(query, [number for number, _ in some]).fetchall()}
        for number, key in some:
            if number not in rows:
                continue
            _, data, place = rows[number]
            if data not in records:
                records[data] = _records(execute, data)
            record = records[data][place : place + _RECORD.size]
            slot: int = _RECORD.unpack(record)[2]
            if record == _RECORD.pack(*key, slot):
                yield IndexEntry(key, data, slot)


def add(connection: sqlite3.Connection, data: int, keys: Sequence[tuple[Key, int]]) -> None:
    """Enter the keys of data, each with its slot: from now on they lead here."""
    before = _records(connection.execute, data)
    records = before + b"".join([_RECORD.pack(*key, slot) for key, slot in keys])
    slots = len({slot for _, _, slot in _RECORD.iter_unpack(records)})
    connection.execute("INSERT OR REPLACE INTO keys VALUES (?, ?, ?)", (data, records, slots))
    places = range(len(before), len(records), _RECORD.size)
    rows = [(_number(key), data, place) for (key, _), place in zip(keys, places, strict=True)]
    connection.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", rows)


def leading_to(execute: Execute, data: int) -> Iterator[Key]:
    """The keys of data that have not been entered with other data since."""
    for digest, item, _ in _RECORD.iter_unpack(_records(execute, data)):
        query = "SELECT 1 FROM entries WHERE id = ? AND data = ?"
        if execute(query, (_number((digest, item)), data)).fetchone() is not None:
            yield digest, item


def remove(execute: Execute, data: int) -> None:
    """Data goes, and all that leads to it."""
    for digest, item, _ in _RECORD.iter_unpack(_records(execute, data)):
        query = "DELETE FROM entries WHERE id = ? AND data = ?"
        execute(query, (_number((digest, item)), data))
    execute("DELETE FROM keys WHERE data = ?", (data,))


def clear(execute: Execute) -> int:
    """All goes; returns how many keys led somewhere."""
    execute("DELETE FROM keys")
    return execute("DELETE FROM entries").rowcount


def upgrade(connection: sqlite3.Connection) -> None:
    """Entries as the first format had them, whole keys in each row, become what they are now."""
    query = "SELECT data, key, item, slot FROM entries ORDER BY data"
    rows = connection.execute(query).fetchall()
    connection.execute("DROP TABLE entries")
    for statement in filter(str.strip, SCHEMA.split(";")):  # in the transaction that this is in
        connection.execute(statement)
    for data, some in groupby(rows, itemgetter(0)):
        add(connection, data, [((key, item), slot) for _, key, item, slot in some])


def _number(key: Key) -> int:
    digest, item = key
    return int.from_bytes(digest[:8], "little", signed=True) ^ item


def _records(execute: Execute, data: int) -> bytes:
    row = execute("SELECT records FROM keys WHERE data = ?", (data,)).fetchone()
    return b"" if row is None else row[0]
