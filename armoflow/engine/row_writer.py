"""Writes a batch of the journal as rows: few statements, one transaction."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import Any, Final

from armoflow.engine import schema
from armoflow.engine.transaction import Transaction

CHUNKS: Final = {"tasks": (256, 64, 16, 4, 1), "results": (512, 128, 32, 8, 2, 1)}
"""Rows in one statement, by table: few statements for any number of rows."""

DATA_CHUNKS: Final = (16, 4, 1)
OTHER_CHUNKS: Final = (1,)


class RowWriter:
    """Writes batches; in one thread at a time."""

    def __init__(self) -> None:
        self._statements: dict[tuple[str, int], str] = {}

    def write(self, connection: sqlite3.Connection, batch: Transaction) -> None:
        """Write a batch whole, or nothing of it."""
        try:
            self._transact(connection, batch)
        except UnicodeEncodeError:
            # A lone surrogate in a text; rare, so looked for only when it was found.
            for table, values in batch.values.items():
                batch.values[table] = [_encodable(value) for value in values]
            self._transact(connection, batch)

    def _transact(self, connection: sqlite3.Connection, batch: Transaction) -> None:
        execute = connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            if batch.meta:
                connection.executemany(
                    "INSERT OR REPLACE INTO meta VALUES(?, ?)", list(batch.meta.items())
                )
            for table, rows in batch.removed.items():
                _delete(connection, table, rows)
            for table, values in batch.values.items():
                self._insert(connection, table, values, CHUNKS.get(table, OTHER_CHUNKS))
            if batch.data:
                data = [part for item in batch.data.items() for part in item]
                self._insert(connection, "objects", data, DATA_CHUNKS)
            if batch.deleted:
                _delete(connection, "objects", batch.deleted)
            execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # what went wrong first is what is told
                if connection.in_transaction:
                    execute("ROLLBACK")
            raise

    def _insert(
        self,
        connection: sqlite3.Connection,
        table: str,
        values: list[Any],
        chunks: tuple[int, ...],
    ) -> None:
        width = len(schema.COLUMNS[table])
        start = 0
        left = len(values) // width
        for count in chunks:
            while left >= count:
                end = start + count * width
                connection.execute(self._statement(table, count), values[start:end])
                start = end
                left -= count

    def _statement(self, table: str, count: int) -> str:
        statement = self._statements.get((table, count))
        if statement is None:
            statement = self._statements[table, count] = schema.write_statement(table, count)
        return statement


def _delete(connection: sqlite3.Connection, table: str, keys: list[Any]) -> None:
    for count in (256, 16, 1):
        sql = f"DELETE FROM {table} WHERE rowid IN ({','.join('?' * count)})"
        while len(keys) >= count:
            connection.execute(sql, keys[:count])
            keys = keys[count:]


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    return value
