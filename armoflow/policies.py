"""Cache policies: whether a task's values are kept for later runs, and what they are known by.

They are checked where they are written, as options are. What a policy says is part of no key but
through what it leaves out: ``docs/caching.md`` has the rules.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

from armoflow.errors import OptionError, shown
from armoflow.foreign_options import nearest
from armoflow.texts import is_text, plain

Expiry: TypeAlias = "float | timedelta | datetime"
"""After how many seconds, or when, a value is computed anew."""

PARTS: Final = ("inputs", "code", "environment")
"""What a key may be made of."""

_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """What a value is known by; made by :func:`make_policy`.

    Attributes:
        parts: Of ``PARTS``, those that the key is made of; none: the value is not kept.
        version: Stands for the code, if it is given.
        ignore: Arguments that are left out of the key.
        expires: Seconds for which a value is good, or until when.
        declared: What the task says of its environment, by name.
    """

    parts: frozenset[str] = frozenset()
    version: str | None = None
    ignore: frozenset[str] = frozenset()
    expires: float | datetime | None = None
    declared: tuple[tuple[str, str], ...] = ()

    def declaring(self, requirements: Iterable[str], env: Iterable[tuple[str, str]]) -> CachePolicy:
        """The same, for a task with these requirements and environment variables.

        Example:
            >>> make_policy(True).declaring(["numpy>=2"], [("MODE", "fast")]).declared
            (('requirement numpy>=2', ''), ('variable MODE', 'fast'))
        """
        needed = [(f"requirement {text}", "") for text in requirements]
        said = (*needed, *((f"variable {name}", text) for name, text in env))
        return replace(self, declared=said) if said else self

    @property
    def enabled(self) -> bool:
        """Whether values are kept, and looked for."""
        return bool(self.parts)

    @property
    def keyed(self) -> frozenset[str]:
        """What the key is made of; of a task whose values are not kept, the keys of others are."""
        return self.parts or ALL_PARTS

    def expired(self, made: float, now: float) -> bool:
        """Whether a value is too old.

        Args:
            made: When it was computed, in seconds since 1970.
            now: The time now.

        Example:
            >>> make_policy(True, expires=timedelta(minutes=1)).expired(made=0.0, now=60.0)
            True
        """
        if isinstance(self.expires, datetime):
            return now >= self.expires.timestamp()
        return self.expires is not None and now - made >= self.expires

    def check(self, name: str, signature: inspect.Signature | None) -> None:
        """Refuse a policy that ignores an argument that a task does not have.

        Args:
            name: Names the task.
            signature: What it takes; None if that cannot be told.

        Raises:
            OptionError: Names the argument, and the one that is most like it.

        Example:
            >>> def train(table, log_level): ...
            >>> make_policy(True, ignore=["loglevel"]).check("train", inspect.signature(train))
            Traceback (most recent call last):
            armoflow.errors.OptionError: task 'train' has no argument 'loglevel' to ignore: ...
        """
        if signature is None or not self.ignore:
            return
        parameters = signature.parameters
        if any(parameter.kind is _VARIABLE[1] for parameter in parameters.values()):
            return  # it takes any name
        for ignored in sorted(self.ignore - parameters.keys()):
            raise OptionError(
                f"task {name!r} has no argument {ignored!r} to ignore: "
                f"{nearest(ignored, parameters)}"
            )


ALL_PARTS: Final = frozenset(PARTS)
NOT_CACHED: Final = CachePolicy()
"""What holds where nobody says anything."""


def make_policy(
    cache: bool | str | None = None,
    *,
    version: str | int | None = None,
    ignore: Iterable[str] | None = None,
    expires: Expiry | None = None,
) -> CachePolicy:
    """Check what is said about caching, and put it together.

    Args:
        cache: ``True``: keep values, known by inputs, code and environment. Or one of ``"inputs"``,
            ``"code"`` and ``"environment"``, or several with ``+`` between them.
        version: Stands for the task's code, whatever that is: values are computed anew when it
            changes.
        ignore: Names of arguments that make no difference to the value.
        expires: Seconds, or a timedelta, after which a value is computed anew; or a datetime, from
            which on it is.

    Raises:
        OptionError: Names what is wrong, and what may be said.

    Example:
        >>> sorted(make_policy("inputs + code").parts)
        ['code', 'inputs']
        >>> make_policy("input")
        Traceback (most recent call last):
        armoflow.errors.OptionError: cache='input' is no policy: did you mean 'inputs'?
    """
    return CachePolicy(
        _checked_parts(cache),
        _checked_version(version),
        _checked_ignore(ignore),
        _checked_expiry(expires),
    )


def _checked_parts(cache: Any) -> frozenset[str]:
    if cache is None or isinstance(cache, bool):
        return ALL_PARTS if cache else frozenset()
    if not isinstance(cache, str):
        raise OptionError(
            "cache must be True, False, or a text such as 'inputs' or 'inputs + code', not "
            f"{shown(cache)}"
        )
    parts = [part.strip() for part in cache.split("+")]
    for part in parts:
        if part not in PARTS:
            raise OptionError(f"cache={shown(cache)} is no policy: {nearest(part, PARTS)}")
    return frozenset(parts)


_LARGEST_VERSION = 10**100
"""Of a number: longer ones are not written out by Python, and nobody counts so far."""


def _checked_version(version: Any) -> str | None:
    if version is None:
        return None
    if isinstance(version, bool) or not isinstance(version, (str, int)) or version == "":
        raise OptionError(f"version must be a text or an integer, not {shown(version)}")
    if isinstance(version, str) and not is_text(version):
        raise OptionError(
            f"version must be a text that can be written as UTF-8, not {shown(version)}"
        )
    if isinstance(version, int) and abs(version) > _LARGEST_VERSION:
        raise OptionError(f"version must be a shorter number, not {shown(version)}")
    return plain(version) if isinstance(version, str) else str(version)


def _checked_ignore(ignore: Any) -> frozenset[str]:
    if ignore is None:
        return frozenset()
    names = None if isinstance(ignore, str) or not isinstance(ignore, Iterable) else list(ignore)
    if names is None or not all(isinstance(name, str) for name in names):
        raise OptionError(
            "ignore must be a list of names of arguments, as ignore=['log_level'], not "
            f"{shown(ignore)}"
        )
    return frozenset(names)


def _checked_expiry(expires: Any) -> float | datetime | None:
    if expires is None or isinstance(expires, datetime):
        return expires
    seconds = expires.total_seconds() if isinstance(expires, timedelta) else expires
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds > 0:
        raise OptionError(
            "expires must be a positive number of seconds, a timedelta or a datetime, not "
            f"{shown(expires)}"
        )
    return float(min(seconds, sys.float_info.max))
