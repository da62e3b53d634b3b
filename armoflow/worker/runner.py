"""Runs one task: payload and inputs in, effects or a failure out. Knows no transport.

See :mod:`armoflow.codec.payload` for what a payload asks for. A task whose settings say ``packed``
(or ``capture``) ends in success with its failures as error slots; any other fails with the error
record of its first failing item.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from armoflow import config
from armoflow.agent.effects import Effects, StagedFile
from armoflow.codec.bare import is_a
from armoflow.codec.bundle import PayloadReader
from armoflow.codec.compatibility import check_versions
from armoflow.codec.container import Buffer, size
from armoflow.codec.envelope import pack_envelope
from armoflow.codec.item_log import ItemLog
from armoflow.codec.payload import Operation, Payload, Settings
from armoflow.codec.positions import position_of
from armoflow.codec.recording import record_death
from armoflow.content import DataPart
from armoflow.errors import ArmoflowError, EnvelopeError, RequirementsError, TaskError
from armoflow.orchestrator.paces import Paces
from armoflow.protocol.shared_files import remove_file
from armoflow.tracing import Labels
from armoflow.worker import data, item_operations
from armoflow.worker.attempts import Attempts, describe, packages_of
from armoflow.worker.expansion_context import Expand, ExpansionContext, TaskAgent
from armoflow.worker.failures import ItemFailure, UnreadableDataError, carry
from armoflow.worker.function_cache import FunctionCache
from armoflow.worker.inputs import CellCache, Inputs
from armoflow.worker.job import Job, handed_on
from armoflow.worker.mark import MEMORY, MarkWriter
from armoflow.worker.reach import Reach
from armoflow.worker.saved import Fold
from armoflow.worker.task_progress import TaskPaused, TaskProgress, save

if TYPE_CHECKING:
    from armoflow.worker.thread_counts import ThreadCounts

# Looking up a member takes longer than all else.
_CALL, _GATHER, _GRAPH = Operation.CALL, Operation.GATHER, Operation.GRAPH

_RETRIED = "###"
"""Stands in the id of a task that the engine tries again."""


@dataclass(slots=True)
class EngineTask:
    """One task to run.

    Attributes:
        serial: Its number between child and owner.
        task_id: ArmoniK's id.
        session_id: ArmoniK's id of the session.
        outputs: Ids of the expected outputs.
        payload: Its payload.
        inputs: Data of its dependencies by result id.
        folder: The agent's data folder, where all outputs go; None on the embedded engine.
        progress: What was done before.
        passed: Inputs that a task before it in this process makes; then they are in ``inputs``.
        trace: The trace that it belongs to, and with it its child tasks.
        refused: Why what it needs is not installed here.
    """

    serial: int
    task_id: str
    session_id: str
    outputs: Sequence[str]
    payload: data.DataSource
    inputs: Mapping[str, data.DataSource]
    folder: str | None = None
    progress: TaskProgress | None = None
    passed: Sequence[str] = ()
    trace: Labels = ()
    refused: str = ""


class TaskFailure(Exception):
    """The task fails.

    Attributes:
        kind: The kind of its error record, or "invalid" where there is no record.
        text: What the engine is told.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.text = text


class RunnerAgent(TaskAgent):
    """What a runner needs of the agent."""

    def fetch(self, result_id: str) -> data.DataSource:
        """The data of any result.

        Raises:
            UnreadableDataError: If it has none.
        """
        raise NotImplementedError


