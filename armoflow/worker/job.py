"""One task at work: what it was given, and the cells that it has made so far.

A task of several steps is one job after the other.
"""

from __future__ import annotations

import functools
import math
import pickle
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeGuard

from armoflow import config
from armoflow.codec.bare import is_a, looked, set_traceback
from armoflow.codec.envelope import Cell, Slot, SlotKind
from armoflow.codec.failure import WHOLE, ErrorRecord
from armoflow.codec.item_log import ItemState, Section
from armoflow.codec.payload import Operation, Payload, Settings
from armoflow.codec.positions import label
from armoflow.errors import SerializationError, TaskError
from armoflow.fallback import Fallback, lazy_fallback
from armoflow.worker.attempts import Attempts
from armoflow.worker.failures import ItemFailure
from armoflow.worker.inputs import Inputs, pickle_value
from armoflow.worker.saved import Fold

if TYPE_CHECKING:
    from armoflow.graph.task import Task
    from armoflow.options import TaskOptions

_LAZY = "armoflow.graph.lazy"
"""Where lazy values are from: who has not loaded it has made none."""

_NOT_SEQUENCES = (str, bytes, bytearray, dict, set, frozenset)


STATES = {SlotKind.ERROR: ItemState.FAILED, SlotKind.SKIPPED: ItemState.SKIPPED}
"""How an item has ended that has such a slot; others have completed."""


_REPLACING = (Operation.CALL, Operation.MAP, Operation.FILTER)
"""What of a failed item something else may take the place of."""


def _no_function(*args: Any, **kwargs: Any) -> Any:
    raise TaskError("the task has no function")


Rest = Callable[["Job", int, "Fold | None"], None]
"""Waits until an item is due, or leaves the process to others for that time."""


