"""Why results do not come: the first failing task, the path from it, and what was skipped."""

from __future__ import annotations

import concurrent.futures
import copy

from armoflow.codec.failure import ErrorRecord
from armoflow.errors import (
    DataLostError,
    RemoteTraceback,
    TaskCancelledError,
    TaskError,
    TaskTimeoutError,
)
from armoflow.protocol.transport import Failure


class Blame:
    """A failure, as seen from one task: the root's own, or that of a task that depends on it.

    Args:
        name: The task's name.
        first: The position of its first item, where it may run several.
        failure: What the engine says of the root's task.
        error: An error of the client's own (a batch that was refused).
        cause: The blame of the input that failed; then the others are the cause's.
    """

    __slots__ = ("_cause", "_error", "_failure", "_first", "name", "root", "skipped")

    def __init__(
        self,
        name: str,
        *,
        first: int | None = None,
        failure: Failure | None = None,
        error: BaseException | None = None,
        cause: Blame | None = None,
    ) -> None:
        self.name = name
        self._first = first
        self._failure = failure
        self._error = error
        self._cause = cause
        self.root: Blame = self if cause is None else cause.root
        self.skipped = 0

    @property
    def cancelled(self) -> bool:
        """Whether nothing failed: the client has cancelled it."""
        return isinstance(self.root._error, concurrent.futures.CancelledError)

    def path(self, slot: int = 0) -> list[str]:
        """Names from the failed task to this one, or to the item in one of its slots."""
        names: list[str] = []
        blame: Blame | None = self
        while blame is not None:
            names.append(blame.name)
            blame = blame._cause
        if self._first is not None:
            names[0] = f"{self.name}[{self._first + slot}]"
        return names[::-1]

    def exception(self, slot: int = 0) -> BaseException:
        """The error to raise: a new one each time, for each may get its own traceback.

        Args:
            slot: Which of the task's items is asked for.
        """
        root = self.root
        path = self.path(slot)
        if root._error is not None:
            error = _copy(root._error)
            if error.__cause__ is None:
                error.__cause__ = RemoteTraceback(root.name, path=path, skipped=root.skipped)
            return error
        failure = root._failure
        text = failure.error if failure is not None else ""
        record = ErrorRecord.find(text)
        if record is not None:
            skipped = root.skipped + max(len(record.path) - 1, 0)
            return record.exception(path=_joined(record, path), skipped=skipped)
        return self._plain(failure, text, path)

    def _plain(self, failure: Failure | None, text: str, path: list[str]) -> BaseException:
        """The error of a task that left no record: the engine ended it."""
        root = self.root
        status = failure.status if failure is not None else "unknown"
        text = text.strip() or f"the engine gave no reason (task status {status})"
        error: TaskError
        if status == "timeout":
            error = TaskTimeoutError(f"task {root.name!r} passed its max_duration: {text}")
        elif status in ("cancelled", "cancelling"):
            error = TaskCancelledError(f"task {root.name!r} was cancelled in the engine: {text}")
        elif failure is None:
            error = DataLostError(f"the result of task {root.name!r} is gone: {text}")
        else:
            error = TaskError(f"task {root.name!r} ended in {status}: {text}")
        error.__cause__ = RemoteTraceback(root.name, path=path, skipped=root.skipped)
        return error


def _copy(error: BaseException) -> BaseException:
    """An error of its own for each who is told, where that can be made."""
    try:
        copied = copy.copy(error)
    except Exception:  # some exceptions cannot be made of their arguments
        return error
    if type(copied) is not type(error):
        return error
    copied.__cause__ = error.__cause__
    return copied


def _joined(record: ErrorRecord, path: list[str]) -> list[str]:
    """The path up to the task that failed, as its record has it, and from there on.

    What failed may be a descendant of the task: then the task's own name follows.
    """
    before = record.path or [record.name]
    last, first = before[-1], path[0]
    if first == last or last.startswith(f"{first}["):
        return [*before, *path[1:]]
    return [*before, *path]
