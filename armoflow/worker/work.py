"""Tasks on their way through a child process, and what became of them."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from armoflow.agent.effects import Effects
from armoflow.codec.failure import ErrorRecord
from armoflow.codec.payload import Payload, unpack_payload
from armoflow.codec.recording import record_death, record_timeout
from armoflow.errors import EnvelopeError, WorkerDiedError
from armoflow.worker import data
from armoflow.worker.failures import ItemFailure, MissingDataError, carry
from armoflow.worker.mark import Entry, Position, cell_to_wire


@dataclass(slots=True, eq=False)
class Work:
    """One task for a child.

    Attributes:
        task_id: ArmoniK's id.
        session_id: ArmoniK's id of the session.
        outputs: Ids of the expected outputs.
        payload: Bytes, or path and size of a file.
        inputs: The same, by result id.
        folder: The agent's data folder; None on the embedded engine.
        key: Whatever the owner wants to find here.
        limit: Seconds that it may take, all attempts together; None: any time.
        finished: Items that were finished before a child died, as they stand in messages.
        item: The item that was running then.
        attempts: Attempts that it has spent.
        crashes: How often the process died, by item.
        passed: Inputs that a task sent before it makes: the child passes them on itself.
    """

    task_id: str
    session_id: str
    outputs: Sequence[str]
    payload: data.Source
    inputs: Mapping[str, data.Source]
    folder: str | None = None
    key: Any = None
    limit: float | None = None
    finished: dict[int, list[Any]] = field(default_factory=dict)
    item: int = 0
    attempts: int = 0
    crashes: dict[int, int] = field(default_factory=dict)
    passed: list[str] = field(default_factory=list)

    def message(self, serial: int) -> list[Any]:
        """The task as it stands in a RUN message."""
        progress = None
        if self.finished or self.attempts:
            progress = [self.item, self.attempts, list(self.finished.items())]
        return [
            serial,
            self.task_id,
            self.session_id,
            self.outputs,
            self.payload,
            self.folder,
            progress,
            self.passed,
        ]


@dataclass(slots=True)
class Outcome:
    """How a task ended: ``effects`` if it succeeded, else ``error``.

    Attributes:
        work: The task.
        effects: What it asked for.
        error: What the engine is told.
        kind: Kind of the error record; without one "invalid", or "deadline" past its limit.
        seconds: How long it ran.
    """

    work: Work
    effects: Effects | None = None
    error: str = ""
    kind: str = ""
    seconds: float = 0.0


class Cause(enum.Enum):
    """Why a child process ended."""

    CRASH = "crash"  # for a reason of its own
    TIMEOUT = "timeout"  # killed by its owner: the attempt that it ran took too long
    OWNER = "owner"  # killed by its owner for another reason: what it ran is not to blame


@dataclass(frozen=True, slots=True)
class Death:
    """Why and where a child process ended.

    Attributes:
        position: What it ran.
        status: Exit code, or minus a signal.
        output: The end of what it wrote.
        cause: Why it ended.
    """

    position: Position
    status: int
    output: str
    cause: Cause

    def describe(self, what: str) -> str:
        """A text: what ended, how, and its last output.

        Example:
            >>> Death(Position(0, 0, 0, 0), 1, "", Cause.CRASH).describe("it ended")
            'it ended with status 1'
        """
        output = self.output.strip()
        text = f"{what} with status {self.status}"
        return f"{text}; its last output:\n{output}" if output else text


def account(work: Work, entries: Iterable[Entry], death: Death) -> Outcome | None:
    """Note on the running task of a dead child what it finished, and count the attempt.

    Returns:
        None if the task is to run again, in another process; else how it ended.
    """
    for entry in entries:
        work.finished[entry.item] = entry.cells
    try:
        payload = unpack_payload(data.read(work.payload))
    except (EnvelopeError, MissingDataError) as error:
        return Outcome(work, error=f"the task cannot be read any more: {error}", kind="invalid")
    return _Account(work, payload, death).settle()


def refuse(work: Work, text: str) -> Outcome:
    """How a task ends that no process can be found for."""
    kind = f"{WorkerDiedError.__module__}.{WorkerDiedError.__qualname__}"
    try:
        name = unpack_payload(data.read(work.payload)).name
    except (EnvelopeError, MissingDataError):
        name = work.task_id
    return Outcome(work, error=ErrorRecord("died", kind, text, node=name).to_text(), kind="died")


class _Account:
    """What the death of a child costs the task that it ran."""

    def __init__(self, work: Work, payload: Payload, death: Death) -> None:
        self._work = work
        self._payload = payload
        self._death = death
        self._steps = list(payload.steps())
        count = payload.slot_count * len(self._steps)
        item = death.position.item
        # Before the first item and after the last, the whole task is to blame.
        self._item = item if 0 <= item < count else None
        self._all = range(count)

    def settle(self) -> Outcome | None:
        """Count the attempt; None if another one may be made."""
        work, settings = self._work, self._payload.settings
        attempt, cause = self._death.position.attempt, self._death.cause
        key = -1 if self._item is None else self._item
        spent = attempt if cause is Cause.TIMEOUT else attempt - 1
        if cause is Cause.CRASH:
            work.crashes[key] = work.crashes.get(key, 0) + 1
        allowed = cause is Cause.OWNER or (
            attempt <= settings.retries
            if cause is Cause.TIMEOUT
            else work.crashes[key] <= settings.crash_retries
        )
        if allowed:
            work.item, work.attempts = key, spent
            return None
        return self._quarantine(self._record(attempt))

    def _record(self, attempt: int) -> ErrorRecord:
        item = self._item
        number, place = divmod(item or 0, self._payload.slot_count)
        payload = self._steps[number]
        index = payload.start + place if payload.collection and item is not None else None
        if self._death.cause is Cause.TIMEOUT:
            seconds = payload.settings.timeout or 0.0
            return record_timeout(seconds, node=payload.name, item=index, attempts=attempt)
        crashes = self._work.crashes[-1 if item is None else item]
        return record_death(
            self._death.status,
            node=payload.name,
            item=index,
            attempts=attempt - 1 + crashes,
            output=self._death.output,
        )

    def _quarantine(self, record: ErrorRecord) -> Outcome | None:
        work, settings = self._work, self._payload.settings
        missing = [item for item in self._all if item not in work.finished]
        if not (settings.packed or settings.capture) or not missing:
            after = (self._item or 0) // self._payload.slot_count + 1
            record = carry(record, self._steps[after:])
            return Outcome(work, error=record.to_text(self._payload.key), kind=record.kind)
        cell = cell_to_wire(ItemFailure(record).slot(self._payload.key))
        for item in missing if self._item is None else [self._item]:
            work.finished[item] = [cell] * len(work.outputs)
        work.item, work.attempts = 0, 0
        return None
