"""Texts of others, which may be anything: what of them can be written, read, counted.

Any client may write what it likes into the options of its tasks, any worker into its output.
Whoever reads it runs tasks of others, too, and must not end for it.
"""

from __future__ import annotations

import json
from typing import Any

_DIGITS = 100
"""Of a number in a text: nothing is counted that far, and Python reads none of thousands."""


def is_text(value: str) -> bool:
    r"""Whether a text can be written anywhere: a lone half of a surrogate pair cannot.

    Example:
        >>> is_text("zoe\u0308"), is_text("\ud800")
        (True, False)
    """
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def plain(value: str) -> str:
    """The text alone, where its class makes something else of it, as enumerations do.

    Example:
        >>> import enum
        >>> Queue = enum.Enum("Queue", {"SMALL": "small"}, type=str)
        >>> str(Queue.SMALL), plain(Queue.SMALL)
        ('Queue.SMALL', 'small')
    """
    return str.__str__(value)


def as_text(value: str) -> str:
    r"""The text, with a question mark in the place of each character that cannot be written.

    Example:
        >>> as_text("zoe\u0308") == "zoe\u0308", as_text("half a \ud83d")
        (True, 'half a ?')
    """
    return value if is_text(value) else value.encode("utf-8", "replace").decode()


def read_json(text: str | bytes) -> Any:
    """What a text says in JSON; None if it says nothing that can be read, however deep it goes.

    Texts in it may have what cannot be written, as JSON has signs for that.

    Example:
        >>> read_json('{"licence": 4}'), read_json("licence"), read_json("[" * 100_000)
        ({'licence': 4}, None, None)
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def read_count(text: str) -> int | None:
    """The whole number that a text is, from 0 on; None if it is none, or one beyond all limits.

    Example:
        >>> read_count("12"), read_count("-1"), read_count("many"), read_count("9" * 5_000)
        (12, None, None, None)
    """
    return int(text) if text.isdecimal() and len(text) <= _DIGITS else None
