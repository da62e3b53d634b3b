"""The options of a task: how it is retried, timed, placed and named.

They are validated where they are written, so that a typo fails in the script and not on a cluster.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from armoflow.errors import OptionError

MAXIMUM_PRIORITY = 99
"""CreateSession accepts priorities 1 to 99; a deployment's queue usually allows 10."""


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """What can be said about how a task runs; ``None`` means "as the client says".

    Attributes:
        retries: How often an attempt that raised or timed out is tried again.
        backoff: Seconds before the first retry; doubles with each further one.
        timeout: Seconds that one attempt of one item may take before its process is killed.
        crash_retries: How often an item is tried again after its process died.
        partition: Partition that runs the task.
        priority: 1 (last) to the engine's maximum (10 on stock clusters; first).
        batch_size: Items of a collection per ArmoniK task; ``None`` lets armoflow choose.
        max_retries: Engine-level retries, for lost agents.
        keep: Keep the result until the session ends, even when nothing needs it.
        fuse: Run the task in one ArmoniK task with the one before it, where only it needs that
            one's value and both have the same options.
    """

    retries: int | None = None
    backoff: float | None = None
    timeout: float | None = None
    crash_retries: int | None = None
    partition: str | None = None
    priority: int | None = None
    batch_size: int | None = None
    max_retries: int | None = None
    keep: bool | None = None
    fuse: bool | None = None

    def __post_init__(self) -> None:
        _check_integer("retries", self.retries, 0)
        _check_integer("crash_retries", self.crash_retries, 0)
        _check_integer("priority", self.priority, 1, MAXIMUM_PRIORITY)
        _check_integer("batch_size", self.batch_size, 1)
        _check_integer("max_retries", self.max_retries, 0)
        _check_seconds("timeout", self.timeout, positive=True)
        _check_seconds("backoff", self.backoff, positive=False)
        if self.partition is not None and not (isinstance(self.partition, str) and self.partition):
            raise OptionError(f"partition must be a non-empty string, not {self.partition!r}")
        for name in ("keep", "fuse"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, bool):
                raise OptionError(f"{name} must be True or False, not {value!r}")

    def over(self, base: TaskOptions) -> TaskOptions:
        """These options, with those of ``base`` where these say nothing."""
        changes = {
            name: getattr(base, name)
            for name in OPTION_NAMES
            if getattr(self, name) is None and getattr(base, name) is not None
        }
        return dataclasses.replace(self, **changes) if changes else self


OPTION_NAMES = tuple(field.name for field in dataclasses.fields(TaskOptions))


def make_options(values: Mapping[str, Any]) -> TaskOptions:
    """Build options from keyword arguments.

    Args:
        values: Option names and values, as written by the user.

    Returns:
        The validated options.

    Raises:
        OptionError: If a name is unknown or a value out of range.

    Example:
        >>> make_options({"retries": 2}).retries
        2
        >>> make_options({"retrys": 2})
        Traceback (most recent call last):
        armoflow.errors.OptionError: unknown option 'retrys': did you mean 'retries'?
    """
    for name in values:
        if name not in OPTION_NAMES:
            close = difflib.get_close_matches(name, OPTION_NAMES, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "known: " + ", ".join(OPTION_NAMES)
            raise OptionError(f"unknown option {name!r}: {hint}")
    return TaskOptions(**values)


def _check_integer(name: str, value: object, least: int, most: int | None = None) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise OptionError(f"{name} must be an integer, not {value!r}")
    if value < least or (most is not None and value > most):
        bounds = f"at least {least}" if most is None else f"{least} to {most}"
        raise OptionError(f"{name} must be {bounds}, not {value}")


def _check_seconds(name: str, value: object, *, positive: bool) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise OptionError(f"{name} must be a number of seconds, not {value!r}")
    if not math.isfinite(value) or value < 0 or (positive and value == 0):
        raise OptionError(
            f"{name} must be a {'positive' if positive else 'non-negative'} "
            f"number of seconds, not {value!r}"
        )


DEFAULT_OPTIONS = TaskOptions(retries=0, backoff=0.1, crash_retries=2, max_retries=3, keep=False)
