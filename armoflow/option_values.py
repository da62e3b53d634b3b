"""What each option may be: what is written is checked, and kept so that it can be hashed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from armoflow import config
from armoflow.config import MAXIMUM_DURATION, MAXIMUM_PAUSE
from armoflow.errors import OptionError, shown
from armoflow.requirements import check_requirements
from armoflow.retrying import make_retry_on
from armoflow.system.descendants import MARK
from armoflow.texts import is_text

MAXIMUM_PRIORITY = 99
"""CreateSession accepts priorities 1 to 99; a deployment's queue usually allows 10."""

MOST = 10**9
"""The most that is counted: for who wants no limit, and small enough for every field that holds it,
also where two such numbers are added."""


class OptionNumber(NamedTuple):
    """What a number may be: whatever comes of those that are allowed can be counted and waited for.

    Attributes:
        words: The same, for people.
        kinds: The types that it may have.
        least: The smallest.
        most: The largest.
        remedy: What to do if more is wanted.
    """

    words: str
    kinds: tuple[type, ...]
    least: float
    most: float
    remedy: str = ""

    def check(self, name: str, value: Any) -> None:
        """Refuse what it may not be."""
        known = isinstance(value, self.kinds) and not isinstance(value, bool)
        if known and self.least <= value <= self.most:
            return
        remedy = f": {self.remedy}" if self.remedy and known and value > self.most else ""
        raise OptionError(f"{name} must be {self.words}, not {shown(value)}{remedy}")


def check_flag(name: str, value: object) -> None:
    """Refuse what is neither True nor False: most else would be taken for one of them.

    Raises:
        OptionError: If it is something else.

    Example:
        >>> check_flag("strict", "no")
        Traceback (most recent call last):
        armoflow.errors.OptionError: strict must be True or False, not 'no'
    """
    if not isinstance(value, bool):
        raise OptionError(f"{name} must be True or False, not {shown(value)}")


def _count_from(least: int, most: int = MOST) -> OptionNumber:
    return OptionNumber(f"an integer from {least} to {most}", (int,), least, most)


def _seconds(least: float, most: float, remedy: str) -> OptionNumber:
    kind = "positive" if least > 0 else "non-negative"
    words = f"a {kind} number of seconds, up to {most:.0f}"
    return OptionNumber(words, (int, float), least, most, remedy)


_SHARE = OptionNumber("a share from 0 to 1", (int, float), 0, 1)
_PAUSE = _seconds(0, MAXIMUM_PAUSE, "pauses are a day at most, for a task has a week in all")
NUMBERS: dict[str, OptionNumber] = {
    "retries": _count_from(0),
    "crash_retries": _count_from(0),
    "priority": _count_from(1, MAXIMUM_PRIORITY),
    "batch_size": _count_from(1),
    "max_retries": _count_from(0),
    "cpus": _count_from(1),
    "gpus": _count_from(0),
    "timeout": _seconds(
        math.ulp(0.0), MAXIMUM_DURATION, "no task may take more than a week; leave the timeout out"
    ),
    "backoff": _PAUSE,
    "max_backoff": _PAUSE,
    "jitter": _SHARE,
    "min_success": _SHARE,
}
"""Of each option that is a number, what it may be; ``memory`` may be a text, too."""

_LIMIT = _count_from(1)


def _pairs(value: Any) -> dict[Any, Any] | None:
    """What a mapping holds, or what was kept of one."""
    if isinstance(value, tuple) and all(isinstance(one, tuple) and len(one) == 2 for one in value):
        return dict(value)
    return dict(value) if isinstance(value, Mapping) else None


def _texts(name: str, value: Any) -> tuple[tuple[str, str], ...]:
    """A mapping of texts, as it can be hashed."""
    found = _pairs(value)
    if found is None or not all(isinstance(part, str) for pair in found.items() for part in pair):
        raise OptionError(f"{name} must be a dict of texts, not {shown(value)}")
    for key, text in found.items():
        if not is_text(key + text):
            raise OptionError(
                f"{name}[{key!r}] is {text!r}, which cannot be written as UTF-8: leave out what is "
                "half a character (of a file's name, os.fsencode gives the bytes)"
            )
    return tuple(sorted(found.items()))


def _counts(value: Any) -> tuple[tuple[str, int], ...]:
    """Numbers by name, as they can be hashed."""
    found = _pairs(value)
    if found is None or not all(isinstance(name, str) and name for name in found):
        raise OptionError(
            "limits must be a dict of how many may run by name, as {'licence': 4}, not "
            f"{shown(value)}"
        )
    for name, count in found.items():
        if not name.isprintable() or name != name.strip():
            raise OptionError(
                f"limits names {name!r}: a name is printable, and neither begins nor ends with a "
                "space"
            )
        _LIMIT.check(f"limits[{name!r}]", count)
    return tuple(sorted(found.items()))


def _further_options(value: Any) -> tuple[tuple[str, str], ...]:
    return _texts("options", value)


def _variables(value: Any) -> tuple[tuple[str, str], ...]:
    found = _texts("env", value)
    for name, text in found:
        if not name or "=" in name or "\0" in name + text:
            raise OptionError(
                f"env names a variable {name!r}: a name has a character at least, and no '=', and "
                "neither name nor value holds a NUL"
            )
        if name == MARK:
            raise OptionError(f"env sets {name}, by which armoflow finds its processes: leave it")
    size = sum(len(name) + len(text) for name, text in found)
    if len(found) > config.ENV_COUNT or size > config.ENV_TEXT:
        raise OptionError(
            f"env has {len(found):,} variables of {size:,} characters: at most "
            f"{config.ENV_COUNT:,} of {config.ENV_TEXT:,} characters all together are taken; pass "
            "what is more as an argument"
        )
    return found


READERS: dict[str, Callable[[Any], Any]] = {
    "retry_on": make_retry_on,
    "options": _further_options,
    "limits": _counts,
    "env": _variables,
    "requirements": check_requirements,
}
"""Makes of what was written of an option what is kept: checked, and so that it can be hashed."""
