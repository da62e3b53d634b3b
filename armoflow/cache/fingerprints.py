"""Keys of values and of code, remembered for as long as one plan takes."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Any

from armoflow.cache.code import CodeKey, code_key, foreign_function
from armoflow.cache.own_classes import is_own_class, is_own_function
from armoflow.cache.value_keys import make_walk
from armoflow.cache.walk import NoKey, RuleResult, atom_digest, is_atom, text_digest
from armoflow.codec.modules import is_user_module
from armoflow.errors import UnkeyableError


class Fingerprints:
    """Makes keys of values; code is read once.

    Args:
        rules: What values of some types are made of, besides what ``docs/caching.md`` says.
    """

    def __init__(self, rules: Mapping[type, Callable[[Any], RuleResult]] | None = None) -> None:
        self._walk = make_walk(self._refer, rules)
        self._codes: dict[int, tuple[Any, CodeKey]] = {}  # with what they are of: it stays alive

    def of(self, value: Any) -> bytes:
        """The key of a value.

        Raises:
            NoKey: If it has none.
        """
        return atom_digest(value) if is_atom(value) else self._walk.digest(value)

    def of_code(self, root: Any) -> CodeKey:
        """The key of the code of something that can be called, of a class or of a module."""
        known = self._codes.get(id(root))
        if known is None:
            known = self._codes[id(root)] = root, code_key(root)
        return known[1]

    def _refer(self, value: Any) -> RuleResult:
        if isinstance(value, types.ModuleType):
            own = is_user_module(value.__name__)
            return self.of_code(value).digest if own else text_digest("module", value.__name__)
        if isinstance(value, types.FunctionType):
            own = is_own_function(value)
            return self.of_code(value).digest if own else foreign_function(value)
        if is_own_class(value):
            return self.of_code(value).digest
        # Without the version: its instances are what they were before an upgrade.
        return text_digest("class", str(value.__module__), value.__qualname__)


def key_of(value: Any) -> bytes:
    """The key of a value: the same in every process.

    Raises:
        UnkeyableError: If it has none; the message says which part of it, and why.

    Example:
        >>> key_of({"a": 1, "b": {2, 3}}) == key_of({"b": {3, 2}, "a": 1})
        True
        >>> import threading
        >>> key_of({"a": [1, threading.Lock()]})
        Traceback (most recent call last):
        armoflow.errors.UnkeyableError: value, at ['a'][1]: _thread.lock has no key: ...
    """
    try:
        return Fingerprints().of(value)
    except NoKey as error:
        raise UnkeyableError(f"value{placed(error)}") from error.__cause__


def placed(error: NoKey) -> str:
    """Where a part is that has no key, and why; follows the name of the whole."""
    place = error.place.removeprefix(", ")
    return f", {place}: {error.reason}" if place != error.place else _at(error)


def _at(error: NoKey) -> str:
    return f", at {error.place}: {error.reason}" if error.place else f": {error.reason}"
