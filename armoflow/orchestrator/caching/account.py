"""What a cache had of one graph when it was looked up: enough to explain it by, later."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from armoflow.cache.key_parts import Argument, KeyParts
from armoflow.departures import Departure


class Accounted(NamedTuple):
    """A node whose values are kept.

    Attributes:
        name: The name of its task.
        hits: Calls whose values were known.
        expired: Calls whose values were too old.
        lost: Calls whose values the engine had no more.
        departed: Calls whose values were there once, by why they are not any more.
        missed: Other calls whose values were not known.
        parts: What the keys of its calls have in common; None where all were known.
        example: The arguments of one of the missed items of a collection.
    """

    name: str
    hits: int = 0
    expired: int = 0
    lost: int = 0
    departed: Mapping[Departure, int] = {}
    missed: int = 0
    parts: KeyParts | None = None
    example: dict[str, Argument] = {}  # noqa: RUF012 - of a tuple, and never changed


@dataclasses.dataclass
class Account:
    """What was found of a graph.

    Attributes:
        asked: When it was looked up, in seconds since 1970.
        nodes: The nodes that were looked for.
        uncached: Calls that were not, by name and why.
        unneeded: Calls that only known values would need, by name.
        note: What is said of all of it.
    """

    asked: float
    nodes: list[Accounted] = dataclasses.field(default_factory=list)
    uncached: Counter[tuple[str, str]] = dataclasses.field(default_factory=Counter)
    unneeded: Counter[str] = dataclasses.field(default_factory=Counter)
    note: str = ""
