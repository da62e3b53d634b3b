"""Spans of time as people write them."""

from __future__ import annotations

import argparse
import math
import re

_UNITS = {
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "m": 60.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3_600.0,
    "hour": 3_600.0,
    "d": 86_400.0,
    "day": 86_400.0,
    "w": 604_800.0,
    "week": 604_800.0,
}
_PART = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([a-z]*)\s*,?")


def parse_span(text: str) -> float:
    """Seconds of a span; a bare number is one of seconds.

    Raises:
        ValueError: If it is none, or not above zero.

    Example:
        >>> [parse_span(text) for text in ("90", "1.5 hours", "1d 12h", "2 weeks")]
        [90.0, 5400.0, 129600.0, 1209600.0]
    """
    total, position = 0.0, 0
    wanted = text.strip().lower()
    while position < len(wanted):
        part = _PART.match(wanted, position)
        if part is None:
            break
        number, unit = part.groups()
        size = _UNITS.get(unit) or _UNITS.get(unit.removesuffix("s"))
        if size is None and (unit or part.end() < len(wanted) or position):
            break  # a number without a unit stands alone
        total += float(number) * (size or 1.0)
        position = part.end()
    if position < len(wanted) or not 0 < total < math.inf:
        raise ValueError(
            f"{text!r} is no span of time: write 90 (seconds), 30min, 12h, 1.5 days..."
        )
    return total


def span_or_none(text: str) -> float:
    """An option's span; ``none``, which is 0.0, for no end.

    Raises:
        argparse.ArgumentTypeError: If it is neither.
    """
    if text.strip().lower() == "none":
        return 0.0
    try:
        return parse_span(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; or none") from error
