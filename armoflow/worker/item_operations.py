"""What a task does with its items, operation by operation (see ``armoflow.codec.payload``)."""

from __future__ import annotations

import functools
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from operator import itemgetter
from typing import Any

from armoflow.codec.envelope import Cell
from armoflow.codec.item_log import QUICK
from armoflow.codec.payload import Operation
from armoflow.codec.pickling import SCALARS
from armoflow.worker.attempts import ItemWaits
from armoflow.worker.columns import Column
from armoflow.worker.failures import ItemFailure, UnreadableDataError
from armoflow.worker.inputs import AbsentItem, may_share, pickle_value
from armoflow.worker.job import Job, continued, holds_graph, no_truth, not_combined
from armoflow.worker.mark import DEADLINE, ENTRIES, ITEM, LARGEST_ENTRY, SPOOL_BYTES
from armoflow.worker.saved import Fold

_SCALAR_PROTOCOL = 3
"""Protocol 4 and later put a frame of nine bytes around a handful."""

_STRIP = 32
"""Quick items between two looks at the clock, at most: a look costs a twentieth of one."""

_SINGLY = 16
"""Items after each of which the clock is looked at, before any are taken to be quick."""

_MISSING = object()


def run_call(job: Job) -> None:
    """``function(*args, **kwargs)``."""
    arguments = job.payload.arguments
    function = continued(job) if job.inputs.graphs else job.function

    def attempt() -> Any:
        if arguments is None:
            job.given = False
            return function()
        args, kwargs = job.inputs.load(arguments)
        job.given = bool(kwargs) or not SCALARS.issuperset(map(type, args))
        return function(*args, **kwargs)

    _run_item(job, 0, attempt)
    if job.attempts.due:
        _run_waiting(job, lambda _: attempt())


def run_map(job: Job) -> None:
    """``function`` of each item."""
    mapping = _Mapping(job)
    error: BaseException | None = None
    item = 0
    while item < job.payload.count:
        if mapping.quick:
            item, error = mapping.run_quickly(item)
            if item == job.payload.count:
                break
        if error is None and job.gives_away(item):
            return
        began = None if error is None else mapping.began
        _run_item(job, item, functools.partial(mapping.attempt, item), error, began=began)
        item += 1
    if job.attempts.due:
        _run_waiting(job, mapping.attempt)


def run_filter(job: Job) -> None:
    """Keep the items for which ``function`` is true."""
    job.check_outputs(1)
    column = _column(job, 0)
    decide = functools.partial(_decide, job, _with_fixed(job), column)

    def decided(item: int) -> Any:
        if decide(item):
            return column.cell(item)
        raise AbsentItem

    def keep(item: int, cell: Cell) -> None:
        job.keep(item, [cell])

    for item in range(job.payload.count):
        if job.gives_away(item):
            return
        _run_item(job, item, functools.partial(decided, item), keep=keep)
    if job.attempts.due:
        _run_waiting(job, decided, keep=keep)


def run_combine(job: Job) -> None:
    """Fold the only column, left to right; the whole fold is one item."""
    payload = job.payload
    job.check_outputs(1)
    if job.is_finished(0):
        return
    began = time.perf_counter()
    fold = _Fold(job, _column(job, 0))
    try:
        held = fold.run()
    except ItemFailure as failure:
        job.fail(0, failure)
        job.log.add(time.perf_counter() - began)
        return
    job.log.add(time.perf_counter() - began)
    if held:
        job.keep_value(0, held[0])
    elif payload.final:
        error = TypeError(f"no items to combine and no initial value, in {payload.name!r}")
        job.fail(0, job.attempts.failure(0, error))
    else:
        job.keep(0, [None])


def run_gather(job: Job) -> None:
    """Copy the slots of the only column, errors and all."""
    job.check_outputs(1)
    column = _column(job, 0)
    for index in range(column.length):
        job.cells[0].append(column.cell(index))
        job.recorder.skip(index)


def run_graph(job: Job) -> None:
    """The calls of a subgraph: run as those that a task returned."""
    job.keep_graph(0, job.function())


RUN: dict[Operation, Callable[[Job], None]] = {
    Operation.CALL: run_call,
    Operation.MAP: run_map,
    Operation.FILTER: run_filter,
    Operation.COMBINE: run_combine,
    Operation.GATHER: run_gather,
    Operation.GRAPH: run_graph,
}


def _run_item(
    job: Job,
    item: int,
    attempt: Callable[[], Any],
    error: BaseException | None = None,
    *,
    keep: Callable[[int, Any], None] | None = None,
    began: float | None = None,
) -> None:
    """Make an attempt, unless the first one was made already and raised ``error``."""
    if job.finished and job.is_finished(item):
        return
    began = began or time.perf_counter()
    try:
        value = job.attempts.run(item, attempt, error)
    except ItemWaits:
        job.wait(item)
    except AbsentItem:
        job.keep(item, [None] * len(job.cells))
    except ItemFailure as failure:
        job.fail(item, failure)
    else:
        (keep or job.keep_value)(item, value)
    job.spend(item, time.perf_counter() - began)


