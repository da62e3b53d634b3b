"""What the plan of a named run makes, noted with the engine in the step that submits it.

A plan says where values will be right after it has yielded the task that makes them. So a task is
held back until then, a moment: what is submitted is known by its key to whoever goes on with the
run, whenever this client dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from armoflow.codec.envelope import Slot, SlotKind, pack_envelope
from armoflow.codec.payload import Pickled
from armoflow.codec.pickling import dumps
from armoflow.errors import ArmoflowError, EngineError, NamedRunError
from armoflow.graph.nodes import Node
from armoflow.orchestrator.caching.cache import Imported
from armoflow.orchestrator.named.copies import new_name, pack_copies
from armoflow.orchestrator.named.fence import Fence
from armoflow.orchestrator.named.manifest import (
    PART_NAME,
    ManifestPart,
    PartialNote,
    ResultSlots,
    TaskNote,
    ValueNote,
    pack_part,
    say_name,
)
from armoflow.orchestrator.named.restored import RestoredResult
from armoflow.orchestrator.named.run_keys import RunKeys
from armoflow.orchestrator.planned import LocalItems, PlannedTask, PlanPiece, Result, SlotRange
from armoflow.orchestrator.planning.chunks import by_result
from armoflow.orchestrator.planning.known import Partial
from armoflow.orchestrator.queue import Entry
from armoflow.orchestrator.submit import Pipeline
from armoflow.orchestrator.targets import WaitingTarget

PULSE = 5.0
"""Seconds without a part after which a planner says that it is still at work."""

_HELD = 16
"""Entries that are held back at most."""


class PlanRecorder:
    """Notes one plan; stands between it and the pipeline.

    Args:
        keys: What values are known by.
        pipeline: Takes what is planned.
        epoch: Of this plan.
        store: Stores data under a name.
        target: What was asked for.
        copies: Whether to store the payloads once more: the engine may not keep them.
        fence: Lets no task through when somebody else has taken the run over.

    Attributes:
        laid_out: The engine has the whole plan, or will never have it.
        error: Why it will not.
    """

    def __init__(
        self,
        keys: RunKeys,
        pipeline: Pipeline,
        epoch: int,
        store: Callable[[str, bytes], Awaitable[str]],
        target: WaitingTarget,
        *,
        copies: bool,
        fence: Fence,
    ) -> None:
        self.fence = fence
        self._keys = keys
        self._pipeline = pipeline
        self._epoch = epoch
        self._store = store
        self._target = target
        self._copies = copies
        self._loop = asyncio.get_running_loop()
        self._held: list[Entry] = []
        self._values: dict[Result, list[ValueNote]] = {}
        self._partials: dict[Result, PartialNote] = {}
        self._late: list[tuple[Result, ValueNote]] = []
        self._lock = threading.Lock()
        self._unsent = 0
        self._planned = False
        self._noted_at = self._loop.time()
        self._ending: asyncio.Task[None] | None = None
        self._pulse: asyncio.Task[None] | None = None
        self.laid_out = asyncio.Event()
        self.error: BaseException | None = None

    def begin(self) -> None:
        """Planning begins; in the loop's thread."""
        self._pipeline.notes = self
        self._pulse = self._loop.create_task(self._beat())

    # --- the plan's thread ----------------------------------------------------------------------

    def put(self, entry: Entry) -> None:
        """Take what the plan yielded."""
        if isinstance(entry, PlannedTask):
            with self._lock:
                self._unsent += 1
        self._held.append(entry)
        if callable(entry) or len(self._held) >= _HELD:
            self._let_go()

    def made(self, node: Node, first: int, columns: Sequence[Sequence[PlanPiece]]) -> None:
        """Take where values will be."""
        keyed = self._keys.of(node)
        if keyed is not None:
            for output, column in zip(keyed.outputs, columns, strict=True):
                for result, places in by_result(column, first).items():
                    if isinstance(result, (RestoredResult, Imported)):
                        continue  # its note is there, or the cache has it
                    for note in _notes(places, output, keyed.items):
                        self._note(result, note)
        self._let_go()

    def combined(self, node: Node, partial: Partial) -> None:
        """Take what a reduction makes of some of its items."""
        keyed, result = self._keys.of(node), partial.place.result
        if keyed is not None and not result.id:  # else it was not held back: it is made anew
            key = keyed.items[0]
            self._partials[result] = PartialNote("", key, partial.start, partial.stop)
        self._let_go()

    def renew(
        self,
        replaced: Mapping[str, Result],
        values: Sequence[ValueNote],
        partials: Sequence[PartialNote],
    ) -> None:
        """Results take the place of others: what is known of the values in these holds for them."""
        for value in values:
            self._values.setdefault(replaced[value.result_id], []).append(value)
        for partial in partials:
            self._partials[replaced[partial.result_id]] = partial

    def _note(self, result: Result, note: ValueNote) -> None:
        if result.id:  # it was planned before, for another node
            with self._lock:
                self._late.append((result, note))
        else:
            self._values.setdefault(result, []).append(note)

    def _let_go(self) -> None:
        held, self._held = self._held, []
        for entry in held:
            self._pipeline.put(entry)

    # --- the loop's thread ----------------------------------------------------------------------

    @property
    def successor(self) -> str:
        """The name of what begins the next plan, or says that this one has ended."""
        return say_name(self._epoch + 1)

    def of(self, tasks: Sequence[PlannedTask]) -> BatchNote:
        """What is to be told with some tasks."""
        return BatchNote(self, tasks)

    def lay_out(self, tasks: Sequence[PlannedTask]) -> Iterator[tuple[str, bytes]]:
        """What is to be stored with some tasks, whose results have their ids: name and data."""
        values = [
            note._replace(result_id=result.id)
            for task in tasks
            for result in task.outputs
            for note in self._values.get(result, ())
        ]
        partials = [
            note._replace(result_id=result.id)
            for task in tasks
            for result in task.outputs
            if (note := self._partials.get(result)) is not None
        ]
        self._noted_at = self._loop.time()
        described = [_describe(task) for task in tasks]
        copies = new_name() if self._copies else ""
        if copies:
            yield copies, pack_copies(tasks)
        part = ManifestPart(self._epoch, None, described, values, partials, copies=copies)
        yield PART_NAME, pack_part(part)

    def may_repeat(self, task: PlannedTask) -> bool:
        """Whether a task may be run a second time: all is with the engine, and noted."""
        whole = self.laid_out.is_set() and self.error is None
        return whole and all(output in self._values for output in task.outputs)

    def repeat(self, copy: PlannedTask) -> None:
        """A task is run a second time: what is known of the values of both is the same."""
        assert copy.original is not None
        with self._lock:
            self._unsent += 1
        for output, own in zip(copy.outputs, copy.original.outputs, strict=True):
            self._values[output] = self._values[own]

    def sent(self, tasks: Sequence[PlannedTask]) -> None:
        """Tasks were submitted, or will not be."""
        for task in tasks:
            for result in () if task.backup else task.outputs:  # else it may be run a second time
                self._values.pop(result, None)
                self._partials.pop(result, None)
        with self._lock:
            self._unsent -= len(tasks)
        self._look()

    def planned(self) -> None:
        """The plan was taken whole."""
        self._planned = True
        self._look()

    def stop(self, why: BaseException) -> None:
        """The plan will not be whole."""
        if self.error is None and not self.laid_out.is_set():
            self.error = why
            self._end_with(self._tell_stopped(str(why) or type(why).__name__))

    def give_up(self, error: NamedRunError) -> None:
        """Somebody else has taken over: nothing more is told, or waited for."""
        self.error = self.error or error
        if self._pulse is not None:
            self._pulse.cancel()
        if self._ending is None:
            self.laid_out.set()

    async def settle(self) -> None:
        """Wait until the engine knows all that it is told."""
        if self._ending is not None:
            await asyncio.wait([self._ending])

    def _look(self) -> None:
        with self._lock:
            over = self._planned and not self._unsent
        if over and self._ending is None:
            error = self._target.error
            if error is not None:
                self.stop(error)
            else:
                self._end_with(self._tell_end())

    def _end_with(self, telling: Any) -> None:
        if self._pulse is not None:
            self._pulse.cancel()
        before = self._ending

        async def tell() -> None:
            if before is not None:
                await asyncio.wait([before])
            try:
                await telling
            except ArmoflowError as error:
                self.error = self.error or error
            finally:
                self.laid_out.set()

        self._ending = self._loop.create_task(tell())

    async def _tell_end(self) -> None:
        places = [await self._place(piece) for piece in self._target.pieces]
        late = [note._replace(result_id=result.id) for result, note in self._late]
        await self._tell(ManifestPart(self._epoch, values=late, end=places))

    async def _tell_stopped(self, why: str) -> None:
        await self._tell(ManifestPart(self._epoch, stopped=why))

    async def _place(self, piece: PlanPiece) -> ResultSlots:
        if isinstance(piece, SlotRange):
            result = piece.result
            return ResultSlots(result.id, result.name, result.positions, piece.start, piece.stop)
        return ResultSlots(await self._keep(piece), "items", 0, 0, piece.length)

    async def _keep(self, items: LocalItems) -> str:
        """Store items that no task makes: who attaches has to find them."""
        slots = [_slot(dumps(value)) for value in items.values]
        return await self._store("items", b"".join(pack_envelope(slots)))

    async def _tell(self, part: ManifestPart) -> None:
        self._noted_at = self._loop.time()
        await self._store(PART_NAME, pack_part(part))

    async def _beat(self) -> None:
        """Say that planning goes on, where it takes its time."""
        while True:
            await asyncio.sleep(PULSE)
            with contextlib.suppress(EngineError):  # it may be there again at the next one
                await self.fence.ask()
                if self._loop.time() >= self._noted_at + PULSE:
                    await self._tell(ManifestPart(self._epoch))


