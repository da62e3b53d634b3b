"""How task options of several levels become one, and what they may be."""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from armoflow.engine.records import ApiOptions, SessionRecord, StateError

REMEMBERED: Final = 1024
"""Pairs of levels whose merged options are remembered."""


def merge_options(
    lower: ApiOptions, higher: ApiOptions | None, *, strict: bool = False
) -> ApiOptions:
    """Lay the more specific level over the other: empty and zero inherit, maps are united.

    ArmoniK.Core takes the priority of the higher level even if it is zero; so does ``strict``.

    >>> session = ApiOptions(max_duration=60.0, priority=2, options={"a": "1"})
    >>> merged = merge_options(session, ApiOptions(priority=5, options={"b": "2"}))
    >>> merged.max_duration, merged.priority, dict(merged.options)
    (60.0, 5, {'a': '1', 'b': '2'})
    """
    if higher is None or higher is lower:
        return lower
    options = lower.options
    if higher.options:
        options = {**options, **higher.options}
    return ApiOptions(
        max_duration=higher.max_duration or lower.max_duration,
        max_retries=higher.max_retries or lower.max_retries,
        priority=higher.priority if strict else higher.priority or lower.priority,
        partition_id=higher.partition_id or lower.partition_id,
        application_name=higher.application_name or lower.application_name,
        application_version=higher.application_version or lower.application_version,
        application_namespace=higher.application_namespace or lower.application_namespace,
        application_service=higher.application_service or lower.application_service,
        engine_type=higher.engine_type or lower.engine_type,
        options=options,
    )


class Merger:
    """Merges, and remembers: tasks that share options share the merged ones, too."""

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        # By the identity of both levels, which are kept, so that it is not used again.
        self._known: dict[tuple[int, int], tuple[ApiOptions, ApiOptions, ApiOptions]] = {}

    def merge(self, lower: ApiOptions, higher: ApiOptions | None) -> ApiOptions:
        """See :func:`merge_options`."""
        if higher is None or higher is lower:
            return lower
        key = id(lower), id(higher)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            merged = merge_options(lower, higher, strict=self._strict)
            known = self._known[key] = lower, higher, merged
        return known[2]


def check_default_options(options: ApiOptions, *, strict: bool) -> None:
    """Refuse a session's default options as ArmoniK.Core's validator does.

    Raises:
        StateError: INVALID_ARGUMENT, naming the field.
    """
    if options.max_retries < 1:
        problem = f"max_retries is {options.max_retries}; give at least 1"
    elif not 1 <= options.priority <= 99:
        problem = f"priority is {options.priority}; give 1 to 99"
    elif options.max_duration <= 0 and not strict:
        problem = f"max_duration is {options.max_duration} s; give how long a task may run"
    else:
        return
    raise StateError("INVALID_ARGUMENT", f"default_task_option: {problem}")


def check_request_options(
    options: ApiOptions, session: SessionRecord, max_priority: int, *, strict: bool
) -> None:
    """Refuse options of a submission that the session's partitions or queues cannot serve.

    Raises:
        StateError: INVALID_ARGUMENT, naming the field (strict: UNKNOWN for the partition).
    """
    if options.partition_id not in session.partition_ids:
        allowed = ", ".join(map(repr, session.partition_ids))
        raise StateError(
            "UNKNOWN" if strict else "INVALID_ARGUMENT",
            f"partition_id {options.partition_id!r} is not one of session {session.id}: "
            f"use one of {allowed}, or create the session with it",
        )
    _check_priority(options, max_priority)
    if not strict:
        _check_values(options, max_priority)


def check_task_options(options: ApiOptions, partitions: Container[str], max_priority: int) -> None:
    """Refuse one task's merged options; ArmoniK.Core, and strict mode, let all of them pass.

    A partition outside the session's list is as good as any other, but one that does not exist
    would never run the task.

    Raises:
        StateError: INVALID_ARGUMENT, naming the field.
    """
    if options.partition_id not in partitions:
        raise StateError(
            "INVALID_ARGUMENT",
            f"partition_id {options.partition_id!r} does not exist: the task would never run",
        )
    _check_priority(options, max_priority)
    _check_values(options, max_priority)


def _check_priority(options: ApiOptions, max_priority: int) -> None:
    if options.priority > max_priority:
        raise StateError(
            "INVALID_ARGUMENT",
            f"priority {options.priority} is above the maximum: give at most {max_priority}",
        )


def _check_values(options: ApiOptions, max_priority: int) -> None:
    if options.priority < 1:
        raise StateError(
            "INVALID_ARGUMENT", f"priority is {options.priority}: give 1 to {max_priority}"
        )
    if options.max_duration < 0:
        raise StateError(
            "INVALID_ARGUMENT",
            f"max_duration is {options.max_duration} s: give how long a task may run",
        )
