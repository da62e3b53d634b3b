"""The nodes of a graph: a call, or one operation on a whole collection.

``task.map(range(1_000_000))`` is one node, not a million. Nodes know what they read and nothing of
who reads them; they never change, so a graph cannot become cyclic.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable, Iterator, Sized
from types import GeneratorType
from typing import TYPE_CHECKING, Any, TypeAlias

from armoflow.errors import CollectionError, GraphError
from armoflow.graph.arguments import Reference, find_dependencies, freeze
from armoflow.options import NO_OPTIONS, TaskOptions, current_block, merge_options

if TYPE_CHECKING:
    from armoflow.graph.base_task import BaseTask
    from armoflow.graph.collection import DelayedList
    from armoflow.graph.delayed import Delayed

    AnyTask: TypeAlias = BaseTask[..., Any]

Source: TypeAlias = "SourceNode | DelayedList[Any] | Delayed[Any]"
"""Where a collection's items come from; of a ``Delayed``, the value is an iterable.

A ``DelayedList`` here never stands for a ``SourceNode``: that one is given itself.
"""


class Missing(enum.Enum):
    """The type of ``MISSING``."""

    MISSING = "missing"

    def __repr__(self) -> str:
        return self.name


MISSING = Missing.MISSING
"""No initial value was given."""

_SCANNED = (list, tuple, set, frozenset, dict)
_PLAIN = (range, str, bytes, bytearray)
_CHANGING = (list, dict, set, bytearray, deque)


class Node:
    """One step of a graph; compared and hashed by identity.

    Attributes:
        name: What errors and pictures call it.
        options: How it runs: what its task and the blocks around the call say.
        block: What these blocks say, for the graph that its task may return.
        outputs: How many results it has (each item of it, of a collection).
        arguments: The lazy values in its arguments (of a collection operation: the fixed ones).
    """

    __slots__ = ("__weakref__", "_sources", "arguments", "block", "name", "options", "outputs")

    def __init__(
        self,
        name: str,
        options: TaskOptions,
        *,
        sources: tuple[Source, ...] = (),
        arguments: tuple[Reference, ...] = (),
        outputs: int = 1,
    ) -> None:
        self.name = name
        self.block = block = current_block()
        self.options = options if block is None else merge_options(options, block)
        self.outputs = outputs
        self._sources = sources
        self.arguments = arguments

    @property
    def dependencies(self) -> tuple[Reference, ...]:
        """The lazy values that it reads: its sources, then those in its arguments."""
        if not self._sources:
            return self.arguments
        lazy = (source for source in self._sources if not isinstance(source, SourceNode))
        return (*lazy, *self.arguments)

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The nodes that it reads, in order, one for each time that it reads it."""
        arguments = (reference.node for reference in self.arguments)
        return (*map(source_node, self._sources), *arguments)

    def run_as(self, node: Node) -> None:
        """It only names items, or a part, of another node: it runs as if made where that was."""
        self.options = node.options
        self.block = node.block

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class CallNode(Node):
    """One call of a task; defaults are not filled in."""

    __slots__ = ("args", "kwargs", "task")

    def __init__(self, task: AnyTask, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.task = task
        self.args, self.kwargs, found = freeze(task.name, args, kwargs)
        super().__init__(task.name, task.task_options, arguments=found, outputs=task.outputs)


class ReduceNode(Node):
    """A tree of calls of an associative task of two arguments."""

    __slots__ = ("fan_in", "initial", "source", "task")

    def __init__(self, task: AnyTask, source: Source, fan_in: int, initial: Any = MISSING) -> None:
        self.task = task
        self.source = source
        self.fan_in = fan_in
        (self.initial,), _, found = freeze(task.name, (initial,), {})
        super().__init__(task.name, task.task_options, sources=(source,), arguments=found)


class FoldNode(Node):
    """Calls of a task of two arguments, strictly from left to right."""

    __slots__ = ("initial", "source", "task")

    def __init__(self, task: AnyTask, source: Source, initial: Any = MISSING) -> None:
        self.task = task
        self.source = source
        (self.initial,), _, found = freeze(task.name, (initial,), {})
        super().__init__(task.name, task.task_options, sources=(source,), arguments=found)


class GatherNode(Node):
    """A collection's items as one list, absent ones left out."""

    __slots__ = ("source",)

    def __init__(self, source: Source) -> None:
        self.source = source
        super().__init__("gather", NO_OPTIONS, sources=(source,))


class ItemNode(Node):
    """One item of a collection whose length is known; never of a slice, which is seen through."""

    __slots__ = ("index", "source")

    def __init__(self, source: DelayedList[Any], index: int) -> None:
        self.source = source
        self.index = index
        name = source.node.item_name(index)
        super().__init__(name, source.node.options, arguments=(source,))
        self.run_as(source.node)


class CollectionNode(Node):
    """Many values in order.

    Attributes:
        length: Number of slots; None if it is not known before it ran.
        sparse: Slots may be absent (after ``filter``): then ``length`` counts the slots.
        first: The position of its first item, where it is the rest of a collection.
    """

    __slots__ = ("length", "sparse")

    length: int | None
    sparse: bool
    first = 0

    def item_name(self, index: int) -> str:
        """What errors call an item."""
        return f"{self.name}[{self.first + index}]"


class SourceNode(CollectionNode):
    """The items of a local iterable, read lazily.

    Attributes:
        iterable: What the user gave.
        once: It is an iterator: it can be read only once.
    """

    __slots__ = ("_opened", "_scanned", "iterable", "once")

    def __init__(self, iterable: Iterable[Any]) -> None:
        self.iterable = iterable
        self.length = len(iterable) if isinstance(iterable, Sized) else None
        self.sparse = False
        self.once = isinstance(iterable, Iterator)
        self._opened = False
        self._scanned = False
        name = iterable.__name__ if isinstance(iterable, GeneratorType) else ""
        kind = type(iterable).__name__
        super().__init__(kind if name in ("", "<genexpr>") else name, NO_OPTIONS)

    @property
    def dependencies(self) -> tuple[Reference, ...]:
        """The lazy values among the items, where that can be told without reading an iterator."""
        if not self._scanned:
            if isinstance(self.iterable, _SCANNED):
                self.arguments = tuple(find_dependencies(list(self.iterable)))
            self._scanned = True
        return self.arguments

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The nodes of the dependencies."""
        return tuple(reference.node for reference in self.dependencies)

    @property
    def settled(self) -> bool:
        """Whether ``dependencies`` is complete before the items are read."""
        return isinstance(self.iterable, (*_SCANNED, *_PLAIN))

    @property
    def changing(self) -> bool:
        """Whether it is a container whose items the user may replace while they are read."""
        return isinstance(self.iterable, _CHANGING) or type(self.iterable).__name__ == "ndarray"

    def take(self) -> Iterable[Any]:
        """The items of such a container as they are now.

        Raises:
            GraphError: If its length changed.
        """
        items = self.open()
        return list(items) if isinstance(self.iterable, _CHANGING) else self.iterable.copy()  # type: ignore[attr-defined]

    def open(self) -> Iterator[Any]:
        """Start reading the items.

        Raises:
            GraphError: If it is an iterator and was read before, or if its length changed.
        """
        kind = type(self.iterable).__name__
        if self.once and self._opened:
            raise GraphError(
                f"the {kind} given to map() or items() was already used up by an earlier compute: "
                "an iterator can be read only once. Give list(...) of it instead"
            )
        self._opened = True
        if self.length is not None and isinstance(self.iterable, Sized):
            length = len(self.iterable)
            if length != self.length:
                raise GraphError(
                    f"the {kind} given to map() or items() had {self.length} items then and has "
                    f"{length} now: give a copy of what changes later"
                )
        return iter(self.iterable)


class MapNode(CollectionNode):
    """A task called for each item of one or several sources, up to the shortest."""

    __slots__ = ("first", "fixed", "sources", "star", "task")

    def __init__(
        self,
        task: AnyTask,
        sources: tuple[Source, ...],
        fixed: dict[str, Any],
        *,
        star: bool,
        first: int = 0,
    ) -> None:
        self.first = first
        self.task = task
        self.sources = sources
        self.star = star
        self.length, self.sparse = _shape(sources, f"map of {task.name!r}")
        _, self.fixed, found = freeze(task.name, (), fixed)
        super().__init__(
            task.name, task.task_options, sources=sources, arguments=found, outputs=task.outputs
        )
        on_failure = self.options.on_failure
        self.sparse = self.sparse or (on_failure is not None and on_failure.skips)


class FilterNode(CollectionNode):
    """The items for which a task is true; the others leave absent slots behind."""

    __slots__ = ("first", "fixed", "source", "task")

    def __init__(
        self, task: AnyTask, source: Source, fixed: dict[str, Any], *, first: int = 0
    ) -> None:
        self.first = first
        self.task = task
        self.source = source
        self.length, _ = _shape((source,), f"filter of {task.name!r}")
        self.sparse = True
        _, self.fixed, found = freeze(task.name, (), fixed)
        super().__init__(task.name, task.task_options, sources=(source,), arguments=found)


class ZipNode(CollectionNode):
    """Tuples of the items of several sources, up to the shortest.

    Attributes:
        strict: They must all be of the same length.
    """

    __slots__ = ("sources", "strict")

    def __init__(self, sources: tuple[Source, ...], *, strict: bool = False) -> None:
        self.sources = sources
        self.strict = strict
        self.length, self.sparse = _shape(sources, "zip")
        if strict:
            _check_alike(sources)
        super().__init__("zip", NO_OPTIONS, sources=sources)


class SliceNode(CollectionNode):
    """Some items of a collection of known length; never of another slice, which is seen through.

    Attributes:
        positions: Which items of the source, in this order.
    """

    __slots__ = ("positions", "source")

    def __init__(self, source: DelayedList[Any], positions: range) -> None:
        self.source = source
        self.positions = positions
        self.length = len(positions)
        self.sparse = source.node.sparse
        super().__init__(source.node.name, source.node.options, arguments=(source,))
        self.run_as(source.node)

    @property
    def start(self) -> int:
        """Position of the first item in the source."""
        return self.positions.start

    @property
    def stop(self) -> int:
        """Position before which it ends; -1 where a negative step goes down to the first item."""
        return self.positions.stop

    @property
    def step(self) -> int:
        """Distance of the positions; may be negative."""
        return self.positions.step

    def item_name(self, index: int) -> str:
        """What errors call an item: its name in the source."""
        return self.source.node.item_name(self.positions[index])


def source_node(source: Source) -> Node:
    """The node that a source reads."""
    return source if isinstance(source, SourceNode) else source.node


def _shape(sources: tuple[Source, ...], what: str) -> tuple[int | None, bool]:
    """Length and sparseness of a collection made of the sources, item by item."""
    nodes = [source_node(source) for source in sources]
    sparse = any(isinstance(node, CollectionNode) and node.sparse for node in nodes)
    if sparse and len(nodes) > 1:
        raise CollectionError(
            f"{what}: what filter() or on_failure='skip' leaves cannot be paired with other items, "
            "because which positions are left is known only after it ran. Pair first and filter "
            "the pairs, or give collection.gather(), which is the items left as one list"
        )
    lengths = [node.length if isinstance(node, CollectionNode) else None for node in nodes]
    known = [length for length in lengths if length is not None]
    return (min(known) if len(known) == len(lengths) else None), sparse


def _check_alike(sources: tuple[Source, ...]) -> None:
    lengths = [getattr(source_node(source), "length", None) for source in sources]
    if len({length for length in lengths if length is not None}) > 1:
        told = ", ".join("unknown" if length is None else str(length) for length in lengths)
        raise CollectionError(
            f"zip(strict=True) of collections of different lengths ({told}): leave strict out to "
            "end with the shortest"
        )


def uneven(length: int) -> CollectionError:
    """What a strict zip ends with that turned out to be uneven.

    Args:
        length: How many items the shortest has.
    """
    return CollectionError(
        f"zip(strict=True): one collection has {length} items, and another has more"
    )
