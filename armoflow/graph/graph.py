"""The graph behind some lazy values."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from armoflow.graph.arguments import Reference, find_dependencies
from armoflow.graph.nodes import Node


class Graph:
    """All nodes that some values need.

    Args:
        values: Lazy values, or containers holding some.

    Attributes:
        targets: The ``Delayed`` and ``DelayedList`` asked for.

    Example:
        >>> from armoflow.graph.task import task
        >>> total = task(sum, name="total")
        >>> square = task(lambda number: number**2, name="square")
        >>> graph = Graph(total(square.map([1, 2, 3])))
        >>> [node.name for node in graph]
        ['list', 'square', 'total']
    """

    def __init__(self, *values: Any) -> None:
        self.targets: list[Reference] = find_dependencies(values)

    @cached_property
    def nodes(self) -> list[Node]:
        """The nodes in an order to run them in: depth first, each after all that it reads."""
        done: dict[Node, None] = {}
        open_: set[Node] = set()
        todo = [target.node for target in reversed(self.targets)]
        while todo:  # a loop, because a chain may be longer than Python's stack
            node = todo[-1]
            if node in done or node in open_:
                todo.pop()
                done[node] = None
                continue
            open_.add(node)
            todo.extend(reversed([below for below in node.inputs if below not in done]))
        return list(done)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)
