"""A call of an asynchronous client that nobody awaits yet."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class PendingCall(Coroutine[Any, Any, T]):
    """A coroutine that says what it is to who takes it for the future that it gives.

    Args:
        coroutine: It.
        name: What was called.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T], name: str) -> None:
        self._coroutine = coroutine
        self._name = name

    def __await__(self) -> Generator[Any, Any, T]:
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        """Go on with it."""
        return self._coroutine.send(value)

    def throw(self, *raised: Any) -> Any:
        """Raise an exception in it."""
        return self._coroutine.throw(*raised)

    def close(self) -> None:
        """End it."""
        self._coroutine.close()

    def __iter__(self) -> NoReturn:
        self._refuse(TypeError, "is gone over", "")

    def __getitem__(self, key: object) -> NoReturn:
        self._refuse(TypeError, f"has [{key!r}]", f"[{key!r}]")

    def __repr__(self) -> str:
        return f"<a call of client.{self._name} that is not awaited>"

    if not TYPE_CHECKING:  # a type checker finds it by itself

        def __getattr__(self, name: str) -> NoReturn:
            self._refuse(AttributeError, f"has {name!r}", f".{name}")

    def _refuse(self, error: type[Exception], used: str, written: str) -> NoReturn:
        self._coroutine.close()  # that it was never awaited is told by this
        awaited = f"await client.{self._name}(...)"
        raise error(
            f"a call of an AsyncClient has to be awaited before it {used}: write "
            + (f"({awaited}){written}" if written else awaited)
        )


def pending(
    method: Callable[P, Coroutine[Any, Any, T]],
) -> Callable[P, PendingCall[T]]:
    """Have a coroutine function's calls say that they have to be awaited."""

    @functools.wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> PendingCall[T]:
        return PendingCall(method(*args, **kwargs), method.__name__)

    return call
