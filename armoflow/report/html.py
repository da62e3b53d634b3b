"""Writing HTML: what is not marked as such is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

EMPTY_ELEMENTS = ("br", "col", "hr", "input", "link", "meta")


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def text_of(value: Any) -> Html:
    """A value as HTML: escaped, unless it is that already; of a list one after the other.

    Example:
        >>> text_of("a < b"), text_of(Html("<b>x</b>")), text_of(["a", None, 1])
        ('a &lt; b', '<b>x</b>', 'a1')
    """
    if isinstance(value, Html):
        return value
    if value is None:
        return Html("")
    if isinstance(value, (list, tuple)):
        return Html("".join(map(text_of, value)))
    # A lone surrogate cannot be written, and a NUL is no HTML.
    text = str(value).encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
    return Html(html.escape(text))


def tag(name: str, /, *children: Any, **attributes: Any) -> Html:
    """An element; an attribute that is a Python word has an underscore behind it.

    Example:
        >>> tag("a", "x & y", href="#x", class_="link", hidden=False, data_row=3)
        '<a href="#x" class="link" data-row="3">x &amp; y</a>'
    """
    written = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        attribute = key.rstrip("_").replace("_", "-")
        written.append(attribute if value is True else f'{attribute}="{text_of(str(value))}"')
    opening = " ".join([name, *written])
    if name in EMPTY_ELEMENTS:
        return Html(f"<{opening}>")
    return Html(f"<{opening}>{text_of(children)}</{name}>")


def table(
    caption: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, numbers: int = 1
) -> Html:
    """A table whose first columns are text, and the others numbers.

    Args:
        caption: What it shows, for those who cannot see it.
        columns: The heads.
        rows: The cells; the first one of a row is its head.
        numbers: From which column on there are numbers.
    """

    def kind(number: int) -> str | None:
        return "number" if number >= numbers else None

    head = tag(
        "tr",
        [tag("th", column, scope="col", class_=kind(at)) for at, column in enumerate(columns)],
    )
    body = [
        tag(
            "tr",
            tag("th", row[0], scope="row"),
            [tag("td", cell, class_=kind(at)) for at, cell in enumerate(row[1:], 1)],
        )
        for row in rows
    ]
    inner = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", body))
    # It may be wider than the page: then it is moved, by keyboard too.
    return tag("div", inner, class_="wide", tabindex=0, role="region", aria_label=caption)
