"""What the engine knows of a named run: its manifest, and what became of the tasks in it."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Container, Iterable, Iterator, Sequence, Set
from typing import NamedTuple

from armoflow import config
from armoflow.codec.envelope import Cell, Slot, SlotKind, unpack_cells
from armoflow.codec.item_log import PREFIX as LOG_PREFIX
from armoflow.codec.item_log import tells_of_failures
from armoflow.errors import DataLostError, EnvelopeError
from armoflow.orchestrator.named.copies import CopyPlace
from armoflow.orchestrator.named.manifest import (
    KEY_BYTES,
    PART_NAME,
    Head,
    ManifestPart,
    PartialNote,
    ResultSlots,
    TaskNote,
    ValueNote,
    unpack_part,
)
from armoflow.orchestrator.named.run_keys import ValueKey
from armoflow.orchestrator.outcomes import is_failure
from armoflow.protocol.portions import chunks
from armoflow.protocol.result_handle import ResultChange, ResultState
from armoflow.protocol.transport import Transport


class ValuePlace(NamedTuple):
    """Where a value is."""

    result_id: str
    slot: int


class RunProgress(NamedTuple):
    """What became of the tasks of a run.

    Attributes:
        changes: What has ended.
        done: Results that are there.
        lost: Results that never come: their tasks failed, or need what has failed.
        open: Results that are still to come.
        bad: Slots of good results that hold failures, by result.
    """

    changes: Sequence[ResultChange]
    done: set[str]
    lost: set[str]
    open: set[str]
    bad: dict[str, set[int]]


class Manifest:
    """The parts of a run's manifest, as far as they were read.

    Attributes:
        epoch: That of the plan that was begun last; 0: none was.
        head: What was asked for in it.
        begun_in: The part that says so: who stored it has the say.
        end: Where the values of that are; None: the plan is not whole.
        before: Where they were in the plan before, if that was of the same graph and whole.
        stopped: Why it will never be.
        tasks: All tasks of the run, in the order of its plans.
        copies: Where copies of their payloads are, by the payloads' ids.
        count: How many parts these are.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self.head: Head | None = None
        self.begun_in = ""
        self.end: Sequence[ResultSlots] | None = None
        self.before: Sequence[ResultSlots] | None = None
        self.stopped = ""
        self.tasks: list[TaskNote] = []
        self.copies: dict[str, CopyPlace] = {}
        self._values: list[tuple[str, int, int, bytes]] = []
        self._late: set[int] = set()  # which of these are of tasks that were noted before
        self._partials: list[PartialNote] = []
        self._seen: set[str] = set()

    @property
    def count(self) -> int:
        """How many parts there are."""
        return len(self._seen)

    async def read(self, transport: Transport, session_id: str) -> int:
        """Read the parts that are new; returns how many these are.

        Raises:
            MalformedError: If one is no part of a manifest.
            DataLostError: If the engine has lost one.
        """
        stored = await transport.shared.parts(session_id, PART_NAME)
        new = [part.result_id for part in stored if part.result_id not in self._seen]
        for first in range(0, len(new), config.CACHE_BATCH):
            batch = new[first : first + config.CACHE_BATCH]
            found = await transport.fetch(session_id, batch)
            for result_id, data in zip(batch, found, strict=True):
                if isinstance(data, DataLostError):
                    raise data
                self._take(result_id, unpack_part(data))
        self._seen.update(new)
        return len(new)

    def _take(self, result_id: str, part: ManifestPart) -> None:
        self.tasks.extend(part.tasks)
        if part.copies:
            for number, task in enumerate(part.tasks):
                self.copies[task.payload_id] = CopyPlace(part.copies, number)
        if not part.tasks:
            self._late.update(range(len(self._values), len(self._values) + len(part.values)))
        self._values.extend(part.values)
        self._partials.extend(part.partials)
        if part.head is not None and part.epoch > self.epoch:
            same = self.head is not None and self.head.graph == part.head.graph
            self.before = (self.end or self.before) if same else None
            self.epoch, self.head, self.begun_in = part.epoch, part.head, result_id
            self.end, self.stopped = None, ""
        if part.epoch == self.epoch:  # who was overtaken has no say any more
            self.end = self.end if part.end is None else part.end
            self.stopped = self.stopped or part.stopped

    def places(self, progress: RunProgress) -> dict[ValueKey, ValuePlace]:
        """Where values are, or will be, by their keys."""
        good = progress.done | progress.open
        bad = progress.bad
        return {
            key: place
            for key, place in self._each_value(good)
            if place.slot not in bad.get(place.result_id, ())
        }

    def twins(self, result_ids: Set[str]) -> dict[str, list[str]]:
        """The results of other tasks that were to make the same as those of some tasks.

        That is what second runs of stragglers do: the values, and their order, are the same.
        """
        made: defaultdict[str, list[tuple[int, int, bytes]]] = defaultdict(list)
        for number, (result_id, first, output, keys) in enumerate(self._values):
            if number not in self._late:
                made[result_id].append((first, output, keys))
        alike: defaultdict[tuple[tuple[int, int, bytes], ...], list[str]] = defaultdict(list)
        for result_id, notes in made.items():
            alike[tuple(notes)].append(result_id)
        return {
            result_id: [other for other in alike[tuple(made[result_id])] if other != result_id]
            for result_id in result_ids
            if result_id in made
        }

    def take_second_runs(self, progress: RunProgress) -> None:
        """Where the first run of a task has come to nothing, its values are those of a second."""
        lost = {place.result_id for place in self.end or ()} & progress.lost
        if not lost:
            return
        twins = self.twins(lost)
        taken = {
            result_id: other
            for result_id in lost
            for other in twins.get(result_id, ())
            if other in progress.done and other not in progress.bad
        }
        self.end = [
            place._replace(result_id=taken.get(place.result_id, place.result_id))
            for place in self.end or ()
        ]

    def needed(self) -> set[str]:
        """The results of all tasks that what was asked for needs, if the plan is whole."""
        makers = {output: task for task in self.tasks for output in task.outputs}
        found: set[str] = set()
        pending = [place.result_id for place in self.end or ()]
        while pending:
            result_id = pending.pop()
            if result_id not in found:
                task = makers.get(result_id)
                found.update((result_id,) if task is None else task.outputs)
                pending.extend(() if task is None else task.inputs)
        return found

    def bad_now(self, progress: RunProgress) -> dict[str, set[int]]:
        """The slots of good results that hold failures, but what was made again since."""
        if not progress.bad:
            return {}
        bad = {result_id: set(slots) for result_id, slots in progress.bad.items()}
        failed: dict[ValueKey, list[ValuePlace]] = {}
        for key, place in self._each_value(bad):
            if place.slot in bad[place.result_id]:
                failed.setdefault(key, []).append(place)
        last: dict[ValueKey, str] = {}
        for key, place in self._each_value(None):
            if key in failed:
                last[key] = place.result_id
        for key, places in failed.items():
            for place in places:
                if last[key] != place.result_id:
                    bad[place.result_id].discard(place.slot)
        return {result_id: slots for result_id, slots in bad.items() if slots}

    def notes_of(self, result_ids: Set[str]) -> tuple[list[ValueNote], list[PartialNote]]:
        """What is known of the values in some results."""
        values = [ValueNote(*value) for value in self._values if value[0] in result_ids]
        return values, [note for note in self._partials if note.result_id in result_ids]

    def _each_value(self, within: Container[str] | None) -> Iterator[tuple[ValueKey, ValuePlace]]:
        """All values with their places, in the order in which they were noted."""
        for result_id, first, output, keys in self._values:
            if within is None or result_id in within:
                for number in range(len(keys) // KEY_BYTES):
                    key = keys[number * KEY_BYTES : (number + 1) * KEY_BYTES]
                    yield (key, output), ValuePlace(result_id, first + number)

    def partials(self, progress: RunProgress) -> dict[bytes, list[PartialNote]]:
        """What reductions have made, or will make, of some of their items, by their keys."""
        found: defaultdict[bytes, list[PartialNote]] = defaultdict(list)
        for note in self._partials:
            there = note.result_id in progress.done or note.result_id in progress.open
            if there and note.result_id not in progress.bad:
                found[note.key].append(note)
        return found


def without(progress: RunProgress, tasks: Sequence[TaskNote], lost: set[str]) -> RunProgress:
    """The same, where some results never come, nor what needs them."""
    lost = progress.lost | _with_dependents(tasks, lost, progress.done)
    return progress._replace(lost=lost, open=progress.open - lost)


async def look(transport: Transport, session_id: str, tasks: Sequence[TaskNote]) -> RunProgress:
    """Ask what became of tasks.

    Args:
        transport: The way to the engine.
        session_id: Their session.
        tasks: All tasks of the run.
    """
    outputs = [output for task in tasks for output in task.outputs]
    changes = await transport.poll(session_id, outputs) if outputs else ()
    states = {change.result_id: change.state for change in changes}
    done = {key for key, state in states.items() if state is ResultState.COMPLETED}
    bad, gone = await _failed_slots(transport, session_id, sorted(done))
    done -= gone
    lost = _with_dependents(tasks, states.keys() - done, done)
    open_ = set(outputs) - done - lost
    return RunProgress(changes, done, lost, open_, bad)


async def left_out(
    transport: Transport, session_id: str, places: Iterable[ValuePlace]
) -> set[ValuePlace]:
    """The places in which there is nothing, for what they are of has failed and was left out."""
    asked: defaultdict[str, list[ValuePlace]] = defaultdict(list)
    for place in places:
        asked[place.result_id].append(place)
    empty: set[ValuePlace] = set()
    for ids in chunks(list(asked), config.CACHE_BATCH):
        for result_id, data in zip(ids, await transport.fetch(session_id, ids), strict=True):
            cells = () if isinstance(data, DataLostError) else unpack_cells(data)
            empty.update(each for each in asked[result_id] if _is_absent(cells, each.slot))
    return empty


def _is_absent(cells: Sequence[Cell], slot: int) -> bool:
    if slot >= len(cells):
        return True
    cell = cells[slot]
    return cell is None or (isinstance(cell, Slot) and cell.kind is SlotKind.ABSENT)


def _with_dependents(tasks: Iterable[TaskNote], lost: set[str], done: set[str]) -> set[str]:
    """What is lost, and what needs it and will not come for that."""
    if not lost:
        return lost
    consumers: defaultdict[str, list[TaskNote]] = defaultdict(list)
    for task in tasks:
        for needed in task.inputs:
            consumers[needed].append(task)
    closed, pending = set(lost), deque(lost)
    while pending:
        for task in consumers.get(pending.popleft(), ()):
            for output in task.outputs:
                if output not in closed and output not in done:
                    closed.add(output)
                    pending.append(output)
    return closed


async def has_failed_items(transport: Transport, session_id: str) -> bool:
    """Whether there are tasks that ended well and had items that failed."""
    return any(map(tells_of_failures, await transport.shared.names(session_id, LOG_PREFIX)))


async def _failed_slots(
    transport: Transport, session_id: str, result_ids: Sequence[str]
) -> tuple[dict[str, set[int]], set[str]]:
    """The slots of completed results that hold failures, and the results without data.

    Tasks of several items end well, and those with failed items leave a log each; where there is
    none, nothing is read.
    """
    if not await has_failed_items(transport, session_id):
        return {}, set()
    bad: dict[str, set[int]] = {}
    gone: set[str] = set()
    for first in range(0, len(result_ids), config.CACHE_BATCH):
        batch = result_ids[first : first + config.CACHE_BATCH]
        for result_id, data in zip(batch, await transport.fetch(session_id, batch), strict=True):
            try:
                cells = () if isinstance(data, DataLostError) else unpack_cells(data)
            except EnvelopeError:
                cells = ()
            if not cells:
                gone.add(result_id)
            elif failed := {number for number, cell in enumerate(cells) if is_failure(cell)}:
                bad[result_id] = failed
    return bad, gone
