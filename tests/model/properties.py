"""What holds of an engine, whatever is asked of it, and the one list of what is excepted.

ArmoniK's specification says it of the reference engine. By default it holds here whatever is asked
for, and where ``--strict`` repeats what the reference engine does, of all but the objects that this
was done to.
"""

from __future__ import annotations

from collections import defaultdict
from enum import Enum
from typing import NamedTuple


class Property(Enum):
    """A sentence that is true after every step."""

    ONE_AGENT = "a task runs on at most one agent at a time"
    FINAL = "a final state is never left, not by a restart either"
    DATA = "the data of a completed result never changes under a reader"
    THERE = "the data of a completed result can be read"
    CREATED = "a result is completed only if it was created, with data that somebody gave it"
    EFFECTS = "of a task that does not end well nothing holds"
    INPUTS = "a task is queued only if all its inputs are completed, and keeps them until it ends"
    DELETED = "what is deleted never comes back"
    SUCCESSOR = "a retried task has exactly one successor"
    OWNER = "an output that is open has exactly one owner, which has not ended"
    ENDS = "a task whose inputs are completed runs to its end, and one that lost them ends"
    DRAINS = "a session that is cancelled, and one that is deleted, comes to rest"


P = Property


class Waiver(NamedTuple):
    """Properties that are not asked of some objects, and why."""

    strict: bool
    properties: frozenset[Property]
    why: str


class Cause(Enum):
    """All exceptions that are made."""

    INPUT_DELETED = Waiver(
        False, frozenset({P.INPUTS}), "a client may delete what its own tasks need"
    )
    SHARED = Waiver(
        False,
        frozenset({P.THERE}),
        "nobody counts who has imported data: it goes with any result that names it",
    )
    REPLACED = Waiver(
        True,
        frozenset({P.FINAL, P.DATA, P.DELETED, P.EFFECTS}),
        "uploads and tasks replace data, and bring a deleted or aborted result back",
    )
    OPEN_DELETED = Waiver(
        True,
        frozenset({P.ENDS, P.INPUTS, P.DELETED, P.DRAINS, P.FINAL}),
        "a result without data can be deleted; what waits for it waits for ever",
    )
    DISOWNED = Waiver(
        True,
        frozenset({P.OWNER, P.ENDS}),
        "a refused submission takes outputs from their owner, two tasks may have one output; a "
        "batch of such tasks that is sent again after they have ended runs again",
    )
    FORGOTTEN = Waiver(True, frozenset({P.OWNER, P.ENDS}), "a task may end well without its output")
    NEVER_QUEUED = Waiver(
        True,
        frozenset({P.ENDS, P.DRAINS}),
        "a task that is cancelled and that no agent takes from a queue is cancelling for ever",
    )
    OTHER_CANCELLED = Waiver(
        True,
        frozenset({P.ENDS}),
        "a task that waits for a result of another session, which is cancelled, waits for ever",
    )
    CHILD_REFUSED = Waiver(
        True,
        frozenset({P.EFFECTS, P.DATA}),
        "data stays of a task whose children are refused, and the next attempt replaces it",
    )


class Waivers:
    """Which properties are not asked of which objects.

    Args:
        strict: Whether the engine repeats what the reference engine does.
    """

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self._ids: dict[Property, set[str]] = defaultdict(set)

    def give(self, cause: Cause, *ids: str) -> None:
        """Ask some properties no more of these; one of ``--strict`` only if the engine is."""
        if self.strict or not cause.value.strict:
            for each in cause.value.properties:
                self._ids[each].update(ids)

    def cover(self, wanted: Property, *ids: str) -> bool:
        """Whether the property is not asked of one of these."""
        return not self._ids[wanted].isdisjoint(ids)
