"""What a returned graph needs of the task that returned it: results, data, child tasks.

:mod:`armoflow.worker.expand` plans the graph and submits what the planner yields here. What reaches
the agent comes in the order of ArmoniK's worker protocol: results with data (stored code, payloads
that name no new result), results without data, data in files, child tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

from armoflow import config
from armoflow.agent.effects import ChildTask, CreatedResult, Effects, StagedFile
from armoflow.codec.container import Buffer, size
from armoflow.codec.envelope import Cell, Slot, pack_envelope
from armoflow.codec.item_log import ItemLog
from armoflow.codec.kept_errors import kept_errors
from armoflow.codec.payload import Payload
from armoflow.content import DataPart
from armoflow.protocol.bundling import bundled, lay_out_bundle, name_of_payload
from armoflow.protocol.frames import (
    CHILD_PREFIX,
    CONSTANT_PREFIX,
    KEPT_CHILD_PREFIX,
    PAYLOAD_PREFIX,
)
from armoflow.tracing import Labels
from armoflow.worker.attempts import packages_of
from armoflow.worker.failures import ItemFailure

if TYPE_CHECKING:
    from armoflow.protocol.submission import Submission, WireOptions

_RESULTS_PER_CALL = 1000
_NAME = 200  # characters of a result's name


class Expand(Protocol):
    """``armoflow.worker.expand.expand``: plan what a task returned.

    Called with the values that hold a ``Delayed`` or ``DelayedList`` by item position (a call has
    the one item 0), and the cells of the finished items in each output (see
    ``armoflow.codec.envelope``; those of pending items are None). Unless the payload's settings
    say ``packed`` or ``capture`` there is one pending item and no other.
    """

    def __call__(
        self,
        pending: Mapping[int, Any],
        finished: Sequence[Sequence[Cell]],
        context: ExpansionContext,
    ) -> None:
        """Submit what makes every expected output, through the context."""


class TaskAgent(Protocol):
    """How a task gets at its agent, before it ends."""

    def new_results(self, names: Sequence[str]) -> list[str]:
        """Create results without data; returns their ids."""

    def store_results(self, items: Sequence[tuple[str, bytes]]) -> list[str]:
        """Create results with data, in one message; returns their ids."""


class ExpansionContext:
    """The task that returned a graph, as the expansion sees it.

    Attributes:
        payload: The task's payload: its name, settings, modules, start, and so on.
        function: The code that ran.
        outputs: Ids of the expected outputs, in order. Every one must be written by ``write`` or
            be an output of a submission (``ResultHandle(name, id)``).
        seconds: How long the graph may be begun in this process.
        local: The agent is that of the embedded engine.
        slot: Makes the slot of a failure.
        log: What became of the task's items.
        trace: The trace that child tasks belong to.
        effects: What the task asks for.
        ran: How long the calls of a subgraph ran here, for who sizes the next ones.
    """

    def __init__(
        self,
        *,
        payload: Payload,
        function: Callable[..., Any] | None,
        outputs: Sequence[str],
        agent: TaskAgent,
        stage: Callable[[str, Sequence[DataPart]], StagedFile],
        effects: Effects,
        local: bool,
        seconds: float,
        slot: Callable[[ItemFailure], Slot],
        log: ItemLog,
        trace: Labels = (),
    ) -> None:
        self.payload = payload
        self.function = function
        self.outputs = outputs
        self.effects = effects
        self.seconds = seconds
        self.slot = slot
        self.log = log
        self.trace = trace
        self._written: dict[str, Sequence[Cell]] = {}
        self._agent = agent
        self._stage = stage
        self.local = local
        self.ran: float | None = None
        self._submissions: list[Submission] = []

    def store(self, name: str, parts: Sequence[DataPart]) -> str:
        """Store data as a new result, for example code or a partial result; returns its id."""
        return self._store_one((CONSTANT_PREFIX + name)[:_NAME], parts)

    def write(self, output: str, cells: Sequence[Cell]) -> None:
        """Give an expected output its slots."""
        self._written[output] = cells

    def leave_log(self, cells: Iterable[Cell]) -> None:
        """Leave a result that is there for the task's log, and tells why cells have no value."""
        self._store_one(self.log.name, self.log.data(kept_errors(cells)))

    def submit(self, submission: Submission) -> None:
        """Add a child task; its new results get ids when the expansion has returned."""
        self._submissions.append(submission)

    def forget(self) -> None:
        """What was written, and the child tasks so far, are not to be."""
        self._written = {}
        self._submissions = []

    def finish(self) -> None:
        """Turn all into effects; called once, after the expansion."""
        self._write_outputs()
        if self.local:
            self._name_outputs()
            self._write_bundles()
        else:
            ready = [task for task in self._submissions if all(each.id for each in task.inputs)]
            self._store_payloads(ready)
            self._name_outputs()
            self._write_payloads([task for task in self._submissions if not task.payload_id])
        self.effects.children.extend(
            ChildTask(
                task.payload_id,
                list(dict.fromkeys(handle.id for handle in task.inputs)),
                [handle.id for handle in task.outputs],
                encode_options(task.options, self.trace),
            )
            for task in self._submissions
        )
        self._submissions = []

    def _write_outputs(self) -> None:
        """Lay the outputs out; the log is behind the first one's slots, or has its own result."""
        log = self.log.pack() if self._written and self.log.tells and not self.log.lasts else ()
        if not log and self.log.tells:
            self.leave_log(chain.from_iterable(self._written.values()))
        packages = packages_of(self.payload)
        for output, cells in self._written.items():
            self._write(output, pack_envelope(cells, self.ran, log, packages))
            log = ()

    def _write(self, result_id: str, parts: Sequence[Buffer]) -> None:
        if self.local and size(parts) <= config.INLINE_DATA_LIMIT:
            self.effects.data[result_id] = b"".join(parts)
        else:
            self.effects.data[result_id] = self._stage(result_id, parts)

    def _store_payloads(self, tasks: Sequence[Submission]) -> None:
        """Payloads that can be laid out already go up with their data, in few messages."""
        batch: list[tuple[Submission, bytes]] = []
        total = 0
        for task in tasks:
            parts = task.pack()
            length = size(parts)
            if length > config.INLINE_DATA_LIMIT:
                continue  # laid out again for its file; rather that than keep it in memory
            if batch and total + length > config.BATCH_BYTES:
                self._store_batch(batch)
                batch, total = [], 0
            batch.append((task, b"".join(parts)))
            total += length
        if batch:
            self._store_batch(batch)

    def _store_batch(self, batch: Sequence[tuple[Submission, bytes]]) -> None:
        ids = self._store([(_payload_name(task), data) for task, data in batch])
        for (task, _), result_id in zip(batch, ids, strict=True):
            task.payload_id = result_id

    def _name_outputs(self) -> None:
        names = {
            handle: (_prefix(task) + handle.name)[:_NAME]
            for task in self._submissions
            for handle in task.outputs
            if not handle.id
        }
        for handle, result_id in zip(names, self._create(list(names.values())), strict=True):
            handle.id = result_id

    def _write_bundles(self) -> None:
        """The payloads of all, where the engine knows how many tasks need one."""
        bundles = list(bundled(self._submissions))
        ids = self._create([name_of_payload(bundle)[:_NAME] for bundle in bundles])
        for bundle, result_id in zip(bundles, ids, strict=True):
            for task in bundle:
                task.payload_id = result_id
            self._write(result_id, lay_out_bundle(bundle))

    def _write_payloads(self, tasks: Sequence[Submission]) -> None:
        ids = self._create([_payload_name(task) for task in tasks])
        for task, result_id in zip(tasks, ids, strict=True):
            task.payload_id = result_id
            self._write(result_id, task.pack())

    def _create(self, names: Sequence[str]) -> list[str]:
        ids: list[str] = []
        for first in range(0, len(names), _RESULTS_PER_CALL):
            batch = names[first : first + _RESULTS_PER_CALL]
            ids.extend(self._agent.new_results(batch))
        if self.local:
            self.effects.created.extend(map(CreatedResult, ids, names))
        return ids

    def _store_one(self, name: str, parts: Sequence[DataPart]) -> str:
        if size(parts) <= config.INLINE_DATA_LIMIT:
            return self._store([(name, b"".join([part[:] for part in parts]))])[0]
        result_id = self._create([name])[0]
        self.effects.data[result_id] = self._stage(result_id, parts)
        return result_id

    def _store(self, items: Sequence[tuple[str, bytes]]) -> list[str]:
        if not self.local:
            return self._agent.store_results(items)
        ids = self._create([name for name, _ in items])
        self.effects.data.update(zip(ids, (data for _, data in items), strict=True))
        return ids


def _prefix(task: Submission) -> str:
    return KEPT_CHILD_PREFIX if task.keep else CHILD_PREFIX


def _payload_name(task: Submission) -> str:
    return (PAYLOAD_PREFIX + task.name)[:_NAME]


def encode_options(options: WireOptions, trace: Labels = ()) -> dict[str, Any]:
    """A child's ArmoniK options as :class:`ChildTask` carries them: names as in the API."""
    further = (*options.labels, *trace)
    labels = {"options": dict(further)} if further else {}
    return {
        "max_duration": options.max_duration,
        # Inside a task, 0 means inherit and -1 none.
        "max_retries": options.max_retries or -1,
        "priority": options.priority,
        "partition_id": options.partition,
        **labels,
    }
