"""What is known of a session's tasks: plain records, whoever they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from armoflow.codec.item_log import ItemRecord


class TaskRun(NamedTuple):
    """A task, as far as it is known; times are seconds since the epoch, or None.

    Attributes:
        id: The engine's.
        name: What it is called.
        state: One of :data:`armoflow.protocol.states.STATES`.
        pod: Where it runs or ran; empty as long as it is not known.
        created: When it was submitted.
        queued: When its inputs were there.
        taken: When an agent took it.
        started: When it began to run.
        stopped: When it had run.
        ended: When its outputs were stored, too.
        inputs: The results that it needs.
        outputs: The results that it is to produce.
        parent: The task that submitted it; empty if a client did.
        tries: How often it was tried before, under other ids.
        bytes_in: Of its inputs and its payload.
        bytes_out: Of its outputs.
        error: Why it failed.
        items: What became of the calls that it ran, where it ran several and that is known.
        faults: Why some of these failed: a line, and a traceback.
    """

    id: str
    name: str
    state: str
    pod: str = ""
    created: float | None = None
    queued: float | None = None
    taken: float | None = None
    started: float | None = None
    stopped: float | None = None
    ended: float | None = None
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    parent: str = ""
    tries: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    error: str = ""
    items: Sequence[ItemRecord] = ()
    faults: Sequence[tuple[str, str]] = ()

    @property
    def seconds(self) -> float | None:
        """How long it ran."""
        end = self.stopped if self.stopped is not None else self.ended
        return None if self.started is None or end is None else max(end - self.started, 0.0)


@dataclass(slots=True)
class SessionTrace:
    """A session, and what is known of its tasks.

    Attributes:
        id: The engine's.
        application: What it is called.
        armoflow: It is of one of armoflow's clients, whose tasks may run several calls each.
        status: Its status, in small letters.
        created: When it was opened.
        endpoint: Where the engine is.
        partitions: Those that it may use.
        counts: Tasks in each state, as the engine counts them.
        versions: Of the engine's parts, and of what looks at it.
        runs: Its tasks.
    """

    id: str
    application: str = ""
    armoflow: bool = False
    status: str = ""
    created: float | None = None
    endpoint: str = ""
    partitions: Sequence[str] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    runs: list[TaskRun] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Tasks that there are."""
        return sum(self.counts.values())
