"""How clients and futures show themselves: in notebooks, and as pictures of what they run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armoflow.client.backend import Backend
from armoflow.client.notebook_html import bars_html, facts_html
from armoflow.graph.render import check_format, draw_as, draw_svg, visualize
from armoflow.orchestrator.tally import Count

if TYPE_CHECKING:
    from armoflow.client.future import Future


def client_html(backend: Backend, *, closed: bool) -> str:
    """A client as a notebook shows it: where it runs, and how far its work is."""
    counts = backend.counts()
    facts = {"state": "closed" if closed else "", **backend.facts()}
    return facts_html(f"Client {backend.endpoint}", facts, bars_html(counts) if counts else None)


def future_html(future: Future[Any]) -> str:
    """A future as a notebook shows it: how it stands, and why it failed."""
    if future.cancelled():
        return facts_html(f"Future {future.name}", {"state": "cancelled"})
    if not future.done():
        return facts_html(f"Future {future.name}", {"state": "running"})
    error = future.exception()
    state = "done" if error is None else "failed"
    told = "" if error is None else f"{type(error).__name__}: {error}"
    return facts_html(f"Future {future.name}", {"state": state, "error": told})


def draw(backend: Backend, values: Sequence[Any], path: str | os.PathLike[str] | None) -> str:
    """The graph of some values, or all that a client has run, in the colours of how far it is."""
    if values:
        return visualize(*values, path=path, states=_states(backend.counts()))
    suffix = ".svg" if path is None else check_format(path)
    drawn = backend.picture()
    if path is not None:
        Path(path).write_bytes(draw_as(drawn, suffix))
    return draw_svg(drawn) if suffix in (".svg", ".png") else draw_as(drawn, suffix).decode()


def _states(counts: Mapping[str, Count]) -> dict[str, str]:
    """How far the tasks of each name are.

    Example:
        >>> _states({"a": Count(3, 3), "b": Count(3, 3, 1), "c": Count(3, 1), "d": Count(3)})
        {'a': 'done', 'b': 'failed', 'c': 'running', 'd': 'queued'}
    """
    return {name: _state(count) for name, count in counts.items()}


def _state(count: Count) -> str:
    if count.failed:
        return "failed"
    if not count.left:
        return "done"
    return "running" if count.ended or count.running else "queued"
