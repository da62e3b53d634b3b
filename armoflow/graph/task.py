"""``@task``: a function whose calls are nodes of a graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    TypeVar,
    cast,
    overload,
)

from armoflow.errors import GraphError, OptionError, shown
from armoflow.graph.base_task import BaseTask, checked_name
from armoflow.graph.callables import check_function
from armoflow.graph.collection import DelayedList
from armoflow.graph.delayed import Delayed
from armoflow.graph.lazy import Lazy
from armoflow.graph.nodes import CallNode
from armoflow.options import Options, make_options

if TYPE_CHECKING:
    from typing_extensions import Unpack

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
CallsT_co = TypeVar("CallsT_co", covariant=True)
ListsT_co = TypeVar("ListsT_co", covariant=True)
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")

MOST_OUTPUTS = 100_000
"""The most outputs of a task: there is a value for each as soon as it is called."""


class Task(BaseTask[P, R_co]):
    """A function whose calls are lazy: made by :func:`task`.

    Calling it gives a :class:`Delayed` at once; nothing runs before that is computed. Arguments
    may be or hold other ``Delayed``.

    Example:
        >>> @task
        ... def add(a: int, b: int) -> int:
        ...     return a + b
        >>> add(add(1, 2), 3)
        <Delayed add>
        >>> add.local(1, 2)
        3
        >>> add.map([1, 2, 3], b=1)
        <DelayedList add, 3 items>
    """

    # The first signature is what editors show; the second one lets Delayed in for any argument.
    @overload
    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Delayed[R_co]: ...
    @overload
    def __call__(self, /, *args: Any, **kwargs: Any) -> Delayed[R_co]: ...

    def __call__(self, /, *args: Any, **kwargs: Any) -> Delayed[R_co]:
        """A call of the task, to be run later."""
        self.check(args, kwargs)
        return Delayed(CallNode(self, args, kwargs))

    def when(self, condition: Any, *, otherwise: Any = None) -> Conditional[R_co]:
        """The task, called only if a condition turns out to be true.

        The call's arguments are made in any case: they are what the condition may depend on, too.

        Args:
            condition: A lazy value, or one that is known already.
            otherwise: The value where it is not true; a task is called instead, with the same
                arguments.

        Returns:
            What to call with the arguments; it gives a ``Delayed``.

        Example:
            >>> @task
            ... def is_large(number: int) -> bool:
            ...     return number > 100
            >>> @task
            ... def halve(number: int) -> int:
            ...     return number // 2
            >>> halve.when(is_large(140), otherwise=140)(140)
            <Delayed halve>
        """
        return Conditional(self, condition, otherwise)

    def map(self, /, *iterables: Iterable[Any] | Lazy, **fixed: Any) -> DelayedList[R_co]:
        """Call the task for each item of one or several iterables, up to the shortest.

        Args:
            iterables: Of any kind, read lazily, endless generators too; also a ``DelayedList``, or
                a ``Delayed`` whose value is an iterable.
            fixed: Keyword arguments that are the same for every item.
        """
        collection: DelayedList[R_co] = self._map(iterables, fixed)
        return collection

    def starmap(self, iterable: Iterable[Any] | Lazy, /, **fixed: Any) -> DelayedList[R_co]:
        """As :meth:`map`, of an iterable of tuples of positional arguments."""
        collection: DelayedList[R_co] = self._starmap(iterable, fixed)
        return collection

    def iterate(
        self,
        cells: Iterable[Any] | Lazy,
        /,
        *,
        steps: int,
        neighbours: Sequence[int] = (-1, 0, 1),
        wrap: bool = False,
        **fixed: Any,
    ) -> DelayedList[R_co]:
        """Change cells step by step: each becomes what the task makes of it and its neighbours.

        One node, however many cells and steps there are. Each step is divided among all workers.

        Args:
            cells: What they are at first: as many as they stay.
            steps: How often each is changed.
            neighbours: Which cells of the step before a call gets, as distances, in the order of
                its arguments.
            wrap: The last cell is a neighbour of the first. If not, None stands for those that
                would be beyond the ends.
            fixed: Keyword arguments that are the same for every call.

        Returns:
            The cells after the last step.

        Example:
            >>> @task
            ... def smooth(left: float | None, own: float, right: float | None) -> float:
            ...     known = [value for value in (left, own, right) if value is not None]
            ...     return sum(known) / len(known)
            >>> smooth.iterate([0.0, 8.0, 0.0, 0.0], steps=10)
            <DelayedList smooth, 4 items>
        """
        from armoflow.graph.stepwise import iterate  # it stands on this module

        cells_then: DelayedList[R_co] = iterate(
            self, cells, neighbours, steps=steps, wrap=wrap, fixed=fixed
        )
        return cells_then


class Conditional(Generic[R_co]):
    """A task and a condition: made by :meth:`Task.when`."""

    def __init__(self, called: Task[..., R_co], condition: Any, otherwise: Any) -> None:
        if isinstance(otherwise, MultiTask):
            raise GraphError(
                f"otherwise needs a task of one output: {otherwise.name!r} has {otherwise.outputs}"
            )
        self._called = called
        self._condition = condition
        self._otherwise = otherwise

    def __call__(self, /, *args: Any, **kwargs: Any) -> Delayed[Any]:
        """A call of the task, if the condition is true then."""
        called = self._called
        called.check(args, kwargs)
        if isinstance(self._otherwise, Task):
            self._otherwise.check(args, kwargs)
        # What is ignored are arguments of the task: here they are one of several, and count.
        options = dataclasses.replace(called.task_options, ignore=None)
        decide = Task(_decide, name=called.name, options=options)
        return decide(self._condition, called, self._otherwise, args, kwargs)

    def __repr__(self) -> str:
        return f"<Conditional {self._called.name}>"


def _decide(
    condition: Any, called: Task[..., Any], otherwise: Any, args: Any, kwargs: dict[str, Any]
) -> Any:
    """What a conditional call is, now that the condition is known."""
    if not condition:
        if not isinstance(otherwise, Task):
            return otherwise
        called = otherwise
    return called(*args, **kwargs)


class MultiTask(BaseTask[P, R_co], Generic[P, R_co, CallsT_co, ListsT_co]):
    """A task of several outputs: calling it gives a ``Delayed`` for each.

    Example:
        >>> @task(outputs=2)
        ... def split(number: int) -> tuple[int, int]:
        ...     return divmod(number, 10)
        >>> tens, ones = split(42)
        >>> tens
        <Delayed split output 0>
    """

    @overload
    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> CallsT_co: ...
    @overload
    def __call__(self, /, *args: Any, **kwargs: Any) -> CallsT_co: ...

    def __call__(self, /, *args: Any, **kwargs: Any) -> CallsT_co:
        """A call of the task, to be run later."""
        self.check(args, kwargs)
        node = CallNode(self, args, kwargs)
        calls: Any = tuple(Delayed(node, output) for output in range(self.outputs))
        return cast("CallsT_co", calls)

    def map(self, /, *iterables: Iterable[Any] | Lazy, **fixed: Any) -> ListsT_co:
        """As :meth:`Task.map`; gives a ``DelayedList`` for each output."""
        lists: ListsT_co = self._map(iterables, fixed)
        return lists

    def starmap(self, iterable: Iterable[Any] | Lazy, /, **fixed: Any) -> ListsT_co:
        """As :meth:`Task.starmap`; gives a ``DelayedList`` for each output."""
        lists: ListsT_co = self._starmap(iterable, fixed)
        return lists


class Decorator(Protocol):
    """What makes a task of a function: ``@task(retries=2)``."""

    @overload
    def __call__(self, function: Callable[P, Delayed[R]], /) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R | Delayed[R]], /) -> Task[P, R]: ...


# A task that returns a graph has that graph's value: its Delayed is taken off the type. So is the
# coroutine of one that is written with async def.
@overload
def task(function: Callable[P, Delayed[R]], /) -> Task[P, R]: ...
@overload
def task(function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
@overload
def task(function: Callable[P, R | Delayed[R]], /) -> Task[P, R]: ...
@overload
def task(  # type: ignore[overload-overlap]
    *, name: str | None = None, outputs: Literal[1] = 1, **options: Unpack[Options]
) -> Decorator: ...
@overload
def task(  # type: ignore[overload-overlap]
    *, outputs: Literal[2], name: str | None = None, **options: Unpack[Options]
) -> Callable[
    [Callable[P, tuple[A, B]]],
    MultiTask[
        P,
        tuple[A, B],
        tuple[Delayed[A], Delayed[B]],
        tuple[DelayedList[A], DelayedList[B]],
    ],
]: ...
@overload
def task(  # type: ignore[overload-overlap]
    *, outputs: Literal[3], name: str | None = None, **options: Unpack[Options]
) -> Callable[
    [Callable[P, tuple[A, B, C]]],
    MultiTask[
        P,
        tuple[A, B, C],
        tuple[Delayed[A], Delayed[B], Delayed[C]],
        tuple[DelayedList[A], DelayedList[B], DelayedList[C]],
    ],
]: ...
@overload
def task(
    *, outputs: int, name: str | None = None, **options: Unpack[Options]
) -> Callable[
    [Callable[P, R]],
    MultiTask[P, R, tuple[Delayed[Any], ...], tuple[DelayedList[Any], ...]],
]: ...


def task(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    outputs: int = 1,
    **options: Any,
) -> Any:
    """Make a task of a function.

    Args:
        function: The function, where there are no options: ``@task``.
        name: What errors and pictures call it; by default the function's name.
        outputs: How many results it has. With more than one, the function returns a tuple, and
            calling the task gives a tuple of ``Delayed``, each a result of its own.
        options: How it runs; see :class:`armoflow.options.TaskOptions`.

    Returns:
        The task, or with options a decorator that makes it.

    Raises:
        OptionError: If an option is unknown or out of range.

    Example:
        >>> @task(retries=2, timeout=60)
        ... def load(path: str) -> bytes: ...
        >>> load("a.bin")
        <Delayed load>
    """
    if isinstance(outputs, bool) or not isinstance(outputs, int) or outputs < 1:
        raise OptionError(f"outputs must be an integer of at least 1, not {shown(outputs)}")
    if outputs > MOST_OUTPUTS:
        raise OptionError(
            f"outputs must be at most {MOST_OUTPUTS}, not {shown(outputs)}: return a list instead, "
            "which maps take item by item"
        )
    checked = make_options(options)
    called = None if name is None else checked_name(name)

    def decorate(function: Any) -> Any:
        if isinstance(function, staticmethod):
            function = function.__func__
        if isinstance(function, BaseTask):
            raise GraphError(
                f"{function!r} is a task already; use .with_options(...) to change its options"
            )
        check_function(function, outputs)
        kind: Any = Task if outputs == 1 else MultiTask
        return kind(function, name=called, options=checked, outputs=outputs)

    return decorate if function is None else decorate(function)


def as_task(function: Any) -> Task[..., Any] | MultiTask[..., Any, Any, Any]:
    """The task itself, or a plain function made one."""
    if isinstance(function, (Task, MultiTask)):
        return function
    check_function(function)
    return Task(function)
