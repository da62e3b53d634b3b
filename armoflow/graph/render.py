"""Pictures of graphs: Graphviz, Mermaid, and SVG without any other program."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armoflow.errors import GraphError
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

_NOTEBOOK_LIMIT = 300
_TITLE_LIMIT = 36


@dataclass(frozen=True, slots=True)
class NodeShape:
    """How a node is drawn.

    Attributes:
        kind: ``call``, ``data``, ``map``, ``filter``, ``reduce`` or ``view``.
        title: Its name.
        caption: What it does, and on how many items.
        stacked: It stands for many values.
        target: It was asked for.
    """

    kind: str
    title: str
    caption: str
    stacked: bool
    target: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn: shapes, and edges between their positions in the list."""

    shapes: list[NodeShape]
    edges: list[tuple[int, int]]


def picture(*values: Any) -> Picture:
    """What to draw of the graph of some values."""
    graph = Graph(*values)
    positions = {node: position for position, node in enumerate(graph)}
    targets = {target.node for target in graph.targets}
    edges = dict.fromkeys(
        (positions[source], positions[node]) for node in graph for source in node.inputs
    )
    return Picture([_shape(node, node in targets) for node in graph], list(edges))


def _shape(node: Node, target: bool) -> NodeShape:
    title = node.name if len(node.name) <= _TITLE_LIMIT else node.name[: _TITLE_LIMIT - 1] + "…"
    if isinstance(node, SliceNode):
        step = "" if node.step == 1 else f":{node.step}"
        title = f"{title}[{node.start}:{node.stop}{step}]"
    stacked = isinstance(node, CollectionNode) and not isinstance(node, SourceNode)
    return NodeShape(_KINDS.get(type(node), "call"), title, _caption(node), stacked, target)


_KINDS: dict[type[Node], str] = {
    SourceNode: "data",
    MapNode: "map",
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
    if not isinstance(node, CollectionNode):
        return word
    count = "n" if node.length is None else f"{node.length:,}"
    return f"{word} {'≤' if node.sparse else _TIMES} {count}".strip()


_TIMES = "\N{MULTIPLICATION SIGN}"


def to_dot(*values: Any) -> str:
    """The graph as Graphviz reads it.

    Example:
        >>> from armoflow.graph.task import task
        >>> print(to_dot(task(abs)(-1)))
        digraph armoflow {
          node [shape=box style="rounded,filled" fontname="sans-serif" color="#94a3b8"];
          n0 [label="abs" fillcolor="#e0e7ff" penwidth=2];
        }
    """
    drawn = picture(*values)
    lines = [
        "digraph armoflow {",
        '  node [shape=box style="rounded,filled" fontname="sans-serif" color="#94a3b8"];',
    ]
    for position, shape in enumerate(drawn.shapes):
        label = "\\n".join(filter(None, (_quoted(shape.title), _quoted(shape.caption))))
        extra = " peripheries=2" if shape.stacked else ""
        extra += " penwidth=2" if shape.target else ""
        lines.append(f'  n{position} [label="{label}" fillcolor="{FILLS[shape.kind]}"{extra}];')
    lines += [f"  n{start} -> n{end};" for start, end in drawn.edges]
    return "\n".join([*lines, "}"])


FILLS = {
    "call": "#e0e7ff",
    "data": "#f1f5f9",
    "map": "#dbeafe",
    "filter": "#fef3c7",
    "reduce": "#dcfce7",
    "view": "#f3e8ff",
}
"""Colours of the kinds of shapes."""


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def to_mermaid(*values: Any) -> str:
    """The graph as Mermaid reads it, which GitHub and many editors draw.

    Example:
        >>> from armoflow.graph.task import task
        >>> print(to_mermaid(task(abs)(task(int)("1"))))
        flowchart TD
          n0("int")
          n1("abs")
          n0 --> n1
    """
    drawn = picture(*values)
    lines = ["flowchart TD"]
    for position, shape in enumerate(drawn.shapes):
        label = "<br/>".join(filter(None, (_entities(shape.title), _entities(shape.caption))))
        opening, closing = ("[[", "]]") if shape.stacked else ("(", ")")
        lines.append(f'  n{position}{opening}"{label}"{closing}')
    lines += [f"  n{start} --> n{end}" for start, end in drawn.edges]
    return "\n".join(lines)


def _entities(text: str) -> str:
    text = text.replace("&", "#amp;").replace('"', "#quot;")
    return text.replace("<", "#lt;").replace(">", "#gt;")


def to_svg(*values: Any) -> str:
    """The graph as an SVG picture."""
    from armoflow.graph.svg import draw

    return draw(picture(*values))


def visualize(*values: Any, path: str | os.PathLike[str] | None = None) -> str:
    """Draw the graph of some values; nothing runs.

    Args:
        values: Lazy values, or containers holding some.
        path: File to write; its suffix chooses the format: .svg, .dot or .mmd (Mermaid).

    Returns:
        The picture as text (SVG where no path is given).
    """
    suffix = ".svg" if path is None else Path(path).suffix
    formats = {".svg": to_svg, ".dot": to_dot, ".mmd": to_mermaid}
    if suffix not in formats:
        raise GraphError(f"cannot draw {os.fspath(path or '')!r}: use .svg, .dot or .mmd")
    text = formats[suffix](*values)
    if path is not None:
        Path(path).write_text(text + "\n", encoding="utf-8")
    return text


def notebook_svg(value: Any) -> str | None:
    """The picture that a notebook shows, of graphs that are not too large for it."""
    return to_svg(value) if len(Graph(value)) <= _NOTEBOOK_LIMIT else None