class Runner:
    """Runs tasks one after the other, and keeps code and constants between them.

    Args:
        agent: Answers what a task asks for while it runs.
        recorder: Notes what runs.
        directory: Where large outputs are staged, unless a task names a folder.
        kept: Bytes of code and constants that are kept between tasks.
        requirements: What is installed in this process's environment.
        devices: The graphics processors that this process sees; none: whoever asks is believed.

    Attributes:
        code: The functions that it knows.
        stored: The data of constants.
        name: The name of the last task.
        payload: What is being run; its user sets it back.
        touched: Its code may have changed something in this process.
        given: So may something that its code was given.
        requirements: What is installed here.
        surround: Sets environment variables.
    """

    def __init__(
        self,
        agent: RunnerAgent,
        recorder: MarkWriter,
        directory: str,
        kept: int = config.FETCHED_BYTES,
        requirements: Sequence[str] = (),
        *,
        devices: Sequence[str] = (),
    ) -> None:
        self.requirements = list(requirements)
        self._devices = devices
        self.surround: Callable[[Mapping[str, str]], None] = os.environ.update
        self._agent = agent
        self._recorder = recorder
        self._directory = directory
        self.stored = data.FetchedData(agent.fetch, kept)
        self._cells = CellCache()
        self._payloads = PayloadReader()
        self._paces = Paces()
        self._seconds = 0.0  # that the operations of this task have taken
        self._rested = 0.0  # that the operation at work has waited for retries
        self._log = ItemLog()
        self.code = FunctionCache(self.stored.read, min(kept, config.CODE_CACHE_BYTES))
        self._expander: Expand | None = None
        self._threads: ThreadCounts | None = None
        self._checked: str | None = None  # versions that may run here
        self.name = ""
        self.payload: Payload | None = None
        self.touched = self.given = True

    def run(self, task: EngineTask) -> Effects:
        """Run a task.

        Raises:
            TaskFailure: If it fails; files that it staged are removed.
            TaskPaused: If it waits for a retry, on the embedded engine: the process is free.
        """
        payload = self._payload(task)
        effects = Effects()
        try:
            if payload.settings.cpus is None and self._threads is None:
                self._run(task, payload, effects)
            else:
                self._run_with_threads(task, payload, effects)
        except Exception as error:
            for staged in effects.staged_files():
                remove_file(staged.path)
            if is_a(error, TaskFailure):
                raise
            failure = error if is_a(error, ItemFailure) else describe(error, task.task_id)
            kept_in = task.task_id if task.folder is None else ""  # a cluster keeps 4 KiB of it
            text = failure.record.to_text(payload.key, kept_in)
            raise TaskFailure(failure.record.kind, text) from error
        return effects

    def _payload(self, task: EngineTask) -> Payload:
        try:
            return self._payloads.read(data.read(task.payload), task.outputs)
        except (EnvelopeError, UnreadableDataError) as error:
            raise TaskFailure(
                "invalid", f"armoflow's worker cannot run task {task.task_id}: {error}"
            ) from error

    def _run_with_threads(self, task: EngineTask, payload: Payload, effects: Effects) -> None:
        if self._threads is None:
            from armoflow.worker.thread_counts import ThreadCounts  # few tasks say anything of it

            self._threads = ThreadCounts()
        with self._threads.of_task(payload.settings.cpus):
            self._run(task, payload, effects)

    def _surround(self, settings: Settings) -> None:
        """Let hold in this process what is said for the task."""
        if settings.memory is not None:
            self._recorder.words[MEMORY] = settings.memory
        if settings.env:
            self.surround(settings.env)
            self.touched = True

    def _run(self, task: EngineTask, payload: Payload, effects: Effects) -> None:
        self.name, self.payload, self.touched, self.given = payload.name, payload, False, False
        if payload.versions is not self._checked:  # before anything else is read of it
            check_versions(payload.versions, node=payload.name)
            self._checked = payload.versions
        settings = payload.settings
        if settings.env or settings.memory is not None:
            self._surround(settings)
        if payload.paces:
            self._paces.hear(payload.paces)
        self._seconds = 0.0
        self._log = ItemLog()
        tries = _tries(task.task_id) if _RETRIED in task.task_id else 0
        if tries and payload.divisible:  # one of its items may be what a worker was lost for
            job = self._job(task, payload, lasting=False)
        elif tries and _is_given_up(payload, tries):
            job = self._given_up(task, payload, payload.lost + tries)
        else:
            job = self._prepare(task, payload)
        if not job.complete:
            self._hand_out(task, job, effects, payload.lost + tries)
            return
        if job.pending and job.tolerant:
            self._check_graphs(task, job)
        if job.pending:
            self._expand(task, job, effects)
        else:
            self._store_all(task, payload, job, effects)

    def _store_all(self, task: EngineTask, payload: Payload, job: Job, effects: Effects) -> None:
        """All outputs, and what is told of them."""
        # On the lane the engine tells it; and who only copies has not made them.
        copied = payload.operation is _GATHER
        seconds = None if copied or task.folder is None else self._seconds
        log: Sequence[Any] = ()
        if self._log.tells:
            if self._log.lasts:
                self._context(task, job, effects).leave_log(job.cells[0])
            else:
                log = self._log.pack()
        packages = packages_of(payload)
        for output, cells in zip(task.outputs, job.cells, strict=True):
            self._store(task, effects, output, pack_envelope(cells, seconds, log, packages))
            log = ()  # the first one has it

    def _prepare(self, task: EngineTask, payload: Payload) -> Job:
        """Run the task's items, step by step; returns the last step."""
        if not payload.stages or payload.operation is _GRAPH:
            job = self._step(task, payload, lasting=payload.operation is not _CALL)
        else:
            job = self._run_steps(task, list(payload.steps()))
        # What is left to do is not an attempt of any item.
        self._recorder.start(payload.slot_count, 1, 0)
        return job

    def _run_steps(self, task: EngineTask, steps: Sequence[Payload]) -> Job:
        job: Job | None = None
        for number, step in enumerate(steps):
            self._recorder.shift = number * step.slot_count
            if number:
                # The step before is over, its time too; loading this one is its first item's.
                self._recorder.start(0, 1, 0)
            last = number == len(steps) - 1
            lasting = not last or step.operation is not _CALL
            try:
                job = self._step(task, step, job, lasting=lasting)
            except ItemFailure as failure:
                raise ItemFailure(carry(failure.record, steps[number + 1 :])) from failure
        assert job is not None
        return job

    def _given_up(self, task: EngineTask, payload: Payload, lost: int) -> Job:
        """Items that no worker has survived, as far as anybody knows: they are not run again."""
        reason = f"was lost with its worker, each of the {lost} times that one ran it"
        one = payload.collection and payload.count == 1
        index = position_of(payload.positions, 0) if one else None
        record = record_death(0, node=payload.name, item=index, attempts=lost, reason=reason)
        job = self._job(task, payload, lasting=False)
        failure = ItemFailure(carry(record, list(payload.steps())[1:]))
        if payload.settings.on_failure is None:
            job.fail_rest(failure)
        else:
            for item in range(payload.slot_count):
                job.fail(item, failure)
        return job

    def _step(
        self, task: EngineTask, step: Payload, before: Job | None = None, *, lasting: bool
    ) -> Job:
        job = self._job(task, step, before, lasting=lasting)
        if task.progress is not None:
            shift = self._recorder.shift
            job.attempts.resume(task.progress.spent_in(shift, step.slot_count))
            job.finished = task.progress.finished_in(shift, step.slot_count)
            job.fold = task.progress.fold
            if len(job.finished) == step.slot_count:
                job.take_over()
                return job
        try:
            needed = step.settings.requirements
            if (needed or self.requirements) and list(needed) != self.requirements:
                self._refuse(task, step)
            if self._devices and (step.settings.gpus or 0) > len(self._devices):
                raise too_few_devices(step, self._devices)
            self._load(step, job)
            self._rested, began = 0.0, time.perf_counter()
            item_operations.RUN[step.operation](job)
            # Pauses are no work: sizes are chosen by that, and those who wait together wait once.
            seconds = time.perf_counter() - began - self._rested
            self._seconds += seconds
            if job.original is not None:
                calls = len(job.cells[0]) if step.count > 1 else 1
                self._paces.note(job.original, seconds / (calls or 1), calls)
        except ItemFailure as failure:
            job.fail_rest(failure)
        except TaskPaused:
            raise
        except BaseException as error:  # user modules may do anything when they are imported
            output = self._recorder.last_lines()
            packages = packages_of(step)
            told = describe(
                error, step.name, output=output, packages=packages, versions=step.versions
            )
            job.fail_rest(told)
        finally:
            self.given = self.given or job.given
        return job

    def _job(
        self, task: EngineTask, step: Payload, before: Job | None = None, *, lasting: bool
    ) -> Job:
        stored, cells = self.stored, self._cells
        if before is None:
            inputs = Inputs(step, task.inputs, stored, cells)
        else:
            inputs = Inputs(
                step,
                task.inputs,
                stored,
                cells,
                previous=before.cells[0],
                name_before=before.name,
                graphs=handed_on(before),
            )
        attempts = Attempts(step, self._recorder, inputs)
        if before is None and step.spent:  # where the graph was that it is of
            pause = step.settings.draw_pause(step.spent)
            attempts.resume({0: (step.spent, time.monotonic_ns() + int(pause * 1e9))})
        rest = functools.partial(self._rest, task, before)
        log = self._log.section(step.name, step.positions if step.collection else None)
        return Job(step, inputs, attempts, len(task.outputs), log=log, rest=rest, lasting=lasting)

    def _refuse(self, task: EngineTask, step: Payload) -> NoReturn:
        """It is not run without what it needs."""
        wanted = ", ".join(step.settings.requirements)
        raise RequirementsError(
            task.refused
            or f"{step.name!r} needs {wanted or 'no requirements'}, and was given a process that "
            f"has {', '.join(self.requirements) or 'none'}: the worker is none of this version"
        )

    def _load(self, step: Payload, job: Job) -> None:
        if step.operation is _GATHER:
            self.code.install_modules(step)
            return
        if step.operation is _GRAPH:
            # Imported here: most workers never see one.
            from armoflow.worker.subgraph import build

            job.function = functools.partial(build, step, job.inputs, self.code)
            return
        job.function, job.original, reach = self.code.function(step)
        self.touched = self.touched or not reach.is_short()

    def _enter(self, function: Callable[..., Any], reach: Reach) -> None:
        """This function runs now, in a graph that the task has returned."""
        self.code.enter(function)
        self.given = True
        self.touched = self.touched or not reach.is_short()

    def _rest(
        self, task: EngineTask, before: Job | None, job: Job, item: int, fold: Fold | None
    ) -> None:
        """Wait until an item is due; here only where there is nobody to wait elsewhere.

        Raises:
            TaskPaused: On the embedded engine, if it takes long enough for others to run.
        """
        recorder, attempts = self._recorder, job.attempts
        due = attempts.due[item]
        seconds = (due - time.monotonic_ns()) * 1e-9
        if seconds <= 0:
            return
        if task.folder is None and seconds >= config.SHORTEST_PAUSE:
            path = f"{self._directory}/progress-{task.serial}"
            saved = save(before, job, fold, path)
            if saved is not None:
                shift = recorder.shift
                waiting = attempts.due.items()
                spent = {shift + key: (attempts.spent[key], moment) for key, moment in waiting}
                raise TaskPaused(due, spent, saved)
        recorder.go_to(item)
        time.sleep(seconds)
        self._rested += seconds

    def _check_graphs(self, task: EngineTask, job: Job) -> None:
        """Of several graphs that items have returned, one may ask for what is not allowed."""
        from armoflow.worker.expand import refused

        for item, error in refused(job.pending, len(task.outputs), job.payload).items():
            job.fail_pending(item, error)

    def _expand(self, task: EngineTask, job: Job, effects: Effects) -> None:
        if self._expander is None:
            # Imported here: most workers never see a task that returns a graph.
            from armoflow.orchestrator.codebook import CodeBook
            from armoflow.worker.expand import Expander

            self._book = CodeBook(self.code)
            self._expander = Expander(self._book, self._enter, self._paces, self._recorder)
        if job.original is not None and not job.inputs.graphs:  # else a step before returned it
            self._paces.note_graph(job.original)
        # What another task stored is there only if that task succeeded.
        self._book.forget_stored()
        context = self._context(task, job, effects)
        try:
            self._expander(job.pending, job.cells, context)
            context.finish()
            missing = effects.undelivered(task.outputs)
            if missing:
                raise ArmoflowError(f"the graph that {job.payload.name!r} returned makes no output")
        except ItemFailure:
            raise
        except BaseException as error:  # arguments may do anything when they are pickled
            versions = job.payload.versions
            raise describe(error, job.payload.name, versions=versions) from error

    def _hand_out(self, task: EngineTask, job: Job, effects: Effects, lost: int) -> None:
        """Let child tasks run the items that were not begun."""
        from armoflow.worker.handing_out import hand_out  # few workers ever do

        context = self._context(task, job, effects)
        hand_out(job, context, lost)
        context.finish()

    def _context(self, task: EngineTask, job: Job, effects: Effects) -> ExpansionContext:
        return ExpansionContext(
            payload=job.payload,
            function=job.original,
            outputs=task.outputs,
            agent=self._agent,
            stage=functools.partial(self._stage, task),
            effects=effects,
            local=task.folder is None,
            seconds=_inline_seconds(task, job.payload),
            slot=job.slot,
            log=self._log,
            trace=task.trace,
        )

    def _store(
        self, task: EngineTask, effects: Effects, output: str, parts: Sequence[Buffer]
    ) -> None:
        if task.folder is None and size(parts) <= config.INLINE_DATA_LIMIT:
            effects.data[output] = parts[0] if len(parts) == 1 else b"".join(parts)  # type: ignore[assignment]
        else:
            effects.data[output] = self._stage(task, output, parts)

    def _stage(self, task: EngineTask, result_id: str, parts: Sequence[DataPart]) -> StagedFile:
        if task.folder is not None:
            return data.write(f"{task.folder}/{result_id}", parts)
        return data.write_own(f"{self._directory}/{result_id}", parts)


