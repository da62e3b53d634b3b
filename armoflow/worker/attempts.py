"""Attempts of an item: marked in shared memory, timed, repeated after growing pauses.

A pause holds nothing: an item that failed is put aside, and the others of its task go on.
"""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from armoflow.codec.bare import arguments_of, is_a, looked, set_state
from armoflow.codec.compatibility import own_versions
from armoflow.codec.payload import Payload
from armoflow.codec.positions import position_of
from armoflow.codec.recording import record_exception, record_loss
from armoflow.codec.traces import message_of
from armoflow.orchestrator.package_versions import told_by_worker, why_not_imported
from armoflow.retrying import final_error
from armoflow.worker.failures import ItemFailure, UnreadableDataError
from armoflow.worker.inputs import AbsentItem, Inputs
from armoflow.worker.mark import MarkWriter

T = TypeVar("T")


class ItemWaits(Exception):
    """An item failed, and is tried again later. Never leaves the runner."""


class Attempts:
    """How the items of one task are tried.

    Attributes:
        timeout: Nanoseconds per attempt, or 0.
        spent: Attempts that items have spent, here and in earlier processes.
        due: When items that wait are tried again, in CLOCK_MONOTONIC nanoseconds.
    """

    def __init__(self, payload: Payload, recorder: MarkWriter, inputs: Inputs) -> None:
        settings = payload.settings
        self.timeout = math.ceil(settings.timeout * 1e9) if settings.timeout else 0
        self.recorder = recorder
        self.spent: dict[int, int] = {}
        self.due: dict[int, int] = {}
        self._settings = settings
        self._payload = payload
        self._inputs = inputs

    def resume(self, spent: Mapping[int, tuple[int, int]]) -> None:
        """These items have spent attempts in an earlier process, and wait until then."""
        for item, (attempts, due) in spent.items():
            self.spent[item] = attempts
            self.due[item] = due

    def made(self, item: int) -> int:
        """How many attempts an item has needed that has ended."""
        return self.spent.get(item, 0) + 1

    def deadline(self) -> int:
        """When an attempt that starts now must have ended; 0: never."""
        return time.monotonic_ns() + self.timeout if self.timeout else 0

    def run(self, item: int, body: Callable[[], T], error: BaseException | None = None) -> T:
        """Make the next attempt.

        Args:
            item: The item, by position in the task.
            body: One attempt.
            error: What the attempt raised, if it was made already.

        Raises:
            ItemWaits: If it raised, or the item's time has not come; ``due`` says when it does.
            ItemFailure: If it raised and was the last one, or an input of the item failed.
            AbsentItem: If the item was filtered out.
        """
        spent = self.spent.get(item, 0)
        attempt = spent + 1
        if error is None:
            if spent:
                self._begin_again(item)
            self.recorder.start(item, attempt, self.deadline() if self.timeout else 0)
            try:
                return body()
            except (ItemFailure, AbsentItem):
                raise
            except UnreadableDataError as lost:
                raise self.failure(item, lost, attempt) from lost
            except BaseException as raised:
                error = raised
        final = error if attempt > self._settings.retries else self._final(error)
        if final is not None:
            raise self.failure(item, final, attempt) from error
        self.spent[item] = attempt
        self.due[item] = time.monotonic_ns() + int(self._settings.draw_pause(attempt) * 1e9)
        raise ItemWaits from error

    def _final(self, error: BaseException) -> BaseException | None:
        """What is told of an attempt that failed, unless another one may be made."""
        pickled = self._settings.retry_on
        try:
            return None if pickled is None else final_error(pickle.loads(pickled), error)
        except BaseException as unreadable:
            return unreadable

    def _begin_again(self, item: int) -> None:
        if self.due.get(item, 0) > time.monotonic_ns():
            raise ItemWaits
        self.due.pop(item, None)
        self._inputs.forget()

    def failure(self, item: int, error: BaseException, attempts: int = 1) -> ItemFailure:
        """What an item that raised ends with."""
        payload = self._payload
        index = position_of(payload.positions, item) if payload.collection else None
        output, packages = self.recorder.last_lines(), packages_of(payload)
        return describe(
            *(error, payload.name, index, attempts),
            output=output,
            packages=packages,
            versions=payload.versions,
        )


def describe(
    error: BaseException,
    node: str,
    item: int | None = None,
    attempts: int = 1,
    *,
    output: str = "",
    packages: str = "",
    versions: str = "",
) -> ItemFailure:
    """What an item, or a task as a whole, ends with for this error.

    Args:
        error: The error.
        node: Name of the node that ran.
        item: Position of the item in its collection.
        attempts: How often it was tried.
        output: What it wrote last.
        packages: See :func:`packages_of`.
        versions: Those that it comes from; empty: it ran no code of the user's.
    """
    if is_a(error, UnreadableDataError):
        return ItemFailure(record_loss(str(error), node=node, item=item, attempts=attempts))
    if versions:
        looked(lambda: explain(error, why_not_imported(versions, error)), None)
    return ItemFailure(
        record_exception(
            error, node=node, item=item, attempts=attempts, output=output, packages=packages
        )
    )


def explain(error: BaseException, why: str) -> None:
    """Add to an error's text what is known of it, once."""
    text = message_of(error) if why else ""
    if not why or why in text:
        return
    args = (f"{text}; {why}", *arguments_of(error)[1:])
    set_state(error, args, {"msg": args[0]} if is_a(error, ImportError) else {})


def packages_of(payload: Payload) -> str:
    """What this worker has to tell of its packages, for a task; mostly nothing."""
    if payload.versions == own_versions():  # and names no package
        return ""
    return told_by_worker(payload.versions, tuple(payload.settings.requirements))
