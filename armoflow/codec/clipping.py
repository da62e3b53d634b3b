"""Long texts shown short: their beginning and their end, for the reason often stands last."""

from __future__ import annotations

from armoflow import config

MARK = "armoflow-error"
"""Begins the line of an error text that holds the record."""

_TOLD = 120  # characters from which on it is said how many are missing


def clip(text: str, length: int) -> str:
    """A text of at most ``length`` characters: its two ends, and how much is missing between.

    Example:
        >>> clip("a" * 100 + " the reason", 20)
        'aaaaaaaaa...e reason'
        >>> clip("a" * 500 + " the reason", 120)[40:]
        'aaaaa...[421 more characters]...aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa the reason'
    """
    if len(text) <= length:
        return text
    gap = f"...[{len(text) - length + 30} more characters]..." if length >= _TOLD else "..."
    kept = max(length - len(gap), 2)
    return text[: kept - kept // 2] + gap + text[len(text) - kept // 2 :]


def clip_line(text: str, length: int) -> str:
    r"""A text as one line of about ``length`` characters: of several lines, the two at the ends.

    Example:
        >>> clip_line("bad input:\n  line 1\nexpected a number", 80)
        'bad input: ... expected a number'
    """
    lines = text.strip().splitlines()
    if len(lines) < 2:
        return clip(lines[0], length) if lines else ""
    return f"{clip(lines[0], length // 2)} ... {clip(lines[-1].strip(), length // 2)}"


def without_records(text: str) -> str:
    """A text that others have written, for an error: no record of theirs is found in it.

    Example:
        >>> without_records("saved by a task: [armoflow-error AAAA]")
        'saved by a task: [... AAAA]'
    """
    return text.replace(f"[{MARK}", "[...")


def short_error(text: str) -> str:
    """What lists and dependents show of a task's error text: at most ``ERROR_RECORD_LIMIT`` bytes.

    Of an error record's text these are the readable line and the short form of the record, which
    stand first; of another text, both ends.

    Example:
        >>> short_error("short"), len(short_error("long" * 10_000)) <= config.ERROR_RECORD_LIMIT
        ('short', True)
    """
    limit = config.ERROR_RECORD_LIMIT
    if len(text) * 4 <= limit or len(text.encode("utf-8", "replace")) <= limit:
        return text
    head = "\n".join(text.split("\n", 2)[:2])
    if f"[{MARK} " in head and len(head.encode("utf-8", "replace")) <= limit:
        return head
    return clip(text, limit if text.isascii() else limit // 4)
