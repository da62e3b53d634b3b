"""Tasks on their way through a child process, and what became of them."""

from __future__ import annotations

import enum
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from armoflow.agent.effects import Effects
from armoflow.agent.passages import Writer
from armoflow.codec.bundle import read_payload
from armoflow.codec.clipping import without_records
from armoflow.codec.failure import ErrorRecord
from armoflow.codec.payload import Payload
from armoflow.codec.recording import record_death, record_overrun, record_timeout
from armoflow.errors import EnvelopeError, WorkerDiedError
from armoflow.protocol.shared_files import remove_file
from armoflow.tracing import Labels
from armoflow.worker import data
from armoflow.worker.failures import ItemFailure, UnreadableDataError, carry
from armoflow.worker.home import USUAL, Home
from armoflow.worker.mark import NO_ITEM, Position, SpoolEntry, cell_to_wire
from armoflow.worker.naming import item_of, name_of
from armoflow.worker.saved import unpack_saved

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class History:
    """What was done of a task, by processes that died or went on to other tasks.

    Attributes:
        finished: Finished items, as they stand in messages.
        spent: Attempts that items have spent, and when they are tried again (CLOCK_MONOTONIC
            nanoseconds; 0: at once).
        crashes: How often the process died, by item.
        overfull: Items that took too much memory in a process that others had used before: they
            are run again, first, in a new one.
        saved: Further finished items, as a child saved them before a pause.
        inline: The graph that it returns may be begun in its process.
        ran: Seconds that it ran.
        waited: Seconds that it has waited, or is about to, outside of any process.
        left_behind: Removes what its processes have left beside them.
    """

    finished: dict[int, list[Any]] = field(default_factory=dict)
    spent: dict[int, Sequence[int]] = field(default_factory=dict)
    crashes: dict[int, int] = field(default_factory=dict)
    overfull: set[int] = field(default_factory=set)
    saved: data.DataSource | None = None
    inline: bool = True
    ran: float = 0.0
    waited: float = 0.0
    left_behind: Callable[[], None] | None = None

    def note(self, entries: Iterable[SpoolEntry]) -> None:
        """What a child that died had done."""
        self._take_over_saved()
        for item, cells, spent, due in entries:
            if spent:
                self.spent[item] = (spent, due)
            else:
                self.finished[item] = cells
                self.spent.pop(item, None)

    def keep_in(self, directory: Path) -> None:
        """Move what was saved there: the folder of the child that saved it ends with the child."""
        if self.saved is not None and not isinstance(self.saved, bytes):
            source, size = self.saved
            path = directory / f"saved-{secrets.token_hex(8)}"
            try:
                Path(str(source)).replace(path)
            except OSError:  # it is gone: then all is made again
                self.saved = None
            else:
                self.saved = [str(path), size]

    def discard(self) -> None:
        """The task is done with: what was saved and left goes."""
        self.drop_saved()
        left, self.left_behind = self.left_behind, None
        if left is not None:
            left()

    def drop_saved(self) -> None:
        """What was saved goes."""
        saved, self.saved = self.saved, None
        if saved is not None and not isinstance(saved, bytes):
            remove_file(str(saved[0]))  # what cannot be removed now goes with its folder

    def _take_over_saved(self) -> None:
        """Have in memory what was saved; how far a reduction came is forgotten, it starts anew."""
        if self.saved is not None:
            # It is gone, or makes no sense: then all is made again.
            with suppress(UnreadableDataError, OSError):
                self.finished.update(unpack_saved(data.read(self.saved))[0])
            self.drop_saved()


