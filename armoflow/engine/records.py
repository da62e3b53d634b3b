"""What the engine knows: sessions, tasks, results, and the changes that commands make to them."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

make_tuple = tuple.__new__
"""``make_tuple(Event, (kind, record, status))``: half the price of calling the class."""


class SessionStatus(enum.IntEnum):
    """Numbers of the API (session_status.proto)."""

    RUNNING = 1
    CANCELLED = 2
    PAUSED = 3
    CLOSED = 4
    PURGED = 5
    DELETED = 6


class TaskStatus(enum.IntEnum):
    """Numbers of the API (task_status.proto)."""

    CREATING = 1
    SUBMITTED = 2
    DISPATCHED = 3
    COMPLETED = 4
    ERROR = 5
    TIMEOUT = 6
    CANCELLING = 7
    CANCELLED = 8
    PROCESSING = 9
    PROCESSED = 10
    RETRIED = 11
    PENDING = 12
    PAUSED = 13


class ResultStatus(enum.IntEnum):
    """Numbers of the API (result_status.proto)."""

    CREATED = 1
    COMPLETED = 2
    ABORTED = 3
    DELETED = 4


FINAL = frozenset(
    {
        TaskStatus.COMPLETED,
        TaskStatus.ERROR,
        TaskStatus.TIMEOUT,
        TaskStatus.CANCELLED,
        TaskStatus.RETRIED,
    }
)


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """Task options as the API has them; durations in seconds. Empty and zero mean inherit."""

    max_duration: float = 0.0
    max_retries: int = 0
    priority: int = 0
    partition_id: str = ""
    application_name: str = ""
    application_version: str = ""
    application_namespace: str = ""
    application_service: str = ""
    engine_type: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class SessionRecord:
    """A session; dates in seconds since the epoch.

    A ``leased`` session ends some time after its client is gone. ``sweeping``: its status was
    changed by a command that has not come to all of its tasks and results yet. ``newest`` is when
    the last of its tasks and results was created; not of sessions from before a restart, as it is
    not journalled.
    """

    id: str
    partition_ids: tuple[str, ...]
    options: ApiOptions
    created_at: float
    status: SessionStatus = SessionStatus.RUNNING
    client_submission: bool = True
    worker_submission: bool = True
    cancelled_at: float | None = None
    closed_at: float | None = None
    purged_at: float | None = None
    deleted_at: float | None = None
    duration: float | None = None
    leased: bool = False
    sweeping: bool = False
    newest: float | None = field(default=None, compare=False)


@dataclass(slots=True, eq=False)
class ResultRecord:
    """A result; ``dependents`` are the ids of unfinished tasks that wait for it."""

    id: str
    session_id: str
    name: str
    created_at: float
    status: ResultStatus = ResultStatus.CREATED
    created_by: str = ""
    owner_task_id: str = ""
    completed_at: float | None = None
    size: int = 0
    opaque_id: bytes = b""
    manual_deletion: bool = False
    dependents: list[str] | None = None


@dataclass(slots=True, eq=False)
class TaskRecord:
    """A task; ``remaining`` counts the inputs, payload included, that are not completed yet.

    ``order`` is the place in its partition's queue among tasks of equal priority: client tasks in
    the order of submission, children before everything older, so that graphs run depth first.
    ``created_by`` is the task that created it, the attempt before for a retry, and empty for a
    client's; ``depth`` is how many stand above it, the session included. Who they are is read when
    it is asked for (:mod:`armoflow.engine.lineage`): lists of them would make a chain of n tasks
    cost n squared. A queued task is not handed out before ``not_before`` (0.0: at once).
    ``may_submit`` is the session's ``worker_submission`` when the task was acquired: a running task
    keeps the right to submit children. It is not journalled, no acquisition survives a restart.
    ``counted`` is the status under which the engine counts it.
    """

    id: str
    session_id: str
    payload_id: str
    dependencies: tuple[str, ...]
    outputs: tuple[str, ...]
    options: ApiOptions
    created_at: float
    initial_id: str
    depth: int = 1
    created_by: str = ""
    retry_of: tuple[str, ...] = ()
    status: TaskStatus = TaskStatus.CREATING
    remaining: int = 0
    order: int = 0
    owner: str = ""
    success: bool = True
    error: str = ""
    submitted_at: float | None = None
    received_at: float | None = None
    acquired_at: float | None = None
    fetched_at: float | None = None
    started_at: float | None = None
    processed_at: float | None = None
    ended_at: float | None = None
    pod_ttl: float | None = None
    not_before: float = 0.0
    may_submit: bool = True
    counted: TaskStatus | None = field(default=None, compare=False)

    @property
    def has_durations(self) -> bool:
        """Whether it is told how long it took: not of what was stopped, as in ArmoniK.Core.

        A task that was cancelled in the queue has ended, there, and one that waited or ran has not.
        """
        if self.status is TaskStatus.CANCELLED:
            return not (self.success or self.owner)
        return self.ended_at is not None and self.status is not TaskStatus.CANCELLING


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition, fixed when the engine starts."""

    id: str
    parent_ids: tuple[str, ...] = ()
    pod_reserved: int = 0
    pod_max: int = 0
    preemption_percentage: int = 0
    priority: int = 1
    configuration: Mapping[str, str] = field(default_factory=dict)


