"""What callers wait for: the places of values, downloaded when they are there.

A target is told by the plan where its items will be, in order, and is done when every one of these
results has come (or failed) and its data is here. Decoding waits until somebody asks for the value.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from armoflow.graph.collection import DelayedList
from armoflow.graph.delayed import Delayed
from armoflow.orchestrator.planned import LocalItems, PlanPiece, Result, SlotRange
from armoflow.protocol.result_handle import ResultState


class IterationWindow:
    """How far a plan may be ahead of who consumes its items.

    Args:
        size: Items.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._ahead = 0
        self._closed = False
        self._changed = threading.Condition()

    def produce(self, count: int) -> None:
        """The plan has ``count`` more items; waits while it is too far ahead."""
        with self._changed:
            self._ahead += count
            self._changed.wait_for(lambda: self._closed or self._ahead < self._size)

    def consume(self, count: int) -> None:
        """The caller took ``count`` items."""
        with self._changed:
            self._ahead -= count
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody waits any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class WaitingTarget:
    """A value or collection that somebody waits for; lives in the loop's thread.

    Args:
        value: What was asked for; None: somebody else has asked, and it is said with the places.
        fetch: Called with a completed result whose data is not here yet; calls back when it is.
        done: Called once, when everything has come or failed.
        arrived: Called with each piece whose results have come, and the position of its first item,
            in the order of arrival; then the target itself keeps none.
        window: Holds the plan back while the caller lags behind.
    """

    def __init__(
        self,
        value: Delayed[Any] | DelayedList[Any] | None,
        fetch: Callable[[Result, Callable[[Result], None]], None],
        done: Callable[[WaitingTarget], None],
        arrived: Callable[[PlanPiece, int], None] | None = None,
        window: IterationWindow | None = None,
    ) -> None:
        self.value = value
        self.pieces: list[PlanPiece] = []
        self.whole = isinstance(value, Delayed)
        self.error: BaseException | None = None
        self.cancelled = False
        self.window = window
        self._fetch = fetch
        self._done = done
        self._arrived = arrived
        self._awaited: dict[Result, list[tuple[SlotRange, int]]] = {}  # where arrivals are told
        self._placed = 0
        self._open = 0
        self._sealed = False

    def place(self, column: Sequence[PlanPiece], whole: bool) -> None:
        """Some items will be here."""
        self.whole = whole
        waited = [piece for piece in column if isinstance(piece, SlotRange)]
        self._open += len(waited)
        positions: list[int] = []
        for piece in column:
            if self._arrived is None:
                self.pieces.append(piece)
            if isinstance(piece, LocalItems):
                self._tell(piece, self._placed)
            else:
                positions.append(self._placed)
            self._placed += piece.length
        for place, position in zip(waited, positions, strict=True):
            self._wait(place, position)

    def place_all(self, column: Sequence[PlanPiece]) -> None:
        """The one value will be here, and that was all."""
        self._sealed = True
        self.place(column, True)
        self._check()

    @property
    def ended(self) -> bool:
        """Whether who waits was told."""
        return self._done is _nothing

    def seal(self) -> None:
        """That was all."""
        self._sealed = True
        self._check()

    def fail(self, error: BaseException) -> None:
        """It cannot be planned or fetched."""
        if self.error is None:
            self.error = error
        self._sealed = True
        self._open = 0
        self._check()

    def give_up(self, error: BaseException) -> None:
        """The rest of it cannot be planned."""
        if self._arrived is None:
            self.fail(error)
        else:  # what was planned arrives first
            self.error = error
            self.seal()

    def arrive(self, result: Result) -> None:
        """A result of one of the pieces was completed or aborted."""
        if result.state is ResultState.COMPLETED and result.data is None:
            self._fetch(result, self._here)
        else:
            self._here(result)

    def _wait(self, piece: SlotRange, position: int) -> None:
        result = piece.result
        if self._arrived is not None:
            self._awaited.setdefault(result, []).append((piece, position))
        if result.final:
            self.arrive(result)
        else:
            result.add_waiter(self)

    def _here(self, result: Result) -> None:
        if self._arrived is not None:
            pieces = self._awaited[result]
            self._tell(*pieces.pop(0))
            if not pieces:
                del self._awaited[result]
        if self._open:
            self._open -= 1
            self._check()

    def _tell(self, piece: PlanPiece, position: int) -> None:
        if self._arrived is not None and not self.cancelled:
            self._arrived(piece, position)

    def _check(self) -> None:
        if self._sealed and not self._open:
            done, self._done = self._done, _nothing
            done(self)


def _nothing(target: WaitingTarget) -> None:
    return None
