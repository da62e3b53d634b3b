"""What a plan need not make: values that exist already, wherever they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import CollectionNode, Node
from armoflow.orchestrator.planned import PlanPiece, Result, SlotRange

Found: TypeAlias = "Sequence[SlotRange | Delayed[Any]]"
"""Of each output of a node: where its value is, or the lazy value that it is the same as."""


class Begun(NamedTuple):
    """A collection of which the first items, or all, exist already.

    Attributes:
        columns: Of each output, where these are, or the lazy values that they are the same as.
        rest: The collection of the others, if there are any.
    """

    columns: Sequence[Sequence[SlotRange | Delayed[Any]]]
    rest: CollectionNode | None = None


class KnownItems(NamedTuple):
    """Items of a collection that follow one another, and exist already.

    Attributes:
        start: The position of the first one.
        columns: Of each output, where these are.
        length: How many they are.
    """

    start: int
    columns: Sequence[list[PlanPiece]]
    length: int


Scattered: TypeAlias = "Sequence[KnownItems]"
"""Of a collection, those of its items that exist already, in their order."""


class Unneeded(Result):
    """In the place of what makes items that nobody looks at: no task makes these, or takes them."""

    __slots__ = ()


class Partial(NamedTuple):
    """What a reduction has made of some of its items, that follow one another.

    Attributes:
        start: The position of the first one.
        stop: That after the last one.
        place: Where it is.
    """

    start: int
    stop: int
    place: SlotRange


class Known(Protocol):
    """Asked for all that a plan comes to. Says the same each time in one plan."""

    def find(self, node: Node) -> Found | None:
        """What is known of a node that makes single values; None: it is to be made."""

    def find_items(self, node: CollectionNode) -> Begun | None:
        """What is known of a map or a filter; None: it is to be made."""

    def find_scattered(self, node: CollectionNode) -> Scattered | None:
        """Where only some of its items are to be made: the others; asked where none begin it."""

    def spent(self, node: Node) -> int:
        """Attempts that a call, or the first item of a collection, has spent already."""


class _Nothing:
    def spent(self, node: Node) -> int:
        """Nothing was tried."""
        return 0

    def find_items(self, node: CollectionNode) -> None:
        """Nothing is known of any collection."""

    def find_scattered(self, node: CollectionNode) -> None:
        """Nothing is known of any item."""

    def find(self, node: Node) -> None:
        """Nothing is known of any node."""


NOTHING: Final[Known] = _Nothing()
"""Where every value is to be made."""
