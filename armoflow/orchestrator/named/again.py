"""What failed in a named run, and what hangs on it, once more: from what the engine has stored.

A payload names its inputs by ids, so that it can be laid out again for others. It is read as data:
nothing in it is unpickled, and the code of a task stays what it was. Of a task of many items only
those are run that failed; another task puts them between the others, in the same slots, for what
needs them names these.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from armoflow import config
from armoflow.codec.container import Buffer
from armoflow.codec.payload import Operation, Payload
from armoflow.codec.payload_layout import unpack_payload
from armoflow.codec.positions import Positions, label
from armoflow.orchestrator.constant import Constant
from armoflow.orchestrator.dividing import choose, gathering, neighbours
from armoflow.orchestrator.named.history import Manifest, RunProgress
from armoflow.orchestrator.named.manifest import ResultSlots, TaskNote
from armoflow.orchestrator.named.restored import RestoredTasks
from armoflow.orchestrator.planned import PlannedTask, Result, SlotRange, Steps
from armoflow.orchestrator.planning.rules import wire_options

NOT_LAID_OUT = "it was not laid out, for what it needs had failed before"
NO_PAYLOAD = "its payload is not stored any more"


class RunFailures(NamedTuple):
    """What keeps the value of a run from coming.

    Attributes:
        tasks: The tasks that failed, or did not run for that: each after those that it needs.
        unknown: What no task that is known of makes, by name: why.
    """

    tasks: Sequence[TaskNote]
    unknown: Mapping[str, str]


def failed(manifest: Manifest, progress: RunProgress, asked: Sequence[ResultSlots]) -> RunFailures:
    """What keeps the values at some places from coming."""
    makers = {output: task for task in manifest.tasks for output in task.outputs}
    bad = manifest.bad_now(progress)
    unknown: dict[str, str] = {}
    found: dict[str, TaskNote] = {}  # by first output, in order
    begun: set[str] = set()
    stack: list[tuple[str, str, bool]] = []
    for place in asked:
        lost = place.result_id in progress.lost
        slots = bad.get(place.result_id, set())
        if not place.result_id:
            unknown[place.name] = NOT_LAID_OUT
        elif lost or not slots.isdisjoint(range(place.start, place.stop)):
            stack.append((place.result_id, place.name, False))
    stack.reverse()
    while stack:
        result_id, name, entered = stack.pop()
        task = makers.get(result_id)
        if task is None:
            unknown[name] = NOT_LAID_OUT
        elif entered:
            found.setdefault(task.outputs[0], task)
        elif task.outputs[0] not in begun:
            begun.add(task.outputs[0])
            stack.append((result_id, name, True))
            stack += [
                (needed, task.names[-1], False)
                for needed in reversed(task.inputs)
                if needed in progress.lost or needed in bad
            ]
    return RunFailures(list(found.values()), unknown)


def names_of(task: TaskNote, progress: RunProgress) -> Iterator[str]:
    """What errors call the items of a task whose values will not come."""
    if task.operation is Operation.GATHER:
        return  # it only copies
    slots: set[int] = set()
    for output in task.outputs:
        many = range(max(task.items, 1)) if output in progress.lost else ()
        slots.update(progress.bad.get(output, many))
    for slot in sorted(slots):
        yield label(task.names[-1], task.positions, slot)


class RepeatedTask(PlannedTask):
    """A task that is as it was, but for the ids of its inputs."""

    __slots__ = ()

    def fill(self) -> Payload:
        """The payload for the inputs' ids."""
        assert self.payload is not None
        self.payload.inputs = [handle.id for handle in self.inputs]
        return self.payload


class Again:
    """Makes the tasks that run what failed again.

    Args:
        tasks: All that were run.
        progress: What became of them.
        chosen: Those to be run again, each after those that it needs.

    Attributes:
        replaced: The new results, by the ids of those whose place they take.
    """

    def __init__(
        self, tasks: RestoredTasks, progress: RunProgress, chosen: Sequence[TaskNote]
    ) -> None:
        self._tasks = tasks
        self._progress = progress
        self.replaced: dict[str, Result] = {
            output: _new_result(task.names[-1], task.positions)
            for task in chosen
            for output in task.outputs
        }

    def piece(self, place: ResultSlots, there: SlotRange) -> SlotRange:
        """Where values will be that were at a place."""
        result = self.replaced.get(place.result_id)
        return there if result is None else there._replace(result=result)

    def repeat(self, note: TaskNote, data: Buffer) -> Iterator[PlannedTask]:
        """The tasks that take the place of one.

        Args:
            note: The task.
            data: Its payload.

        Raises:
            EnvelopeError: If that is none that this armoflow reads.
        """
        payload = unpack_payload(data)
        outputs = [self.replaced[output] for output in note.outputs]
        lost = any(output in self._progress.lost for output in note.outputs)
        if lost or not payload.divisible:
            yield self._task(note, payload, outputs, len(data))
            return
        bad = sorted({s for output in note.outputs for s in self._progress.bad.get(output, ())})
        part = choose(payload, bad)
        where = part.positions if part.collection else None
        results = [_new_result(note.names[-1], where) for _ in outputs]
        yield self._task(note, part, results, len(data))
        columns: list[list[SlotRange]] = [[] for _ in outputs]
        end = done = 0
        for start, stop in neighbours(bad):
            self._copy(note, columns, end, start)
            for column, result in zip(columns, results, strict=True):
                column.append(SlotRange(result, done, done + stop - start))
            done += stop - start
            end = stop
        self._copy(note, columns, end, payload.count)
        for column, output in zip(columns, outputs, strict=True):
            yield _kept(gathering(payload, column, output), config.KIB)

    def _copy(
        self, note: TaskNote, columns: Sequence[list[SlotRange]], start: int, stop: int
    ) -> None:
        """Take slots that did not fail as they are."""
        if start < stop:
            for column, output in zip(columns, note.outputs, strict=True):
                old = self._tasks.result(output, note.names[-1], note.positions)
                column.append(SlotRange(old, start, stop))

    def _task(
        self, note: TaskNote, payload: Payload, outputs: Sequence[Result], size: int
    ) -> PlannedTask:
        inputs = [
            self.replaced.get(result_id) or self._tasks.result(result_id, name, positions)
            for result_id, (name, positions) in zip(
                payload.inputs,
                itertools.chain(payload.origins, itertools.repeat(("", None))),
                strict=False,
            )
        ]
        constants = [Constant.stored(payload.name, result_id) for result_id in payload.constants]
        whole = payload.count == max(note.items, 1)
        options = (
            note.options
            if whole
            else wire_options(payload.settings, payload.count * len(payload.names))
        )
        task = RepeatedTask(payload, inputs, outputs, options, constants)
        if len(note.names) > 1:
            task.steps = Steps(list(note.names), ())
        return _kept(task, size)


def _kept(task: PlannedTask, size: int) -> PlannedTask:
    task.keep = True
    task.size = size
    return task


def _new_result(name: str, positions: Positions | None) -> Result:
    result = Result(name)
    result.positions = positions
    return result
