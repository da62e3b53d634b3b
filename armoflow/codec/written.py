"""What a task has written, as the data of a result: on a cluster, where its client asks for it.

A cluster tells nothing of what tasks write but to its own log. So a session says in an option that
its tasks inherit (:data:`LEVEL_OPTION`) from which level on their output is wanted; the worker then
stores it with each task that ends well, as a small result whose name says what it is. Whoever wants
to show it lists results by name (:data:`PREFIX`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from armoflow.codec.container import Buffer, pack, unpack
from armoflow.errors import EnvelopeError
from armoflow.texts import read_count

PREFIX = "written/"
"""Begins the name of such a result; the name of its task follows."""

LEVEL_OPTION = "armoflow.logs"
"""The option of sessions and tasks that holds the level."""


class WrittenText(NamedTuple):
    """Lines that one item of a task has written.

    Attributes:
        time: When, in seconds since 1970.
        name: The item, as errors name it.
        level: As those of ``logging``; 20 is the standard output, 30 the standard error.
        logger: Who logged it, if it is a record.
        text: The lines, without the last one's end.
    """

    time: float
    name: str
    level: int
    logger: str
    text: str


def wanted_level(options: Mapping[str, str]) -> int | None:
    """From which level on the output of a task is stored; None: not at all.

    Example:
        >>> wanted_level({"armoflow.logs": "30"}), wanted_level({}), wanted_level(
        ...     {"armoflow.logs": "all"})
        (30, None, None)
    """
    return read_count(options.get(LEVEL_OPTION, ""))


def pack_written(texts: Iterable[WrittenText]) -> list[Buffer]:
    """Lay out what was written; returns the parts to write one after the other.

    Example:
        >>> read_written(b"".join(pack_written([WrittenText(0.5, "f[3]", 20, "", "hot")])))
        [WrittenText(time=0.5, name='f[3]', level=20, logger='', text='hot')]
    """
    return pack([list(text) for text in texts])


def read_written(data: Buffer) -> list[WrittenText]:
    """Read it back.

    Raises:
        EnvelopeError: If it was not written by armoflow.
    """
    rows, _ = unpack(data)
    try:
        texts = [WrittenText(*row) for row in rows]
    except TypeError as error:
        raise EnvelopeError(f"stored data is not what a task has written: {error}") from error
    if any([*map(type, text)] != [float, str, int, str, str] for text in texts):
        raise EnvelopeError("stored data is not what a task has written: its parts are others")
    return texts
