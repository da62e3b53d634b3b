"""How clients and futures show themselves: in notebooks, and as pictures of what they run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from armoflow.client.notebook_html import bars_html, facts_html
from armoflow.codec.bare import cause_of
from armoflow.errors import OptionError, RemoteTraceback
from armoflow.graph.arguments import find_dependencies
from armoflow.graph.graph import Graph
from armoflow.graph.render import NodeShape, Picture, check_format, save, visualize
from armoflow.orchestrator.tally import Count

if TYPE_CHECKING:
    from armoflow.client.backend import Backend
    from armoflow.client.future import Future


def client_html(backend: Backend, *, closed: bool) -> str:
    """A client as a notebook shows it: where it runs, and how far its work is."""
    counts = backend.counts()
    facts = {"state": "closed" if closed else "", **backend.facts()}
    return facts_html(f"Client {backend.endpoint}", facts, bars_html(counts) if counts else None)


def future_html(future: Future[Any]) -> str:
    """A future as a notebook shows it: how its run stands, by name, and why it failed."""
    error = future.exception() if future.done() and not future.cancelled() else None
    told = "" if error is None else f"{type(error).__name__}: {error}"
    counts = future.counts()
    names = [] if future.asked is None else [node.name for node in Graph(future.asked)]
    known = {name: counts[name] for name in names if name in counts}
    facts = {"state": _standing(future), "error": told}
    return facts_html(f"Future {future.name}", facts, bars_html(known) if known else None)


def draw_future(future: Future[Any], path: str | os.PathLike[str] | None) -> str:
    """The graph of a future's value in the colours of how far it is, or one box."""
    state, value = _standing(future), future.asked
    if value is None:
        shape = NodeShape("call", future.name, "", stacked=False, target=True, state=state)
        return save(Picture([shape], []), path)
    states = {**_states(future.counts()), **_blamed(future), value.node.name: state}
    return visualize(value, path=path, states=states)


def draw(backend: Backend, values: Sequence[Any], path: str | os.PathLike[str] | None) -> str:
    """The graph of some values, or all that a client has run, in the colours of how far it is."""
    if values:
        if not find_dependencies(values):
            raise OptionError(
                f"visualize() draws lazy values, and {values[0]!r} is none and holds none: a file "
                "to write is path='graph.svg'"
            )
        return visualize(*values, path=path, states=_states(backend.counts()))
    if path is not None:
        check_format(path)
    return save(backend.picture(), path)


def _blamed(future: Future[Any]) -> dict[str, str]:
    """What has failed first, and all that failed because of it."""
    error = future.exception() if future.done() and not future.cancelled() else None
    cause = None if error is None else cause_of(error)
    path = cause.path if isinstance(cause, RemoteTraceback) else ()
    return {name.partition("[")[0]: "failed" for name in path}


def _standing(future: Future[Any]) -> str:
    """How a future stands, as it is shown."""
    if future.cancelled():
        return "cancelled"
    if not future.done():
        return "running"
    return "done" if future.exception() is None else "failed"


def _states(counts: Mapping[str, Count]) -> dict[str, str]:
    """How far the tasks of each name are, and the steps that run within others' tasks.

    Example:
        >>> _states({"a": Count(3, 3), "b": Count(3, 3, 1), "c": Count(3, 1), "d": Count(3)})
        {'a': 'done', 'b': 'failed', 'c': 'running', 'd': 'queued'}
        >>> _states({"b": Count(3, 3, 1, within={"a": Count(3, 3)})})
        {'b': 'failed', 'a': 'done'}
    """
    states = {name: _state(count) for name, count in counts.items()}
    for name, count in counts.items():
        for step, each in count.within.items():
            together = states[name] == "running" and each.left
            states.setdefault(step, "running" if together else _state(each))
    return states


def _state(count: Count) -> str:
    if count.failed:
        return "failed"
    if not count.left:
        return "done"
    return "running" if count.ended or count.running else "queued"