def _run_waiting(
    job: Job, attempt: Callable[[int], Any], keep: Callable[[int, Any], None] | None = None
) -> None:
    """Try the items that failed again, each when its time has come, until none is left.

    They come after all others: these need not look at the clock for them.
    """
    due, recorder = job.attempts.due, job.recorder
    place = -1
    while due:
        for item, _ in sorted(due.items(), key=itemgetter(1)):
            job.rest(item)
            if item != place:
                recorder.go_to(item)
            _run_item(job, item, functools.partial(attempt, item), keep=keep)
            place = item + 1
    recorder.go_to(job.payload.slot_count)


def _call(function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    return function(*args, **kwargs)


def _with_fixed(job: Job, function: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """The function with the keyword arguments that are the same for every item."""
    function = function or job.function
    arguments = job.payload.arguments
    if arguments is None:
        return function
    load = job.inputs.load
    fixed = load(arguments)
    if may_share(arguments.data, fixed.values()):
        return functools.partial(function, **fixed) if fixed else function
    if all(map(_is_flat, fixed.values())):  # to copy is quicker than to load
        return lambda *args: function(*args, **{name: one.copy() for name, one in fixed.items()})
    return lambda *args: function(*args, **load(arguments))


def _is_flat(value: Any) -> bool:
    """Whether a copy of a container has nothing in common with it that can be changed."""
    if type(value) is dict:
        return SCALARS.issuperset(map(type, chain(value, value.values())))
    return type(value) in (list, set) and SCALARS.issuperset(map(type, value))


def _column(job: Job, index: int) -> Column:
    """A column of as many items as the task has.

    Raises:
        UnreadableDataError: If it has more or fewer.
    """
    column = Column(job.inputs, job.payload.columns[index])
    if column.length != job.payload.count:
        raise UnreadableDataError(
            f"task {job.payload.name!r} has {job.payload.count} items, "
            f"but its column {index} has {column.length}"
        )
    return column


def _decide(job: Job, function: Callable[..., Any], column: Column, item: int) -> bool:
    answer = function(column.value(item))
    if type(answer) not in SCALARS and holds_graph(answer):
        raise no_truth(job.payload.name)
    return bool(answer)


class _Fold:
    """The items of a COMBINE."""

    def __init__(self, job: Job, column: Column) -> None:
        self._job = job
        self._column = column
        self._base = 0

    def run(self) -> list[Any]:
        """Fold; returns the value, or nothing if there was nothing to fold.

        Raises:
            ItemFailure: If an item is a failure or a step failed for good.
        """
        job, column = self._job, self._column
        position, held = self._begin()
        quick = column.plain and not job.attempts.timeout and not job.attempts.spent
        while position < column.length:
            error = None
            if quick and self._may_repeat(held):
                position, error = self._run_quickly(position, held)
                if position == column.length:
                    break
            try:
                value = column.value(position)
            except AbsentItem:
                position += 1
                continue
            held[:] = [self._step(position, held[0], value, error) if held else value]
            position += 1
        return held

    def _begin(self) -> tuple[int, list[Any]]:
        """Where to begin, and what there is already."""
        job = self._job
        if job.fold is not None:
            self._base = job.fold.base
            return job.fold.position, [job.inputs.value(job.fold.cell)]
        self._base = job.attempts.spent.get(0, 0)
        arguments = job.payload.arguments
        return 0, [] if arguments is None else [job.inputs.load(arguments)]

    def _may_repeat(self, held: Sequence[Any]) -> bool:
        """Whether a step of this value is the same when it is tried again, if it ever is."""
        return not self._job.payload.settings.retries or not held or type(held[0]) in SCALARS

    def _step(self, position: int, left: Any, right: Any, error: BaseException | None) -> Any:
        """One step, with attempts of its own."""
        before = None if self._may_repeat([left]) else _kept(left)
        while True:
            try:
                step = functools.partial(self._job.function, left, right)
                result = self._job.attempts.run(0, step, error)
                break
            except ItemWaits:
                if before is not None:
                    left = self._job.inputs.value(before)
                self._rest(position, before or _kept(left))
                right, error = self._column.value(position), None
        self._job.attempts.spent[0] = self._base
        return self._checked(result)

    def _rest(self, position: int, cell: Cell) -> None:
        # What cannot be kept waits here.
        self._job.rest(0, None if cell is None else Fold(position, cell, self._base))

    def _checked(self, result: Any) -> Any:
        if type(result) not in SCALARS and holds_graph(result):
            raise self._job.attempts.failure(0, not_combined(self._job.payload.name))
        return result

    def _run_quickly(self, start: int, held: list[Any]) -> tuple[int, BaseException | None]:
        """Fold until a step needs care; returns where, and what it raised."""
        job, function = self._job, self._job.function
        job.recorder.start(0, 1, 0)
        position = start
        left = held[0] if held else _MISSING
        careful = job.payload.settings.retries > 0
        try:
            for value in self._column.iterate(start):
                if left is _MISSING:
                    left = value
                elif careful and type(left) not in SCALARS:
                    return position, None
                else:
                    try:
                        left = function(left, value)
                    except BaseException as error:
                        return position, error
                    if type(left) not in SCALARS:
                        self._checked(left)
                position += 1
        except ItemFailure:
            raise
        except BaseException:
            return position, None  # the item could not be loaded: that is told with care
        finally:
            held[:] = [] if left is _MISSING else [left]
        return position, None


def _kept(value: Any) -> Cell:
    """A value as it is now; None if it cannot be kept."""
    try:
        return pickle_value(value, copy=True)
    except Exception:
        return None


def _next_strip(strip: int, seconds: float) -> int:
    """How many items to run before the clock is read again: as many as should be quick together."""
    fit = int(strip * QUICK / (2 * seconds)) if seconds > 0 else _STRIP
    return max(min(2 * strip, fit, _STRIP), 1)


class _Mapping:
    """The items of a MAP.

    Attributes:
        quick: No item needs more than a plain call: they can run in the short loop.
        began: When the item began whose error that has told.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self.began = 0.0
        self._columns = [_column(job, index) for index in range(len(job.payload.columns))]
        self._function = _with_fixed(job)
        self._star = job.payload.star or job.payload.calls
        if job.payload.calls:
            self._function = functools.partial(_call, self._function)
        self.quick = (
            len(job.cells) == 1
            and not job.finished
            and not job.attempts.spent
            and False not in [column.plain for column in self._columns]
        )

    def attempt(self, item: int) -> Any:
        """Call the function with one item."""
        job = self._job
        if item in job.inputs.graphs:
            return _with_fixed(job, continued(job))(job.inputs.graphs[item])
        values = [column.value(item) for column in self._columns]
        arguments = values[0] if self._star else values
        return self._function(*arguments)

    def _arguments(self, start: int) -> Iterator[Any]:
        if self._star:
            return self._columns[0].iterate(start)
        if len(self._columns) == 1:
            return zip(self._columns[0].iterate(start), strict=True)
        return zip(*[column.iterate(start) for column in self._columns], strict=True)

    def run_quickly(self, start: int) -> tuple[int, BaseException | None]:
        """Run items until one needs care.

        Returns:
            That item and, if it raised, its error; or the number of items when all have run.
        """
        job, recorder = self._job, self._job.recorder
        words, lengths, spool = recorder.words, recorder.mark.lengths, recorder.mark.spool
        function, dumps, append = self._function, pickle.dumps, job.cells[0].append
        deadline = job.attempts.deadline if job.attempts.timeout else None
        position, count, shift = recorder.position, recorder.count, recorder.shift
        item, keeping = start - 1, False
        log, clock = job.log, time.perf_counter
        pairs = enumerate(self._arguments(start), start)
        strip, before, late = 1, clock(), job.late
        try:
            while item + 1 < job.payload.count and before < late:
                first = item + 1
                for item, arguments in islice(pairs, strip):
                    if deadline is not None:
                        words[DEADLINE] = deadline()
                    words[ITEM] = shift + item
                    try:
                        value = function(*arguments)
                    except BaseException as error:
                        recorder.position, recorder.count = position, count
                        log.add(0.0, item - first)  # they are expected to be quick
                        self.began = before
                        return item, error
                    if type(value) in SCALARS:
                        data = dumps(value, _SCALAR_PROTOCOL)
                        length = len(data)
                        end = position + length
                        if end <= SPOOL_BYTES and count < ENTRIES and length <= LARGEST_ENTRY:
                            spool[position:end] = data
                            lengths[count] = length
                            position = end
                            count += 1
                            append(data)
                            continue
                    recorder.position, recorder.count = position, count
                    keeping = True
                    job.keep_value(item, value)
                    keeping = False
                    position, count = recorder.position, recorder.count
                now = clock()
                log.add(now - before, item + 1 - first)
                if item - start >= _SINGLY:
                    strip = _next_strip(strip, now - before)
                before = now
        except BaseException:
            # The next item's arguments could not be loaded: that is told with care.
            if keeping:
                raise
            log.add(0.0, item + 1 - first)
        recorder.position, recorder.count = position, count
        return item + 1, None
