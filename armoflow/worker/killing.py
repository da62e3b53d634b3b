"""Why an owner has killed its child process, and what that says about its death."""

from __future__ import annotations

from armoflow import config
from armoflow.byte_sizes import show_size
from armoflow.config import MIB
from armoflow.system.memory import ContainerMemory, memory_of
from armoflow.worker.child_process import ChildProcess
from armoflow.worker.mark import MEMORY, Position
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
        if self._cause in (Cause.TIMEOUT, Cause.LIMIT) and self._at != position:
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


_NO_LIMIT = float("inf")


def memory_left(child: ChildProcess) -> tuple[float, str]:
    """How much more memory a child may take now, and how that is told if it has taken too much.

    The kernel tells nobody of a process's memory but through cgroups, which workers in pods may not
    make; and a limit of addresses (RLIMIT_AS) ends programs for what they reserve and never touch,
    as numerical libraries do. So it is looked at.
    """
    limit = child.mark.words[MEMORY]
    if not limit:
        return _NO_LIMIT, ""
    taken = memory_of(child.pid, limit)
    told = f"took {show_size(taken)} of memory, more than its limit, memory={show_size(limit)}"
    return limit - taken, told
