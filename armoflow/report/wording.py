"""Numbers for people: durations, sizes, shares, times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timezone


def age(since: datetime | None, now: datetime | None = None) -> str:
    """How long ago something was.

    Example:
        >>> from datetime import datetime, timedelta, timezone
        >>> now = datetime(2030, 1, 1, tzinfo=timezone.utc)
        >>> age(now - timedelta(minutes=90), now), age(None)
        ('1.5 h', '')
    """
    if since is None:
        return ""
    return length(((now or datetime.now(timezone.utc)) - since).total_seconds())


def counted(count: int, what: str) -> str:
    """So many of something.

    Example:
        >>> counted(1, "value"), counted(1200, "value")
        ('1 value', '1,200 values')
    """
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def length(seconds: float | None) -> str:
    """A duration for people.

    Example:
        >>> length(0.00042), length(0.0023), length(0.0123), length(75), length(90000)
        ('420 µs', '2.3 ms', '12 ms', '1.2 min', '25.0 h')
        >>> length(0), length(None)
        ('0 s', '')
    """
    if seconds is None:
        return ""
    if seconds <= 0:
        return "0 s"
    scale, form, unit = next(how[1:] for how in _LENGTHS if seconds < how[0])
    return f"{seconds * scale:{form}} {unit}"


_LENGTHS: Sequence[tuple[float, float, str, str]] = (
    (0.0009995, 1e6, ".0f", "µs"),
    (0.01, 1e3, ".2g", "ms"),
    (1, 1e3, ".0f", "ms"),
    (60, 1, ".1f", "s"),
    (3600, 1 / 60, ".1f", "min"),
    (48 * 3600, 1 / 3600, ".1f", "h"),
    (math.inf, 1 / 86_400, ".1f", "days"),
)
"""Up to how many seconds which unit is taken, and how it is written."""


def size(count: float | None) -> str:
    """Bytes for people.

    Example:
        >>> size(812), size(2_500_000), size(None)
        ('812 B', '2.4 MiB', '')
    """
    if count is None:
        return ""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def share(part: float, whole: float) -> str:
    """A part of a whole.

    Example:
        >>> share(1, 3), share(1, 0)
        ('33 %', '')
    """
    return f"{100 * part / whole:.0f} %" if whole else ""


def moment_of(at: float) -> str:
    """A time since the epoch, in UTC.

    Example:
        >>> moment_of(0.0)
        '1970-01-01 00:00:00 UTC'
    """
    return f"{datetime.fromtimestamp(at, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def short_ids(ids: Sequence[str], least: int = 8) -> dict[str, str]:
    """What tells ids apart: their beginnings or, where these are the same, their ends, too.

    Example:
        >>> short_ids(["ef4a23d6-826c", "ef4a23d6-9b9a"])
        {'ef4a23d6-826c': 'ef4a23d6-8', 'ef4a23d6-9b9a': 'ef4a23d6-9'}
        >>> short_ids(["ef4a23d6-826c-4001", "ef4a23d6-826c-4002"])["ef4a23d6-826c-4002"]
        'ef4a23d6..4002'
    """
    different = len(set(ids))
    size = least
    while len({id[:size] for id in ids}) < different and size < least + _END:
        size += 1
    if len({id[:size] for id in ids}) == different:
        return {id: id[:size] for id in ids}
    size = _END
    while len({id[:least] + id[-size:] for id in ids}) < different:
        size += 1
    return {id: f"{id[:least]}..{id[-size:]}" for id in ids}


_END = 4
"""Characters of an id's end that are shown, at least."""


def pace(left: int, rate: float) -> str:
    """How many end in a second, and how long those that are left take at that.

    Example:
        >>> pace(60, 0.5), pace(0, 3.0), pace(100, 0.0)
        ('0.5/s, 2:00 left', '3.0/s', '')
    """
    if not rate:
        return ""
    minutes, seconds = divmod(round(left / rate), 60)
    return f"{rate:,.1f}/s" + (f", {minutes:,}:{seconds:02} left" if left else "")