class Job:
    """One task, or one step of it, at work: what it was given and what it has made so far.

    Args:
        payload: What to do.
        inputs: What it reads.
        attempts: How its items are tried.
        output_count: How many outputs it has.
        log: Told what becomes of them.
        rest: Called when nothing is left to do but to wait.
        lasting: Something of the user's runs between an item's end and the writing of its value: so
            its buffers are copied, and its slots are kept where they outlive this process.

    Attributes:
        tolerant: Failures become slots and the task goes on.
        function: What to call.
        original: The user's function itself.
        finished: Items that an earlier process finished.
        fold: How far an earlier process came with a reduction.
        cells: For each output, the cells of the items so far.
        pending: Values that hold a graph, by item; their cells are None.
        late: When it has run far longer than it should, by ``time.perf_counter``.
        given: Its function may have been given more than scalars: what the methods of an object do
            to this process, nobody knows.
    """

    # What few tasks set.
    original: Callable[..., Any] | None = None
    finished: Mapping[int, Sequence[Cell]] = MappingProxyType({})
    fold: Fold | None = None
    late = math.inf
    given = True
    _error_bytes = 0

    def __init__(
        self,
        payload: Payload,
        inputs: Inputs,
        attempts: Attempts,
        output_count: int,
        *,
        log: Section,
        rest: Rest,
        lasting: bool,
    ) -> None:
        self.payload = payload
        self.inputs = inputs
        self.attempts = attempts
        self.recorder = attempts.recorder
        self.log = log
        self.function: Callable[..., Any] = _no_function
        self.cells: list[list[Cell]] = [[] for _ in range(output_count)]
        self.pending: dict[int, Any] = {}
        if payload.target:
            self.late = time.perf_counter() + config.LATE * payload.target
        self.tolerant = payload.settings.packed or payload.settings.capture
        self._rest = rest
        self._lasting = lasting
        self._nothing: list[Cell] = [None] * output_count

    @functools.cached_property
    def fallback(self) -> Fallback | None:
        """What stands for values that could not be made; of reductions and choices nothing can."""
        operation, pickled = self.payload.operation, self.payload.settings.on_failure
        if pickled is None or operation not in _REPLACING:
            return None
        fallback = Fallback(pickle.loads(pickled))
        return fallback if fallback.skips or operation is not Operation.FILTER else None

    @property
    def complete(self) -> bool:
        """Whether all items have run."""
        return len(self.cells[0]) >= self.payload.slot_count

    def gives_away(self, item: int) -> bool:
        """Whether the items from one on are for whoever is free: they would take long here."""
        now = time.perf_counter()
        if now < self.late or not item or self.pending or self.attempts.due:
            return False
        target = self.payload.target
        ran = now - self.late + config.LATE * target
        return ran / item * (self.payload.count - item) > target

    def check_outputs(self, count: int) -> None:
        """Refuse a task that was asked for another number of outputs.

        Raises:
            TaskError: If it was.
        """
        if len(self.cells) != count:
            raise TaskError(
                f"task {self.payload.name!r} makes {count} output(s), not {len(self.cells)}"
            )

    def take_over(self) -> None:
        """Every item was finished by an earlier process: nothing runs any more."""
        for item in range(self.payload.slot_count):
            self.is_finished(item)

    def is_finished(self, item: int) -> bool:
        """Whether an earlier process finished an item; its cells are taken over."""
        cells = self.finished.get(item)
        if cells is None:
            return False
        replaced = self.payload.settings.on_failure is not None
        if replaced and _is_error(cells[0]):  # its process ended in it
            failure = ItemFailure(ErrorRecord.decode(cells[0].data, self.payload.key))
            self.fail(item, failure)
            self.log.spend(item, 0.0)
            return True
        self._put(item, cells)
        self.recorder.skip(item)
        self.log.spend(item, 0.0)
        if isinstance(cells[0], Slot) and cells[0].kind in STATES:
            self.log.mark(item, STATES[cells[0].kind], self.attempts.made(item))
        return True

    def spend(self, item: int, seconds: float) -> None:
        """An attempt of an item has taken so long."""
        self.log.spend(item, seconds)
        if item in self.attempts.due:
            self.log.wait(item)
        elif item in self.attempts.spent and item not in self.log.special:
            self.log.mark(item, ItemState.COMPLETED, self.attempts.made(item))

    def wait(self, item: int) -> None:
        """An item waits for its next attempt: the others go on."""
        self._put(item, self._nothing)
        self.recorder.wait(item, self.attempts.spent[item], self.attempts.due[item])

    def rest(self, item: int, fold: Fold | None = None) -> None:
        """Nothing can be done before this item is due."""
        self._rest(self, item, fold)

    def keep(self, item: int, cells: Sequence[Cell]) -> None:
        """An item is finished: one cell for each output."""
        self._put(item, cells)
        if self._lasting:
            self.recorder.keep(item, cells)
        else:
            self.recorder.skip(item)

    def keep_value(self, item: int, value: Any) -> None:
        """A function returned: make cells of it, or put it aside if it holds a graph."""
        lazy = sys.modules.get(_LAZY)
        if lazy is not None and issubclass(type(value), lazy.Lazy):
            self.keep_graph(item, value)
            return
        try:
            cells = self._cells(value)
        except BaseException as error:
            if not looked(lambda: holds_graph(value), False):
                self.fail(item, self._refuse(item, error))
                return
            self.keep_graph(item, value)
        else:
            self.keep(item, cells)

    def keep_graph(self, item: int, value: Any) -> None:
        """The value of an item holds a graph: it is put aside."""
        self.pending[item] = value
        self._put(item, self._nothing)
        self.recorder.skip(item)

    def fail(self, item: int, failure: ItemFailure) -> None:
        """An item has no value.

        Raises:
            ItemFailure: Unless failures become slots.
        """
        failure = self._seen_from(item, failure)
        cells: Sequence[Cell] | None = None
        replaced = self.payload.settings.on_failure is not None and failure.record.kind != "lost"
        if replaced and failure.kind is SlotKind.ERROR:
            cells, failure = self._replace(item, failure)
        if cells is None:
            if not self.tolerant:
                raise failure
            cells = [self.slot(failure)] * len(self.cells)
        self.log.mark(item, STATES[failure.kind], self.attempts.made(item))
        self.keep(item, cells)

    def _replace(
        self, item: int, failure: ItemFailure
    ) -> tuple[Sequence[Cell] | None, ItemFailure]:
        """What stands for an item that failed, if it can be made; else why it has no value."""
        try:
            fallback = self.fallback
            if fallback is None:
                return None, failure
            if fallback.skips:
                return (self._nothing if self.payload.collection else None), failure
            value = fallback.of(failure.record.exception)
            if looked(lambda: holds_graph(value), False):
                raise lazy_fallback()
            return self._cells(value), failure
        except BaseException as error:
            return None, self._refuse(item, error)

    def fail_pending(self, item: int, error: Exception) -> None:
        """An item's graph cannot be run.

        Raises:
            ItemFailure: Unless failures become slots.
        """
        failure = self.attempts.failure(item, error)
        if not self.tolerant:
            raise failure
        del self.pending[item]
        self.log.mark(item, ItemState.FAILED, self.attempts.made(item))
        self._put(item, [self.slot(failure)] * len(self.cells))

    def fail_rest(self, failure: ItemFailure) -> None:
        """No further item can run.

        Raises:
            ItemFailure: Unless failures become slots.
        """
        failure = self._seen_from(None, failure)
        if not self.tolerant:
            raise failure
        cells = [self.slot(failure)] * len(self.cells)
        done, due = len(self.cells[0]), self.attempts.due
        self.log.add(0.0, done - self.log.length)
        for item in range(self.payload.slot_count):
            if (item >= done or item in due) and not self.is_finished(item):
                self._put(item, cells)
                self.recorder.skip(item)
                self.log.spend(item, 0.0)
                self.log.mark(item, STATES[failure.kind], self.attempts.made(item))

    def name(self, item: int | None) -> str:
        """What errors call an item, or the whole task."""
        payload = self.payload
        if payload.collection and item is not None:
            return label(payload.name, payload.positions, item)
        return payload.name

    def slot(self, failure: ItemFailure) -> Slot:
        """The slot of a failure: whole, as long as those of the task are not too large together."""
        limit = WHOLE if failure.kind is SlotKind.ERROR else config.ERROR_COPY_LIMIT
        if self._error_bytes > config.ERROR_TASK_BYTES:
            limit = config.ERROR_RECORD_LIMIT
        slot = failure.slot(self.payload.key, limit)
        self._error_bytes += len(slot.data)
        return slot

    def _put(self, item: int, cells: Sequence[Cell]) -> None:
        """The slots of an item: the next one, or one that had to wait."""
        if len(self.cells) == 1 == len(cells) and item == len(self.cells[0]):
            self.cells[0].append(cells[0])
            return
        for output, cell in zip(self.cells, cells, strict=True):
            if item == len(output):
                output.append(cell)
            else:
                output[item] = cell

    def _seen_from(self, item: int | None, failure: ItemFailure) -> ItemFailure:
        """A failure of an input, with this task's name at the end of its path."""
        if failure.kind is not SlotKind.SKIPPED or failure.placed:
            return failure
        payload, record = self.payload, failure.record
        name = self.name(item)
        if payload.operation is Operation.COMBINE and name == (record.path or [record.name])[-1]:
            return failure  # a reduction is one step, however many tasks it takes
        return ItemFailure(record.via(name), SlotKind.SKIPPED, placed=True)

    def _refuse(self, item: int, error: BaseException) -> ItemFailure:
        """What an item ends with whose value cannot be stored."""
        # Where armoflow found it does not matter.
        told = unstorable(error, self.name(item))
        set_traceback(told, None)
        return self.attempts.failure(item, told)

    def _cells(self, value: Any) -> list[Cell]:
        count = len(self.cells)
        if count == 1:
            return [pickle_value(value, copy=self._lasting)]
        values = split_outputs(value, count, self.payload.name)
        return [pickle_value(single, copy=self._lasting) for single in values]


