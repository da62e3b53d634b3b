"""What notebooks show of a client: HTML with no style sheet and no script. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from armoflow.orchestrator.tally import Count
from armoflow.report.html import Html, tag
from armoflow.report.wording import pace

_NUMBER = "text-align: right; font-variant-numeric: tabular-nums"
_BAR = "width: 16em; vertical-align: middle"


def bars_html(
    counts: Mapping[str, Count],
    reason: str = "",
    rates: Mapping[str, float] = MappingProxyType({}),
) -> Html:
    """A bar for each name, with what is known of it.

    Args:
        counts: How far the work is.
        reason: What is waited for; or nothing.
        rates: Items that end in a second.

    Example:
        >>> "3 of 10" in bars_html({"load": Count(10, 3)}, "", {"load": 1.0})
        True
    """
    rows = [
        tag(
            "tr",
            tag("th", name, scope="row", style="text-align: left"),
            tag("td", _bar(name, count)),
            tag("td", f"{count.ended:,} of {count.planned:,}", style=_NUMBER),
            tag("td", _more(count)),
            tag("td", pace(count.left, rates.get(name, 0.0)), style=_NUMBER),
        )
        for name, count in counts.items()
    ]
    table = tag("table", tag("tbody", rows)) if rows else None
    return tag("div", table, tag("p", reason) if reason else None, role="status")


def _bar(name: str, count: Count) -> Html:
    share = (count.ended + count.part) / count.planned if count.planned else 0.0
    value = f"{share:.4f}"
    return tag("progress", f"{share:.0%}", value=value, max=1, style=_BAR, aria_label=name)


def _more(count: Count) -> str:
    parts = ((count.running, "running"), (count.failed, "failed"), (count.repeated, "retried"))
    words = [f"{number:,} {word}" for number, word in parts if number]
    return ", ".join([*words, count.told] if count.told else words)


def facts_html(title: str, facts: Mapping[str, object], below: Html | None = None) -> Html:
    """A title with what is known of a thing; what is not is left out.

    Example:
        >>> facts_html("Future load", {"state": "running", "error": ""})
        '<div><b>Future load</b><br>state: running</div>'
    """
    lines = [[tag("br"), f"{name}: {value}"] for name, value in facts.items() if value]
    return tag("div", tag("b", title), lines, below)
