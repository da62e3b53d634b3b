"""A value to come, as in ``concurrent.futures``; awaitable too."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import threading
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from armoflow.client.loop import CallbackThread
from armoflow.client.neighbours import OF_FUTURES
from armoflow.client.waiting import wait_for_future
from armoflow.errors import GraphError
from armoflow.orchestrator.planned import Constant, PlanPiece, SlotRange
from armoflow.orchestrator.targets import Names, Outcome, WaitingTarget, has_failed, outcomes

if TYPE_CHECKING:
    from armoflow.client.client import Client

T = TypeVar("T")


class _Unread(Exception):
    """Stands for an error until somebody asks for it.

    To read one may import the user's modules and run the code of his classes, which is not for the
    loop's thread; but who waits for the first exception has to be told at once that it is one.
    """


class Future(concurrent.futures.Future[T]):
    """What :meth:`Client.submit` returns.

    It may be given to tasks as an argument, waited for with :mod:`concurrent.futures` or awaited.
    While it is alive the engine keeps its data. Dropping it does not cancel it.

    Attributes:
        client: The client that it belongs to.
        constant: Where its value was stored anew, for tasks that have it as an argument.
        sessions_ended: How many of the client's sessions had ended when it was made.
    """

    def __init__(
        self,
        client: Client,
        names: Names,
        callbacks: CallbackThread | None = None,
        sessions_ended: int = 0,
        key: bytes = b"",
    ) -> None:
        super().__init__()
        self.client = client
        self.constant: Constant | None = None
        self.sessions_ended = sessions_ended
        self._names = names
        self._key = key
        self._callbacks = callbacks
        self._cancel: Callable[[], bool] | None = None
        self._needed = 0
        self._pieces: Sequence[PlanPiece] = ()
        self._whole = True
        self._outcomes: list[Outcome] | None = None
        self._decoding = threading.Lock()

    def result(self, timeout: float | None = None) -> T:
        """The value; of a collection, the list of its items.

        Args:
            timeout: Seconds to wait, or None for as long as it takes.

        Raises:
            TimeoutError: If it is not there in time.
            concurrent.futures.CancelledError: If it was cancelled.
            BaseException: What the task raised; its ``__cause__`` says where.
        """
        error = None
        try:
            error = self.exception(timeout)
            if error is not None:
                raise error
            decoded = self.outcomes()
            if self._whole:
                return decoded[0].value  # type: ignore[no-any-return]
            return [outcome.value for outcome in decoded]  # type: ignore[return-value]
        finally:
            # The error is held by the future, and its traceback holds this frame: that must not
            # hold the future, or neither is freed before the next garbage collection.
            del error, self

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What :meth:`result` would raise, or None.

        Args:
            timeout: Seconds to wait, or None for as long as it takes.

        Raises:
            TimeoutError: If it is not done in time.
            concurrent.futures.CancelledError: If it was cancelled.
        """
        try:
            wait_for_future(self, timeout)
            error = super().exception(0)
            if error is not None and not isinstance(error, _Unread):
                return error
            errors = (outcome.error for outcome in self.outcomes() if outcome.error is not None)
            return next(errors, None)
        finally:
            del self

    def outcomes(self) -> list[Outcome]:
        """How each item ended; of a single value, a list of one. Only when it is done."""
        with self._decoding:
            if self._outcomes is None:
                decoded = outcomes(self._pieces, self._key, self._names, whole=self._whole)
                self._outcomes = [outcome for outcome in decoded if outcome.present]
            return self._outcomes

    @property
    def name(self) -> str:
        """Name of the node that it stands for."""
        return self._names.name

    def running(self) -> bool:
        """Whether it is under way: neither done nor cancelled."""
        return not self.done()

    def cancel(self) -> bool:
        """Cancel what only this future needs; what runs of it is killed.

        Calls that share an engine task with others are cancelled at once for who waits; the task is
        killed when nobody wants any of its calls.

        Returns:
            False if it is done already, or if another future needs the very same item.
        """
        if self.cancelled():
            return True
        cancel = self._cancel
        if cancel is None or self.done() or self._needed:
            return False
        return cancel()

    def add_done_callback(self, fn: Callable[[concurrent.futures.Future[T]], object]) -> None:
        """Call a function with this future when it is done.

        The client calls it in a thread that is there for callbacks, so it may wait for other
        futures; if this one is done already, it is called at once.
        """
        callbacks = self._callbacks
        if callbacks is None or self.done():
            super().add_done_callback(fn)
        else:
            super().add_done_callback(functools.partial(_call_later, callbacks, fn))

    def on_cancel(self, cancel: Callable[[], bool]) -> None:
        """Say how the work behind it is cancelled."""
        self._cancel = cancel
        if self.done():  # meanwhile
            self._cancel = None

    def needed(self, change: int) -> None:
        """One plan more, or one less, has it as an argument."""
        with self._decoding:
            self._needed += change

    def when_done(self, function: Callable[[], object]) -> None:
        """Call a function in the loop's thread, which it must not hold up."""
        super().add_done_callback(lambda _: function())

    @property
    def pieces(self) -> Sequence[PlanPiece]:
        """Where the items are; only when it is done."""
        return self._pieces

    @property
    def is_collection(self) -> bool:
        """Whether it stands for the items of a collection."""
        return not self._whole

    def settle(self, target: WaitingTarget) -> None:
        """All has come, or failed; called once, in the loop's thread."""
        self._pieces = target.pieces
        self._whole = target.whole
        self._cancel = None
        error = target.error
        if isinstance(error, concurrent.futures.CancelledError) or _any_cancelled(target.pieces):
            super().cancel()
            self.set_running_or_notify_cancel()
        elif error is not None:
            self.set_exception(error)
        elif has_failed(target.pieces):
            self.set_exception(_Unread())
        else:
            self.set_result(None)  # type: ignore[arg-type]  # decoded when somebody asks
        # They were called, and many hold the future: asyncio.wrap_future's do.
        self._done_callbacks.clear()  # type: ignore[attr-defined]

    def settle_error(self, error: BaseException) -> None:
        """Its value will not come; in the loop's thread."""
        self._cancel = None
        if isinstance(error, concurrent.futures.CancelledError):
            super().cancel()
            self.set_running_or_notify_cancel()
        else:
            self.set_exception(error)
        self._done_callbacks.clear()  # type: ignore[attr-defined]

    def settle_item(self, piece: PlanPiece, *, failed: bool) -> None:
        """The one item that it stands for has come; ``failed``: it is an error."""
        self._pieces = [piece]
        self._cancel = None
        if failed:
            self.set_exception(_Unread())
        else:
            self.set_result(None)  # type: ignore[arg-type]
        self._done_callbacks.clear()  # type: ignore[attr-defined]  # see `settle`

    def settle_outcomes(self, outcomes: list[Outcome], whole: bool) -> None:
        """All is here already; for the debug mode."""
        self._outcomes = outcomes
        self._whole = whole
        if any(outcome.error is not None for outcome in outcomes):
            self.set_exception(_Unread())
        else:
            self.set_result(None)  # type: ignore[arg-type]

    def __await__(self) -> Generator[Any, None, T]:
        return asyncio.wrap_future(self).__await__()

    def _get_snapshot(self) -> tuple[bool, bool, Any, BaseException | None]:
        """Done, cancelled, result, exception: what asyncio copies, from Python 3.14 on."""
        if not self.done() or self.cancelled():
            return self.done(), self.cancelled(), None, None
        error = self.exception()
        return True, False, self.result() if error is None else None, error

    if not TYPE_CHECKING:  # a type checker finds these by itself

        def __getattr__(self, name: str) -> NoReturn:
            remedy = f": write future.{OF_FUTURES[name]}" if name in OF_FUTURES else ""
            raise AttributeError(f"a Future has no attribute {name!r}{remedy}")

    def __repr__(self) -> str:
        if self.cancelled():
            state = "cancelled"
        elif not self.done():
            state = "running"
        else:
            state = "done"
        return f"<Future {self.name} {state}>"

    def __reduce__(self) -> Any:
        raise GraphError(
            "a Future cannot be pickled: give it to a task of its own client as an argument, or "
            "pickle the value that result() gives"
        )


def _call_later(
    callbacks: CallbackThread,
    fn: Callable[[concurrent.futures.Future[T]], object],
    future: concurrent.futures.Future[T],
) -> None:
    callbacks.put(functools.partial(fn, future))


def _any_cancelled(pieces: Sequence[PlanPiece]) -> bool:
    for piece in pieces:
        if isinstance(piece, SlotRange):
            blame = piece.result.blame
            if blame is not None and blame.cancelled:
                return True
    return False