def _is_error(cell: Cell) -> TypeGuard[Slot]:
    return isinstance(cell, Slot) and cell.kind is SlotKind.ERROR


def unstorable(error: BaseException, name: str) -> BaseException:
    """What is told of an item whose value cannot be stored."""
    if not is_a(error, SerializationError):
        return error
    told = SerializationError(f"task {name!r} returned a value that cannot be stored: {error}")
    told.__cause__ = error.__cause__  # what the user's own code raised, if it was that
    return told


def no_truth(name: str) -> TaskError:
    """What an item ends with whose filter returned a graph."""
    return TaskError(f"task {name!r} decides which items stay: it cannot return a Delayed")


def not_combined(name: str) -> TaskError:
    """What a reduction ends with whose step returned a graph."""
    return TaskError(f"task {name!r} combines values in a reduce: it cannot return a Delayed")


def split_outputs(value: Any, count: int, name: str) -> list[Any]:
    """The values for several outputs.

    Raises:
        TaskError: If there are not as many as declared.
    """
    if not hasattr(value, "__iter__") or isinstance(value, _NOT_SEQUENCES):
        raise TaskError(
            f"task {name!r} has outputs={count} and must return a sequence of {count} values, "
            f"not a {type(value).__name__}"
        )
    values = list(value)
    if len(values) != count:
        raise TaskError(
            f"task {name!r} has outputs={count} and must return a sequence of {count} values, "
            f"not of {len(values)}"
        )
    return values


