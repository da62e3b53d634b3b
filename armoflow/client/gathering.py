"""The values of calls that one caller waits for all together."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from armoflow.orchestrator.planned import PlanPiece
from armoflow.orchestrator.targets import Names, outcomes


class Gathering:
    """Waits for some values; what it is told comes in the loop's thread.

    Args:
        count: How many.

    Attributes:
        ended: Set when all have come or failed.
        receivers: Who receives each of them.
        left: How many have not.
    """

    def __init__(self, count: int) -> None:
        self.ended = threading.Event()
        self.receivers = [_Received(self) for _ in range(count)]
        self.left = count

    def arrived(self) -> None:
        """One more has come or failed."""
        self.left -= 1
        if not self.left:
            self.ended.set()

    def values(self, names: Sequence[Names], key: bytes) -> list[Any]:
        """The values; raises the error of the first that failed.

        Args:
            names: What errors call each.
            key: What the errors of the client's tasks are sealed with.
        """
        values = []
        for received, name in zip(self.receivers, names, strict=True):
            if received.error is not None:
                raise received.error
            assert received.piece is not None
            (outcome,) = outcomes([received.piece], key, name, whole=True)
            if outcome.error is not None:
                raise outcome.error
            values.append(outcome.value)
        return values


class _Received:
    """One value, or why there is none."""

    __slots__ = ("_gathering", "error", "piece")

    def __init__(self, gathering: Gathering) -> None:
        self._gathering = gathering
        self.piece: PlanPiece | None = None
        self.error: BaseException | None = None

    def settle_item(self, piece: PlanPiece, *, failed: bool) -> None:
        self.piece = piece
        self._gathering.arrived()

    def settle_error(self, error: BaseException) -> None:
        self.error = error
        self._gathering.arrived()
