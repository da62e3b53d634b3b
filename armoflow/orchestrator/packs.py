"""Values that different futures wait for, side by side in one result.

They are told together when the result is here. Each may be given up for itself; the task behind the
result is cancelled when nobody wants any of it.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from armoflow.codec.envelope import Slot
from armoflow.graph.collection import DelayedList
from armoflow.orchestrator.outcomes import cut_cells
from armoflow.orchestrator.planned import LocalItems, PlanPiece, Result
from armoflow.protocol.result_handle import ResultState

Fetch = Callable[[Result, Callable[[Result], None]], None]
"""Gets the data of a completed result, then calls back."""


class Receiver(Protocol):
    """Who waits for one value."""

    def settle_slot(self, result: Result, number: int, slot: bytes | Slot | None) -> None:
        """It is in a slot of a result, or the error in its place; no slot: the result says why."""

    def settle_error(self, error: BaseException) -> None:
        """It will not come."""


class ItemReceiver(Receiver, Protocol):
    """Who waits for an item of a collection: it may be the client's own."""

    def settle_value(self, value: Any) -> None:
        """It is here."""


class PackPlace:
    """One receiver's place in a pack.

    Attributes:
        receiver: Who waits; None once it was told.
        pack: The pack, once there is one.
    """

    __slots__ = ("pack", "receiver")

    def __init__(self, receiver: Receiver | None) -> None:
        self.receiver = receiver
        self.pack: Pack | None = None

    def give_up(self, error: BaseException) -> bool:
        """Its value is not wanted any more; whether it still waited."""
        receiver, self.receiver = self.receiver, None
        if receiver is None:
            return False
        if self.pack is not None:
            self.pack.wanted -= 1
        receiver.settle_error(error)
        return True


class Pack:
    """Tells the receivers when the result is here; lives in the loop's thread.

    Args:
        result: Where the values will be.
        start: The slot of the first one.
        places: Who waits for which, in order of the slots.
        fetch: Downloads what did not come with the news.
        ended: Called once, when all were told.
    """

    __slots__ = ("_ended", "_fetch", "places", "result", "start", "wanted")

    def __init__(
        self,
        result: Result,
        start: int,
        places: Sequence[PackPlace],
        fetch: Fetch,
        ended: Callable[[Pack], None],
    ) -> None:
        self.result = result
        self.start = start
        self.places = places
        self.wanted = 0
        for place in places:
            place.pack = self
            self.wanted += place.receiver is not None
        self._fetch = fetch
        self._ended = ended
        if result.final:
            self.arrive(result)
        else:
            result.add_waiter(self)

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants any of it any more."""
        return self.wanted <= 0

    def arrive(self, result: Result) -> None:
        """The result was completed or aborted."""
        if result.state is ResultState.COMPLETED and result.data is None and self.wanted > 0:
            self._fetch(result, self._tell)
        else:
            self._tell(result)

    def _tell(self, result: Result) -> None:
        blame = result.blame
        cancelled = blame is not None and blame.cancelled
        numbers = range(self.start, self.start + len(self.places))
        cells = cut_cells(result, numbers)
        for number, cell, place in zip(numbers, cells, self.places, strict=True):
            receiver, place.receiver = place.receiver, None
            place.pack = None
            if receiver is None:
                continue
            if cancelled:
                receiver.settle_error(concurrent.futures.CancelledError())
            else:
                receiver.settle_slot(result, number, cell)
        self.wanted = 0
        self._ended(self)


class ItemsTarget:
    """The items of a collection, each of which somebody waits for; lives in the loop's thread.

    Args:
        value: The collection.
        receivers: Who waits for which item, in order.
        fetch: Downloads what did not come with the news.
        cancel: Cancels the task of a result that nobody wants any of.

    Attributes:
        on_unwanted: Called when nobody waits for any of them any more.
    """

    window = None
    pieces: Sequence[PlanPiece] = ()
    """Who waits is known to the packs."""

    def __init__(
        self,
        value: DelayedList[Any],
        receivers: Sequence[ItemReceiver],
        fetch: Fetch,
        cancel: Callable[[Result], None],
    ) -> None:
        self.value = value
        self.places = [ItemPlace(receiver, self) for receiver in receivers]
        self.on_unwanted: Callable[[], None] | None = None
        self._fetch = fetch
        self._cancel = cancel
        self._placed = 0
        self._wanted = len(self.places)

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for any of them any more."""
        return self._wanted <= 0

    @property
    def ended(self) -> bool:
        """Whether all were told."""
        return all(place.receiver is None for place in self.places)

    def place(self, column: Sequence[PlanPiece], whole: bool) -> None:
        """The next items will be here."""
        for piece in column:
            places = self.places[self._placed : self._placed + piece.length]
            self._placed += piece.length
            if isinstance(piece, LocalItems):
                for place, item in zip(places, piece.values, strict=True):
                    if place.receiver is not None:
                        place.receiver.settle_value(item)
                        place.receiver = None
                continue
            pack = Pack(piece.result, piece.start, places, self._fetch, _nothing)
            if pack.cancelled:
                self._cancel(piece.result)

    def place_all(self, column: Sequence[PlanPiece]) -> None:
        """Only single values come whole."""
        raise TypeError(f"{self.value!r} is not a single value")

    def seal(self) -> None:
        """That was all."""

    def fail(self, error: BaseException) -> None:
        """Nothing more will come."""
        for place in self.places:
            place.give_up(error)

    def give_up(self, error: BaseException) -> None:
        """What was not planned yet cannot be."""
        for place in self.places[self._placed :]:
            place.give_up(error)

    def cancel(self, place: PackPlace) -> bool:
        """Give up one item; False if it is here already."""
        pack = place.pack
        if not place.give_up(concurrent.futures.CancelledError()):
            return False
        self._wanted -= 1
        if pack is not None and pack.cancelled:
            self._cancel(pack.result)
        if self.cancelled and self.on_unwanted is not None:
            self.on_unwanted()
        return True


class ItemPlace(PackPlace):
    """The place of one item of a collection."""

    __slots__ = ("_target",)

    receiver: ItemReceiver | None

    def __init__(self, receiver: ItemReceiver, target: ItemsTarget) -> None:
        super().__init__(receiver)
        self._target = target

    def cancel(self) -> bool:
        """Give it up, in the loop's thread; False if it is here already."""
        return self._target.cancel(self)


def _nothing(pack: Pack) -> None:
    return None
