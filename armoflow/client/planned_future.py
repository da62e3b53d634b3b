"""A future as the client has it: what it stands for, how it is settled, what came for it."""

from __future__ import annotations

import concurrent.futures
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures._base import FINISHED
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from armoflow.client.lean_future import LOCK, LeanFuture
from armoflow.client.loop import CallbackThread
from armoflow.client.progress import Display
from armoflow.codec.envelope import Slot
from armoflow.orchestrator.constant import Constant
from armoflow.orchestrator.outcomes import (
    ItemOutcome,
    Names,
    has_failed,
    is_failure,
    outcomes,
    slot_outcome,
)
from armoflow.orchestrator.planned import LocalItems, PlanPiece, Result, SlotRange
from armoflow.orchestrator.tally import Count, Tally
from armoflow.orchestrator.targets import WaitingTarget

if TYPE_CHECKING:
    from armoflow.client.client import Client
    from armoflow.client.inquiry import Inquiry
    from armoflow.graph.collection import DelayedList
    from armoflow.graph.delayed import Delayed

T = TypeVar("T")


class _Unread(Exception):
    """Stands for an error until somebody asks for it.

    To read one may import the user's modules and run the code of his classes, which is not for the
    loop's thread; but who waits for the first exception has to be told at once that it is one.
    """


class Cancellable(Protocol):
    """What a future stands for, while it is under way."""

    def cancel(self) -> bool:
        """Cancel it, in the loop's thread; False if it is done already, or others need it."""


class FutureOrigin(NamedTuple):
    """What the futures of a client have in common.

    Attributes:
        client: The client.
        callbacks: Runs what is to be called when they are done.
        sessions_ended: How many of the client's sessions had ended when they were made.
        key: What the errors of its tasks are sealed with.
        display: Shows those who wait how far the work is.
        tally: Counts what fails.
        counts: How far the client's work is, by the names of tasks.
    """

    client: Client
    callbacks: CallbackThread | None = None
    sessions_ended: int = 0
    key: bytes = b""
    display: Display | None = None
    tally: Tally | None = None
    counts: Callable[[], Mapping[str, Count]] = dict


