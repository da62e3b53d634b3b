"""The client: runs graphs on the embedded engine or on any ArmoniK.

An engine of its own starts first of all: what a client needs besides is imported meanwhile.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, overload

from armoflow.client.by_name import ByName
from armoflow.client.client_options import check_run
from armoflow.client.habits import (
    call_function,
    check_computable,
    check_policy,
    find_graph,
    map_function,
)
from armoflow.client.opening import open_backend
from armoflow.client.waiting import as_completed, check_timeout
from armoflow.config import CONNECT_TIMEOUT, MAX_PRIORITY
from armoflow.errors import ArmoflowError, ClientClosedError, GraphError
from armoflow.foreign_keywords import A_LIST, refuse_arguments
from armoflow.graph.arguments import find_dependencies
from armoflow.graph.base_task import BaseTask
from armoflow.graph.collection import DelayedList, zip_items
from armoflow.graph.context import Computer, enter, leave
from armoflow.graph.delayed import Delayed
from armoflow.option_values import check_flag
from armoflow.orchestrator.builtins import identity
from armoflow.protocol.settings import PayloadMode
from armoflow.system.process_end import AtEnd

if TYPE_CHECKING:
    from datetime import timedelta

    from typing_extensions import Unpack

    from armoflow.client.backend import Backend
    from armoflow.client.client_options import ClientOptions
    from armoflow.client.eager_target import Stop
    from armoflow.client.executor import ClientExecutor
    from armoflow.client.future import Future
    from armoflow.client.output_display import Logs
    from armoflow.estimate import Estimate
    from armoflow.explanation import Explanation

logger = logging.getLogger(__name__)

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
R = TypeVar("R")


class Client(ByName):
    """Runs graphs.

    Attributes:
        closed: It was closed, and runs nothing any more.

    Args:
        endpoint: ``http://host:port``, ``https://host:port`` or ``unix:/path`` of an ArmoniK;
            without one the variables ``ARMOFLOW_ENDPOINT`` and ``AK_ENDPOINT`` and the file that
            ``AKCONFIG`` names are asked, and without those a private engine is started.
        workers: Worker processes of the private engine (default: the processors of this machine);
            with an endpoint, about how many tasks it runs at once.
        local: Run everything in the caller's thread, to step through it with a debugger.
        payloads: When payloads go up: ``"delayed"`` (after the tasks were submitted), ``"eager"``
            (before), ``"inline"`` (with their metadata) or ``"auto"``.
        extensions: Use what only the embedded engine offers, where it is offered; the variable
            ``ARMOFLOW_EXTENSIONS=0`` switches it off.
        max_priority: Highest priority that the engine's queues allow.
        connect_timeout: Seconds to wait for an answer from the endpoint, where one may come.
        inline_seconds: For how long the graph that a task returns is begun in the process that
            returned it, before what is left becomes tasks of its own; 0: not at all. By default
            0.02, on clusters 0.25.
        name: What its sessions are called in ``armoflow ps`` and in ArmoniK's own tools; by default
            as the script is.
        progress: Show who waits for more than a second how far the work is, on the standard error;
            by default where that is a terminal.
        logs: Show what tasks write while they run: ``True`` all, ``"errors"`` the standard error
            and what is logged from WARNING on; by default all where the standard output is a
            terminal or a notebook and the engine tells it. A cluster does not: there it is stored
            where this argument asks for it, and shown as tasks end.
        state: A directory: the engine's state is kept there, with the values in its cache, and
            other clients of the same Python environment that name it share the engine, which ends
            after the last of them. Scripts that say nothing ask the variable ``ARMOFLOW_STATE``.
        cache_limit: Bytes that the cache of the engine may have, a number or text such as "20GB"
            (default: 10 GiB, or what the variable ``ARMOFLOW_CACHE_LIMIT`` says; "none": any). What
            took the fewest seconds for a byte goes first.
        partitions: What tasks may have in each partition, such as ``{"gpu": {"cpus": 8, "memory":
            "32 GiB", "gpus": 1}}``: a task that says ``cpus``, ``memory`` or ``gpus`` runs in the
            smallest that has it. The variable ``ARMOFLOW_PARTITIONS`` names a file of YAML with the
            same. By default a private engine offers this machine; of others nothing is known.
        dry_run: Run nothing: ``compute`` raises :class:`~armoflow.errors.DryRunError`, which
            explains what the cache has of the graph and why it has not the rest, and so do the
            futures of ``submit`` and ``map``.
        budget: Seconds of work, or a ``timedelta``: a graph whose calls are expected to take more
            together, as far as they were measured, is refused with what it would take.
        report: A file, such as ``run.html``: when the client ends, a page about what it has run is
            written there, which needs no other file.
        options: Task options that hold where a task says nothing, such as ``retries=2``,
            ``env={"REGION": "eu"}`` or ``requirements=["numpy>=2"]``; and how the engine is
            reached: ``certificate_authority``, ``client_certificate`` and ``client_key`` or
            ``client_p12``, ``target_name``, ``keepalive``, ``compression``.

    Raises:
        EngineUnreachableError: If nothing answers at the endpoint.
        OptionError: If an argument or option is unknown or its value is out of range.
        GraphError: If a task makes it, unless it is local: a task returns a graph instead.

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
        max_priority: int = MAX_PRIORITY,
        connect_timeout: float = CONNECT_TIMEOUT,
        inline_seconds: float | None = None,
        name: str | None = None,
        progress: bool | None = None,
        logs: Logs | None = None,
        report: str | os.PathLike[str] | None = None,
        dry_run: bool = False,
        budget: float | timedelta | None = None,
        state: str | os.PathLike[str] | None = None,
        cache_limit: int | str | None = None,
        partitions: Mapping[str, Mapping[str, int | str]] | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        self._outer: list[Computer | None] = []
        self.closed = False
        self._process = os.getpid()
        self._backend = open_backend(
            self,
            endpoint,
            options,
            workers=workers,
            local=local,
            payloads=payloads,
            extensions=extensions,
            max_priority=max_priority,
            connect_timeout=connect_timeout,
            inline_seconds=inline_seconds,
            name=name,
            progress=progress,
            logs=logs,
            report=report,
            dry_run=dry_run,
            budget=budget,
            state=state,
            cache_limit=cache_limit,
            partitions=partitions,
        )
        self._at_end = AtEnd(self.close)  # before the loop and the private engine end

    # --- running graphs -------------------------------------------------------------------------

    @overload
    def compute(self, value: Delayed[A], /, *, timeout: float | None = None) -> A: ...
    @overload
    def compute(self, value: DelayedList[A], /, *, timeout: float | None = None) -> list[A]: ...
    @overload
    def compute(
        self, first: Delayed[A], second: Delayed[B], /, *, timeout: float | None = None
    ) -> tuple[A, B]: ...
    @overload
    def compute(
        self,
        first: Delayed[A],
        second: Delayed[B],
        third: Delayed[C],
        /,
        *,
        timeout: float | None = None,
    ) -> tuple[A, B, C]: ...
    @overload
    def compute(
        self,
        *values: Any,
        timeout: float | None = None,
        return_exceptions: bool = False,
        fail_fast: bool = False,
    ) -> Any: ...

    def compute(
        self,
        *values: Any,
        timeout: float | None = None,
        return_exceptions: bool = False,
        fail_fast: bool = False,
        **others: NoReturn,
    ) -> Any:
        """Run graphs and wait for their values; what several share runs once.

        Args:
            values: ``Delayed``, ``DelayedList``, or containers holding some.
            timeout: Seconds to wait at most; what has not ended by then is cancelled. In the debug
                mode (``local=True``) nothing can be: there it is ignored.
            return_exceptions: Put what a task raised in the place of its value, of a collection in
                the place of its item, and do not raise it.
            fail_fast: Raise the first error as soon as it is known, and cancel what is left. If
                not, everything that can still run does, though its values may be lost.
            others: There are none: what other libraries take is told what to write instead.

        Returns:
            The value of one; a tuple of the values of several. What holds nothing lazy is given
            back as it is.

        Raises:
            GraphError: If one only looks computable: a task that was not called, a generator.
            OptionError: If errors are to be given back and to be raised at once.
            TimeoutError: If not all of it has ended in time.
            BaseException: What a task raised; its ``__cause__`` says where.
        """
        from armoflow.client.gathering import assemble, outcomes_of

        backend = self._opened()
        refuse_arguments("compute", ("timeout", "return_exceptions", "fail_fast"), others)
        lazy = find_dependencies(values)
        check_computable(values, deep=not lazy)
        check_timeout(timeout)
        check_policy(return_exceptions=return_exceptions, fail_fast=fail_fast)
        try:
            if not lazy:
                results = []
            elif return_exceptions:
                results = outcomes_of(backend.submit(lazy), timeout)
            else:
                results = backend.compute(lazy, timeout, fail_fast=fail_fast)
        except KeyboardInterrupt:
            self._interrupt()
            raise
        return assemble(values, lazy, results)

    def compute_eagerly(self, lazy: Sequence[Any], timeout: float | None, stop: Stop) -> list[Any]:
        """The values of lazy values, or the first error; for clients that another thread stops."""
        return self._opened().compute(lazy, timeout, fail_fast=True, stop=stop)

    @overload
    def submit(
        self, value: Delayed[A], /, *, name: str | None = None, replace: bool = False
    ) -> Future[A]: ...
    @overload
    def submit(
        self, value: DelayedList[A], /, *, name: str | None = None, replace: bool = False
    ) -> Future[list[A]]: ...
    @overload
    def submit(self, function: BaseTask[..., R], /, *args: Any, **kwargs: Any) -> Future[R]: ...
    @overload
    def submit(
        self, function: Callable[..., Delayed[R]], /, *args: Any, **kwargs: Any
    ) -> Future[R]: ...
    @overload
    def submit(
        self, function: Callable[..., R | Delayed[R]], /, *args: Any, **kwargs: Any
    ) -> Future[R]: ...

    def submit(self, value: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Start a graph; or, as ``submit`` of ``concurrent.futures`` does, a call.

        Args:
            value: A ``Delayed`` or ``DelayedList``; or a task or plain function, to be called.
            args: Positional arguments of the call; they may be or hold futures and lazy values.
            kwargs: Its keyword arguments, all of them the function's. Of a ``Delayed`` or
                ``DelayedList`` there may be ``name`` and ``replace`` instead: a named run goes on
                without its client, and whoever submits the same graph under the same name joins it,
                or goes on with what is missing of it. Another graph takes the place of one that
                is under way with ``replace=True`` only..

        Returns:
            A future of its value; of a task of several outputs, of the tuple of them.

        Raises:
            GraphError: If it is neither, or if arguments are given to what was called already.
            UnkeyableError: If a named run has an argument by which it cannot be told from others.
            NamedRunError: If another graph is under way by that name.

        Example:
            >>> with Client(local=True) as client:
            ...     client.submit(pow, 2, 10).result()
            1024
        """
        if not isinstance(value, (Delayed, DelayedList)):
            called: Any = call_function(value, args, kwargs)
            # Several outputs are several results: the tuple is put together by one more task.
            return self._submit([identity(called) if isinstance(called, tuple) else called])[0]
        name, replace = kwargs.pop("name", None), kwargs.pop("replace", False)
        if args or kwargs:
            raise GraphError(
                f"submit({value!r}) takes no further arguments: they were given when the task was "
                "called. Options are the task's, task.with_options(...), or the client's"
            )
        if name is None and replace is False:
            return self._submit([value])[0]
        return self._opened().submit_named(value, check_run(name, replace), replace=replace)

    def submit_all(self, values: Sequence[Any]) -> list[Future[Any]]:
        """Start some lazy values, a future each; what they share runs once."""
        return self._submit(values)

    def map(self, task: Any, /, *iterables: Any, **fixed: Any) -> list[Future[Any]]:
        """Start a task for each item of the iterables, up to the shortest.

        Args:
            task: A task, or a plain function.
            iterables: The positional arguments, item by item; at least one has a known length.
            fixed: Keyword arguments of every call.

        Returns:
            A future per item, in order.
        """
        mapped: Any = map_function(task, iterables, fixed)
        if isinstance(mapped, tuple):  # several outputs: an item is the tuple of them
            mapped = zip_items(*mapped)
        return self._opened().submit_items(mapped)

    def gather(
        self, futures: Any, *more: NoReturn, return_exceptions: bool = False, **others: NoReturn
    ) -> Any:
        """Wait for futures.

        Args:
            futures: A future, or an iterable of futures (lists may be nested); of a dict, the
                values are.
            more: Of several futures a list is given.
            return_exceptions: Put a failed future's exception in its place and do not raise it.
            others: There are none.

        Returns:
            The values, in order; of a dict, a dict.
        """
        from armoflow.client.gathering import gather_values

        try:
            refuse_arguments("gather", ("return_exceptions",), others, more, A_LIST)
            check_flag("return_exceptions", return_exceptions)
            return gather_values(futures, return_exceptions)
        finally:
            del futures, more  # see there

    @overload
    def as_completed(
        self, futures: DelayedList[A], *, timeout: float | None = None
    ) -> Iterator[Future[A]]: ...
    @overload
    def as_completed(
        self, futures: Iterable[Future[A]], *, timeout: float | None = None
    ) -> Iterator[Future[A]]: ...

    def as_completed(
        self, futures: Any, *more: NoReturn, timeout: float | None = None, **others: NoReturn
    ) -> Iterator[Future[Any]]:
        """Futures in the order in which they end.

        Args:
            futures: Futures; or a ``DelayedList``, which may be endless: it is started, and only as
                far ahead as the iteration can follow.
            more: Of several futures a list is given.
            timeout: Seconds after which ``TimeoutError`` is raised.
            others: There are none.

        Yields:
            Futures that are done.
        """
        from armoflow.client.gathering import list_futures

        refuse_arguments("as_completed", ("timeout",), others, more, A_LIST)
        check_timeout(timeout)
        if isinstance(futures, DelayedList):
            return self._opened().iterate(futures, timeout)
        return as_completed(list_futures(futures), timeout, self._backend.display)

    def explain(self, *values: Any) -> Explanation:
        """What the cache has of a graph, and why it has not the rest; nothing runs.

        Args:
            values: Lazy values, or containers holding some, that are about to be computed; without
                any, it is told of what was asked for last that is cached.

        Returns:
            By the names of tasks, hits and misses, and for these which part of the key was another
            than at the nearest earlier time; ``print`` it, or ``as_dict()``.

        Raises:
            GraphError: If a graph reads an iterator, which could be read only once.

        Example:
            >>> from armoflow import task
            >>> with Client(local=True) as client:
            ...     print(client.explain(task(abs).map([1, -1])))
            abs: 2 not cached
              not cached: local=True keeps nothing (2 calls)
        """
        backend = self._opened()
        if not values:
            return backend.inquired().explain()
        return backend.inquire(find_graph(values, "explain()"), "explain()").explain()

    def plan(self, *values: Any) -> Estimate:
        """What a graph is expected to take, from what was measured before; nothing runs.

        Args:
            values: Lazy values, or containers holding some.

        Returns:
            Calls, engine tasks, bytes, seconds, by the names of tasks; the critical path, and which
            share is known; ``print`` it, or ``as_dict()``.

        Raises:
            GraphError: If a graph reads an iterator, which could be read only once.

        Example:
            >>> from armoflow import task
            >>> with Client(local=True) as client:
            ...     client.plan(task(abs).map([1, -1])).tasks[0].to_run
            2
        """
        backend = self._opened()
        lazy = find_graph(values, "plan()")
        return backend.estimate(lazy, backend.inquire(lazy, "plan()"))

    def executor(self, *more: Any, **named: Any) -> ClientExecutor:
        """This client as a :class:`concurrent.futures.Executor`, for code that wants one.

        It takes no arguments: those that executors take elsewhere are told what to write instead.

        Example:
            >>> with Client(local=True) as client, client.executor() as executor:
            ...     list(executor.map(pow, [2, 3], [10, 2]))
            [1024, 9]
        """
        from armoflow.client.executor import ClientExecutor

        self._opened()
        refuse_arguments("executor", (), named, more, "the client has the workers")
        return ClientExecutor(self)

    @property
    def workers(self) -> int:
        """About how many tasks it runs at once."""
        return self._backend.workers

    @property
    def extensions(self) -> frozenset[str]:
        """What the engine offers beyond the ArmoniK API, and is used."""
        return self._backend.extensions

    def visualize(self, *values: Any, path: str | os.PathLike[str] | None = None) -> str:
        """Draw a graph in the colours of how far this client has run it.

        Args:
            values: Lazy values, or containers holding some; without any, all that the client's
                session has run is drawn, a box for the tasks of each name, as the engine knows it.
            path: File to write; its suffix chooses the format: .svg, .png, .dot, .mmd (Mermaid) or
                .html.

        Returns:
            The picture as text: SVG where no path is given, and where it is .png.
        """
        from armoflow.client.showing import draw

        return draw(self._opened(), values, path)

    # --- life -----------------------------------------------------------------------------------

    def close(self) -> None:
        """Cancel what runs, end the session and the private engine; may be called again."""
        if not self.closed and self._process == os.getpid():
            self.closed = True
            self._at_end.cancel()
            self._backend.close()

    def __enter__(self) -> Client:
        self._opened()
        self._outer.append(enter(self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        leave(self, self._outer.pop())
        self.close()

    def __repr__(self) -> str:
        return f"<Client {self._backend.endpoint}{' closed' if self.closed else ''}>"

    def _repr_html_(self) -> str:
        from armoflow.client.showing import client_html

        return client_html(self._backend, closed=self.closed)

    def __reduce__(self) -> NoReturn:
        raise GraphError(
            "a Client cannot be pickled: inside a task there is none. Return the Delayed instead, "
            "and its graph takes the task's place"
        )

    if not TYPE_CHECKING:  # a type checker finds these by itself

        async def __aenter__(self) -> NoReturn:
            raise GraphError("a Client is entered by `with`; `async with` is for an AsyncClient")

        async def __aexit__(self, *ended: object) -> None:
            """Never entered."""

        def __getattr__(self, name: str) -> NoReturn:
            from armoflow.client.neighbours import OF_CLIENTS

            remedy = f": write {OF_CLIENTS[name]}" if name in OF_CLIENTS else ""
            raise AttributeError(f"a Client has no attribute {name!r}{remedy}")

    def _interrupt(self) -> None:
        try:
            self._backend.interrupt()
        except ArmoflowError as error:  # Ctrl-C is what the caller has to hear of
            logger.warning("what runs could not be cancelled: %s", error)

    def _submit(self, values: Sequence[Any]) -> list[Future[Any]]:
        backend = self._opened()
        return backend.submit(values) if values else []

    def _opened(self) -> Backend:
        if self.closed:
            raise ClientClosedError("this client is closed: make a new one")
        if self._process != os.getpid():
            from armoflow.client.loop import FORKED

            raise ClientClosedError(FORKED)
        return self._backend
