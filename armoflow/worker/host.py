"""Who owns a supervisor: the engine's lane, or the worker service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from armoflow.agent.passages import Passage
from armoflow.worker.work import Assignment, TaskEnding

if TYPE_CHECKING:
    from armoflow.worker.supervisor import ChildSupervisor


class Host(Protocol):
    """What a supervisor needs of its owner; but for ``answer`` it must not wait."""

    def completed(self, supervisor: ChildSupervisor, outcomes: Sequence[TaskEnding]) -> None:
        """Tasks ended."""

    def returned(self, supervisor: ChildSupervisor, works: Sequence[Assignment]) -> None:
        """Tasks that were recalled before they started."""

    def paused(self, supervisor: ChildSupervisor, work: Assignment, seconds: float) -> None:
        """A task waits so long for a retry; its child is free. Only on the embedded engine."""

    def lagging(self, supervisor: ChildSupervisor, running: Assignment) -> None:
        """Tasks wait behind one that takes long: they may be recalled for others."""

    def printed(self, passages: Sequence[Passage]) -> None:
        """Tasks wrote something, or what they have left behind."""

    async def answer(self, work: Assignment, method: str, argument: Any) -> Any:
        """Do what a task asks of its agent: ``fetch``, ``new_results`` or ``store_results``.

        Raises:
            Exception: If it cannot be done; the task is told the message.
        """
