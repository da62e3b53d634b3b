"""The arguments of calls, pickled: an error says which of them cannot be."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from armoflow.codec.payload import Pickled
from armoflow.graph.nodes import CallNode
from armoflow.graph.task import BaseTask
from armoflow.orchestrator.drafts import Draft
from armoflow.orchestrator.emit import Emitter


def pickle_call(emitter: Emitter, draft: Draft, node: CallNode) -> Pickled:
    """The arguments of a call; large ones that several calls share go up once.

    Raises:
        SerializationError: If one of them cannot be pickled.
    """
    return pickle_arguments(emitter, draft, node.task, node.args, node.kwargs)


def pickle_arguments(
    emitter: Emitter,
    draft: Draft,
    function: BaseTask[Any, Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Pickled:
    """The same for a call that is no node of the graph."""
    shared = emitter.shared(args, kwargs)
    return draft.dumps_named(shared, _named(function, *shared), function.name)


def _named(
    function: BaseTask[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[tuple[str, Any]]:
    """The arguments of a call with the names that the function gives them."""
    try:
        signature = inspect.signature(function.function)
    except (TypeError, ValueError):  # some built-in functions have none
        yield from ((str(position), value) for position, value in enumerate(args, 1))
        yield from kwargs.items()
    else:
        yield from signature.bind(*args, **kwargs).arguments.items()