@dataclass(slots=True, eq=False)
class Assignment:
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
        past: What was done of it before; None: nothing.
        passed: Inputs that a task sent before it makes: the child passes them on itself.
        trace: The trace that it belongs to.
        home: What its process has to run in.
        refused: Why it cannot have what it needs.
    """

    task_id: str
    session_id: str
    outputs: Sequence[str]
    payload: data.DataSource
    inputs: Mapping[str, data.DataSource]
    folder: str | None = None
    key: Any = None
    limit: float | None = None
    past: History | None = None
    passed: Sequence[str] = ()
    trace: Labels = ()
    home: Home = USUAL
    refused: str = ""

    @property
    def history(self) -> History:
        """What was done of it before, to be added to."""
        if self.past is None:
            self.past = History()
        return self.past

    def discard(self) -> None:
        """It does not run again: what its processes have left beside them goes."""
        if self.past is not None:
            self.past.discard()

    def read(self) -> Payload:
        """What is to be run.

        Raises:
            EnvelopeError: If it is no payload, or not this task's.
            UnreadableDataError: If it cannot be read.
        """
        try:
            content = data.read(self.payload)
        except OSError as error:  # no memory to map it
            raise UnreadableDataError(f"cannot read a payload: {error}") from error
        return read_payload(content, self.outputs)

    def message(self, serial: int, payload: data.DataSource | int) -> list[Any]:
        """The task as it stands in a RUN message.

        Args:
            serial: Its number between child and owner.
            payload: Its payload, or the place that it has at the child.
        """
        history, progress = self.past, None
        if history is not None:
            known = history.finished or history.spent or history.saved is not None
            if known or not history.inline:
                finished = list(history.finished.items())
                progress = [history.spent, finished, history.saved, history.inline]
        return [
            serial,
            self.task_id,
            self.session_id,
            self.outputs,
            payload,
            self.folder,
            progress,
            self.passed,
            self.trace,
            self.refused,
        ]

    def writer(self, position: Position) -> Writer:
        """Who writes what comes while a child is there in this task."""
        try:
            name = name_of(self.read(), position)
        except (EnvelopeError, UnreadableDataError):
            name = self.task_id
        return Writer.of(self.task_id, self.session_id, name)

    def pause(
        self, ran: float, due: int, spent: Mapping[int, Sequence[int]], saved: data.DataSource
    ) -> float:
        """Its process goes on to other tasks until it is due; returns for how many seconds."""
        history = self.history
        history.drop_saved()
        history.finished, history.spent, history.saved = {}, dict(spent), saved
        seconds = max(0.0, (due - time.monotonic_ns()) * 1e-9)
        history.ran += ran
        history.waited += seconds
        return seconds

    def left(self) -> float | None:
        """Seconds of its limit that are left; None: any."""
        history = self.past
        if history is None or not self.limit:
            return self.limit or None
        return self.limit - history.ran - history.waited


@dataclass(slots=True)
class TaskEnding:
    """How a task ended: ``effects`` if it succeeded, else ``error``.

    Attributes:
        work: The task.
        effects: What it asked for.
        error: What the engine is told.
        kind: Kind of the error record; without one "invalid", or "deadline" past its limit.
        seconds: How long it ran.
        unharmed: It did not begin, through no fault of its own.
    """

    work: Assignment
    effects: Effects | None = None
    error: str = ""
    kind: str = ""
    seconds: float = 0.0
    unharmed: bool = False


class Cause(enum.Enum):
    """Why a child process ended."""

    CRASH = "crash"  # for a reason of its own
    TIMEOUT = "timeout"  # killed by its owner: the attempt that it ran took too long
    MEMORY = "memory"  # killed by its owner: it took the memory that is left
    LIMIT = "limit"  # killed by its owner: it took more memory than the task may
    OWNER = "owner"  # killed by its owner for another reason: what it ran is not to blame


@dataclass(frozen=True, slots=True)
class Death:
    """Why and where a child process ended.

    Attributes:
        position: What it ran.
        status: Exit code, or minus a signal.
        output: The end of what it wrote.
        cause: Why it ended.
        reason: What its owner has to say about that.
        alone: It had run nothing before that task.
    """

    position: Position
    status: int
    output: str
    cause: Cause
    reason: str = ""
    alone: bool = False

    def describe(self, what: str) -> str:
        """A text: what ended, how, and its last output.

        Example:
            >>> Death(Position(0, 0, 0, 0), 1, "", Cause.CRASH).describe("it ended")
            'it ended with status 1'
        """
        output = self.output.strip()
        text = f"{what} with status {self.status}"
        if self.reason:
            text += f": it {self.reason}"
        return f"{text}; its last output:\n{output}" if output else text


def account(work: Assignment, entries: Iterable[SpoolEntry], death: Death) -> TaskEnding | None:
    """Note on the running task of a dead child what it finished, and count the attempt.

    Returns:
        None if the task is to run again, in another process; else how it ended.
    """
    before = set(range(death.position.item)) - work.history.finished.keys()
    work.history.note(entries)
    try:
        payload = work.read()
    except (EnvelopeError, UnreadableDataError) as error:
        return TaskEnding(work, error=f"the task cannot be read any more: {error}", kind="invalid")
    return _Account(work, payload, death, alone=death.alone and not before).settle()


def refuse(work: Assignment, text: str) -> TaskEnding:
    """How a task ends that no process can be found for."""
    kind = f"{WorkerDiedError.__module__}.{WorkerDiedError.__qualname__}"
    try:
        name = work.read().name
    except (EnvelopeError, UnreadableDataError):
        name = work.task_id
    error = ErrorRecord("died", kind, text, node=name).to_text()
    return TaskEnding(work, error=error, kind="died", unharmed=True)


def overran(work: Assignment, output: str = "") -> TaskEnding:
    """How a task ends that has taken longer than it may, all attempts together."""
    text = f"the task took longer than its max_duration of {work.limit:g} s"
    if output:
        text += f"; its last output:\n{without_records(output)}"
    return TaskEnding(work, error=text, kind="deadline")


class _Account:
    """What the death of a child costs the task that it ran.

    Args:
        work: The task.
        payload: What it was to do.
        death: Why and where the child ended.
        alone: The child had run nothing before that item.
    """

    def __init__(self, work: Assignment, payload: Payload, death: Death, *, alone: bool) -> None:
        self._alone = alone
        self._work = work
        self._payload = payload
        self._death = death
        self._steps = list(payload.steps())
        count = payload.slot_count * len(self._steps)
        item = death.position.item
        # Before the first item and after the last, the whole task is to blame.
        self._item = item if 0 <= item < count else None
        self._all = range(count)

    def settle(self) -> TaskEnding | None:
        """Count the attempt; None if another one may be made."""
        history, settings = self._work.history, self._payload.settings
        if self._death.position.inline:
            # A call of its graph is to blame: as a child task it is counted, and told by its name.
            history.inline = history.inline and self._death.cause is Cause.OWNER
            self._tell_of_call()
            return None
        attempt, cause, item = self._death.position.attempt, self._death.cause, self._item
        if cause in (Cause.CRASH, Cause.MEMORY):
            key = -1 if item is None else item
            history.crashes[key] = history.crashes.get(key, 0) + 1
            allowed = history.crashes[key] <= settings.crash_retries
        elif cause is Cause.LIMIT:
            if self._may_have_been_another():
                cause, allowed = Cause.OWNER, True
            else:
                again = settings.retry_memory and attempt <= settings.retries
                allowed = item is not None and again
        else:
            again = settings.retry_timeouts and attempt <= settings.retries
            allowed = cause is Cause.OWNER or again
        if not allowed:
            return self._quarantine(self._record(attempt))
        if item is not None:
            if cause in (Cause.TIMEOUT, Cause.LIMIT):
                due = time.monotonic_ns() + int(settings.draw_pause(attempt) * 1e9)
                history.spent[item] = (attempt, due)
            elif attempt > 1:
                history.spent[item] = (attempt - 1, 0)
        return None

    def _may_have_been_another(self) -> bool:
        """Whether what ran before has left the memory taken: then it is seen in a new process."""
        overfull = self._work.history.overfull
        key = -1 if self._item is None else self._item
        if self._alone or key in overfull:
            return False
        overfull.add(key)
        return True

    def _tell_of_call(self) -> None:
        """Nothing fails yet: what the process has left would be told nowhere."""
        if self._death.cause in (Cause.CRASH, Cause.MEMORY, Cause.LIMIT):
            what = (
                f"the process of task {self._payload.name!r} ended in {self._death.position.name!r}"
                ", a call of the graph that it returned; it is run again, and that call alone"
            )
            logger.warning("%s", self._death.describe(what))

    def _record(self, attempt: int) -> ErrorRecord:
        item, output = self._item, self._death.output
        payload, index = item_of(self._payload, NO_ITEM if item is None else item)
        if self._death.cause is Cause.TIMEOUT:
            seconds = payload.settings.timeout or 0.0
            return record_timeout(
                seconds, node=payload.name, item=index, attempts=attempt, output=output
            )
        if self._death.cause is Cause.LIMIT:
            return record_overrun(
                self._death.reason, node=payload.name, item=index, attempts=attempt, output=output
            )
        crashes = self._work.history.crashes[-1 if item is None else item]
        return record_death(
            self._death.status,
            node=payload.name,
            item=index,
            attempts=attempt - 1 + crashes,
            output=output,
            reason=self._death.reason,
            host=os.uname().nodename,
        )

    def _quarantine(self, record: ErrorRecord) -> TaskEnding | None:
        work, settings = self._work, self._payload.settings
        history = work.history
        missing = [item for item in self._all if item not in history.finished]
        if not (settings.packed or settings.capture) or not missing:
            after = (self._item or 0) // self._payload.slot_count + 1
            record = carry(record, self._steps[after:])
            return TaskEnding(work, error=record.to_text(self._payload.key), kind=record.kind)
        cell = cell_to_wire(ItemFailure(record).slot(self._payload.key))
        for item in missing if self._item is None else [self._item]:
            history.finished[item] = [cell] * len(work.outputs)
            history.spent.pop(item, None)
        return None
