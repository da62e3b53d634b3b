"""The client's threads: asynchronous inside, synchronous outside."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import queue
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from armoflow.client.waiting import wait_for_future
from armoflow.errors import ClientClosedError, ThreadLimitError
from armoflow.system.new_threads import start_thread

logger = logging.getLogger(__name__)

T = TypeVar("T")

_ENDING = 0.5
"""Seconds that calls which have ended may take to say so, when the process ends."""


class LoopThread:
    """An event loop on a thread of its own."""

    def __init__(self) -> None:
        self.loop = _new_loop()
        self.process = os.getpid()
        try:
            self._thread = start_thread(self._run, "armoflow-client", "talk to an engine")
        except ThreadLimitError:
            self.loop.close()
            raise

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and wait for its result."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        wait_for_future(future)
        return future.result()

    def open(
        self, coroutine: Coroutine[Any, Any, T], close: Callable[[T], Coroutine[Any, Any, object]]
    ) -> T:
        """Run a coroutine there that opens something, and wait for it.

        Args:
            coroutine: It.
            close: Closes what was opened, if this thread is interrupted before it has it.
        """
        opening: list[asyncio.Task[T]] = []

        async def begin() -> asyncio.Task[T]:
            opening.append(asyncio.ensure_future(coroutine))
            await asyncio.wait(opening)
            return opening[0]

        async def undo() -> None:
            opening[0].cancel()
            await asyncio.wait(opening)
            if not opening[0].cancelled() and opening[0].exception() is None:
                await close(opening[0].result())

        try:
            return self.call(begin()).result()
        except BaseException:
            self.call(undo())
            raise

    def run(self, function: Callable[[], T]) -> T:
        """Call a function there and wait for its result; may be called there, too."""
        if threading.current_thread() is self._thread:
            return function()

        async def call() -> T:
            return function()

        return self.call(call())

    def stop(self) -> None:
        """Stop the loop and its thread; in a forked process there is none."""
        if self.process != os.getpid():
            return
        asyncio.run_coroutine_threadsafe(self._end(), self.loop)
        self._thread.join()
        self.loop.close()

    async def _end(self) -> None:
        """Stop the loop, once what gRPC is about to tell it of calls that have ended is told."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=_ENDING)
        self.loop.stop()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()


FORKED = (
    "this process was forked from one that has a client, and cannot use it or another one: start "
    'processes with multiprocessing.get_context("spawn"), or make clients in the forked ones only'
)

_shared: LoopThread | None = None
_shared_lock = threading.Lock()


def shared_loop() -> LoopThread:
    """The loop of all clients of this process.

    gRPC goes on to tell a loop of its calls after they were cancelled, so none is closed before
    the process ends.

    Raises:
        ClientClosedError: If this process was forked from one that had a client: neither threads
            nor gRPC survive that.
    """
    global _shared  # noqa: PLW0603 - one loop for the process
    with _shared_lock:
        if _shared is None:
            _shared = LoopThread()
            atexit.register(_shared.stop)
        if _shared.process != os.getpid():
            raise ClientClosedError(FORKED)
        return _shared


class CallbackThread:
    """Runs users' callbacks, one after the other: in the loop's thread they would hold it up."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    def put(self, callback: Callable[[], object]) -> None:
        """Run a callback soon; at once, in this thread, after :meth:`close`."""
        with self._lock:
            closed = self._closed
            if not closed:
                self._waiting.put(callback)
                if self._thread is None:
                    with suppress(ThreadLimitError):  # the next callback tries again
                        self._thread = start_thread(self._run, "armoflow-callbacks", "call back")
        if closed:
            _call(callback)

    def close(self) -> None:
        """Run what waits, then end."""
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is not None:
            self._waiting.put(None)
            if thread is not threading.current_thread():
                thread.join()

    def _run(self) -> None:
        while (callback := self._waiting.get()) is not None:
            _call(callback)
            del callback  # it holds a future, which nobody may need any more


def _call(callback: Callable[[], object]) -> None:
    try:
        callback()
    except BaseException:  # of whatever kind: the thread is there for the others too
        logger.exception("a callback of a future raised")


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()  # type: ignore[no-any-return]
