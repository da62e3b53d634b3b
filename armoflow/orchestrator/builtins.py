"""The few tasks of armoflow's own that plans use; workers import them from here."""

from __future__ import annotations

from typing import Any

from armoflow.graph.task import task


@task(name="identity")
def identity(value: Any) -> Any:
    """The value itself: puts a container of delayed values together."""
    return value


@task(name="tuple")
def pack_tuple(*items: Any) -> tuple[Any, ...]:
    """The items as a tuple: one item of a zip."""
    return items
