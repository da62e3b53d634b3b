"""Why an owner has killed its child process, and what that says about its death."""

from __future__ import annotations

from armoflow import config
from armoflow.config import MIB
from armoflow.system.memory import ContainerMemory
from armoflow.worker.child_process import ChildProcess
from armoflow.worker.mark import Position
from armoflow.worker.work import Cause


class Killing:
    """What was done to the present child of a seat.

    Attributes:
        reason: What there is to say about it, if anything.
    """

    def __init__(self) -> None:
        self.reason = ""
        self._at: Position | None = None
        self._cause = Cause.OWNER

    def __bool__(self) -> bool:
        """Whether the child was killed, and its end was not dealt with yet."""
        return self._at is not None

    def kill(self, child: ChildProcess, at: Position, cause: Cause, reason: str = "") -> None:
        """Kill a child, unless that was done already."""
        if self._at is None:
            self._at, self._cause, self.reason = at, cause, reason
            child.kill()

    def cause(self, position: Position) -> Cause:
        """Why a child ended that was in this position at last."""
        if self._at is None:
            return Cause.CRASH
        if self._cause is Cause.TIMEOUT and self._at != position:
            return Cause.OWNER  # it had just come to something else
        return self._cause


def memory_is_short(memory: ContainerMemory, child: ChildProcess) -> str:
    """Why a child must end before the container's memory is used up; empty if it need not."""
    part, least, most = config.MEMORY_MARGIN
    enough = memory.limit - min(max(memory.limit // part, least), most)
    taken = memory.taken(enough)
    if taken <= enough or not memory.is_largest(child.pid):
        return ""
    return (
        f"was ended because the memory of its container is used up: {taken // MIB} of "
        f"{memory.limit // MIB} MiB. Give the worker more, or the task less at a time"
    )
