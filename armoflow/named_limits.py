"""Named limits: of all calls with one, only so many run at the same time.

A task says its limits in its options for ArmoniK, where any client, worker or engine may read them.
Who has a place is derived from what runs: nothing has to be given back, so nothing is lost with a
process, a client or an engine that is killed.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable, Iterable, Mapping

from armoflow.texts import is_text, read_json

LABEL = "armoflow.limits"
"""The option: numbers by name, in JSON."""

_NONE: Mapping[str, int] = {}


def read_limits(options: Mapping[str, str] | None) -> Mapping[str, int]:
    """How many of each name may run, as a task's options say it.

    Example:
        >>> read_limits({"armoflow.limits": '{"licence": 4}'})
        {'licence': 4}
    """
    text = options.get(LABEL) if options else None
    return _read(text) if text else _NONE


@functools.lru_cache(256)
def _read(text: str) -> Mapping[str, int]:
    found = read_json(text)  # others may write what they like
    if not isinstance(found, dict):
        return _NONE
    return {
        name: count
        for name, count in found.items()
        if type(count) is int and count > 0 and is_text(name)
    }


class Places:
    """Who has a place.

    Example:
        >>> places = Places()
        >>> places.take("first", {"licence": 1})
        >>> places.full({"licence": 1}), places.full({"licence": 2}), places.full({"disk": 1})
        ('licence', None, None)
        >>> places.leave("first")
        ['licence']
    """

    def __init__(self) -> None:
        self._taken: dict[str, set[Hashable]] = {}
        self._names: dict[Hashable, list[str]] = {}

    def __bool__(self) -> bool:
        """Whether anybody has one."""
        return bool(self._names)

    def full(self, limits: Mapping[str, int]) -> str | None:
        """The name of which as many run as these limits allow; None: there is room."""
        for name, count in limits.items():
            if len(self._taken.get(name, ())) >= count:
                return name
        return None

    def take(self, key: Hashable, names: Iterable[str]) -> None:
        """Somebody has a place of each name."""
        self._names[key] = [*names]
        for name in self._names[key]:
            self._taken.setdefault(name, set()).add(key)

    def leave(self, key: Hashable) -> list[str]:
        """Somebody has none any more; returns the names of those that he had."""
        names = self._names.pop(key, [])
        for name in names:
            self._taken[name].remove(key)
            if not self._taken[name]:
                del self._taken[name]
        return names
