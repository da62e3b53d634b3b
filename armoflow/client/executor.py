"""A client as an executor of :mod:`concurrent.futures`, for code that knows nothing of armoflow."""

from __future__ import annotations

import concurrent.futures
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from armoflow.client.waiting import check_timeout
from armoflow.errors import OptionError
from armoflow.graph.task import as_task

if TYPE_CHECKING:
    from armoflow.client.client import Client
    from armoflow.client.future import Future

T = TypeVar("T")


class ClientExecutor(concurrent.futures.Executor):
    """What :meth:`Client.executor` returns.

    Its calls run as tasks, and its futures are the client's. The client stays open when it is shut
    down.

    Args:
        client: Runs the calls.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._closed = False
        self._open: weakref.WeakSet[Future[Any]] = weakref.WeakSet()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Start a call.

        Args:
            fn: A function, or a task.
            args: Its positional arguments.
            kwargs: Its keyword arguments.

        Raises:
            RuntimeError: If the executor was shut down.
        """
        with self._lock:
            self._check_open()
            future: Future[T] = self._client.submit(fn, *args, **kwargs)
            self._open.add(future)
        return future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
    ) -> Iterator[T]:
        """Call a function for each item of the iterables, up to the shortest; all are read at once.

        Args:
            fn: A function, or a task.
            iterables: The positional arguments, item by item.
            timeout: Seconds from now until which all values must be there.
            chunksize: How many calls share a task; 1 lets armoflow choose.

        Returns:
            The values in order. What has no value yet is cancelled when the iteration ends early.

        Raises:
            ValueError: If ``chunksize`` or ``timeout`` is none.
            TimeoutError: From the iterator, if one is not there in time.
        """
        if isinstance(chunksize, bool) or not isinstance(chunksize, int) or chunksize < 1:
            raise OptionError(f"chunksize must be an integer from 1 on, not {chunksize!r}")
        check_timeout(timeout)
        task = as_task(fn)
        if chunksize > 1:
            task = task.with_options(batch_size=chunksize)
        deadline = None if timeout is None else time.monotonic() + timeout
        rows = list(zip(*iterables, strict=False))
        with self._lock:
            self._check_open()
            columns = [list(column) for column in zip(*rows, strict=True)]
            futures = self._client.map(task, *columns) if rows else []
            self._open.update(futures)
        return _values(futures, deadline)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; may be called again.

        Args:
            wait: Return when those that were submitted have ended.
            cancel_futures: Cancel them.
        """
        with self._lock:
            self._closed = True
            left = list(self._open)
        if cancel_futures:
            for future in left:
                future.cancel()
        if wait:
            concurrent.futures.wait(left)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wait for what was submitted; Ctrl-C cancels it, as everywhere."""
        self.shutdown(cancel_futures=isinstance(error, KeyboardInterrupt))

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")


def _values(futures: list[Future[T]], deadline: float | None) -> Iterator[T]:
    """Values in order; nothing is kept of those that were taken."""
    futures.reverse()
    try:
        while futures:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            yield _take(futures, left)
    finally:
        for future in futures:
            future.cancel()


def _take(futures: list[Future[T]], timeout: float | None) -> T:
    try:
        return futures[-1].result(timeout)
    finally:
        futures.pop().cancel()  # where its value was not waited for
