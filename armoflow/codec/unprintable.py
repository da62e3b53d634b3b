"""Texts of others, shown in a terminal: they shall not do anything there."""

from __future__ import annotations

_SHOWN = {
    **{number: chr(0x2400 + number) for number in range(32) if chr(number) != "\t"},
    127: "\u2421",
    **dict.fromkeys((*range(128, 160), 0x2028, 0x2029), "\ufffd"),
    **dict.fromkeys((0x202D, 0x202E), "\ufffd"),  # what follows would be read from right to left
}


def printable(text: str) -> str:
    r"""A line with pictures in place of what moves the cursor or changes colours.

    Example:
        >>> printable("a\x1b[31mred\tb")
        'a␛[31mred\tb'
    """
    return text if text.isprintable() else text.translate(_SHOWN)


def printable_lines(text: str) -> str:
    r"""Lines, each of them :func:`printable`.

    Example:
        >>> printable_lines("a\x1b[31m\nb")
        'a␛[31m\nb'
    """
    return "\n".join(map(printable, text.split("\n")))
