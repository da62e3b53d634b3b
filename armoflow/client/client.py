"""The client: runs graphs on the embedded engine or on any ArmoniK."""

from __future__ import annotations

import atexit
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextvars import Token
from types import TracebackType
from typing import Any, Literal, TypeVar, overload

from armoflow.client.backend import Backend
from armoflow.client.future import Future
from armoflow.client.loop import FORKED
from armoflow.client.put import Put
from armoflow.client.waiting import as_completed
from armoflow.errors import ArmoflowError, ClientClosedError, GraphError, OptionError
from armoflow.graph.arguments import find_dependencies, substitute
from armoflow.graph.collection import DelayedList, zip_items
from armoflow.graph.context import Computer, current_client
from armoflow.graph.delayed import Delayed
from armoflow.graph.task import as_task
from armoflow.options import DEFAULT_OPTIONS, make_options, merge_options

logger = logging.getLogger(__name__)

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")

PayloadMode = Literal["auto", "delayed", "eager", "inline"]


class Client:
    """Runs graphs.

    Args:
        endpoint: ``http://host:port`` or ``unix:/path`` of an ArmoniK; without one the variable
            ``ARMOFLOW_ENDPOINT`` is taken, and without that a private engine is started.
        workers: Worker processes of the private engine (default: the processors of this machine);
            with an endpoint, about how many tasks it runs at once.
        local: Run everything in the caller's thread, to step through it with a debugger.
        payloads: When payloads go up: ``"delayed"`` (after the tasks were submitted), ``"eager"``
            (before), ``"inline"`` (with their metadata) or ``"auto"``.
        extensions: Use what only the embedded engine offers, where it is offered; the variable
            ``ARMOFLOW_EXTENSIONS=0`` switches it off.
        max_priority: Highest priority that the engine's queues allow.
        connect_timeout: Seconds to wait for an answer from the endpoint.
        options: Task options that hold where a task says nothing, such as ``retries=2``.

    Raises:
        EngineUnreachableError: If nothing answers at the endpoint.
        OptionError: If an option is unknown or its value is out of range.

    Example:
        >>> from armoflow import Client, task
        >>> @task
        ... def double(number: int) -> int:
        ...     return 2 * number
        >>> with Client(local=True) as client:
        ...     client.compute(double(double(10)))
        40
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        workers: int | None = None,
        local: bool = False,
        payloads: PayloadMode = "auto",
        extensions: bool | None = None,
        max_priority: int = 10,
        connect_timeout: float = 10.0,
        **options: Any,
    ) -> None:
        defaults = merge_options(make_options(options), DEFAULT_OPTIONS)
        _check_count("workers", workers)
        _check_count("max_priority", max_priority)
        self._token: Token[Computer | None] | None = None
        self._closed = False
        self._process = os.getpid()
        self._backend: Backend
        if local:
            from armoflow.client.local_backend import LocalBackend

            self._backend = LocalBackend(self, defaults)
        else:
            from armoflow.client.engine_backend import EngineBackend

            if extensions is None:
                extensions = os.environ.get("ARMOFLOW_EXTENSIONS", "1") != "0"
            self._backend = EngineBackend(
                self,
                endpoint or os.environ.get("ARMOFLOW_ENDPOINT") or None,
                defaults,
                workers=workers,
                payloads=payloads,
                extensions=extensions,
                max_priority=max_priority,
                connect_timeout=connect_timeout,
            )
        atexit.register(self.close)  # before the loop and the private engine end

    # --- running graphs -------------------------------------------------------------------------

    @overload
    def compute(self, value: Delayed[A], /) -> A: ...
    @overload
    def compute(self, value: DelayedList[A], /) -> list[A]: ...
    @overload
    def compute(self, first: Delayed[A], second: Delayed[B], /) -> tuple[A, B]: ...
    @overload
    def compute(
        self, first: Delayed[A], second: Delayed[B], third: Delayed[C], /
    ) -> tuple[A, B, C]: ...
    @overload
    def compute(self, *values: Any) -> Any: ...

    def compute(self, *values: Any) -> Any:
        """Run graphs and wait for their values; what several share runs once.

        Args:
            values: ``Delayed``, ``DelayedList``, or containers holding some.

        Returns:
            The value of one; a tuple of the values of several.

        Raises:
            BaseException: What a task raised; its ``__cause__`` says where.
        """
        self._check_open()
        lazy = find_dependencies(values)
        try:
            results = self._backend.compute(lazy) if lazy else []
        except KeyboardInterrupt:
            self._interrupt()
            raise
        found = dict(zip(map(id, lazy), results, strict=True))
        computed = tuple(substitute(value, lambda part: found[id(part)]) for value in values)
        return computed[0] if len(computed) == 1 else computed

    @overload
    def submit(self, value: Delayed[A], /) -> Future[A]: ...
    @overload
    def submit(self, value: DelayedList[A], /) -> Future[list[A]]: ...

    def submit(self, value: Any, /) -> Future[Any]:
        """Start a graph.

        Args:
            value: A ``Delayed`` or ``DelayedList``.

        Returns:
            A future of its value.

        Raises:
            GraphError: If it is neither.
        """
        if not isinstance(value, (Delayed, DelayedList)):
            raise GraphError(
                f"submit() takes what a call of a task returned, not {type(value).__name__} "
                f"{value!r}: write client.submit(task(arguments))"
            )
        return self._submit([value])[0]

    def map(self, task: Any, /, *iterables: Any, **fixed: Any) -> list[Future[Any]]:
        """Start a task for each item of the iterables, up to the shortest.

        Args:
            task: A task, or a plain function.
            iterables: The positional arguments, item by item; at least one has a known length.
            fixed: Keyword arguments of every call.

        Returns:
            A future per item, in order.
        """
        lists = [
            iterable if isinstance(iterable, (Delayed, DelayedList)) else list(iterable)
            for iterable in iterables
        ]
        mapped: Any = as_task(task).map(*lists, **fixed)
        if isinstance(mapped, tuple):  # several outputs: an item is the tuple of them
            mapped = zip_items(*mapped)
        return self._submit(list(mapped))

    def gather(self, futures: Any, *, return_exceptions: bool = False) -> Any:
        """Wait for futures.

        Args:
            futures: A future, or an iterable of futures (lists may be nested).
            return_exceptions: Put a failed future's exception in its place and do not raise it.

        Returns:
            The values, in order.
        """
        if isinstance(futures, Future):
            if not return_exceptions:
                return futures.result()
            error = futures.exception()
            if error is None or not futures.is_collection:
                return futures.result() if error is None else error
            return [
                outcome.value if outcome.error is None else outcome.error
                for outcome in futures.outcomes()
            ]
        if not isinstance(futures, Iterable) or isinstance(futures, (Delayed, DelayedList, str)):
            _check_future(futures, "gather")
        return [self.gather(future, return_exceptions=return_exceptions) for future in futures]

    @overload
    def as_completed(
        self, futures: DelayedList[A], *, timeout: float | None = None
    ) -> Iterator[Future[A]]: ...
    @overload
    def as_completed(
        self, futures: Iterable[Future[A]], *, timeout: float | None = None
    ) -> Iterator[Future[A]]: ...

    def as_completed(self, futures: Any, *, timeout: float | None = None) -> Iterator[Future[Any]]:
        """Futures in the order in which they end.

        Args:
            futures: Futures; or a ``DelayedList``, which may be endless: it is started, and only as
                far ahead as the iteration can follow.
            timeout: Seconds after which ``TimeoutError`` is raised.

        Yields:
            Futures that are done.
        """
        if isinstance(futures, DelayedList):
            self._check_open()
            return self._backend.iterate(futures, timeout)
        waited = list(futures)
        for future in waited:
            _check_future(future, "as_completed")
        return as_completed(waited, timeout)

    def put(self, value: T) -> Put[T]:
        """Upload a value once, for many tasks.

        Args:
            value: Anything that can be pickled.

        Returns:
            A reference: give it to tasks in place of the value.
        """
        self._check_open()
        return self._backend.put(value)

    @property
    def extensions(self) -> frozenset[str]:
        """What the engine offers beyond the ArmoniK API, and is used."""
        return self._backend.extensions

    # --- life -----------------------------------------------------------------------------------

    def close(self) -> None:
        """Cancel what runs, end the session and the private engine; may be called again."""
        if not self._closed and self._process == os.getpid():
            self._closed = True
            atexit.unregister(self.close)
            self._backend.close()

    def __enter__(self) -> Client:
        self._check_open()
        self._token = current_client.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._token is not None:
            current_client.reset(self._token)
            self._token = None
        self.close()

    def __repr__(self) -> str:
        return f"<Client {self._backend.endpoint}{' closed' if self._closed else ''}>"

    def _interrupt(self) -> None:
        try:
            self._backend.interrupt()
        except ArmoflowError as error:  # Ctrl-C is what the caller has to hear of
            logger.warning("what runs could not be cancelled: %s", error)

    def _submit(self, values: Sequence[Any]) -> list[Future[Any]]:
        self._check_open()
        return self._backend.submit(values) if values else []

    def _check_open(self) -> None:
        if self._closed:
            raise ClientClosedError("this client is closed: make a new one")
        if self._process != os.getpid():
            raise ClientClosedError(FORKED)


def _check_count(name: str, value: object) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise OptionError(f"{name} must be a positive integer, not {value!r}")


def _check_future(value: Any, method: str) -> None:
    if not isinstance(value, Future):
        raise GraphError(
            f"{method}() waits for futures, not for {type(value).__name__} {value!r}: start it "
            "with client.submit(...) first, or use client.compute(...)"
        )


def start_default_client() -> Client:
    """The client of ``x.compute()`` outside any ``with Client()``: a private engine, kept."""
    client = Client()
    current_client.set(client)
    return client
