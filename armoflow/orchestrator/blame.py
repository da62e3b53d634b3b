"""Why results do not come: the first failing task, the path from it, and what was skipped."""

from __future__ import annotations

import concurrent.futures
import copy
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from armoflow.codec.bare import cause_of, set_cause
from armoflow.codec.failure import ErrorRecord
from armoflow.codec.positions import Positions, label
from armoflow.errors import (
    ArmoflowError,
    DataLostError,
    RemoteTraceback,
    TaskCancelledError,
    TaskError,
    TaskTimeoutError,
)
from armoflow.orchestrator.package_versions import heed
from armoflow.protocol.result_handle import Failure
from armoflow.protocol.transport import Transport

logger = logging.getLogger(__name__)

_DATA_GONE = (
    "Key not found",
    "data was not found",
    "was deleted before the task ran",
    "no data is stored",
)
"""What engines say of a task whose inputs have no data (any more)."""

_SHOWN = 3
"""How many results are named that may be the one that lacks."""


class Blame:
    """A failure, as seen from one task: the root's own, or that of a task that depends on it.

    Args:
        name: The task's name.
        positions: Where its items are in a collection, where it runs several.
        failure: What the engine says of the root's task.
        needs: For each input the name of its task and the id of the result; for the payload, which
            has no task, too.
        gone: Id of the result that has no data (any more), where nothing else is known.
        error: An error of the client's own (a batch that was refused).
        cause: The blame of the input that failed; then the others are the cause's.
    """

    __slots__ = (
        "_cause",
        "_error",
        "_failure",
        "_gone",
        "_lacks",
        "_positions",
        "name",
        "root",
        "skipped",
    )

    def __init__(
        self,
        name: str,
        *,
        positions: Positions | None = None,
        failure: Failure | None = None,
        needs: Iterable[tuple[str, str]] = (),
        gone: str = "",
        error: BaseException | None = None,
        cause: Blame | None = None,
    ) -> None:
        self.name = name
        self._positions = positions
        self._failure = failure
        self._gone = f"result {gone} of task {name!r}" if gone else f"the result of task {name!r}"
        self._lacks = ""
        if failure is not None and any(said in failure.error for said in _DATA_GONE):
            self._lacks = _what_is_gone(failure.error, list(needs))
        self._error = error
        self._cause = cause
        self.root: Blame = self if cause is None else cause.root
        self.skipped = 0

    @property
    def cancelled(self) -> bool:
        """Whether nothing failed: the client has cancelled it."""
        return isinstance(self.root._error, concurrent.futures.CancelledError)

    @property
    def node(self) -> str:
        """What failed first: a step, where its task runs several."""
        failure = self.root._failure
        record = None if failure is None else ErrorRecord.find(failure.error)
        return self.root.name if record is None else record.node

    def path(self, slot: int = 0) -> list[str]:
        """Names from the failed task to this one, or to the item in one of its slots."""
        names: list[str] = []
        blame: Blame | None = self
        while blame is not None:
            names.append(blame.name)
            blame = blame._cause
        names[0] = label(self.name, self._positions, slot)
        return names[::-1]

    def exception(self, key: bytes, slot: int = 0) -> BaseException:
        """The error to raise: a new one each time, for each may get its own traceback.

        Args:
            key: What the errors of the client's tasks are sealed with.
            slot: Which of the task's items is asked for.
        """
        root = self.root
        path = self.path(slot)
        if root._error is not None:
            error = _copy(root._error)
            if cause_of(error) is None:
                set_cause(error, RemoteTraceback(root.name, path=path, skipped=root.skipped))
            return error
        failure = root._failure
        text = failure.error if failure is not None else ""
        record = ErrorRecord.find(text, key)
        if record is not None:
            heed(record.packages)
            skipped = root.skipped + max(len(record.path) - 1, 0)
            return record.exception(path=_joined(record, path), skipped=skipped)
        return self._plain(failure, text, path)

    def _plain(self, failure: Failure | None, text: str, path: list[str]) -> BaseException:
        """The error of a task that left no record: the engine ended it."""
        root = self.root
        status = failure.status if failure is not None else "unknown"
        if not (text := text.strip()) and status not in ("cancelled", "cancelling"):
            text = f"the engine gave no reason (task status {status})"
        error: TaskError
        if status == "timeout":
            error = TaskTimeoutError(f"task {root.name!r} passed its max_duration: {text}")
        elif status in ("cancelled", "cancelling"):
            reason = f": {text}" if text else ""  # engines give none
            error = TaskCancelledError(f"task {root.name!r} was cancelled in the engine{reason}")
        elif failure is None:
            error = DataLostError(
                f"{root._gone} is gone: it was deleted, or kept for too short a time by the "
                "cluster; or its task failed, and why cannot be seen"
            )
        elif status == "completed":
            error = DataLostError(
                f"what task {root.name!r} made is gone: the task ended well, and its data was "
                "deleted since, or its session ended"
            )
        elif root._lacks:
            text = f"{root._lacks}, which task {root.name!r} needs, is gone: {text}"
            error = DataLostError(f"{text}{_where(failure)}")
        else:
            error = TaskError(f"task {root.name!r} ended in {status}: {text}{_where(failure)}")
        error.__cause__ = RemoteTraceback(root.name, path=path, skipped=root.skipped)
        return error


