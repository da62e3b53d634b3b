"""Pictures of graphs: Graphviz, Mermaid, and SVG without any other program."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from armoflow.errors import GraphError, OptionError, shown
from armoflow.graph.graph import Graph
from armoflow.graph.nodes import (
    CollectionNode,
    FilterNode,
    FoldNode,
    GatherNode,
    ItemNode,
    MapNode,
    Node,
    ReduceNode,
    SliceNode,
    SourceNode,
    ZipNode,
)
from armoflow.graph.stepwise import IterateNode

if TYPE_CHECKING:
    import networkx

_NOTEBOOK_LIMIT = 300
_TITLE_LIMIT = 36


class Colours(NamedTuple):
    """A light colour to fill with, and a strong one of the same hue."""

    fill: str
    stroke: str


KINDS = {
    "call": Colours("#e0e7ff", "#6366f1"),
    "data": Colours("#f1f5f9", "#94a3b8"),
    "map": Colours("#dbeafe", "#3b82f6"),
    "filter": Colours("#fef3c7", "#d97706"),
    "reduce": Colours("#dcfce7", "#16a34a"),
    "view": Colours("#f3e8ff", "#a855f7"),
}
"""Colours of the kinds of shapes."""

STATES = {
    "waiting": Colours("#f1f5f9", "#94a3b8"),
    "queued": Colours("#fef3c7", "#d97706"),
    "running": Colours("#dbeafe", "#2563eb"),
    "done": Colours("#dcfce7", "#16a34a"),
    "failed": Colours("#fee2e2", "#dc2626"),
    "cancelled": Colours("#e2e8f0", "#64748b"),
}
"""Colours of what ran, by how far it is."""


@dataclass(frozen=True, slots=True)
class NodeShape:
    """How a node is drawn.

    Attributes:
        kind: ``call``, ``data``, ``map``, ``filter``, ``reduce`` or ``view``.
        title: Its name.
        caption: What it does, and on how many items.
        stacked: It stands for many values.
        target: It was asked for.
        state: How far it is, a key of :data:`STATES`; empty where nothing of it ran.
    """

    kind: str
    title: str
    caption: str
    stacked: bool
    target: bool
    state: str = ""

    @property
    def colours(self) -> Colours:
        """What it is filled with, and drawn in."""
        return STATES[self.state] if self.state else KINDS[self.kind]


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn.

    Attributes:
        shapes: The nodes.
        edges: Pairs of positions in that list, from the upper node to the lower one.
        dashed: Edges that no data goes along.
        upward: Edges that lead from the lower node to the upper one.
    """

    shapes: list[NodeShape]
    edges: list[tuple[int, int]]
    dashed: Set[tuple[int, int]] = frozenset()
    upward: Set[tuple[int, int]] = frozenset()


def picture(*values: Any, states: Mapping[str, str] = MappingProxyType({})) -> Picture:
    """What to draw of the graph of some values, and how far they are, by the names of tasks."""
    graph = Graph(*values)
    positions = {node: position for position, node in enumerate(graph)}
    targets = {target.node for target in graph.targets}
    edges = dict.fromkeys(
        (positions[source], positions[node]) for node in graph for source in node.inputs
    )
    known = {node: states[node.name] for node in graph if node.name in states}
    for node in reversed(list(graph)):  # what something is made of is done when that is
        if known.get(node) == "done":
            known.update((source, "done") for source in node.inputs if source not in known)
    shapes = [_shape(node, node in targets, known.get(node, "")) for node in graph]
    return Picture(shapes, list(edges))


def _shape(node: Node, target: bool, state: str) -> NodeShape:
    title = node.name if len(node.name) <= _TITLE_LIMIT else node.name[: _TITLE_LIMIT - 1] + "…"
    if isinstance(node, SliceNode):
        step = "" if node.step == 1 else f":{node.step}"
        title = f"{title}[{node.start}:{node.stop}{step}]"
    stacked = isinstance(node, CollectionNode) and not isinstance(node, SourceNode)
    kind = _KINDS.get(type(node), "call")
    return NodeShape(kind, title, _caption(node), stacked, target, state)