class BatchNote:
    """What is told with one batch of tasks; see ``protocol.submission.Note``."""

    def __init__(self, recorder: PlanRecorder, tasks: Sequence[PlannedTask]) -> None:
        self._recorder = recorder
        self._tasks = tasks

    def lay_out(self) -> Iterator[tuple[str, bytes]]:
        """Names, and what is stored under them."""
        return self._recorder.lay_out(self._tasks)

    @property
    def fence(self) -> str:
        """The name of what is stored by whoever takes over."""
        return self._recorder.successor

    async def confirm(self, *, anew: bool = False) -> None:
        """Ask whether somebody else has taken over; nothing is between this and the submission."""
        await self._recorder.fence.confirm(anew=anew)


def _notes(
    places: Sequence[tuple[SlotRange, int]], output: int, items: Sequence[bytes]
) -> Iterator[ValueNote]:
    """What some slots of one result hold, those that follow one another together."""
    start, stop, keys = 0, 0, list[bytes]()
    for piece, position in places:
        if piece.start != stop and keys:
            yield ValueNote("", start, output, b"".join(keys))
            keys.clear()
        start, stop = piece.start if not keys else start, piece.stop
        keys += items[position : position + piece.length]
    yield ValueNote("", start, output, b"".join(keys))


def _slot(pickled: Pickled) -> Slot:
    return Slot(SlotKind.VALUE, pickled.data, pickled.buffers)


def _describe(task: PlannedTask) -> TaskNote:
    return TaskNote(
        task.payload_id,
        tuple(dict.fromkeys(result.id for result in task.inputs)),
        tuple(result.id for result in task.outputs),
        task.options,
        task.operation,
        tuple([task.name] if task.steps is None else task.steps.names),
        task.positions,
        task.items,
    )
