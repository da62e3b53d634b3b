"""Why values were taken from a cache, or were not: what ``explain`` gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Reason:
    """Why some calls of a task are not taken from the cache.

    Attributes:
        kind: ``new``, ``code``, ``package``, ``version``, ``argument``, ``environment``,
            ``operation``, ``expired``, ``gone``, ``evicted``, ``removed`` or ``not cached``.
        name: Which function, package, argument and so on.
        text: What was and what is: of code, a unified diff.
        calls: Of how many calls.
    """

    kind: str
    name: str
    text: str
    calls: int


@dataclass(frozen=True, slots=True)
class TaskExplanation:
    """What the cache has of the calls of one task.

    Attributes:
        task: The task's name.
        hits: Calls whose values are known.
        misses: Calls that are looked for, and not known.
        uncached: Calls whose values are not kept.
        unneeded: Calls that only known values would need: they are not looked at.
        reasons: Why the others are not taken; one call may have several.
    """

    task: str
    hits: int
    misses: int
    uncached: int
    unneeded: int
    reasons: Sequence[Reason]

    def __str__(self) -> str:
        counts = {
            "hit" if self.hits == 1 else "hits": self.hits,
            "miss" if self.misses == 1 else "misses": self.misses,
            "not cached": self.uncached,
            "not needed": self.unneeded,
        }
        told = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
        return "\n".join([f"{self.task}: {told}", *map(_reason_text, self.reasons)])


def _reason_text(reason: Reason) -> str:
    head = f"  {reason.kind} {reason.name}".rstrip()
    calls = f" ({reason.calls:,} calls)" if reason.calls > 1 else ""
    if "\n" not in reason.text:
        return f"{head}: {reason.text}{calls}"
    lines = (f"      {line}".rstrip() for line in reason.text.split("\n"))
    return "\n".join([f"{head}{calls}", *lines])


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the cache has of a graph, and why it has not the rest.

    Attributes:
        tasks: By the names of tasks, in the order in which they run.
        note: What holds for all of them.

    Example:
        >>> why = Reason("argument", "x", "5 -> 6", 1)
        >>> print(Explanation([TaskExplanation("double", 2, 1, 0, 0, [why])]))
        double: 2 hits, 1 miss
          argument x: 5 -> 6
    """

    tasks: Sequence[TaskExplanation]
    note: str = ""

    @property
    def hits(self) -> int:
        """Calls whose values are known."""
        return sum(task.hits for task in self.tasks)

    @property
    def misses(self) -> int:
        """Calls that are looked for, and not known."""
        return sum(task.misses for task in self.tasks)

    def as_dict(self) -> dict[str, Any]:
        """As what JSON can say."""
        return asdict(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))  # IPython's, and a notebook's

    def __str__(self) -> str:
        lines = [str(task) for task in self.tasks] or ["no task is called"]
        return "\n".join([*lines, *([self.note] if self.note else [])])


def uncached(task: str, why: str) -> Explanation:
    """What is said of one call whose value is not kept."""
    reason = Reason("not cached", "", why, 1)
    return Explanation([TaskExplanation(task, 0, 0, 1, 0, [reason])])
