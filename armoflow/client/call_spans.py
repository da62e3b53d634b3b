"""What a call of a client does as a span, where the program traces."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from armoflow.tracing import Labels, is_on, span

NAMES = 10
"""Names that a span tells of the values that were asked for."""


def call_span(
    what: str, values: Sequence[Any], application: str = ""
) -> AbstractContextManager[Labels]:
    """A span around a call; gives the trace that its tasks belong to.

    Args:
        what: The call's name.
        values: What is asked for.
        application: What the client's sessions are called.
    """
    if not is_on():
        return nullcontext(())
    attributes: dict[str, Any] = {"armoflow.names": [value.node.name for value in values[:NAMES]]}
    if application:
        attributes["armoflow.application"] = application
    return span(f"armoflow.{what}", "PRODUCER", attributes)


def local_span(name: str, parent: Labels) -> AbstractContextManager[Labels]:
    """A span around a task that runs in the caller's thread.

    Args:
        name: The task's.
        parent: The trace of the task that returned it; without, that of the caller.
    """
    if not is_on():
        return nullcontext(())
    return span(name, "CONSUMER", {"armoflow.items": 1}, parent)
