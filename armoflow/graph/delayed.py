"""One value that does not exist yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from armoflow.errors import GraphError
from armoflow.foreign_keywords import refuse_arguments
from armoflow.graph import context
from armoflow.graph.lazy import Lazy
from armoflow.graph.nodes import Node

T_co = TypeVar("T_co", covariant=True)


class Delayed(Lazy, Generic[T_co]):
    """One value that a task will make: what calling a task gives.

    Pass it to other tasks, anywhere in their arguments. Nothing runs before it is computed.

    Attributes:
        node: The node that makes it.
        output: Which of the node's outputs it is.
    """

    __slots__ = ()

    def __init__(self, node: Node, output: int = 0) -> None:
        self.node = node
        self.output = output

    def compute(self, *, timeout: float | None = None, **others: NoReturn) -> T_co:
        """Run the graph that makes this value, and wait for it."""
        refuse_arguments("compute", ("timeout",), others)
        return context.compute(self, timeout=timeout)

    def __repr__(self) -> str:
        output = f" output {self.output}" if self.node.outputs > 1 else ""
        return f"<Delayed {self.node.name}{output}>"

    if not TYPE_CHECKING:  # a type checker finds these by itself, as long as they do not exist

        def __bool__(self) -> NoReturn:
            raise GraphError(
                f"whether {self!r} is true is not known: it is lazy and has no value yet. Decide "
                "inside a task, or on the value that .compute() gives"
            )

        def __iter__(self) -> NoReturn:
            raise GraphError(
                f"{self!r} cannot be iterated or unpacked: it is lazy and has no value yet. For "
                "several outputs write @task(outputs=n); to work on each item use "
                "other_task.map(it); for the value call .compute()"
            )

        def __len__(self) -> NoReturn:
            raise self._no_items("len")

        def __getitem__(self, index: Any) -> NoReturn:
            raise self._no_items("indexing")

        def _no_items(self, what: str) -> GraphError:
            return GraphError(
                f"{what} of {self!r} is not possible: it is lazy and has no value yet. Do it in a "
                "task, or on the value that .compute() gives"
            )
