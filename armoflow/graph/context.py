"""Which client ``compute`` uses: the current one, or one that is started when first needed."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar, overload
from weakref import WeakKeyDictionary

from armoflow.errors import GraphError
from armoflow.foreign_keywords import refuse_arguments

if TYPE_CHECKING:
    from armoflow.graph.collection import DelayedList
    from armoflow.graph.delayed import Delayed

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")


class Computer(Protocol):
    """What can run graphs: a client."""

    def compute(
        self, *values: Any, timeout: float | None = None, return_exceptions: bool = False
    ) -> Any:
        """Run the graphs of the values; the value of one, a tuple of the values of several."""


class _InsideTask:
    """The computer of a running task: it refuses, because its worker would wait for itself."""

    def compute(
        self, *values: Any, timeout: float | None = None, return_exceptions: bool = False
    ) -> NoReturn:
        raise GraphError(
            "compute() inside a task would keep its worker waiting: return the Delayed instead, "
            "and its graph takes the task's place"
        )


INSIDE_TASK: Computer = _InsideTask()
"""What ``current_client`` is set to while a task's own code runs."""

current_client: ContextVar[Computer | None] = ContextVar("armoflow_client", default=None)
"""The client of the innermost ``with Client(...)`` of this thread or asyncio task."""

_entered: list[Computer] = []
"""Those of all threads, in the order in which they were entered."""

_left: WeakKeyDictionary[Computer, Computer | None] = WeakKeyDictionary()
"""Those that were left while they were not the innermost, with what was around them."""


def enter(computer: Computer) -> Computer | None:
    """Make a client the current one; returns the one before, for :func:`leave`."""
    outer = current_client.get()
    _entered.append(computer)
    _left.pop(computer, None)
    current_client.set(computer)
    return outer


def leave(computer: Computer, outer: Computer | None) -> None:
    """Undo :func:`enter`; maybe in another thread, or before what was entered after it is left."""
    if computer in _entered:
        _entered.remove(computer)
    if current_client.get() is computer:
        current_client.set(_still_entered(outer))
    else:
        _left[computer] = outer


def find_current() -> Computer | None:
    """The client that this thread entered, else the one that any thread entered last."""
    current = current_client.get()
    if current is None:
        entered = tuple(_entered)  # others may leave meanwhile
        current = entered[-1] if entered else None
    return current


def _still_entered(computer: Computer | None) -> Computer | None:
    """A client, or what is around it where it was left."""
    seen: set[Computer] = set()  # who is entered again and again may come round
    while computer is not None and computer in _left and computer not in seen:
        seen.add(computer)
        computer = _left[computer]
    return None if computer in seen else computer


_default_computer: Callable[[], Computer] | None = None


def register_default_computer(factory: Callable[[], Computer]) -> None:
    """Say where a client comes from when there is no current one; called by the client layer."""
    global _default_computer  # noqa: PLW0603 - one hook for the process, set at import
    _default_computer = factory


def get_computer() -> Computer:
    """The current client, or the default one.

    Raises:
        GraphError: If there is neither.
    """
    current = find_current()
    if current is not None:
        return current
    if _default_computer is None:
        raise GraphError("there is no client to compute with: use `with armoflow.Client():`")
    return _default_computer()


@overload
def compute(value: Delayed[A], /, *, timeout: float | None = None) -> A: ...
@overload
def compute(value: DelayedList[A], /, *, timeout: float | None = None) -> list[A]: ...
@overload
def compute(
    first: Delayed[A], second: Delayed[B], /, *, timeout: float | None = None
) -> tuple[A, B]: ...
@overload
def compute(
    first: Delayed[A],
    second: Delayed[B],
    third: Delayed[C],
    /,
    *,
    timeout: float | None = None,
) -> tuple[A, B, C]: ...
@overload
def compute(*values: Any, timeout: float | None = None, return_exceptions: bool = False) -> Any: ...


def compute(
    *values: Any,
    timeout: float | None = None,
    return_exceptions: bool = False,
    **others: NoReturn,
) -> Any:
    """Run graphs and wait for their values, with the current client or a default one.

    Args:
        values: ``Delayed``, ``DelayedList`` or containers holding some; shared parts run once.
        timeout: Seconds to wait at most; what has not ended by then is cancelled.
        return_exceptions: Put what a task raised in the place of its value, of a collection in the
            place of its item, and do not raise it.
        others: There are none: what other libraries take is told what to write instead.

    Returns:
        The value of one; a tuple of the values of several.

    Raises:
        SignatureError: If there is another argument.
        TimeoutError: If not all of it has ended in time.
    """
    refuse_arguments("compute", ("timeout", "return_exceptions"), others)
    return get_computer().compute(*values, timeout=timeout, return_exceptions=return_exceptions)
