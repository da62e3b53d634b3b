"""What a plan need not make: values that exist already, wherever they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import CollectionNode, Node
from armoflow.orchestrator.planned import SlotRange

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


class Known(Protocol):
    """Asked for all that a plan comes to. Says the same each time in one plan."""

    def find(self, node: Node) -> Found | None:
        """What is known of a node that makes single values; None: it is to be made."""

    def find_items(self, node: CollectionNode) -> Begun | None:
        """What is known of a map or a filter; None: it is to be made."""

    def spent(self, node: Node) -> int:
        """Attempts that a call, or the first item of a collection, has spent already."""


class _Nothing:
    def spent(self, node: Node) -> int:
        """Nothing was tried."""
        return 0

    def find_items(self, node: CollectionNode) -> None:
        """Nothing is known of any collection."""

    def find(self, node: Node) -> None:
        """Nothing is known of any node."""


NOTHING: Final[Known] = _Nothing()
"""Where every value is to be made."""
