"""What the batch extension tells of results: their data, their states, why they were aborted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from armoflow.codec.clipping import short_error
from armoflow.config import BATCH_BYTES
from armoflow.engine.core import Engine
from armoflow.engine.objects import is_file
from armoflow.engine.records import ResultRecord, ResultStatus, TaskRecord

ANSWER_BYTES = 4 * BATCH_BYTES
"""Bytes of data in one answer; the rest is downloaded."""


class Answers:
    """Reads what one engine knows."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def fetch(self, result_ids: Sequence[str], *, local: bool) -> list[Any]:
        """Data for each result: bytes, path and size, nothing to be downloaded, None if unknown."""
        records = await self._engine.read_results(result_ids)
        here = _within(ANSWER_BYTES, [records[key] for key in result_ids if key in records])
        found = await self._engine.objects.read_many(here)
        answers: list[Any] = []
        for key in result_ids:
            record = records.get(key)
            data = None if record is None else found.get(record.opaque_id)
            if record is None or (data is None and record.opaque_id in here):
                answers.append(None)
            elif isinstance(data, bytes):
                answers.append(data)
            else:
                # Elsewhere, or where there is too much for one message, the client downloads.
                answers.append([str(data), record.size] if local and data is not None else [])
        return answers

    async def poll(self, result_ids: Sequence[str]) -> list[Any]:
        """The changes of those that are final, once what is told is committed."""
        await self._engine.admission.promise(self._engine.committed())
        records = await self._engine.read_results(result_ids)
        changes = []
        for key in result_ids:
            record = records.get(key)
            if record is None:
                changes.append([key, ResultStatus.DELETED, 0, None, None, None])
            elif record.status is not ResultStatus.CREATED:
                changes.append([key, record.status, record.size, None, None, None])
        return changes

    async def failures(self, result_ids: Sequence[str]) -> list[Any]:
        """The tasks that own results, with their errors."""
        results = await self._engine.read_results(result_ids)
        owners = [record.owner_task_id for record in results.values() if record.owner_task_id]
        tasks = await self._engine.read_tasks(owners)
        failures: list[Any] = []
        total = 0
        for key in result_ids:
            record = results.get(key)
            task = None if record is None else tasks.get(record.owner_task_id)
            if task is not None:
                text = short_error(task.error)
                total += len(text)
                if total > ANSWER_BYTES and failures:
                    break  # who wants the others asks again
                failures.append([key, task.id, status_name(task), text])
        return failures


def status_name(task: TaskRecord) -> str:
    """A task's status as frames have it."""
    return task.status.name.lower()


def _within(limit: int, records: Iterable[ResultRecord]) -> set[bytes]:
    """The data that is read: files, which are only named, and what small data has room."""
    chosen: set[bytes] = {b""}  # no data, which is not found
    for record in records:
        opaque_id = record.opaque_id
        if opaque_id not in chosen and not is_file(opaque_id):
            limit -= record.size
            if limit < 0:
                continue
        chosen.add(opaque_id)
    return chosen
