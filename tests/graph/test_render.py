"""Pictures."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armoflow.errors import GraphError
from armoflow.graph.layout import GAP, Box, place
from armoflow.graph.render import (
    STATES,
    NodeShape,
    Picture,
    draw_dot,
    draw_mermaid,
    draw_svg,
    picture,
    to_svg,
)
from armoflow.graph.task import task

SVG = "{http://www.w3.org/2000/svg}"


@task
def load(path: str) -> str:
    return path


@task
def better(a: str, b: str) -> str:
    return max(a, b)


def winner():
    return load.map(["a", "b", "c"]).filter(bool).reduce(better)


def test_svg() -> None:
    picture = ElementTree.fromstring(to_svg(winner()))
    texts = [text.text for text in picture.iter(f"{SVG}text")]
    times = "\N{MULTIPLICATION SIGN}"
    assert texts == [
        *("list", "3 items"),
        *("load", f"map {times} 3"),
        *("bool", "filter ≤ 3"),
        *("better", "reduce"),
    ]


def test_names_are_escaped() -> None:
    odd = task(lambda: 1, name='<a & "b">')()
    assert ElementTree.fromstring(to_svg(odd)) is not None
    assert r"\"b\"" in draw_dot(picture(odd))
    assert "#lt;a #amp; #quot;b#quot;#gt;" in draw_mermaid(picture(odd))


@pytest.mark.parametrize(
    ("name", "start"),
    [("g.svg", "<svg"), ("g.dot", "digraph"), ("g.mmd", "flowchart"), ("g.html", "<!doctype")],
)
def test_files(tmp_path: Path, name: str, start: str) -> None:
    text = winner().visualize(tmp_path / name)
    assert text.startswith(start)
    assert (tmp_path / name).read_text() == text + "\n"


def test_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match=r"graph\.jpg.*: use \.svg, \.png, \.dot, \.mmd, \.html"):
        winner().visualize(tmp_path / "graph.jpg")


def test_png(tmp_path: Path) -> None:
    try:
        import cairosvg  # noqa: F401
    except (ImportError, OSError) as error:
        with pytest.raises(GraphError, match=r"pip install 'armoflow\[png\]'"):
            winner().visualize(tmp_path / "graph.png")
        pytest.skip(f"the cairo library is not here: {error}")
    assert winner().visualize(tmp_path / "graph.png").startswith("<svg")
    assert (tmp_path / "graph.png").read_bytes().startswith(b"\x89PNG")


def test_png_says_what_it_takes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "cairosvg", None)
    with pytest.raises(GraphError, match=r"pip install 'armoflow\[png\]'"):
        winner().visualize(tmp_path / "graph.png")


def test_what_ran_is_drawn_in_the_colour_of_its_state() -> None:
    drawn = picture(winner(), states={"bool": "done", "better": "failed"})
    assert [shape.state for shape in drawn.shapes] == ["done", "done", "done", "failed"]
    assert STATES["failed"].fill in draw_svg(drawn)
    assert f'color="{STATES["failed"].stroke}"' in draw_dot(drawn)
    mermaid = draw_mermaid(drawn).splitlines()
    assert mermaid[4].endswith(":::failed")
    assert "  classDef failed fill:#fee2e2,stroke:#dc2626" in mermaid


def test_edges_may_be_dashed_and_lead_upwards() -> None:
    shapes = [NodeShape("call", name, "", False, False) for name in "ab"]
    drawn = Picture(shapes, [(0, 1)], dashed={(0, 1)}, upward={(0, 1)})
    assert "stroke-dasharray" in draw_svg(drawn)
    assert "n0 -> n1 [style=dashed dir=back];" in draw_dot(drawn)
    assert "n1 -.-> n0" in draw_mermaid(drawn)


def test_notebooks_show_small_graphs_only() -> None:
    many = load("a")
    assert many._repr_svg_() is not None
    for _ in range(400):
        many = load(many)
    assert many._repr_svg_() is None


def test_edges_are_drawn_once() -> None:
    text = load("a")
    assert draw_dot(picture(better(text, [text]))).count("->") == 1


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]]]:
    count = draw(st.integers(1, 15))
    pairs = list(itertools.combinations(range(count), 2))
    edges = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=30)) if pairs else []
    return count, edges


@given(graphs())
def test_boxes_do_not_overlap_and_edges_go_down(graph: tuple[int, list[tuple[int, int]]]) -> None:
    count, edges = graph
    boxes = [Box(40.0 + 10 * (index % 3), 30.0) for index in range(count)]
    layout = place(boxes, edges)
    for start, end in edges:
        assert boxes[start].y < boxes[end].y
    for one, other in itertools.combinations(boxes, 2):
        apart = (one.width + other.width) / 2 + GAP
        assert one.layer != other.layer or abs(one.x - other.x) >= apart - 1e-6
    for box in boxes:
        assert box.x - box.width / 2 >= 0
        assert box.x + box.width / 2 <= layout.width
        assert box.y + box.height / 2 <= layout.height