def _tries(task_id: str) -> int:
    """How often the engine has tried a task before, whose worker was lost."""
    _, _, number = task_id.partition(_RETRIED)
    return int(number) if number.isdecimal() else 0


def _is_given_up(payload: Payload, tries: int) -> bool:
    """Whether items that others wait for together are not run again.

    If their task were lost once more the engine would give it up, and with it all the others.
    """
    lost = max(payload.lost, int(payload.settings.capture))
    given = lost and lost + tries > payload.settings.engine_retries
    return bool(given) and payload.operation is not _GATHER


def _inline_seconds(task: EngineTask, payload: Payload) -> float:
    """How long the graph that a task has returned may be begun here.

    Not at all if that, or whatever else it did, has cost an agent or a process before: what is to
    blame shall be told by its name.
    """
    if _tries(task.task_id) or (task.progress is not None and not task.progress.inline):
        return 0.0
    if payload.inline is not None:
        return payload.inline
    return config.INLINE_SECONDS if task.folder is None else config.CLUSTER_INLINE_SECONDS


def too_few_devices(step: Payload, devices: Sequence[str]) -> TaskError:
    """What a task ends with that asks for more than the machine has, whatever a table says."""
    return TaskError(
        f"task {step.name!r} asks for gpus={step.settings.gpus}, and its worker has "
        f"{len(devices)}: {', '.join(devices)}. Ask for fewer, or let the table of partitions "
        "(Client(partitions=...), ARMOFLOW_PARTITIONS) say what workers have"
    )
