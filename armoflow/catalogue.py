"""What is in a cache, as it is listed: by tasks, and one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from armoflow.errors import UnknownIdError
from armoflow.index import Index


class TaskSummary(NamedTuple):
    """What is kept of one task.

    Attributes:
        task: Its name.
        version: What stands for its code, if something does.
        values: How many values.
        results: In how many results of the engine.
        size: Bytes of these.
        seconds: How long they took to make.
        made: When the newest was made, in seconds since 1970.
        used: When one was used last.
    """

    task: str
    version: str | None
    values: int
    results: int
    size: int
    seconds: float
    made: float
    used: float


class KeptResult(NamedTuple):
    """One result with the values of a task.

    Attributes:
        number: Its number in the index.
        opaque_id: The engine's name for its data.
        task: The task's name.
        version: What stands for its code, if something does.
        values: How many values are in it.
        size: Its bytes.
        seconds: How long it took to make.
        made: When it was made, in seconds since 1970.
        used: When it was used last.
    """

    number: int
    opaque_id: bytes
    task: str
    version: str | None
    values: int
    size: int
    seconds: float
    made: float
    used: float


_VALUES = "(SELECT slots FROM keys WHERE keys.data = data.id)"


def summaries(index: Index) -> list[TaskSummary]:
    """What is kept, by tasks; the largest first."""
    query = (
        f"SELECT task, version, SUM({_VALUES}), COUNT(*), SUM(size), SUM(seconds), MAX(made),"
        " MAX(used) FROM data GROUP BY task, version ORDER BY SUM(size) DESC"
    )
    with index.reading() as execute:
        return [TaskSummary(*row) for row in execute(query).fetchall()]


def results_of(index: Index, name: str) -> list[KeptResult]:
    """What is kept of a task, or of one version of it; the newest first.

    Args:
        index: Says where it is.
        name: The task's name, or ``name@version``.

    Raises:
        UnknownIdError: If nothing is kept of it; says of which tasks something is.
    """
    task, at, version = name.rpartition("@")
    with index.reading() as execute:
        query = (
            f"SELECT id, opaque, task, version, {_VALUES}, size, seconds, made, used FROM data"
            " WHERE {} ORDER BY id DESC"
        )
        rows = execute(query.format("task = ?"), (name,)).fetchall()
        if not rows and at:
            where = query.format("task = ? AND version = ?")
            rows = execute(where, (task, version)).fetchall()
        if rows:
            return [KeptResult(*row) for row in rows]
        known = [row[0] for row in execute("SELECT DISTINCT task FROM data LIMIT 20")]
    there = f"there is something of {', '.join(map(repr, known))}" if known else "it is empty"
    raise UnknownIdError(f"the cache has nothing of {name!r}: {there}")


def every_result(index: Index) -> list[int]:
    """The numbers of all results."""
    with index.reading() as execute:
        return [row[0] for row in execute("SELECT id FROM data ORDER BY id")]


def numbered(index: Index, numbers: Sequence[int]) -> list[KeptResult]:
    """Results by their numbers.

    Raises:
        UnknownIdError: If there is none with a number.
    """
    query = (
        f"SELECT id, opaque, task, version, {_VALUES}, size, seconds, made, used FROM data"
        " WHERE id = ?"
    )
    found = []
    with index.reading() as execute:
        for number in numbers:
            row = execute(query, (number,)).fetchone()
            if row is None:
                raise UnknownIdError(f"the cache has no result {number}: see armoflow cache show")
            found.append(KeptResult(*row))
    return found


def parts_of(index: Index, number: int) -> list[bytes]:
    """What the keys of a result's values were made of, encoded."""
    query = "SELECT parts FROM makings JOIN making_of_data ON making = makings.id WHERE data = ?"
    with index.reading() as execute:
        return [row[0] for row in execute(query, (number,)).fetchall()]