def handed_on(job: Job) -> dict[int, Any]:
    """The graphs that a step returned, by item, for the step after it: named after the step.

    So the step stays in the path of what fails in its graph. One that only continues a graph is a
    call in it already.
    """
    if not job.pending:
        return {}
    hand_on = _hand_on(job.payload.name)
    continued = job.inputs.graphs
    return {
        item: value if item in continued else hand_on(value) for item, value in job.pending.items()
    }


def continued(job: Job) -> Task[..., Any]:
    """A step's function as a task, for what comes after a step that returned a graph.

    What the graph makes is not here yet: the step becomes part of the graph.
    """
    options = options_of(job.payload.settings)
    return as_task(job.original or job.function, job.payload.name, options)


def options_of(settings: Settings) -> TaskOptions:
    """The options of a task that is run like this."""
    from armoflow.options import TaskOptions

    return TaskOptions(
        retries=settings.retries,
        backoff=settings.backoff,
        timeout=settings.timeout,
        crash_retries=settings.crash_retries,
        partition=settings.partition,
        cpus=settings.cpus,
        memory=settings.memory,
        gpus=settings.gpus,
        limits=tuple(settings.limits.items()) or None,
        priority=settings.priority,
        max_retries=settings.max_retries,
        max_backoff=settings.max_backoff,
        jitter=settings.jitter or None,
        options=tuple(settings.options.items()) or None,
        env=tuple(settings.env.items()) or None,
        requirements=tuple(settings.requirements) or None,
        retry_on=None if settings.retry_on is None else pickle.loads(settings.retry_on),
        on_failure=None if settings.on_failure is None else pickle.loads(settings.on_failure),
    )


def as_task(function: Callable[..., Any], name: str, options: TaskOptions) -> Task[..., Any]:
    """A function as a task; the same one for the same function, as far as some are kept."""
    try:
        return _as_task(function, name, options)
    except TypeError:  # it cannot be hashed
        return _as_task.__wrapped__(function, name, options)


# In a recursion the same few come at every level: kept, so that they are the same to the planner,
# and few, since functions may hold much.


@functools.lru_cache(maxsize=64)
def _hand_on(name: str) -> Callable[..., Any]:
    from armoflow.graph.task import Task
    from armoflow.orchestrator.builtins import identity

    return Task(identity.function, name=name)


@functools.lru_cache(maxsize=16)
def _as_task(function: Callable[..., Any], name: str, options: TaskOptions) -> Task[..., Any]:
    from armoflow.graph.task import Task

    return Task(function, name=name, options=options)


def holds_graph(value: Any) -> bool:
    """Whether a returned value, which could not be pickled, holds something lazy."""
    if _LAZY not in sys.modules:
        return False
    from armoflow.graph.arguments import contains_lazy

    return contains_lazy(value)
