"""What calls get in the debug mode: copies of their own, as on an engine, which may be changed.

Who changes an argument in place is told: on an engine nobody else sees that. What cannot be copied
(a lock, an open file) is the very object.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from armoflow import config
from armoflow.cache.changes import Snapshot, described, snapshot_of
from armoflow.errors import ChangedArgumentWarning

GivenArguments: TypeAlias = "tuple[Sequence[Any], Mapping[str, Any]]"


class OwnArguments:
    """The arguments of one call, for all its attempts.

    Args:
        args: Those by position.
        kwargs: Those by name.
        copies: Each attempt gets copies; else these are nobody else's as it is.
        once: Of an object that is several of them there is one copy, not one for each.
    """

    def __init__(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], *, copies: bool, once: bool
    ) -> None:
        self._places: dict[int | str, Any] = dict(enumerate(args))
        self._places.update(kwargs.items())
        self._count = len(args)
        self._once = once
        self._snapshots: dict[Any, Snapshot] = {}
        for place, value in self._places.items() if copies else ():
            snapshot = snapshot_of(value)
            if snapshot is not None:
                self._snapshots[self._key(place)] = snapshot

    def load(self) -> GivenArguments:
        """Those of an attempt."""
        own = {key: snapshot.load() for key, snapshot in self._snapshots.items()}
        values = {place: own.get(self._key(place), value) for place, value in self._places.items()}
        args = [values.pop(position) for position in range(self._count)]
        return args, {str(name): value for name, value in values.items()}

    def changes(self, arguments: GivenArguments) -> Iterator[tuple[int | str, str]]:
        """Which of those that an attempt got are others now: position or name, and where in it."""
        args, kwargs = arguments
        for place in self._places:
            before = self._snapshots.get(self._key(place))
            own = kwargs[place] if isinstance(place, str) else args[place]
            change = None if before is None else before.change(own)
            if change is not None:
                yield place, change

    def _key(self, place: int | str) -> Any:
        return id(self._places[place]) if self._once else place


class SharedArguments:
    """Arguments that are the same for all items: each gets copies of those that are quick to load.

    Args:
        values: The arguments, by name.

    Attributes:
        own: Those that each item has copies of.
        shared: The others, as on an engine.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.own: dict[str, Any] = {}
        self.shared: dict[str, Any] = {}
        self._snapshots: dict[str, Snapshot] = {}
        for name, value in values.items():
            snapshot = snapshot_of(value)
            if snapshot is None or snapshot.size <= config.LOADED_ANEW_LIMIT:
                self.own[name] = value
            else:
                self.shared[name] = value
                self._snapshots[name] = snapshot

    def changes(self) -> Iterator[tuple[int | str, str]]:
        """Which of those that all items have are others now."""
        for name, before in self._snapshots.items():
            place = before.change(self.shared[name])
            if place is not None:
                yield name, place


class ChangeWarnings:
    """Tells who changes arguments in place: once of each argument of a task."""

    def __init__(self) -> None:
        self._told: set[tuple[str, int | str]] = set()

    def tell(
        self,
        task: str,
        function: Callable[..., Any],
        found: Iterator[tuple[int | str, str]],
        *,
        shared: bool = False,
    ) -> None:
        """Warn of these arguments.

        Args:
            task: The task's name.
            function: What it calls.
            found: Position or name, and the place in it, of each.
            shared: Other calls have seen it.
        """
        for argument, place in found:
            if (task, argument) not in self._told:
                self._told.add((task, argument))
                told = f"task {task!r} has changed {described(function, argument, place)}"
                code = getattr(inspect.unwrap(function), "__code__", None)
                where = (
                    ("<unknown>", 0) if code is None else (code.co_filename, code.co_firstlineno)
                )
                text = f"{told}: {_SHARED if shared else _OWN}. {_REMEDY}"
                warnings.warn_explicit(text, ChangedArgumentWarning, *where)


_OWN: Final = (
    "each call has a copy of its own, so nobody else sees that but in what the task returns"
)
_SHARED: Final = (
    "it is large, so items of one engine task share it, and values depend on what ran before"
)
_REMEDY: Final = "Change a copy (copy.deepcopy) if it was not meant"


def copied(value: Any) -> Any:
    """A value of one's own, if it can be copied."""
    snapshot = snapshot_of(value)
    return value if snapshot is None else snapshot.load()
