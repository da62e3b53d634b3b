"""Who stands above a task: its session, and every task down to the one that created it.

A task's row names its creator only, so that a chain of n tasks takes room in proportion to n. The
whole list is put together when somebody reads it, in one question for all tasks of a page.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from armoflow.engine.records import StateError, TaskRecord

MAXIMUM_IDS: Final = 1_000_000
"""Ids in the lists of one page of tasks: some 40 MB of a reply."""

CACHE_IDS: Final = 200_000
"""Ids in the lists that are remembered: whoever follows a chain asks for one task after another."""

_SQL: Final = """
WITH RECURSIVE line(id, above, again) AS (
    SELECT id, CASE retry_of WHEN '' THEN created_by ELSE initial_id END, retry_of<>''
    FROM tasks WHERE id IN (SELECT value FROM json_each(?))
    UNION
    SELECT t.id, CASE t.retry_of WHEN '' THEN t.created_by ELSE t.initial_id END, t.retry_of<>''
    FROM line JOIN tasks t ON t.id=line.above
)
SELECT json_group_array(json_array(id, above, again)) FROM line
"""


class _Link(NamedTuple):
    """The task above another one, or (``again``) its first attempt, which has the same above it."""

    above: str
    again: bool


def check_page(tasks: Sequence[TaskRecord]) -> None:
    """Refuse a page of tasks whose lists are too long for one reply.

    Raises:
        StateError: RESOURCE_EXHAUSTED, with the size of a page that is not too long.
    """
    total = sum(task.depth for task in tasks)
    if total > MAXIMUM_IDS and len(tasks) > 1:
        fitting = max(1, MAXIMUM_IDS * len(tasks) // total)
        raise StateError(
            "RESOURCE_EXHAUSTED",
            f"these {len(tasks)} tasks have {total} parents in all, more than one reply carries: "
            f"ask for a page_size of {fitting}, or for ListTasks, which counts them",
        )


class Lineages:
    """Reads the lists; what a call of :meth:`read` found is remembered within bounds."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, ...]] = {}
        self._known_ids = 0

    def read(
        self, connection: sqlite3.Connection, tasks: Sequence[TaskRecord]
    ) -> dict[str, tuple[str, ...]]:
        """For each task, by id: its session, then all tasks above it, the nearest last.

        Ancestors whose rows are gone (their session was deleted meanwhile) are left out.
        """
        lists: dict[str, tuple[str, ...]] = {}
        unknown = []
        for task in tasks:
            above = self._find(task)
            if above is None:
                unknown.append(task)
            else:
                lists[task.id] = above
        if unknown:
            links = _read_links(connection, [task.id for task in unknown])
            for task in unknown:
                lists[task.id] = _climb(task, links)
        for task in tasks:
            self._remember(task.id, lists[task.id])
        return lists

    def _find(self, task: TaskRecord) -> tuple[str, ...] | None:
        """What is known without a question."""
        if not task.created_by:
            return (task.session_id,)
        above = self._known.get(task.created_by)
        if above is None or above[0] != task.session_id:
            return None
        return above if task.retry_of else (*above, task.created_by)

    def _remember(self, task_id: str, above: tuple[str, ...]) -> None:
        if len(above) > CACHE_IDS or task_id in self._known:
            return
        if self._known_ids + len(above) > CACHE_IDS:
            self._known = {}  # another thread may read the old one
            self._known_ids = 0
        self._known[task_id] = above
        self._known_ids += len(above)


def _read_links(connection: sqlite3.Connection, task_ids: Iterable[str]) -> dict[str, _Link]:
    """The links of tasks and of all above them: as one text, since each row costs a wait."""
    text = connection.execute(_SQL, (json.dumps(list(task_ids)),)).fetchone()[0]
    return {task_id: _Link(above, bool(again)) for task_id, above, again in json.loads(text)}


def _climb(task: TaskRecord, links: Mapping[str, _Link]) -> tuple[str, ...]:
    above: list[str] = []
    link = links.get(task.id)
    while link is not None and link.above:
        if not link.again:
            above.append(link.above)
        link = links.get(link.above)
    return (task.session_id, *reversed(above))
