"""The changes of one transaction of the journal."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from armoflow.engine import rows
from armoflow.engine.records import (
    ApiOptions,
    Changes,
    Event,
    ResultRecord,
    SessionRecord,
    TaskRecord,
)

KNOWN_OPTIONS: Final = 4096
"""Task options that are remembered as written."""


class Transaction:
    """The changes of one transaction.

    Attributes:
        since: When the first of them came, by the event loop's clock.
    """

    __slots__ = (
        "data",
        "deleted",
        "events",
        "future",
        "meta",
        "removed",
        "results",
        "rows",
        "sessions",
        "since",
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
        self.meta: dict[str, str] = {}
        self.removed: dict[str, list[int]] = {}
        self.data: dict[int, bytes] = {}
        self.deleted: list[int] = []
        self.unlink: list[Path] = []
        self.synchronize: list[Path] = []
        self.events: list[Collection[Event]] = []
        self.values: dict[str, list[Any]] = {}
        self.rows = 0
        self.since: float | None = None

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
        if changes.removed_sessions:
            self._leave_out(set(changes.removed_sessions))

    def _leave_out(self, removed: Collection[str]) -> None:
        """Write no tasks and results of sessions that go; those that are written go later."""
        self.tasks = {key: v for key, v in self.tasks.items() if v.session_id not in removed}
        self.results = {key: v for key, v in self.results.items() if v.session_id not in removed}

    def freeze(self, options: OptionsRows) -> None:
        """Turn the records into the values of their rows; later changes belong to other batches."""
        known = options.known
        written: list[Any] = []
        for records in (self.tasks, self.sessions):
            last = None
            for record in records.values():
                if record.options is not last:  # many tasks share them
                    last = record.options
                    if id(last) not in known:
                        written += options.add(last)
        self.rows = len(self.tasks) + len(self.results) + len(self.data)
        self.values = {
            "options": written,
            "sessions": rows.session_values(self.sessions.values(), known),
            "tasks": rows.task_values(self.tasks.values(), known),
            "results": rows.result_values(self.results.values()),
        }


class OptionsRows:
    """Rows of task options: tasks share them, each is written once.

    ``known`` gives the row by the identity of the object; the objects are kept, so that an
    identity is not used again.
    """

    def __init__(self, next_row: int) -> None:
        self.known: dict[int, int] = {}
        self._kept: list[ApiOptions] = []
        self._rows: dict[tuple[Any, ...], int] = {}
        self._next = next_row

    def add(self, options: ApiOptions) -> list[Any]:
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
