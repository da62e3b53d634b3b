"""States of tasks as a user asks for them, and what ArmoniK calls them."""

from __future__ import annotations

from collections.abc import Mapping

from armonik.common import TaskStatus

STATES: Mapping[str, tuple[str, ...]] = {
    "waiting": ("CREATING", "PENDING", "PAUSED"),
    "queued": ("SUBMITTED", "DISPATCHED"),
    "running": ("PROCESSING", "PROCESSED", "CANCELLING"),
    "done": ("COMPLETED",),
    "failed": ("ERROR", "TIMEOUT"),
    "cancelled": ("CANCELLED",),
    "retried": ("RETRIED",),
}
"""What a user asks for, and the statuses of ArmoniK's that are it."""

ENDED = frozenset(("done", "failed", "cancelled", "retried"))
"""States that are not left."""

_OF_STATUS = {name: state for state, names in STATES.items() for name in names}


def state_of(status: int) -> str:
    """The state that a status is; of those that are not known yet, 'waiting'.

    Example:
        >>> from armonik.common import TaskStatus
        >>> state_of(TaskStatus.TIMEOUT)
        'failed'
    """
    return _OF_STATUS.get(TaskStatus(status).name, "waiting")


def grouped(counts: Mapping[TaskStatus, int]) -> dict[str, int]:
    """Counts of tasks as a user asks for them."""
    by_name = {status.name: count for status, count in counts.items()}
    return {
        state: sum(by_name.get(status, 0) for status in statuses)
        for state, statuses in STATES.items()
    }
