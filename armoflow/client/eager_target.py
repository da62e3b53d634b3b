"""Waiting no longer than to the first failure: ``compute(..., fail_fast=True)``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from armoflow.orchestrator.outcomes import Names, has_failed, raise_error, values
from armoflow.orchestrator.planned import LocalItems, PlanPiece, Result, SlotRange
from armoflow.orchestrator.targets import WaitingTarget


class Stop:
    """Lets another thread end a wait, and what is waited for."""

    def __init__(self) -> None:
        self.wanted = False
        self._event: threading.Event | None = None

    def wake(self, event: threading.Event) -> None:
        """What is waited for: it is set when the end is wanted, at once if it is already."""
        self._event = event
        if self.wanted:
            event.set()

    def set(self) -> None:
        """End it."""
        self.wanted = True
        if self._event is not None:
            self._event.set()


class FailedTarget(NamedTuple):
    """What has failed: a target, and which of its pieces; none: all of it."""

    target: WaitingTarget
    piece: int | None

    def reraise(self, key: bytes) -> None:
        """Raise the error.

        Args:
            key: What the errors of the client's tasks are sealed with.
        """
        target = self.target
        if self.piece is None:
            raise_error(target)
            return
        assert target.value is not None
        before = sum(piece.length for piece in target.pieces[: self.piece])
        # Only what counts for the error's name stands before it: it need not be here.
        pieces = [LocalItems([None] * before), target.pieces[self.piece]]
        values(pieces, key, Names.of(target.value.node), whole=target.whole)


class EagerTarget(WaitingTarget):
    """A target that tells when the first piece of it has failed.

    Args:
        value: As for :class:`WaitingTarget`.
        fetch: The same.
        done: The same.
        failed: Told of what has failed, in the loop's thread.
    """

    def __init__(
        self,
        value: Any,
        fetch: Callable[[Result, Callable[[Result], None]], None],
        done: Callable[[WaitingTarget], None],
        failed: Callable[[FailedTarget], None],
    ) -> None:
        super().__init__(value, fetch, done)
        self._failed = failed
        self._numbers: dict[Result, list[int]] = {}

    def place(self, column: Sequence[PlanPiece], whole: bool) -> None:
        """Some items will be here."""
        for number, piece in enumerate(column, len(self.pieces)):
            if isinstance(piece, SlotRange):
                self._numbers.setdefault(piece.result, []).append(number)
        super().place(column, whole)

    def fail(self, error: BaseException) -> None:
        """It cannot be planned or fetched."""
        super().fail(error)
        self._failed(FailedTarget(self, None))

    def _here(self, result: Result) -> None:
        for number in self._numbers.get(result, ()):
            if has_failed([self.pieces[number]]):
                self._failed(FailedTarget(self, number))
        super()._here(result)