class Stored(NamedTuple):
    """Data that the object store holds: its opaque id and its size in bytes."""

    opaque_id: bytes
    size: int


class NewResult(NamedTuple):
    """A result to create; with ``stored`` it is completed at once (CreateResults)."""

    id: str
    name: str
    manual_deletion: bool = False
    stored: Stored | None = None


class NewTask(NamedTuple):
    """A task to create; ids are given by the caller, so that the state machine makes none."""

    id: str
    payload_id: str
    dependencies: Sequence[str]
    outputs: Sequence[str]
    options: ApiOptions | None = None


class StateError(Exception):
    """A command that is refused; nothing was changed.

    Attributes:
        code: A gRPC status code's name.
        result_ids: Where inputs are aborted or deleted, all of them.
    """

    def __init__(self, code: str, message: str, result_ids: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.result_ids = tuple(result_ids)


class RefusedInputsError(StateError):
    """A submission is refused for its payloads or dependencies."""


class EventKind(enum.IntEnum):
    """Numbers of the API (EventsEnum)."""

    NEW_TASK = 1
    TASK_STATUS_UPDATE = 2
    NEW_RESULT = 3
    RESULT_STATUS_UPDATE = 4
    RESULT_OWNER_UPDATE = 5


class Event(NamedTuple):
    """One event: what happened to which record, with the status at that moment."""

    kind: EventKind
    record: TaskRecord | ResultRecord
    status: int


@dataclass(slots=True)
class Changes:
    """What a command changed: to be journalled, then told.

    Attributes:
        sessions: Sessions to write, by id.
        tasks: Tasks to write, by id.
        results: Results to write, by id.
        removed_sessions: Ids of sessions whose rows, and those of all their tasks and results, go.
        events: What watchers are told once the change is committed, in order.
        ready: Tasks that are queued now.
        delayed: Tasks that are queued at their ``not_before``.
        interrupted: Tasks that an agent runs and must stop.
        deleted: Opaque ids of data to delete once the change is committed.
    """

    sessions: dict[str, SessionRecord] = field(default_factory=dict)
    tasks: dict[str, TaskRecord] = field(default_factory=dict)
    results: dict[str, ResultRecord] = field(default_factory=dict)
    removed_sessions: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    ready: list[TaskRecord] = field(default_factory=list)
    delayed: list[TaskRecord] = field(default_factory=list)
    interrupted: list[TaskRecord] = field(default_factory=list)
    deleted: list[bytes] = field(default_factory=list)
