"""What the keys in an index were made of, kept beside the data to explain others by."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple

from armoflow import config
from armoflow.index_entries import Execute

SCHEMA = """
CREATE TABLE IF NOT EXISTS codes (digest BLOB PRIMARY KEY, parts BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS makings (
    id INTEGER PRIMARY KEY, parts BLOB NOT NULL UNIQUE, task TEXT NOT NULL, code BLOB,
    made REAL NOT NULL);
CREATE INDEX IF NOT EXISTS makings_of_task ON makings (task, id);
CREATE INDEX IF NOT EXISTS makings_of_code ON makings (code);
CREATE TABLE IF NOT EXISTS making_of_data (
    data INTEGER NOT NULL, making INTEGER NOT NULL, PRIMARY KEY (data, making)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS data_of_making ON making_of_data (making);
"""


class Making(NamedTuple):
    """What the keys of a node's values were made of, as it is kept to explain others by.

    Attributes:
        task: Module and qualified name of the function.
        parts: All but the code, encoded; what is equal is kept once.
        code: The digest of the code, if that is part of the keys.
        code_parts: What the code is, encoded; kept once for all that have the digest.
    """

    task: str
    parts: bytes
    code: bytes | None = None
    code_parts: bytes = b""


def add(execute: Execute, makings: Iterable[tuple[bytes, Making]]) -> None:
    """Note what keys were made of, by the opaque ids of the data; of each task the newest."""
    now = time.time()
    tasks = set()
    for opaque_id, making in makings:
        tasks.add(making.task)
        if making.code is not None:
            code = (making.code, making.code_parts)
            execute("INSERT OR IGNORE INTO codes VALUES (?, ?)", code)
        row = (making.parts, making.task, making.code, now)
        execute("INSERT OR IGNORE INTO makings (parts, task, code, made) VALUES (?, ?, ?, ?)", row)
        execute(
            "INSERT OR IGNORE INTO making_of_data SELECT data.id, makings.id FROM data, makings"
            " WHERE data.opaque = ? AND makings.parts = ?",
            (opaque_id, making.parts),
        )
    for task in tasks:
        query = "SELECT id FROM makings WHERE task = ? ORDER BY id DESC LIMIT -1 OFFSET ?"
        for (making_id,) in execute(query, (task, config.CACHE_MAKINGS)).fetchall():
            execute("DELETE FROM making_of_data WHERE making = ?", (making_id,))
            _forget_making(execute, making_id)


def forget(execute: Execute, data: int) -> None:
    """Data is gone; what explains other data stays."""
    rows = execute("SELECT making FROM making_of_data WHERE data = ?", (data,)).fetchall()
    execute("DELETE FROM making_of_data WHERE data = ?", (data,))
    for (making,) in rows:
        left = execute("SELECT 1 FROM making_of_data WHERE making = ? LIMIT 1", (making,))
        if left.fetchone() is None:
            _forget_making(execute, making)


def _forget_making(execute: Execute, making: int) -> None:
    (code,) = execute("SELECT code FROM makings WHERE id = ?", (making,)).fetchone()
    execute("DELETE FROM makings WHERE id = ?", (making,))
    query = "DELETE FROM codes WHERE digest = ? AND NOT EXISTS"
    execute(f"{query} (SELECT 1 FROM makings WHERE code = ?)", (code, code))
