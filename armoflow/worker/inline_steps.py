"""What the kinds of nodes share that are run where their graph was returned.

Each says step by step what it needs next, and is gone on with when that was looked at.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from armoflow.codec.envelope import SlotKind
from armoflow.graph.collection import DelayedList
from armoflow.graph.nodes import CollectionNode, Node, SliceNode, Source, SourceNode
from armoflow.worker.failures import ItemFailure
from armoflow.worker.inline_calls import InlineCaller
from armoflow.worker.made import Made, Row
from armoflow.worker.originals import Originals

if TYPE_CHECKING:
    from armoflow.graph.arguments import Reference
    from armoflow.graph.base_task import BaseTask
    from armoflow.worker.inline_iterators import Taken


class Unfinished(NamedTuple):
    """A collection whose first items were made.

    Attributes:
        rows: These, for each output.
        rest: The collection of the others, if there are any.
    """

    rows: Sequence[Row]
    rest: CollectionNode | None


class Here(Protocol):
    """What a kind of node needs of the graph that is run here."""

    caller: InlineCaller
    taken: dict[Node, Taken]
    originals: Originals

    def may_begin(self, task: BaseTask[Any, Any], calls: int = 1) -> bool:
        """Whether so many calls of a task that could run at once may be begun now."""

    def row(self, source: Reference) -> Row | None:
        """The items of a collection, if all of them were made."""

    def reach(self, reference: Reference) -> Made | None:
        """What a value has come to."""

    def last(self, made: Made) -> Made:
        """What a value has come to that may have been a graph."""

    def set_rows(self, node: Node, rows: Sequence[Row]) -> None:
        """All items of a collection were made: a row for each output."""

    def set_begun(
        self, node: Node, rows: Sequence[Row], rest: CollectionNode, spent: int = 0
    ) -> None:
        """The first items of a collection were made; the others are another collection."""

    def set_value(self, node: Node, made: Made) -> None:
        """A node's only value was made."""


InputSteps: TypeAlias = "Generator[Sequence[Reference], None, None]"
"""Gives what is to be looked at next. A kind that ends without setting anything is left."""


def references(sources: Iterable[Source]) -> list[Any]:
    """Sources as lazy values."""
    return [DelayedList(one) if isinstance(one, SourceNode) else one for one in sources]


def name_of(source: Source) -> str:
    """What errors call what makes the items of a source."""
    return source.name if isinstance(source, SourceNode) else source.node.name


def rest_of(here: Here, source: Source, start: int) -> DelayedList[Any]:
    """The items of a source from one on."""
    (items,) = references([source])
    return DelayedList(SliceNode(items, range(start, len(here.row(items) or ()))))


def skipped(failure: ItemFailure, name: str) -> ItemFailure:
    """What a call ends with that needs what failed."""
    return ItemFailure(failure.record.via(name), SlotKind.SKIPPED, placed=True)
