"""One task run again in this process: by the runner of the workers, without an engine.

The code, arguments and options are those of the payload: retries too, with their pauses. Nobody is
there to end it: a timeout is not enforced. Child tasks that it would submit are only counted.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from armoflow.agent.effects import ResultData, StagedFile
from armoflow.cache.changes import described, snapshot_of
from armoflow.codec.bundle import read_payload
from armoflow.codec.container import Buffer
from armoflow.codec.envelope import Slot, SlotKind, unpack_envelope
from armoflow.codec.failure import ErrorRecord
from armoflow.codec.payload import Operation, Payload, Pickled
from armoflow.codec.pickling import loads
from armoflow.codec.positions import label
from armoflow.errors import EnvelopeError, ReplayError
from armoflow.replay.dump import TaskDump
from armoflow.worker import data
from armoflow.worker.failures import UnreadableDataError
from armoflow.worker.job import Job
from armoflow.worker.mark import Mark, MarkWriter, create_mark_file
from armoflow.worker.runner import EngineTask, Runner, RunnerAgent, TaskFailure
from armoflow.worker.script import Script


class ReplayedItem(NamedTuple):
    """What an item of the task has ended with.

    Attributes:
        name: The item, as errors call it.
        value: Its value, if it has one.
        error: Why it has none; None with no value: the item was filtered out, or is made by child
            tasks.
        skipped: An input of it had failed: it did not run.
    """

    name: str
    value: Any = None
    error: ErrorRecord | None = None
    skipped: bool = False


class Replayed(NamedTuple):
    """What came of a task.

    Attributes:
        name: The task's name.
        items: What its items have ended with.
        children: Child tasks that it would have submitted.
        problem: Why it could not be run as a task, if so.
        exception: What the user's code raised last, with its frames.
        made: The data of the outputs, but of those that child tasks make.
        changed: The arguments that the user's code has changed in place.
    """

    name: str
    items: Sequence[ReplayedItem]
    children: int
    problem: str
    exception: BaseException | None
    made: Mapping[str, Buffer] = {}
    changed: Sequence[str] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.problem and all(item.error is None for item in self.items)


class _Agent(RunnerAgent):
    """Answers from the folder what a task asks its agent for."""

    def __init__(self, dump: TaskDump) -> None:
        self._dump = dump
        self._numbers = itertools.count(1)

    def new_results(self, names: Sequence[str]) -> list[str]:
        """Ids that no engine knows."""
        return [f"replayed-{next(self._numbers)}" for _ in names]

    def store_results(self, items: Sequence[tuple[str, bytes]]) -> list[str]:
        """The same: what a child task would read is not needed."""
        return self.new_results([name for name, _ in items])

    def fetch(self, result_id: str) -> data.DataSource:
        """The file of a constant, or of code."""
        path = self._dump.data(result_id)
        if not path.is_file():
            raise UnreadableDataError(f"the data of {result_id} was not saved in {path.parent}")
        return str(path), path.stat().st_size


class _Watching(Runner):
    """A runner that keeps what the user's code has raised last, and has changed in place.

    Attributes:
        exception: What it has raised, with its frames.
        changed: Which arguments it has changed; each is told once.
    """

    exception: BaseException | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.changed: dict[str, None] = {}

    def _load(self, step: Payload, job: Job) -> None:
        super()._load(step, job)
        if step.operation is not Operation.GATHER:
            adds = step.operation is Operation.COMBINE  # it may, to what it holds
            job.function = self._watched(step.name, job.function, compares=not adds)

    def _watched(
        self, task: str, function: Callable[..., Any], *, compares: bool
    ) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            given: dict[int | str, Any] = dict(enumerate(args))
            given.update(kwargs.items())
            before = {name: snapshot_of(given[name]) for name in given if compares}
            try:
                return function(*args, **kwargs)
            except BaseException as error:
                self.exception = error
                raise
            finally:
                for name, snapshot in before.items():
                    place = None if snapshot is None else snapshot.change(given[name])
                    if place is not None:
                        told = described(function, name, place)
                        self.changed[f"{task} has changed {told}"] = None

        return call


def rerun(dump: TaskDump, *, alone: bool = False, within: Path | None = None) -> Replayed:
    """Run a task again; the user's code runs in this process.

    Args:
        dump: What it was given.
        alone: The process is for this alone: its ``__main__`` becomes the task's script.
        within: A directory that whoever started the process removes, for what it needs meanwhile.

    Raises:
        ReplayError: If it is not a task of armoflow's, or of another version of it.
    """
    request = dump.request
    try:
        data = dump.data(request.payload_id).read_bytes()
        payload = read_payload(data, request.expected_output_keys)
    except EnvelopeError as error:
        raise ReplayError(f"task {request.task_id} is none of armoflow's: {error}") from error
    with tempfile.TemporaryDirectory(prefix="armoflow-", dir=within) as directory:
        mark = Mark(create_mark_file(directory))
        try:
            # This process has them, or whoever started it sees what is missing.
            needed = payload.settings.requirements
            runner = _Watching(
                _Agent(dump), MarkWriter(mark, _discard), directory, requirements=needed
            )
            if alone:
                Script(runner.code).install()
            return _run(runner, dump, payload, directory)
        finally:
            mark.close()


def _run(runner: _Watching, dump: TaskDump, payload: Payload, directory: str) -> Replayed:
    request = dump.request
    task = EngineTask(
        serial=1,
        # Not by its number: it is run whole, whatever became of it before.
        task_id=request.task_id.partition("###")[0],
        session_id=request.session_id,
        outputs=list(request.expected_output_keys),
        payload=(str(path := dump.data(request.payload_id)), path.stat().st_size),
        inputs={
            each: (str(file := dump.data(each)), file.stat().st_size)
            for each in request.data_dependencies
        },
        folder=directory,
    )
    try:
        effects = runner.run(task)
    except TaskFailure as failure:
        record = ErrorRecord.find(failure.text)
        if record is None:
            return Replayed(
                payload.name, [], 0, failure.text, runner.exception, changed=[*runner.changed]
            )
        item = ReplayedItem(record.name, error=record)
        return Replayed(payload.name, [item], 0, "", runner.exception, changed=[*runner.changed])
    outputs = request.expected_output_keys
    made = {key: _read(effects.data[key]) for key in outputs if key in effects.data}
    items = [*_items(payload, made, outputs)]
    children = len(effects.children)
    return Replayed(payload.name, items, children, "", runner.exception, made, [*runner.changed])


def _items(
    payload: Payload, made: Mapping[str, Buffer], outputs: Sequence[str]
) -> Iterator[ReplayedItem]:
    several = len(outputs) > 1
    for number, output in enumerate(outputs):
        if output not in made:  # child tasks make it
            continue
        for index, slot in enumerate(unpack_envelope(made[output])):
            named = payload.collection or payload.slot_count > 1
            name = label(payload.names[-1], payload.positions if named else None, index)
            yield _item(f"{name} output {number}" if several else name, slot, payload)


def _item(name: str, slot: Slot, payload: Payload) -> ReplayedItem:
    if slot.kind is SlotKind.VALUE:
        return ReplayedItem(name, loads(Pickled(slot.data, slot.buffers)))
    if slot.kind is SlotKind.ABSENT:
        return ReplayedItem(name)
    record = ErrorRecord.decode(slot.data, payload.key)
    return ReplayedItem(name, error=record, skipped=slot.kind is SlotKind.SKIPPED)


def _read(made: ResultData) -> Buffer:
    return data.read((made.path, made.size) if isinstance(made, StagedFile) else bytes(made))


def _discard(*_: object) -> None:
    """What is finished is kept for nobody."""
