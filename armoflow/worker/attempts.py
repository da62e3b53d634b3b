"""Attempts of an item: marked in shared memory, timed, repeated with growing pauses."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from armoflow.codec.payload import Payload
from armoflow.codec.recording import record_exception, record_loss
from armoflow.errors import EnvelopeError
from armoflow.worker.failures import ItemFailure, MissingDataError
from armoflow.worker.inputs import AbsentItem, Inputs
from armoflow.worker.mark import Recorder

T = TypeVar("T")


class Attempts:
    """How the items of one task are tried.

    Attributes:
        timeout: Nanoseconds per attempt, or 0.
    """

    def __init__(self, payload: Payload, recorder: Recorder, inputs: Inputs) -> None:
        settings = payload.settings
        self.timeout = int(settings.timeout * 1e9) if settings.timeout else 0
        self.recorder = recorder
        self._retries = settings.retries
        self._backoff = settings.backoff
        self._payload = payload
        self._inputs = inputs
        self._resumed = (-1, 0)

    def resume(self, item: int, attempts: int) -> None:
        """This item has spent some attempts already, in a process that died."""
        self._resumed = (item, attempts)

    @property
    def resumed(self) -> bool:
        """Whether some item has spent attempts before."""
        return self._resumed[1] > 0

    def deadline(self) -> int:
        """When an attempt that starts now must have ended; 0: never."""
        return time.monotonic_ns() + self.timeout if self.timeout else 0

    def run(self, item: int, body: Callable[[], T], error: BaseException | None = None) -> T:
        """Try until it works or no retry is left.

        Args:
            item: The item, by position in the task.
            body: One attempt.
            error: What the first attempt raised, if it was made already.

        Raises:
            ItemFailure: If every attempt raised, or an input of the item failed.
            AbsentItem: If the item was filtered out.
        """
        attempt = 1 + (self._resumed[1] if self._resumed[0] == item else 0)
        while True:
            if error is None:
                self.recorder.start(item, attempt, self.deadline())
                try:
                    return body()
                except (ItemFailure, AbsentItem):
                    raise
                except (MissingDataError, EnvelopeError) as lost:
                    raise self.failure(item, lost, attempt) from lost
                except BaseException as raised:
                    error = raised
            if attempt > self._retries:
                raise self.failure(item, error, attempt) from error
            self.recorder.pause()
            time.sleep(self._backoff * 2.0 ** (attempt - 1))
            self._inputs.forget()
            attempt += 1
            error = None

    def failure(self, item: int, error: BaseException, attempts: int = 1) -> ItemFailure:
        """What an item that raised ends with."""
        payload = self._payload
        index = payload.start + item if payload.collection else None
        return describe(error, payload.name, index, attempts)


def describe(
    error: BaseException, node: str, item: int | None = None, attempts: int = 1
) -> ItemFailure:
    """What an item, or a task as a whole, ends with for this error."""
    if isinstance(error, (MissingDataError, EnvelopeError)):
        return ItemFailure(record_loss(str(error), node=node, item=item, attempts=attempts))
    return ItemFailure(record_exception(error, node=node, item=item, attempts=attempts))
