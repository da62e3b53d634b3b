"""The client for coroutines: what would wait is awaited."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, overload

from armoflow.client.awaiting import all_ended, await_each, cancel_started, futures_in
from armoflow.client.call_spans import call_span
from armoflow.client.client import Client
from armoflow.client.eager_target import Stop
from armoflow.client.future import Future
from armoflow.client.gathering import assemble, check_future, gather_values
from armoflow.client.habits import check_computable, check_policy
from armoflow.client.iteration import Iteration
from armoflow.client.neighbours import OF_CLIENTS
from armoflow.client.pending_call import pending
from armoflow.client.put import Put
from armoflow.client.waiting import check_timeout
from armoflow.errors import ClientClosedError, GraphError
from armoflow.estimate import Estimate
from armoflow.explanation import Explanation
from armoflow.foreign_keywords import A_LIST, refuse_arguments
from armoflow.graph.arguments import find_dependencies
from armoflow.graph.collection import DelayedList
from armoflow.graph.context import Computer, enter, leave
from armoflow.graph.delayed import Delayed

T = TypeVar("T")
A = TypeVar("A")

_END: Any = object()


class AsyncClient:
    """Runs graphs, for coroutines: ``async with AsyncClient(...) as client``.

    Its futures are those of a :class:`Client`: they may be given to tasks, awaited, and waited for
    with ``asyncio.wait``, ``asyncio.wait_for`` and ``asyncio.gather``. Who is cancelled while he
    awaits a future cancels what only this future needs; who awaits a future that is cancelled gets
    ``CancelledError``.

    Args:
        endpoint: As that of :class:`Client`.
        arguments: Its further arguments, and options of tasks.

    Example:
        >>> import asyncio
        >>> from armoflow import AsyncClient, task
        >>> @task
        ... async def double(number: int) -> int:
        ...     return 2 * number
        >>> async def main():
        ...     async with AsyncClient(local=True) as client:
        ...         return await client.compute(double.map([1, 2]))
        >>> asyncio.run(main())
        [2, 4]
    """

    def __init__(self, endpoint: str | None = None, **arguments: Any) -> None:
        self._arguments = {"endpoint": endpoint, **arguments}
        # There the caller's own thread runs the tasks, so that they can be stepped through.
        self._here = arguments.get("local") is True
        self._client: Client | None = None
        self._outer: list[Computer | None] = []

    @property
    def client(self) -> Client:
        """The client that it is of, for what would not wait.

        Raises:
            ClientClosedError: Outside of ``async with``.
        """
        if self._client is None:
            raise ClientClosedError("this client is not open: `async with` opens it")
        return self._client

    @overload
    async def compute(self, value: Delayed[A], /, *, timeout: float | None = None) -> A: ...
    @overload
    async def compute(
        self, value: DelayedList[A], /, *, timeout: float | None = None
    ) -> list[A]: ...
    @overload
    async def compute(
        self,
        *values: Any,
        timeout: float | None = None,
        return_exceptions: bool = False,
        fail_fast: bool = False,
    ) -> Any: ...

    @pending
    async def compute(
        self,
        *values: Any,
        timeout: float | None = None,
        return_exceptions: bool = False,
        fail_fast: bool = False,
        **others: NoReturn,
    ) -> Any:
        """Run graphs and await their values; see :meth:`Client.compute`.

        Who is cancelled meanwhile cancels them.
        """
        refuse_arguments("compute", ("timeout", "return_exceptions", "fail_fast"), others)
        lazy = find_dependencies(values)
        check_computable(values, deep=not lazy)
        check_timeout(timeout)
        check_policy(return_exceptions=return_exceptions, fail_fast=fail_fast)
        if fail_fast:
            return assemble(values, lazy, await self._eager(lazy, timeout) if lazy else [])
        with call_span("compute", lazy):
            futures = await self._started(self.client.submit_all, lazy)
            results: list[Any] = []
            if futures:
                await all_ended(futures, timeout)
                results = await self._call(lambda: gather_values(futures, return_exceptions))
        return assemble(values, lazy, results)

    @pending
    async def submit(self, value: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Start a graph or a call; see :meth:`Client.submit`."""

        def start() -> list[Future[Any]]:
            return [self.client.submit(value, *args, **kwargs)]

        return (await self._started(start))[0]

    @pending
    async def map(self, task: Any, /, *iterables: Any, **fixed: Any) -> list[Future[Any]]:
        """Start a task for each item of the iterables; see :meth:`Client.map`."""
        return await self._started(lambda: self.client.map(task, *iterables, **fixed))

    @pending
    async def gather(
        self, futures: Any, *more: NoReturn, return_exceptions: bool = False, **others: NoReturn
    ) -> Any:
        """Await futures; see :meth:`Client.gather`. Who is cancelled meanwhile cancels none."""
        refuse_arguments("gather", ("return_exceptions",), others, more, A_LIST)
        waited = list(futures_in(futures))
        if waited:
            await asyncio.wait(waited)
        return await self._call(lambda: gather_values(futures, return_exceptions))

    @overload
    def as_completed(
        self, futures: DelayedList[A], *, timeout: float | None = None
    ) -> AsyncIterator[Future[A]]: ...
    @overload
    def as_completed(
        self, futures: Iterable[Future[A]], *, timeout: float | None = None
    ) -> AsyncIterator[Future[A]]: ...

    def as_completed(
        self, futures: Any, *more: NoReturn, timeout: float | None = None, **others: NoReturn
    ) -> AsyncIterator[Future[Any]]:
        """Futures in the order in which they end; see :meth:`Client.as_completed`.

        A ``DelayedList`` is cancelled when the iteration ends early.
        """
        refuse_arguments("as_completed", ("timeout",), others, more, A_LIST)
        check_timeout(timeout)
        if isinstance(futures, DelayedList):
            return self._iterate(futures, timeout)
        waited = list(dict.fromkeys(futures))
        for future in waited:
            check_future(future, "as_completed")
        return await_each(waited, timeout)

    @pending
    async def put(
        self,
        value: T,
        *further: NoReturn,
        name: str | None = None,
        replace: bool = False,
        **others: NoReturn,
    ) -> Put[T]:
        """Upload a value once, for many tasks; see :meth:`Client.put`."""
        put = self.client.put
        return await self._call(lambda: put(value, *further, name=name, replace=replace, **others))

    @pending
    async def get(self, name: str, *further: NoReturn, **others: NoReturn) -> Any:
        """The value that was put under a name; see :meth:`Client.get`."""
        return await self._call(lambda: self.client.get(name, *further, **others))

    @pending
    async def refer(self, name: str, *further: NoReturn, **others: NoReturn) -> Put[Any]:
        """A reference to it, for tasks; see :meth:`Client.refer`."""
        return await self._call(lambda: self.client.refer(name, *further, **others))

    @pending
    async def forget(self, name: str, *further: NoReturn, **others: NoReturn) -> None:
        """Remove it; see :meth:`Client.forget`."""
        await self._call(lambda: self.client.forget(name, *further, **others))

    @pending
    async def attach(self, name: str, *further: NoReturn, **others: NoReturn) -> Future[Any]:
        """The future of a named run; see :meth:`Client.attach`."""
        return (await self._started(lambda: [self.client.attach(name, *further, **others)]))[0]

    @pending
    async def resume(self, name: str, *further: NoReturn, **others: NoReturn) -> Future[Any]:
        """The future of a named run that goes on; see :meth:`Client.resume`."""
        return (await self._started(lambda: [self.client.resume(name, *further, **others)]))[0]

    @pending
    async def explain(self, *values: Any) -> Explanation:
        """What the cache has of a graph; see :meth:`Client.explain`."""
        return await self._call(lambda: self.client.explain(*values))

    @pending
    async def plan(self, *values: Any) -> Estimate:
        """What a graph is expected to take; see :meth:`Client.plan`."""
        return await self._call(lambda: self.client.plan(*values))

    @pending
    async def detach(self) -> list[str]:
        """Leave named runs to the engine; see :meth:`Client.detach`."""
        return await self._call(self.client.detach)

    async def close(self) -> None:
        """Cancel what runs, end the session and the private engine; may be called again."""
        if self._client is not None:
            await self._call(self._client.close)

    if not TYPE_CHECKING:  # a type checker finds this by itself

        def __enter__(self) -> NoReturn:
            raise GraphError("an AsyncClient is entered by `async with`; `with` is for a Client")

        def __exit__(self, *ended: object) -> None:
            """Never entered."""

    async def __aenter__(self) -> AsyncClient:
        if self._client is None:
            opening = _Opening(self._arguments)
            try:
                self._client = await self._call(opening.run)
            except asyncio.CancelledError:
                await self._call(opening.give_up)
                raise
        self._outer.append(enter(self._client))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        leave(self.client, self._outer.pop())
        await self.close()

    if not TYPE_CHECKING:  # a type checker finds these by itself

        def __getattr__(self, name: str) -> NoReturn:
            remedy = ""
            if name in OF_CLIENTS:
                remedy = f": write {OF_CLIENTS[name]}; the calls of an AsyncClient are awaited"
            elif not name.startswith("_") and hasattr(Client, name):
                remedy = f": write client.client.{name}, as of a Client, which waits"
            raise AttributeError(f"an AsyncClient has no attribute {name!r}{remedy}")

    def __repr__(self) -> str:
        return f"<AsyncClient {self._client or 'not open'}>"

    # --------------------------------------------------------------------------------------------

    async def _call(self, function: Callable[[], T]) -> T:
        """Call what may wait, in a thread, with this task's blocks of options."""
        return function() if self._here else await asyncio.to_thread(function)

    async def _started(
        self, start: Callable[..., list[Future[Any]]], *args: Any
    ) -> list[Future[Any]]:
        """Futures of what is started; if this is cancelled meanwhile, so are they."""
        starting = asyncio.ensure_future(self._call(lambda: start(*args)))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(cancel_started)
            raise

    async def _eager(self, lazy: Sequence[Any], timeout: float | None) -> list[Any]:
        """Values, or the first error; if this is cancelled meanwhile, all of it is."""
        stop = Stop()
        computing = asyncio.ensure_future(
            self._call(lambda: self.client.compute_eagerly(lazy, timeout, stop))
        )
        try:
            return await asyncio.shield(computing)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait([computing])
            computing.exception()  # nobody asks for it any more
            raise

    async def _iterate(
        self, collection: DelayedList[Any], timeout: float | None
    ) -> AsyncIterator[Future[Any]]:
        iterator = self.client.as_completed(collection, timeout=timeout)
        coming: asyncio.Future[Any] | None = None
        try:
            while True:
                coming = asyncio.ensure_future(self._call(lambda: next(iterator, _END)))
                future = await asyncio.shield(coming)
                if future is _END:
                    return
                yield future
        finally:
            if isinstance(iterator, Iteration):
                iterator.stop()
                if coming is not None:
                    await asyncio.wait([coming])  # a thread is in it until then
                await self._call(iterator.close)


class _Opening:
    """A client that is being opened in a thread: it is closed if nobody waits for it any more.

    Args:
        arguments: Of the client.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._arguments = arguments
        self._lock = threading.Lock()
        self._given_up = False
        self._client: Client | None = None

    def run(self) -> Client:
        """Open it."""
        client = Client(**self._arguments)
        with self._lock:
            self._client = client
            given_up = self._given_up
        if given_up:
            client.close()
        return client

    def give_up(self) -> None:
        """Close it, now or when it is open."""
        with self._lock:
            self._given_up = True
            client = self._client
        if client is not None:
            client.close()
