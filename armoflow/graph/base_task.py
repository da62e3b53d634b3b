"""What all tasks have in common: function and options, how calls are checked, how it is pickled."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, TypeVar, cast

from armoflow.errors import OptionError, SignatureError, shown
from armoflow.graph.callables import ABROAD, KEYWORDS_ABROAD, arity, name_of, signature_of
from armoflow.graph.collection import map_items
from armoflow.options import (
    NO_OPTIONS,
    OPTION_NAMES,
    Options,
    TaskOptions,
    cache_policy,
    make_options,
    merge_options,
)
from armoflow.system.importing import is_importable
from armoflow.texts import plain

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


class BaseTask(Generic[P, R_co]):
    """What tasks of one and of several outputs share.

    Attributes:
        function: The plain function.
        name: What errors and pictures call it.
        task_options: How it runs.
        outputs: How many results a call has.
    """

    function: Callable[P, R_co]
    name: str
    task_options: TaskOptions
    outputs: int

    def __init__(
        self,
        function: Callable[P, R_co],
        *,
        name: str | None = None,
        options: TaskOptions | None = None,
        outputs: int = 1,
    ) -> None:
        self._set(function, name or name_of(function), options or NO_OPTIONS, outputs)
        if self.task_options.ignore is not None:
            cache_policy(self.task_options).check(self.name, self._signature)

    def _set(
        self, function: Callable[P, R_co], name: str, options: TaskOptions, outputs: int
    ) -> None:
        functools.update_wrapper(cast("Callable[..., Any]", self), function)
        self.function = function
        self.name = name
        self.task_options = options
        self.outputs = outputs
        self._signature = signature_of(function)
        self._least, self._most = arity(self._signature)

    def local(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run the plain function, here and now."""
        return self.function(*args, **kwargs)

    def with_options(self, *, name: str | None = None, **options: Unpack[Options]) -> Self:
        """The same task with other options; those not named stay.

        Example:
            >>> from armoflow.graph.task import task
            >>> task(abs).with_options(retries=2).task_options.retries
            2
        """
        changed = merge_options(make_options(options), self.task_options)
        return type(self)(
            self.function,
            name=self.name if name is None else checked_name(name),
            options=changed,
            outputs=self.outputs,
        )

    def options(self, *, name: str | None = None, **options: Unpack[Options]) -> Self:
        """As :meth:`with_options`: ``load.options(retries=3)(path)``.

        Example:
            >>> from armoflow.graph.task import task
            >>> task(abs).options(priority=5, retries=2)(-1)
            <Delayed abs>
        """
        return self.with_options(name=name, **options)

    def check(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Check a call's arguments against the signature.

        Raises:
            SignatureError: If they do not fit.
        """
        if not kwargs and self._least <= len(args) <= self._most:
            return  # most calls, quickly
        if self._signature is not None:
            self._bind(self._signature.bind, args, kwargs)

    def _bind(self, bind: Callable[..., Any], args: tuple[Any, ...], kwargs: Any) -> None:
        try:
            bind(*args, **kwargs)
        except TypeError as error:
            remedy = self._remedy(kwargs)
            raise SignatureError(
                f"task {self.name!r}: {error}; its signature is {self.name}{self._signature}"
                f"{remedy and f': {remedy}'}"
            ) from None

    def _remedy(self, kwargs: Mapping[str, Any]) -> str:
        """What to write in place of keyword arguments that are not the function's."""
        known = () if self._signature is None else self._signature.parameters
        for name in kwargs:
            if name not in known and name in KEYWORDS_ABROAD:
                return KEYWORDS_ABROAD[name]
            if name not in known and name in OPTION_NAMES:
                said = f"task.with_options({name}=...), or Client({name}=...)"
                return f"all keyword arguments are the function's, and an option is said by {said}"
        return ""

    def _map(self, iterables: tuple[Any, ...], fixed: dict[str, Any]) -> Any:
        if len(iterables) == 1 and self._least > 1 + len(fixed):
            raise SignatureError(
                f"task {self.name!r} is mapped over one iterable and takes "
                f"{self.name}{self._signature}: write map() with an iterable for each argument, "
                "name=value for what all items share, or starmap() where items are tuples"
            )
        if iterables:
            self.check((None,) * len(iterables), fixed)
        return map_items(self, iterables, fixed, star=False)

    def _starmap(self, iterable: Any, fixed: dict[str, Any]) -> Any:
        if self._signature is not None:  # how many positional ones come is told by the items
            self._bind(self._signature.bind_partial, (), fixed)
        return map_items(self, (iterable,), fixed, star=True)

    if not TYPE_CHECKING:  # a type checker finds these by itself

        def __getattr__(self, name: str) -> NoReturn:
            remedy = f": write {ABROAD[name]}" if name in ABROAD else ""
            raise AttributeError(f"a {type(self).__name__} has no attribute {name!r}{remedy}")

    def __reduce__(self) -> str | tuple[Any, ...]:
        name = getattr(self, "__qualname__", "")
        module = getattr(self, "__module__", None)
        if is_importable(module) and _find(module, name) is self:
            return name  # by reference, as functions are
        return self.reduce_by_value()

    def reduce_by_value(self) -> tuple[Any, ...]:
        """What pickle makes the task of, where it is not found by its name."""
        # In two steps, because a recursive function refers to its own task.
        state = (self.function, self.name, self.task_options, self.outputs)
        return type(self).__new__, (type(self),), state

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._set(*state)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


def checked_name(name: object) -> str:
    """A name that was given to a task.

    Raises:
        OptionError: If it is none.
    """
    if not (isinstance(name, str) and name):
        raise OptionError(f"name must be a non-empty string, not {shown(name)}")
    if not name.isprintable():
        raise OptionError(f"name must be printable text on one line, not {shown(name)}")
    return plain(name)


def _find(module: str | None, name: str) -> Any:
    found: Any = sys.modules.get(module or "")
    for part in name.split("."):
        found = getattr(found, part, None)
    return found
