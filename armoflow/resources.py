"""What tasks use one after the other in the same worker process: a connection, a model.

A resource is built when a task first asks for it, kept for later tasks of the same session in the
same process, and closed when the process ends.
"""

from __future__ import annotations

import functools
import inspect
import logging
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Hashable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Generic, NamedTuple, TypeVar, overload

from armoflow.errors import OptionError, TaskError, shown
from armoflow.resource_keys import key_of_function
from armoflow.running import current_task

logger = logging.getLogger(__name__)

T = TypeVar("T")

SESSIONS = 4
"""Sessions whose resources a process keeps: of those that have used one last."""


class WorkerResource(Generic[T]):
    """What :func:`worker_resource` makes: called in a task, it gives the resource.

    Args:
        function: Builds it.
    """

    def __init__(self, function: Callable[[], T] | Callable[[], Iterator[T]]) -> None:
        self._function = function
        functools.update_wrapper(self, function)

    def __call__(self) -> T:
        """The resource of this process; built now if it is not there yet.

        Raises:
            NoTaskError: Outside of a task.
            BaseException: Whatever building it raises; the next call tries again.
        """
        here = current_task()
        found: T = here.place.resources.get(here.session_id, self)
        return found

    @functools.cached_property
    def key(self) -> Hashable:
        """The same for each copy of it that comes to a process."""
        return key_of_function(inspect.unwrap(self._function))

    def build(self) -> Built:
        """Build one."""
        made: Any = self._function()
        if not isinstance(made, Generator):
            return Built(made, None)
        try:
            return Built(next(made), made)
        except StopIteration:
            raise TaskError(
                f"the worker resource {self._name!r} yields nothing: write `yield` before what it "
                "gives to tasks"
            ) from None

    @property
    def _name(self) -> str:
        return str(getattr(self, "__name__", "resource"))

    def __reduce__(self) -> str | tuple[Any, ...]:
        name = getattr(self, "__qualname__", "")
        found: Any = sys.modules.get(self.__module__)
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is self and self.__module__ != "__main__":
            return str(name)  # importable: by reference, as functions are
        return WorkerResource, (self._function,)

    def __repr__(self) -> str:
        return f"<WorkerResource {self._name}>"


class Built(NamedTuple):
    """A resource that is there.

    Attributes:
        value: What tasks get.
        rest: What of its function is left to run when it is closed, if that is a generator.
    """

    value: Any
    rest: Generator[Any, None, None] | None

    def close(self, name: str) -> None:
        """Let its function go on behind the ``yield``; what that raises is logged."""
        if self.rest is not None:
            try:
                next(self.rest, None)
                self.rest.close()
            except Exception:
                logger.exception("the worker resource %r could not be closed", name)


class Resources:
    """The resources of one process.

    Args:
        building: Entered while one is built.

    Example:
        >>> @worker_resource
        ... def connection():
        ...     yield ["open"]
        ...     print("closed")
        >>> resources = Resources()
        >>> resources.get("session", connection) is resources.get("session", connection)
        True
        >>> resources.close()
        closed
    """

    def __init__(
        self, building: Callable[[], AbstractContextManager[object]] = nullcontext
    ) -> None:
        self._building = building
        self._lock = threading.RLock()  # one may use another
        self._sessions: OrderedDict[str, dict[Hashable, tuple[str, Built]]] = OrderedDict()

    def get(self, session_id: str, resource: WorkerResource[T]) -> T:
        """The value of one; built if it is not there."""
        key = resource.key
        with self._lock:
            kept = self._sessions.setdefault(session_id, {})
            self._sessions.move_to_end(session_id)
            if key not in kept:
                while len(self._sessions) > SESSIONS:
                    _close(self._sessions.popitem(last=False)[1])
                with self._building():
                    kept[key] = repr(resource), resource.build()
            value: T = kept[key][1].value
            return value

    def close(self) -> None:
        """Close all, the newest first."""
        with self._lock:
            while self._sessions:
                _close(self._sessions.popitem()[1])


def _close(kept: dict[Hashable, tuple[str, Built]]) -> None:
    while kept:
        name, built = kept.popitem()[1]
        built.close(name)


@overload
def worker_resource(function: Callable[[], Generator[T, None, None]]) -> WorkerResource[T]: ...


@overload
def worker_resource(function: Callable[[], Iterator[T]]) -> WorkerResource[T]: ...


@overload
def worker_resource(function: Callable[[], T]) -> WorkerResource[T]: ...


def worker_resource(function: Callable[[], Any]) -> WorkerResource[Any]:
    """Make a function the builder of something that the tasks in a worker process share.

    The first task that calls it in a process has it built; later ones of the same session get the
    same object. If the function is a generator, what follows its ``yield`` runs when the process
    ends in good order; one that is killed closes nothing. With ``local=True`` it is built once for
    the client, and closed with it.

    Args:
        function: Takes no argument; returns the resource, or yields it once.

    Raises:
        OptionError: If it is no function, or must be given arguments.

    Example:
        >>> from armoflow import Client, task, worker_resource
        >>> @worker_resource
        ... def numbers():
        ...     print("opened")
        ...     yield {"one": 1, "two": 2}
        ...     print("closed")
        >>> @task
        ... def look_up(name):
        ...     return numbers()[name]
        >>> with Client(local=True) as client:
        ...     client.compute(look_up.map(["one", "two"]))
        opened
        [1, 2]
        closed
    """
    if not callable(function):
        raise OptionError(f"@worker_resource stands before a function, not {shown(function)}")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise OptionError(
            f"the worker resource {function.__name__!r} is asynchronous: write a plain function"
        )
    needed = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if needed:
        raise OptionError(
            f"the worker resource {getattr(function, '__name__', function)!r} is built without "
            f"arguments, but takes {', '.join(needed)}: give them default values"
        )
    return WorkerResource(function)
