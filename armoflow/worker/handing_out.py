"""Items that a task does not run itself: child tasks run them, and another one puts all together.

A task of many items does so in two cases. It has run far longer than it should: then what it has
not begun is for whoever is free. And it is tried again because the worker or pod that ran it was
lost: one of its items may be to blame, and shall take no neighbours with it. So these go in small
parts, which are divided again if they are lost, down to single items; an item that is lost alone as
often as the engine tries a task ends with an error, as one whose process dies does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from armoflow.codec.envelope import pack_envelope
from armoflow.codec.payload import Payload
from armoflow.orchestrator.constant import Constant
from armoflow.orchestrator.dividing import choose, gathering
from armoflow.orchestrator.planned import PlannedTask, Result, SlotRange
from armoflow.orchestrator.planning.rules import wire_options
from armoflow.worker.expansion_context import ExpansionContext
from armoflow.worker.job import Job

PARTS = 64
"""Child tasks at most: a task that reads more results is dear, and so are many tasks."""


def hand_out(job: Job, context: ExpansionContext, lost: int) -> None:
    """Let child tasks run the items that a job has not begun.

    Args:
        job: What the task was given, and the slots of the items that it has run.
        context: The task.
        lost: How many tasks that were to run these items were lost with their workers.
    """
    payload, done = job.payload, len(job.cells[0])
    columns: list[list[SlotRange]] = [[] for _ in context.outputs]
    if done:
        for column, cells in zip(columns, job.cells, strict=True):
            stored = context.store(f"partial {payload.name}", pack_envelope(cells))
            column.append(SlotRange(Result.existing(stored, payload.name), 0, done))
    for start, stop in _parts(done, payload.count):
        part = replace(choose(payload, range(start, stop)), lost=lost)
        results = [Result(payload.name) for _ in context.outputs]
        context.submit(_task(part, results, len(payload.names)))
        for column, result in zip(columns, results, strict=True):
            column.append(SlotRange(result, 0, stop - start))
    for column, output in zip(columns, context.outputs, strict=True):
        context.submit(gathering(payload, column, Result.existing(output, payload.name)))


def _parts(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Parts of about the same size."""
    size = -(-(stop - start) // PARTS)
    for first in range(start, stop, size):
        yield first, min(first + size, stop)


def _task(payload: Payload, outputs: Sequence[Result], steps: int) -> PlannedTask:
    inputs = []
    for number, result_id in enumerate(payload.inputs):
        name, positions = payload.origins[number] if number < len(payload.origins) else ("", None)
        inputs.append(Result.existing(result_id, name, positions))
    if payload.collection:
        for output in outputs:
            output.positions = payload.positions
    constants = [Constant.stored(payload.name, result_id) for result_id in payload.constants]
    options = wire_options(payload.settings, payload.count * steps)
    return PlannedTask(payload, inputs, outputs, options, constants)