class PlannedFuture(LeanFuture[T]):
    """What is to come of a node, or of one item of it.

    Attributes:
        constant: Where its value was stored anew, for tasks that have it as an argument.
    """

    # There may be very many: what most do not have is the class's.
    constant: Constant | None = None
    _index: int | None = None
    _work: Cancellable | None = None
    _needed = 0
    _pieces: Sequence[PlanPiece] = ()
    _source: Result | None = None  # with its slot and that one's number, in place of pieces
    _slot: bytes | Slot | None = None
    _number = 0
    _whole = True
    _outcomes: list[ItemOutcome] | None = None
    _inquiry: Inquiry | None = None
    _anew: Callable[[list[ItemOutcome]], list[ItemOutcome]] | None = None
    _renewed = False
    _asked: weakref.ref[Delayed[T] | DelayedList[Any]] | None = None

    def __init__(self, origin: FutureOrigin, names: Names, index: int | None = None) -> None:
        """A future of a node, or of one item of it."""
        self._origin = origin
        self._names = names
        if index is not None:
            self._index = index

    @property
    def client(self) -> Client:
        """The client that it belongs to."""
        return self._origin.client

    @property
    def sessions_ended(self) -> int:
        """How many of the client's sessions had ended when it was made."""
        return self._origin.sessions_ended

    def outcomes(self) -> list[ItemOutcome]:
        """How each item ended; of a single value, a list of one. Only when it is done."""
        known = self._outcomes
        if known is None:
            decoded = self._decode()
            if self._anew is not None:
                again = self._anew(decoded)
                self._renewed = again is not decoded
                self._anew, decoded = None, again
            decoded = [outcome for outcome in decoded if outcome.present]
            with LOCK:  # who comes second takes what the first one has made
                known = self._outcomes = self._outcomes or decoded
        return known

    def _value(self) -> T:
        """The value, of a collection the list of its items; only when it is done, and well."""
        decoded = self.outcomes()
        if self._whole:
            return decoded[0].value  # type: ignore[no-any-return]
        return [outcome.value for outcome in decoded]  # type: ignore[return-value]

    def _failure(self) -> BaseException | None:
        """What it failed with; only when it is done."""
        error = self._exception
        if error is not None and not isinstance(error, _Unread):
            return error
        for outcome in self.outcomes():
            if outcome.error is not None:
                return outcome.error
        return None

    def _decode(self) -> list[ItemOutcome]:
        key, source, slot = self._origin.key, self._source, self._slot
        if source is not None and slot is not None:
            return [slot_outcome(slot, key, source, self._number, self.name)]
        names = self._names if self._index is None else Names(self.name)
        return outcomes(self.pieces, key, names, whole=self._whole)

    @property
    def name(self) -> str:
        """Name of the node that it stands for."""
        return self._names.name if self._index is None else self._names.item(self._index)

    def stands_for(self, work: Cancellable) -> None:
        """Say what it stands for, so that it can be cancelled."""
        self._work = work
        if self.done():  # meanwhile
            self._work = None

    def may_be_stale(self, anew: Callable[[list[ItemOutcome]], list[ItemOutcome]]) -> None:
        """Something of it comes from a cache: say what computes it anew where that was wrong."""
        self._anew = anew

    def renewed(self) -> bool:
        """Whether what it stood for was wrong, and was computed anew; only when it is done."""
        self.outcomes()
        return self._renewed

    def shows(self, value: Delayed[T] | DelayedList[Any]) -> None:
        """Say which graph it is the value of; it is drawn as long as somebody else holds it."""
        self._asked = weakref.ref(value)

    @property
    def asked(self) -> Delayed[T] | DelayedList[Any] | None:
        """What was asked for, where that is a graph, and is still there."""
        return None if self._asked is None else self._asked()

    def found(self, inquiry: Inquiry | None) -> None:
        """Say what was found when its graph was looked up."""
        if inquiry is not None:
            self._inquiry = inquiry

    def counts(self) -> Mapping[str, Count]:
        """How far the work of its client is, by the names of tasks."""
        return self._origin.counts()

    def needed(self, change: int) -> None:
        """One plan more, or one less, has it as an argument."""
        with LOCK:
            self._needed += change

    def when_done(self, function: Callable[[], object]) -> None:
        """Call a function in the loop's thread, which it must not hold up."""
        super().add_done_callback(lambda _: function())

    @property
    def pieces(self) -> Sequence[PlanPiece]:
        """Where the items are; only when it is done."""
        if self._source is None:
            return self._pieces
        return [SlotRange(self._source, self._number, self._number + 1)]

    @property
    def is_collection(self) -> bool:
        """Whether it stands for the items of a collection."""
        return not self._whole

    def settle(self, target: WaitingTarget) -> None:
        """All has come, or failed; called once, in the loop's thread."""
        self._pieces = target.pieces
        self._whole = target.whole
        if target.error is not None or _any_cancelled(target.pieces):
            self.settle_error(target.error or concurrent.futures.CancelledError())
        else:
            self._end(failed=has_failed(target.pieces))

    def settle_error(self, error: BaseException) -> None:
        """Its value will not come; in the loop's thread."""
        self._work = None
        if isinstance(error, concurrent.futures.CancelledError):
            self.end_cancelled()
        else:
            self.set_exception(error)

    def settle_slot(self, result: Result, number: int, slot: bytes | Slot | None) -> None:
        """The one item that it stands for is in a result; no slot: it could not be read."""
        self._source, self._number, self._slot = result, number, slot
        failed = slot is None or is_failure(slot)
        if failed and slot is not None and self._origin.tally is not None:
            self._origin.tally.failed(self._names.name)
        self._end(failed=failed)

    def settle_value(self, value: Any) -> None:
        """The one item that it stands for is here."""
        self._pieces = [LocalItems([value])]
        self._end(failed=False)

    def _end(self, *, failed: bool) -> None:
        if self._work is not None:
            self._work = None
        self.end(FINISHED, error=_Unread() if failed else None)  # decoded when somebody asks

    def settle_outcomes(self, outcomes: list[ItemOutcome], whole: bool) -> None:
        """All is here already; for the debug mode."""
        self._outcomes = outcomes
        self._whole = whole
        if any(outcome.error is not None for outcome in outcomes):
            self.set_exception(_Unread())
        else:
            self.end(FINISHED)


def _any_cancelled(pieces: Sequence[PlanPiece]) -> bool:
    for piece in pieces:
        if isinstance(piece, SlotRange):
            blame = piece.result.blame
            if blame is not None and blame.cancelled:
                return True
    return False
