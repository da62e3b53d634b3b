"""Sizes in bytes, as they are written in scripts, variables and tables, and as they are shown."""

from __future__ import annotations

import re

from armoflow.errors import OptionError, shown

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?))?b?", re.IGNORECASE)
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def read_size(
    name: str, value: object, *, least: int = 0, most: int | None = None, other: str = ""
) -> int:
    """The bytes that a number or a text says.

    Args:
        name: What it is the size of, for errors.
        value: Bytes, or text such as "20GB" or "512 MiB".
        least: The fewest that make sense.
        most: The most that do.
        other: What else might have been said, for errors.

    Raises:
        OptionError: If it is no size, too small, or too large.

    Example:
        >>> [read_size("memory", said) for said in ("1.5GiB", 10_000, 1e9, "20 GB")]
        [1610612736, 10000, 1000000000, 20000000000]
    """
    size = None
    if isinstance(value, float) and value.is_integer():  # as 1e9 is written
        size = int(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str) and (found := _SIZE.fullmatch(value.strip())):
        number, unit, binary = found.groups()
        power = "kmgt".index(unit.lower()) + 1 if unit else 0
        size = int(float(number) * (1024 if binary else 1000) ** power)
    if size is None or size < 0:
        raise OptionError(
            f"{name} must be a number of bytes, text such as '20GB' or '512MiB'{other}, not "
            f"{shown(value)}"
        )
    if size < least:
        raise OptionError(f"{name} must be at least {show_size(least)}, not {shown(value)}")
    if most is not None and size > most:
        raise OptionError(f"{name} must be at most {show_size(most)}, not {show_size(size)}")
    return size


def show_size(size: int) -> str:
    """A size for people.

    Example:
        >>> show_size(2 * 1024**3), show_size(700 * 1024**2 + 1), show_size(512)
        ('2 GiB', '700 MiB', '512 bytes')
    """
    if size > 1024 ** len(_UNITS):
        return f"more than 1024 {_UNITS[-1]}"
    power = 0
    number = float(size)
    while number >= 1024 and power < len(_UNITS) - 1:
        number /= 1024
        power += 1
    return f"{number:.4g} {_UNITS[power]}"
