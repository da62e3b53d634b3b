"""A value to come, as in ``concurrent.futures``; awaitable too."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import os
import weakref
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures._base import FINISHED
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol, TypeVar

from armoflow.client.lean_future import LOCK, LeanFuture
from armoflow.client.loop import CallbackThread, shared_loop
from armoflow.client.neighbours import OF_FUTURES
from armoflow.client.progress import Display, ShownWaiters, Waiting
from armoflow.client.waiting import check_timeout, wait_for_future
from armoflow.codec.envelope import Slot
from armoflow.codec.payload import Pickled
from armoflow.errors import GraphError, WaitTimeoutError
from armoflow.orchestrator.planned import Constant, LocalItems, PlanPiece, Result, SlotRange
from armoflow.orchestrator.tally import Count, Tally
from armoflow.orchestrator.targets import (
    ItemOutcome,
    Names,
    WaitingTarget,
    envelope_cells,
    has_failed,
    is_failure,
    outcomes,
    slot_outcome,
)

if TYPE_CHECKING:
    from armoflow.client.client import Client
    from armoflow.client.inquiry import Inquiry
    from armoflow.explanation import Explanation
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


class Future(LeanFuture[T]):
    """What :meth:`Client.submit` returns.

    It may be given to tasks as an argument, waited for with :mod:`concurrent.futures` or awaited.
    While it is alive the engine keeps its data. Dropping it does not cancel it.

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
        if timeout is not None:
            check_timeout(timeout)
        try:
            if not self.done():
                with Waiting(self._origin.display) as waiting:
                    if not wait_for_future(self, timeout, waiting.tick):
                        raise WaitTimeoutError
            if self.cancelled():
                raise concurrent.futures.CancelledError
            error = self._exception
            if error is not None and not isinstance(error, _Unread):
                return error
            for outcome in self.outcomes():
                if outcome.error is not None:
                    return outcome.error
            return None
        finally:
            del self

    def download(self, path: str | os.PathLike[str], timeout: float | None = None) -> Path:
        """Write the value to a file, piece by piece; what is there is replaced, at once.

        Args:
            path: Of the file; of a folder that is there: a file that a task has returned goes into
                it under its own name. A folder that a task has returned is made under this path.
            timeout: Seconds to wait, or None for as long as it takes.

        Returns:
            The path of what was written.

        Raises:
            OptionError: If the path names nothing, or the timeout is no number of seconds.
            TimeoutError: If it is not there in time.
            OSError: If the path cannot be written to, such as into a folder that is not there.
            SerializationError: If the value is neither a file, a folder, bytes nor text.
            BaseException: What the task raised, as :meth:`result` does.

        Example:
            >>> import tempfile
            >>> from armoflow import Client, task
            >>> with Client(local=True) as client, tempfile.TemporaryDirectory() as folder:
            ...     client.submit(task(str)(3)).download(f"{folder}/three.txt").read_text()
            '3'
        """
        from armoflow.client.downloads import check_target, save

        target = check_target(path)
        if timeout is not None:
            check_timeout(timeout)
        if not self.done():
            with Waiting(self._origin.display) as waiting:
                if not wait_for_future(self, timeout, waiting.tick):
                    raise WaitTimeoutError
        if self.cancelled() or self._exception is not None or self._anew is not None:
            return save(self.result(timeout), target, self.name)
        if not self._whole:
            raise GraphError(
                f"{self.name!r} is a collection: client.map(task, items) gives a future for each "
                "of its items, that can be downloaded"
            )
        return save(self._arrived(), target, self.name)

    def _arrived(self) -> Any:
        """The value, where it is large as it has come."""
        from armoflow.client.downloads import read

        (piece,) = self.pieces or (None,)
        if self._outcomes is not None or not isinstance(piece, SlotRange):
            return self.result()
        cell = self._slot if self._slot is not None else envelope_cells(piece.result)[piece.start]
        if isinstance(cell, bytes):
            return read(Pickled(cell))
        return self.result() if cell is None else read(Pickled(cell.data, cell.buffers))

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

    def running(self) -> bool:
        """Whether it is under way: neither done nor cancelled."""
        return not self.done()

    def cancel(self) -> bool:
        """Cancel what only this future needs; what runs of it is killed.

        Calls that share an engine task with others are cancelled at once for who waits; the task is
        killed when nobody wants any of its calls.

        Returns:
            False if it is done already, or if another future needs the very same item; of a named
            run, which others may wait for, always: ``armoflow cancel NAME`` ends it.
        """
        if self.cancelled():
            return True
        work = self._work
        if work is None or self.done() or self._needed:
            return False
        return shared_loop().run(work.cancel)

    def add_done_callback(self, fn: Callable[[concurrent.futures.Future[T]], object]) -> None:
        """Call a function with this future when it is done.

        The client calls it in a thread that is there for callbacks, so it may wait for other
        futures; given in a coroutine, it is called in that one's event loop. If this future is done
        already, it is called at once.
        """
        loop = asyncio._get_running_loop()
        if loop is None or self.done():
            self.call_when_done(fn)
        else:
            super().add_done_callback(_InLoop(fn, loop))

    def call_when_done(self, fn: Callable[[concurrent.futures.Future[T]], object]) -> None:
        """As :meth:`add_done_callback`, but never in an event loop: who asks may block that."""
        callbacks = self._origin.callbacks
        if callbacks is None or self.done():
            super().add_done_callback(fn)
        else:
            super().add_done_callback(functools.partial(_call_later, callbacks, fn))

    def remove_done_callback(self, fn: Callable[[concurrent.futures.Future[T]], object]) -> int:
        """Forget callbacks that were given in a coroutine, as ``asyncio.wait`` does; how many."""
        with LOCK:
            kept = [each for each in self._callbacks or () if getattr(each, "callback", None) != fn]
            removed = len(self._callbacks or ()) - len(kept)
            self._callbacks = kept or None
        return removed

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

    def explain(self) -> Explanation:
        """Why its graph was run, or was not: what the cache had of it when it was asked for.

        Returns:
            By the names of tasks, hits and misses, and for these which part of the key was another
            than at the nearest earlier time; ``print`` it, or ``as_dict()``.

        Raises:
            ClientClosedError: If the cache went with its client.

        Example:
            >>> from armoflow import Client, task
            >>> with Client(local=True) as client:
            ...     print(client.submit(task(abs)(-1)).explain())
            abs: 1 not cached
              not cached: nothing says cache=True
        """
        from armoflow.explanation import uncached
        from armoflow.orchestrator.caching.uncached import NOTHING_SAID

        if self._inquiry is None:
            return uncached(self.name, NOTHING_SAID)
        return self._inquiry.explain()

    def counts(self) -> Mapping[str, Count]:
        """How far the work of its client is, by the names of tasks."""
        return self._origin.counts()

    def visualize(self, path: str | os.PathLike[str] | None = None) -> str:
        """Draw the graph that makes its value, in the colours of how far that is.

        The graph is known while it runs, and then for as long as the value is kept that was
        submitted. Else, and of a single call, there is one box.

        Args:
            path: File to write; its suffix chooses the format: .svg, .png, .dot, .mmd (Mermaid) or
                .html.

        Returns:
            The picture as text: SVG where no path is given, and where it is .png.
        """
        from armoflow.client.showing import draw_future

        return draw_future(self, path)

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

    def __await__(self) -> Generator[Any, None, T]:
        display = self._origin.display
        awaited = asyncio.wrap_future(self)
        if display is None or awaited.done():
            return awaited.__await__()
        return _shown(awaited, display).__await__()

    def _make_waiters(self) -> list[Any]:
        display = self._origin.display
        return [] if display is None else ShownWaiters(display)

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

    def _repr_html_(self) -> str:
        from armoflow.client.showing import future_html

        return future_html(self)

    def __reduce__(self) -> Any:
        raise GraphError(
            "a Future cannot be pickled: give it to a task of its own client as an argument, or "
            "pickle the value that result() gives"
        )


async def _shown(awaited: asyncio.Future[T], display: Display) -> T:
    """Await a future while bars show how far the work is."""
    display.enter()
    try:
        return await awaited
    finally:
        display.leave()
        del awaited  # see Future.result


class _InLoop:
    """A callback for an event loop; one that was closed meanwhile has nobody left who waits."""

    __slots__ = ("_loop", "callback")

    def __init__(self, callback: Callable[..., object], loop: asyncio.AbstractEventLoop) -> None:
        self.callback = callback
        self._loop = loop

    def __call__(self, future: concurrent.futures.Future[Any]) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.callback, future)


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
