"""The only ways a status changes: on the record, in the changes, and in the events, together.

Plain functions and module constants: they run several times per task.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat

from armoflow.engine.records import (
    Changes,
    Event,
    EventKind,
    ResultRecord,
    ResultStatus,
    SessionStatus,
    TaskRecord,
    TaskStatus,
    make_tuple,
)

# Looking up an enumeration's member costs more than a global in CPython 3.11.
NEW_TASK = EventKind.NEW_TASK
TASK_STATUS = EventKind.TASK_STATUS_UPDATE
NEW_RESULT = EventKind.NEW_RESULT
RESULT_STATUS = EventKind.RESULT_STATUS_UPDATE
RESULT_OWNER = EventKind.RESULT_OWNER_UPDATE

RUNNING = SessionStatus.RUNNING
SESSION_PAUSED = SessionStatus.PAUSED
SESSION_CANCELLED = SessionStatus.CANCELLED
SESSION_PURGED = SessionStatus.PURGED
SESSION_DELETED = SessionStatus.DELETED

CREATING = TaskStatus.CREATING
PENDING = TaskStatus.PENDING
SUBMITTED = TaskStatus.SUBMITTED
DISPATCHED = TaskStatus.DISPATCHED
PROCESSING = TaskStatus.PROCESSING
PAUSED = TaskStatus.PAUSED
CANCELLING = TaskStatus.CANCELLING
CANCELLED = TaskStatus.CANCELLED
TASK_COMPLETED = TaskStatus.COMPLETED
ERROR = TaskStatus.ERROR
TIMEOUT = TaskStatus.TIMEOUT
RETRIED = TaskStatus.RETRIED

CREATED = ResultStatus.CREATED
COMPLETED = ResultStatus.COMPLETED
ABORTED = ResultStatus.ABORTED
DELETED = ResultStatus.DELETED


def tell(
    changes: Changes,
    kind: EventKind,
    records: Iterable[TaskRecord] | Iterable[ResultRecord],
    status: int,
) -> None:
    """Add one event of this kind for each record."""
    changes.events.extend(
        map(make_tuple, repeat(Event), zip(repeat(kind), records, repeat(status)))
    )


def set_task(changes: Changes, task: TaskRecord, status: TaskStatus) -> None:
    """Give a task another status."""
    task.status = status
    changes.tasks[task.id] = task
    changes.events.append(make_tuple(Event, (TASK_STATUS, task, status)))


def end_task(
    changes: Changes, now: float, task: TaskRecord, status: TaskStatus, error: str
) -> None:
    """End a task in failure."""
    task.success = False
    task.error = error
    if task.ended_at is None:
        task.ended_at = now
    set_task(changes, task, status)


def begin_cancel(changes: Changes, now: float, task: TaskRecord) -> None:
    """Make a task cancelling; what its output says stays as it was, as in ArmoniK.Core."""
    if task.ended_at is None:
        task.ended_at = now
    set_task(changes, task, CANCELLING)


def cancel_queued(changes: Changes, now: float, task: TaskRecord) -> None:
    """End a task that was cancelled in the queue: without success, and without a text."""
    task.success = False
    if task.ended_at is None:
        task.ended_at = now
    set_task(changes, task, CANCELLED)


def set_result(changes: Changes, result: ResultRecord, status: ResultStatus) -> None:
    """Give a result another status."""
    result.status = status
    changes.results[result.id] = result
    changes.events.append(make_tuple(Event, (RESULT_STATUS, result, status)))


def set_owner(changes: Changes, result: ResultRecord, task_id: str) -> None:
    """Give a result to the task that must produce it."""
    result.owner_task_id = task_id
    changes.results[result.id] = result
    changes.events.append(make_tuple(Event, (RESULT_OWNER, result, result.status)))
