"""Drawing a graph as SVG."""

from __future__ import annotations

from html import escape
from itertools import pairwise
from unicodedata import east_asian_width

from armoflow.graph.layout import Box, place
from armoflow.graph.render import NodeShape, Picture

_TEXT = "#0f172a"
_EDGE = "#94a3b8"
_FONT = "ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"

_TITLE_SIZE = 14
_CAPTION_SIZE = 11.5
_PADDING = 16.0
_HEIGHT = 36.0
_HEIGHT_WITH_CAPTION = 52.0
_STACK = 4.0  # how far the sheets of a stack stick out
_ARROW = 7.0
_DASHES = ' stroke-dasharray="4 4"'


def draw(picture: Picture) -> str:
    """The SVG text of a picture."""
    boxes = [_box(shape) for shape in picture.shapes]
    layout = place(boxes, picture.edges)
    width, height = round(layout.width), round(layout.height)
    routes = list(zip(picture.edges, layout.routes, strict=True))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="{_FONT}" '
        f'font-size="{_TITLE_SIZE}" text-anchor="middle">',
        f'<rect width="{width}" height="{height}" rx="12" fill="#ffffff"/>',
        f'<g fill="none" stroke="{_EDGE}" stroke-width="1.6" stroke-linecap="round">',
        *(
            f'<path d="{_path(route, upward=edge in picture.upward)}"'
            f"{_DASHES if edge in picture.dashed else ''}/>"
            for edge, route in routes
        ),
        "</g>",
        f'<g fill="{_EDGE}">',
        *(
            f'<path d="{_arrow_up(route[0]) if edge in picture.upward else _arrow(route[-1])}"/>'
            for edge, route in routes
        ),
        "</g>",
    ]
    for shape, box in zip(picture.shapes, boxes, strict=True):
        parts += _draw_shape(shape, box)
    return "\n".join([*parts, "</svg>"])


def _box(shape: NodeShape) -> Box:
    title = _letters(shape.title) * _TITLE_SIZE * 0.59
    caption = _letters(shape.caption) * _CAPTION_SIZE * 0.56
    height = _HEIGHT_WITH_CAPTION if shape.caption else _HEIGHT
    extra = 2 * _STACK if shape.stacked else 0.0
    return Box(
        max(title, caption, 60.0 if shape.kind == "data" else 24.0) + 2 * _PADDING + extra,
        height + extra,
    )


def _letters(text: str) -> float:
    """How many Latin letters take as much room, about.

    Example:
        >>> _letters("load"), _letters("図")
        (4.0, 1.75)
    """
    return sum(1.75 if east_asian_width(letter) in "WF" else 1.0 for letter in text)


def _draw_shape(shape: NodeShape, box: Box) -> list[str]:
    fill, stroke = shape.colours
    weight = 2.4 if shape.target else 1.3
    extra = 2 * _STACK if shape.stacked else 0.0
    left, top = box.x - box.width / 2, box.y - box.height / 2
    width, height = box.width - extra, box.height - extra
    # What a page may draw in colours of its own.
    group = f'<g class="{shape.state}">' if shape.state else "<g>"
    parts = [f"{group}<title>{escape(shape.title)}</title>"]
    sheets = (2, 1, 0) if shape.stacked else (0,)
    for sheet in sheets:  # the front sheet last, lower left
        shift = sheet * _STACK
        parts.append(
            f'<rect x="{left + shift:.1f}" y="{top + extra - shift:.1f}" width="{width:.1f}" '
            f'height="{height:.1f}" rx="{10 if shape.kind != "data" else height / 2:.1f}" '
            f'fill="{fill}" stroke="{stroke}" stroke-width="{1.3 if sheet else weight}"/>'
        )
    x, y = left + width / 2, top + extra + height / 2
    title_y = y - 3.5 if shape.caption else y + 5
    parts.append(_text(x, title_y, shape.title, f'font-weight="600" fill="{_TEXT}"'))
    if shape.caption:
        style = f'font-size="{_CAPTION_SIZE}" fill="{stroke}"'
        parts.append(_text(x, y + 14, shape.caption, style))
    parts.append("</g>")
    return parts


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'


def _path(route: list[Box], *, upward: bool) -> str:
    """A curve from the bottom of the first box to the top of the last, through the waypoints."""
    above, below = (_ARROW - 1, 0.0) if upward else (0.0, _ARROW - 1)  # room for the arrow's head
    points = [(route[0].x, route[0].y + route[0].height / 2 + above)]
    points += [(box.x, box.y) for box in route[1:-1]]
    points.append((route[-1].x, route[-1].y - route[-1].height / 2 - below))
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (x, y), (to_x, to_y) in pairwise(points):
        middle = (y + to_y) / 2
        path += f"C{x:.1f} {middle:.1f} {to_x:.1f} {middle:.1f} {to_x:.1f} {to_y:.1f}"
    return path


def _arrow(box: Box) -> str:
    x, tip = box.x, box.y - box.height / 2 - 1
    return f"M{x:.1f} {tip:.1f}l{-_ARROW / 2:.1f} {-_ARROW:.1f}h{_ARROW:.1f}z"


def _arrow_up(box: Box) -> str:
    x, tip = box.x, box.y + box.height / 2 + 1
    return f"M{x:.1f} {tip:.1f}l{-_ARROW / 2:.1f} {_ARROW:.1f}h{_ARROW:.1f}z"
