"""A value to come, as in ``concurrent.futures``; awaitable too."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from armoflow.orchestrator.planned import PlanPiece
from armoflow.orchestrator.targets import Outcome, WaitingTarget, outcomes

if TYPE_CHECKING:
    from armoflow.client.client import Client

T = TypeVar("T")


class Future(concurrent.futures.Future[T]):
    """What :meth:`Client.submit` returns.

    It may be given to tasks as an argument, waited for with :mod:`concurrent.futures` or awaited.
    While it is alive the engine keeps its data.
    """

    def __init__(self, client: Client) -> None:
        super().__init__()
        self.client = client
        self._cancel: Callable[[], bool] | None = None
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
        super().result(timeout)
        decoded = self.outcomes()
        for outcome in decoded:
            if outcome.error is not None:
                raise outcome.error
        if self._whole:
            return decoded[0].value  # type: ignore[no-any-return]
        return [outcome.value for outcome in decoded]  # type: ignore[return-value]

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What :meth:`result` would raise, or None."""
        error = super().exception(timeout)
        if error is not None:
            return error
        for outcome in self.outcomes():
            if outcome.error is not None:
                return outcome.error
        return None

    def outcomes(self) -> list[Outcome]:
        """How each item ended; of a single value, a list of one. Only when it is done."""
        with self._decoding:
            if self._outcomes is None:
                decoded = outcomes(self._pieces)
                self._outcomes = [outcome for outcome in decoded if outcome.present]
            return self._outcomes

    def cancel(self) -> bool:
        """Cancel what only this future needs.

        Returns:
            False if it is done already, or if another future needs the very same item.
        """
        if self.done() or self._cancel is None:
            return False
        return self._cancel()

    def on_cancel(self, cancel: Callable[[], bool]) -> None:
        """Say how the work behind it is cancelled."""
        if not self.done():
            self._cancel = cancel

    def places(self) -> Sequence[PlanPiece]:
        """Where the items are, for tasks that have this future as an argument; waits."""
        super().exception()
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
        if target.cancelled or isinstance(target.error, concurrent.futures.CancelledError):
            super().cancel()
            self.set_running_or_notify_cancel()
        elif target.error is not None:
            self.set_exception(target.error)
        else:
            self.set_result(None)  # type: ignore[arg-type]  # decoded when somebody asks

    def settle_item(self, piece: PlanPiece) -> None:
        """One item has come; for futures that an iteration makes."""
        self._pieces = [piece]
        self.set_result(None)  # type: ignore[arg-type]

    def settle_outcomes(self, outcomes: list[Outcome], whole: bool) -> None:
        """All is here already; for the debug mode."""
        self._outcomes = outcomes
        self._whole = whole
        self.set_result(None)  # type: ignore[arg-type]

    def __await__(self) -> Generator[Any, None, T]:
        return asyncio.wrap_future(self).__await__()

    def __reduce__(self) -> Any:
        raise TypeError(
            "a Future cannot be pickled: give it to a task of its own client as an argument, or "
            "pickle the value that result() gives"
        )
