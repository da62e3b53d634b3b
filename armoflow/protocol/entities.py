"""What an ArmoniK knows by an id, and what such things say: names, times, durations."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeAlias

from armonik.common import Result, Session, Task

from armoflow.protocol.frames import CHILD_PREFIX, KEPT_PREFIXES, OUTPUT_PREFIX, WANTED_PREFIX

Entity: TypeAlias = "Session | Task | Result"


def id_of(entity: Entity) -> str:
    """The id of a session, task or result."""
    if isinstance(entity, Session):
        return str(entity.session_id)
    return str(entity.id if isinstance(entity, Task) else entity.result_id)


def kind_of(entity: Entity) -> str:
    """'session', 'task' or 'result'."""
    return type(entity).__name__.lower()


def task_name(result_name: str) -> str:
    """The name of the task whose output has this name.

    Example:
        >>> task_name("output.wanted/load"), task_name("load")
        ('load', 'load')
    """
    for prefix in (*KEPT_PREFIXES, WANTED_PREFIX, OUTPUT_PREFIX, CHILD_PREFIX):
        if result_name.startswith(prefix):
            return result_name[len(prefix) :]
    return result_name


def moment(value: datetime | None) -> datetime | None:
    """A time that an engine gave; None where it gave none."""
    return value if value is not None and value.timestamp() > 0 else None


def seconds(value: Any) -> float | None:
    """A duration that an engine gave, in seconds; None where it gave none."""
    length = None if value is None else value.total_seconds()
    return length or None
