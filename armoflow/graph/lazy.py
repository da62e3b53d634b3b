"""What ``Delayed`` and ``DelayedList`` share: they stand for values that do not exist yet.

Everything that would need the value (truth, arithmetic, comparison, pickling) says so clearly,
instead of doing something surprising.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from armoflow.errors import GraphError
from armoflow.foreign_keywords import refuse_arguments

if TYPE_CHECKING:
    import networkx

    from armoflow.graph.nodes import Node


class Lazy:
    """A reference to one output of a node.

    Attributes:
        node: The node that makes the value.
        output: Which of the node's outputs it is.
    """

    __slots__ = ("__weakref__", "node", "output")

    node: Node
    output: int

    def visualize(self, path: str | os.PathLike[str] | None = None, **others: NoReturn) -> str:
        """Draw the graph that makes this value; nothing runs.

        Args:
            path: File to write; its suffix chooses the format: .svg, .png, .dot, .mmd (Mermaid) or
                .html.
            others: There are none.

        Returns:
            The picture as text (SVG where no path is given).
        """
        refuse_arguments("visualize", ("path",), others)
        from armoflow.graph.render import visualize

        return visualize(self, path=path)

    def to_networkx(self) -> networkx.DiGraph[int]:
        """The graph that makes this value, for the algorithms of networkx; nothing runs.

        Its nodes are numbers, in an order to run them in, with the attributes ``name``, ``kind``
        (as ``call`` and ``map``) and ``caption`` (as in pictures); edges lead to who reads a value.
        """
        from armoflow.graph.render import to_networkx

        return to_networkx(self)

    def _repr_svg_(self) -> str | None:
        from armoflow.graph.render import notebook_svg

        return notebook_svg(self)

    def __reduce__(self) -> NoReturn:
        raise GraphError(
            f"{self!r} cannot be pickled: it is lazy and has no value yet. Pass it as an argument "
            "of a task, return it from a task, or pickle the value that .compute() gives"
        )

    def __copy__(self) -> Lazy:
        return self

    def __deepcopy__(self, _: dict[int, Any]) -> Lazy:
        return self

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if isinstance(other, Lazy):
            return False
        raise _lazy_error(self, "cannot be compared")

    __hash__ = object.__hash__


_OF_FUTURES = frozenset(
    {
        *("add_done_callback", "cancel", "done", "exception", "get", "outcome", "persist"),
        *("ready", "result", "results", "status", "then", "wait"),
    }
)


def out_of_sight(value: Lazy) -> GraphError:
    """What is said of a lazy value that no graph has found among its arguments."""
    return GraphError(
        f"{value!r} is inside an object that armoflow does not look into: pass it as an argument, "
        "or in a list, tuple, set, dict or dataclass"
    )


def _refuse_attribute(self: Lazy, name: str) -> NoReturn:
    if name in _OF_FUTURES:
        remedy = "Its value is .compute(), and client.submit(it) gives a future"
    else:
        remedy = "Use the attribute in a task, or on the value that .compute() gives"
    raise AttributeError(
        f"{self!r} has no attribute {name!r}: it is lazy and has no value yet. {remedy}"
    )


def _refuse_await(self: Lazy) -> NoReturn:
    raise GraphError(
        f"{self!r} cannot be awaited: it is lazy and nothing runs yet. Write "
        "await client.submit(it)"
    )


def _lazy_error(value: Lazy, problem: str) -> GraphError:
    return GraphError(
        f"{value!r} {problem}: it is lazy and has no value yet. "
        "Do it inside a task, or on the value that .compute() gives"
    )


def _refusing(problem: str) -> Callable[..., NoReturn]:
    def refuse(self: Lazy, *_: object) -> NoReturn:
        raise _lazy_error(self, problem)

    return refuse


_OPERATORS = (
    *("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "divmod", "pow"),
    *("lshift", "rshift", "and", "or", "xor"),
)

# Set here and not in the class body, so that a type checker still finds these mistakes by itself.
for _name in ("lt", "le", "gt", "ge"):
    setattr(Lazy, f"__{_name}__", _refusing("cannot be compared"))
for _name in (*_OPERATORS, *(f"r{name}" for name in _OPERATORS), "neg", "pos", "abs", "invert"):
    setattr(Lazy, f"__{_name}__", _refusing("cannot be calculated with"))
for _name in ("int", "float", "complex", "index", "round"):
    setattr(Lazy, f"__{_name}__", _refusing("cannot be converted to a number"))
for _name, _refuse in (("getattr", _refuse_attribute), ("await", _refuse_await)):
    setattr(Lazy, f"__{_name}__", _refuse)