async def whole_errors(
    transport: Transport, key: bytes, failures: Mapping[str, Failure]
) -> dict[str, Failure]:
    """Failures by result, each with the whole error where the engine keeps more than it tells."""
    sources = {}
    for result_id, failure in failures.items():
        record = ErrorRecord.find(failure.error, key)
        if record is not None and record.trusted and record.task_id:
            sources[result_id] = record.task_id
    texts = {task_id: await _whole(transport, task_id) for task_id in set(sources.values())}
    return {
        result_id: replace(failure, error=texts.get(sources.get(result_id, "")) or failure.error)
        for result_id, failure in failures.items()
    }


async def _whole(transport: Transport, task_id: str) -> str:
    """The whole error text of a task, or nothing."""
    try:
        return await transport.task_error(task_id)
    except ArmoflowError as error:
        logger.warning("the whole error of task %s could not be read: %s", task_id, error)
        return ""


def _what_is_gone(text: str, needs: Sequence[tuple[str, str]]) -> str:
    """Which data a task lacks: what the engine names; else all that it may be.

    Example:
        >>> _what_is_gone("Key not found", [("load", "1a"), ("step", "2b")])
        "the data of result 1a of task 'load' or of result 2b of task 'step'"
        >>> _what_is_gone("the data of 2b was deleted", [("load", "1a"), ("step", "2b")])
        "the data of result 2b of task 'step'"
    """
    named = [need for need in needs if need[1] and need[1] in text] or needs
    if not named:
        return "data"
    shown = [
        f"result {result_id} of task {name!r}" if name else f"result {result_id}, its payload"
        for name, result_id in named[:_SHOWN]
    ]
    if len(named) > _SHOWN:
        shown.append(f"one of {len(named) - _SHOWN:,} more")
    return f"the data of {' or of '.join(shown)}"


def _where(failure: Failure) -> str:
    """Where a task ran whose error may not be in the words of armoflow's worker."""
    if not failure.partition or "armoflow" in failure.error:
        return ""
    return (
        f" (in partition {failure.partition!r}: if it does not run armoflow's worker, choose one "
        "that does, @task(partition=...))"
    )


def _copy(error: BaseException) -> BaseException:
    """An error of its own for each who is told, where that can be made."""
    try:
        copied = copy.copy(error)
    except Exception:  # some exceptions cannot be made of their arguments
        return error
    if type(copied) is not type(error):
        return error
    set_cause(copied, cause_of(error))
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
