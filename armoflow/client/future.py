"""A value to come, as in ``concurrent.futures``; awaitable too."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from armoflow.client.lean_future import LOCK
from armoflow.client.loop import CallbackThread, shared_loop
from armoflow.client.neighbours import OF_FUTURES
from armoflow.client.planned_future import PlannedFuture
from armoflow.client.progress import Display, ShownWaiters, Waiting
from armoflow.client.waiting import check_timeout, wait_for_future
from armoflow.codec.payload import Pickled
from armoflow.errors import GraphError, OptionError, WaitTimeoutError, shown
from armoflow.orchestrator.outcomes import envelope_cells
from armoflow.orchestrator.planned import SlotRange

if TYPE_CHECKING:
    from armoflow.explanation import Explanation

T = TypeVar("T")


class Future(PlannedFuture[T]):
    """What :meth:`Client.submit` returns.

    It may be given to tasks as an argument, waited for with :mod:`concurrent.futures` or awaited.
    While it is alive the engine keeps its data. Dropping it does not cancel it.
    """

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
            return self._value()
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
                        raise self._late(timeout)
            if self.cancelled():
                raise concurrent.futures.CancelledError(self._why_cancelled())
            return self._failure()
        finally:
            del self

    def _late(self, timeout: float | None) -> WaitTimeoutError:
        return WaitTimeoutError(
            f"{self.name!r} has not ended within {timeout} s: it goes on, and may be asked again"
        )

    def _why_cancelled(self) -> str:
        if self.client.closed:
            return f"{self.name!r} was cancelled, or had not ended when its client was closed"
        return f"{self.name!r} was cancelled"

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
                    raise self._late(timeout)
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

        Raises:
            OptionError: If it cannot be called.
        """
        if not callable(fn):
            raise OptionError(f"fn must be a function that takes the future, not {shown(fn)}")
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

    def __await__(self) -> Generator[Any, None, T]:
        display = self._origin.display
        awaited = asyncio.wrap_future(self)
        if display is None or awaited.done():
            return _told(awaited.__await__(), self)
        return _told(_shown(awaited, display).__await__(), self)

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


def _told(awaited: Generator[Any, None, T], future: Future[T]) -> Generator[Any, None, T]:
    """Await a future, and be told of its own error where asyncio has made a bare copy of that."""
    try:
        try:
            return (yield from awaited)
        except _COPIED:
            if future.cancelled() or not future.done():
                raise
        return future.result()
    finally:
        del awaited, future  # see Future.result


_COPIED = (
    *(TimeoutError, asyncio.TimeoutError, concurrent.futures.TimeoutError),
    *(asyncio.InvalidStateError, concurrent.futures.InvalidStateError),
)


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
