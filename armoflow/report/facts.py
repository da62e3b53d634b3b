"""All that an engine knows of one task, as facts by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from armonik.common import Task, TaskStatus

from armoflow.codec.failure import ErrorRecord
from armoflow.codec.item_log import ItemRecord, ItemState
from armoflow.protocol.entities import moment, seconds
from armoflow.protocol.inspection import Inspection
from armoflow.protocol.item_inspection import ItemInspection


def task_facts(inspection: Inspection, task: Task) -> dict[str, Any]:
    """What is known of a task, with its error."""
    inputs, outputs = list(task.data_dependencies), list(task.expected_output_ids)
    names = inspection.names([*inputs, *outputs])
    options = task.options
    items = ItemInspection(inspection).of(task)
    return {
        "id": task.id,
        "name": next((names[output] for output in outputs if names.get(output)), None),
        "status": TaskStatus(task.status).name.lower(),
        "session": task.session_id,
        "application": options and options.application_name,
        "partition": options and options.partition_id,
        "pod": task.pod_hostname,
        "created": moment(task.created_at),
        "queued": moment(task.submitted_at),
        "started": moment(task.started_at),
        "ended": moment(task.ended_at),
        "seconds": seconds(task.processing_to_end_duration),
        "inputs": {each: names.get(each) for each in inputs},
        "outputs": {each: names.get(each) for each in outputs},
        "items": _counts(items.records),
        "failed items": [
            {
                "name": record.label,
                "attempts": record.attempts,
                "seconds": record.seconds,
                "error": error and error.summary,
                "traceback": error and str(error.cause()),
            }
            for record in items.records
            if record.state is ItemState.FAILED
            for error in (items.errors.get(record.label),)
        ],
        "payload": task.payload_id,
        "created by": task.created_by,
        "retry of": list(task.retry_of_ids),
        "options": options
        and {
            "priority": options.priority,
            "max_retries": options.max_retries,
            "max_duration": seconds(options.max_duration),
            **options.options,
        },
        "error": _error(task) and headline(task),
        "traceback": _traceback(task),
    }


def _counts(records: Sequence[ItemRecord]) -> dict[str, int]:
    """How many items a task ran, and what became of those that did not just complete."""
    states = Counter[str]()
    for record in records:
        states["ran"] += record.items
        if record.state:
            states[record.state.name.lower()] += record.items
        if record.attempts > 1:
            states["retried"] += 1
    return dict(states)


def _traceback(task: Task) -> str | None:
    """The traceback, or an error text that is not armoflow's, whole."""
    text = _error(task)
    if not text:
        return None
    record = ErrorRecord.find(text)  # without a key: it is read as data, nothing is unpickled
    return text if record is None else str(record.cause())


def headline(task: Task) -> str:
    """Why a task failed, in a line; its status, if nothing says why."""
    record = ErrorRecord.find(_error(task))
    text = _error(task).strip() if record is None else record.summary
    return text.splitlines()[0] if text else TaskStatus(task.status).name.lower()


def _error(task: Task) -> str:
    return (task.output and task.output.error) or ""