_KINDS: dict[type[Node], str] = {
    SourceNode: "data",
    MapNode: "map",
    IterateNode: "map",
    FilterNode: "filter",
    ReduceNode: "reduce",
    FoldNode: "reduce",
    GatherNode: "view",
    ZipNode: "view",
    SliceNode: "view",
    ItemNode: "view",
}

_WORDS: dict[type[Node], str] = {
    FilterNode: "filter",
    FoldNode: "fold",
    SliceNode: "slice",
    ItemNode: "item",
}


def _caption(node: Node) -> str:
    if isinstance(node, SourceNode):
        return "read lazily" if node.length is None else f"{node.length:,} items"
    if isinstance(node, ReduceNode):
        return "reduce" if node.fan_in == 2 else f"reduce by {node.fan_in}"
    word = _WORDS.get(type(node), "")
    if isinstance(node, MapNode):
        word = "starmap" if node.star else "map"
    elif isinstance(node, IterateNode):
        word = f"{node.steps:,} steps"
    if not isinstance(node, CollectionNode):
        return word
    count = "n" if node.length is None else f"{node.length:,}"
    return f"{word} {'≤' if node.sparse else _TIMES} {count}".strip()


_TIMES = "\N{MULTIPLICATION SIGN}"


def to_networkx(*values: Any) -> networkx.DiGraph[int]:
    """The graph as networkx knows it.

    Example:
        >>> from armoflow.graph.task import task
        >>> graph = to_networkx(task(max)(task(abs).map([-1, 2])))
        >>> [*graph.edges], graph.nodes[2]
        ([(0, 1), (1, 2)], {'name': 'max', 'kind': 'call', 'caption': ''})
    """
    import networkx

    drawn = picture(*values)
    graph: networkx.DiGraph[int] = networkx.DiGraph(drawn.edges)
    for position, (node, shape) in enumerate(zip(Graph(*values), drawn.shapes, strict=True)):
        graph.add_node(position, name=node.name, kind=shape.kind, caption=shape.caption)
    return graph


def draw_dot(drawn: Picture) -> str:
    """A picture as Graphviz reads it.

    Example:
        >>> from armoflow.graph.task import task
        >>> print(draw_dot(picture(task(abs)(-1))))
        digraph armoflow {
          node [shape=box style="rounded,filled" fontname="sans-serif" color="#94a3b8"];
          n0 [label="abs" fillcolor="#e0e7ff" penwidth=2];
        }
    """
    lines = [
        "digraph armoflow {",
        '  node [shape=box style="rounded,filled" fontname="sans-serif" color="#94a3b8"];',
    ]
    for position, shape in enumerate(drawn.shapes):
        label = "\\n".join(filter(None, (_quoted(shape.title), _quoted(shape.caption))))
        extra = f' color="{shape.colours.stroke}"' if shape.state else ""
        extra += " peripheries=2" if shape.stacked else ""
        extra += " penwidth=2" if shape.target else ""
        lines.append(f'  n{position} [label="{label}" fillcolor="{shape.colours.fill}"{extra}];')
    for edge in drawn.edges:
        styles = ["style=dashed"] if edge in drawn.dashed else []
        styles += ["dir=back"] if edge in drawn.upward else []
        style = f" [{' '.join(styles)}]" if styles else ""
        lines.append(f"  n{edge[0]} -> n{edge[1]}{style};")
    return "\n".join([*lines, "}"])


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def draw_mermaid(drawn: Picture) -> str:
    """A picture as Mermaid reads it, which GitHub and many editors draw.

    Example:
        >>> from armoflow.graph.task import task
        >>> print(draw_mermaid(picture(task(abs)(task(int)("1")))))
        flowchart TD
          n0("int")
          n1("abs")
          n0 --> n1
    """
    lines = ["flowchart TD"]
    for position, shape in enumerate(drawn.shapes):
        label = "<br/>".join(filter(None, (_entities(shape.title), _entities(shape.caption))))
        opening, closing = ("[[", "]]") if shape.stacked else ("(", ")")
        state = f":::{shape.state}" if shape.state else ""
        lines.append(f'  n{position}{opening}"{label}"{closing}{state}')
    for upper, lower in drawn.edges:
        start, end = (lower, upper) if (upper, lower) in drawn.upward else (upper, lower)
        lines.append(f"  n{start} {'-.->' if (upper, lower) in drawn.dashed else '-->'} n{end}")
    lines += [
        f"  classDef {state} fill:{STATES[state].fill},stroke:{STATES[state].stroke}"
        for state in dict.fromkeys(shape.state for shape in drawn.shapes if shape.state)
    ]
    return "\n".join(lines)


