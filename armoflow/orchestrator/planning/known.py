"""What a plan need not make: values that exist already, wherever they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol, TypeAlias

from armoflow.graph.delayed import Delayed
from armoflow.graph.nodes import Node
from armoflow.orchestrator.planned import SlotRange

Found: TypeAlias = "Sequence[SlotRange | Delayed[Any]]"
"""Of each output of a node: where its value is, or the lazy value that it is the same as."""


class Known(Protocol):
    """Asked for every single value that a plan comes to."""

    def find(self, node: Node) -> Found | None:
        """What is known of a node; None: it is to be made. Says the same each time in one plan."""


class _Nothing:
    def find(self, node: Node) -> None:
        """Nothing is known of any node."""


NOTHING: Final[Known] = _Nothing()
"""Where every value is to be made."""