def _entities(text: str) -> str:
    text = text.replace("&", "#amp;").replace('"', "#quot;")
    return text.replace("<", "#lt;").replace(">", "#gt;")


def to_svg(*values: Any) -> str:
    """The graph as an SVG picture."""
    return draw_svg(picture(*values))


def draw_svg(drawn: Picture) -> str:
    """A picture as SVG."""
    from armoflow.graph.svg import draw

    return draw(drawn)


def draw_html(drawn: Picture) -> str:
    """A picture as a page of its own, which needs no other file."""
    return _PAGE.format(svg=draw_svg(drawn))


_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Graph</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body {{ margin: 2rem; text-align: center; }} svg {{ max-width: 100%; height: auto; }}</style>
</head>
<body>
{svg}
</body>
</html>"""


def draw_png(drawn: Picture) -> bytes:
    """A picture as PNG, twice as large as it is drawn, for screens of today.

    Raises:
        GraphError: If what it takes is not installed.
    """
    try:
        import cairosvg
    except (ImportError, OSError) as error:  # OSError: it is there, and the cairo library is not
        raise GraphError(
            f"drawing PNG takes the cairo library: pip install 'armoflow[png]' ({error}); "
            "or write .svg"
        ) from error
    data: bytes = cairosvg.svg2png(bytestring=draw_svg(drawn).encode(), scale=2)
    return data


FORMATS: Final[Mapping[str, Callable[[Picture], str | bytes]]] = {
    ".svg": draw_svg,
    ".png": draw_png,
    ".dot": draw_dot,
    ".mmd": draw_mermaid,
    ".html": draw_html,
}
"""How pictures are written, by the suffix of their file."""


def check_format(path: str | os.PathLike[str]) -> str:
    """The suffix of a file that a picture is to be written to.

    Raises:
        GraphError: If it is none that can be drawn.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise OptionError(f"path must be the name of a file such as 'graph.svg', not {shown(path)}")
    suffix = Path(path).suffix
    if suffix not in FORMATS:
        raise GraphError(f"cannot draw {shown(os.fspath(path))}: use {', '.join(FORMATS)}")
    return suffix


def draw_as(drawn: Picture, suffix: str) -> bytes:
    """What a file with that suffix holds of a picture."""
    content = FORMATS[suffix](drawn)
    return content if isinstance(content, bytes) else f"{content}\n".encode()


def visualize(
    *values: Any,
    path: str | os.PathLike[str] | None = None,
    states: Mapping[str, str] | None = None,
) -> str:
    """Draw the graph of some values; nothing runs.

    Args:
        values: Lazy values, or containers holding some.
        path: File to write; its suffix chooses the format: .svg, .png, .dot, .mmd (Mermaid) or
            .html.
        states: How far tasks are, by their names: they are drawn in the colour of that.

    Returns:
        The picture as text: SVG where no path is given, and where it is .png.
    """
    if path is not None:
        check_format(path)
    return save(picture(*values, states=states or {}), path)


def save(drawn: Picture, path: str | os.PathLike[str] | None) -> str:
    """Write a picture, if there is a path; returns it as text, as :func:`visualize` does."""
    suffix = ".svg" if path is None else check_format(path)
    if path is not None:
        Path(path).write_bytes(draw_as(drawn, suffix))
    text = FORMATS[suffix if suffix != ".png" else ".svg"](drawn)
    assert isinstance(text, str)
    return SvgText(text) if suffix in (".svg", ".png") else text


class SvgText(str):
    """An SVG, which a notebook shows as the picture that it is."""

    __slots__ = ()

    def _repr_svg_(self) -> str:
        return str(self)


def notebook_svg(value: Any) -> str | None:
    """The picture that a notebook shows, of graphs that are not too large for it."""
    return to_svg(value) if len(Graph(value)) <= _NOTEBOOK_LIMIT else None
