"""CPU time by stage: functions at the stages' boundaries are replaced by timed ones.

A stage's time is that of its functions without what belongs to a stage inside them. Threads are
told apart by their own CPU clocks, so neither other processes nor waiting count. Reading such a
clock costs about as much as some of what it measures: that is measured, too, and taken off.

Sums are kept in a file that is mapped into memory, where another process can read them.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import mmap
import os
import statistics
import threading
import time
import types
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

REST = "rest"
"""The stage of what a timed thread does outside all boundaries."""

_CALIBRATION_CALLS = 2_000


class Boundary(NamedTuple):
    """A function that belongs to a stage.

    Attributes:
        place: ``package.module:Class.method`` or ``package.module:function``, as it is looked up
            where it is called.
        stage: The stage's name.
    """

    place: str
    stage: str


class Sums(NamedTuple):
    """What a stopwatch has seen of one stage.

    Attributes:
        seconds: CPU seconds, those for reading the clock included.
        entered: How often it began.
        left: How often it was interrupted by a stage inside it.
    """

    seconds: float
    entered: float
    left: float


class Overhead(NamedTuple):
    """Seconds that one boundary adds to its own stage and to the one around it."""

    inside: float
    outside: float


class _Thread(threading.local):
    """Where a thread stands."""

    def __init__(self) -> None:
        self.stage = 0
        self.since = time.thread_time()
        self.section = 0


class Stopwatch:
    """Sums of one process.

    Args:
        stages: Their names; :data:`REST` is put before them.
        path: Where the sums are kept.
    """

    def __init__(self, stages: Sequence[str], path: Path) -> None:
        self.stages = [REST, *dict.fromkeys(stages)]
        size = 3 * 8 * len(self.stages)
        fresh = path.with_name(path.name + ".new")  # nobody shall read half a file
        fresh.write_bytes(bytes(size))
        with fresh.open("r+b") as file:
            self._sums = memoryview(mmap.mmap(file.fileno(), size)).cast("d")
        fresh.rename(path)
        self._thread = _Thread()
        self._section = 0

    def resume(self) -> None:
        """Forget what threads have done outside all boundaries since they left the last one."""
        self._section += 1

    def enter(self, stage: int) -> int:
        """Begin a stage; returns the one around it, for :meth:`leave`."""
        thread, sums = self._thread, self._sums
        around, now = thread.stage, time.thread_time()
        if thread.section == self._section:
            sums[3 * around] += now - thread.since
        thread.section = self._section
        sums[3 * around + 2] += 1
        sums[3 * stage + 1] += 1
        thread.stage, thread.since = stage, now
        return around

    def leave(self, around: int) -> None:
        """End the stage that was begun last."""
        thread = self._thread
        now = time.thread_time()
        self._sums[3 * thread.stage] += now - thread.since
        thread.stage, thread.since = around, now

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block."""
        around = self.enter(self.stages.index(name))
        try:
            yield
        finally:
            self.leave(around)

    def wrap(self, function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        """A function, or coroutine function, whose time is that of a stage."""
        index = self.stages.index(stage)
        enter, leave = self.enter, self.leave
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def timed_coroutine(*arguments: Any, **values: Any) -> Any:
                return await self._drive(function(*arguments, **values), index)

            return timed_coroutine

        @functools.wraps(function)
        def timed(*arguments: Any, **values: Any) -> Any:
            around = enter(index)
            try:
                return function(*arguments, **values)
            finally:
                leave(around)

        return timed

    @types.coroutine
    def _drive(self, coroutine: Any, stage: int) -> Generator[Any, Any, Any]:
        """Run a coroutine; only its steps count, not what happens while it waits."""
        step, value = coroutine.send, None
        while True:
            around = self.enter(stage)
            try:
                waited_for = step(value)
            except StopIteration as stop:
                return stop.value
            finally:
                self.leave(around)
            try:
                step, value = coroutine.send, (yield waited_for)
            except BaseException as error:  # cancellation, and closing, go where they were meant to
                step, value = coroutine.throw, error

    @contextlib.contextmanager
    def timing(self, boundaries: Sequence[Boundary]) -> Iterator[None]:
        """Put timed functions in the places of these, for a while."""
        places = [(*find(boundary.place), boundary.stage) for boundary in boundaries]
        for owner, name, function, stage in places:
            setattr(owner, name, self.wrap(function, stage))
        try:
            yield
        finally:
            for owner, name, function, _ in places:
                setattr(owner, name, function)


def find(place: str) -> tuple[Any, str, Callable[..., Any]]:
    """The owner of a function, its name there, and the function itself.

    Raises:
        LookupError: If it is not there, because the code was changed.

    Example:
        >>> find("os.path:join")[1]
        'join'
    """
    module, _, path = place.partition(":")
    *owners, name = path.split(".")
    owner: Any = importlib.import_module(module)
    try:
        for part in owners:
            owner = getattr(owner, part)
        return owner, name, getattr(owner, name)
    except AttributeError:
        raise LookupError(f"{place} is no longer there: the benchmark must follow") from None


def read(path: Path, stages: Sequence[str]) -> dict[str, Sums]:
    """The sums in the file of a stopwatch with these stages, the rest included."""
    numbers = memoryview(path.read_bytes()).cast("d")
    names = [REST, *dict.fromkeys(stages)]
    return {name: Sums(*numbers[3 * i : 3 * i + 3]) for i, name in enumerate(names)}


def difference(after: Mapping[str, Sums], before: Mapping[str, Sums]) -> dict[str, Sums]:
    """What was added between two readings."""
    return {
        name: Sums(*(end - start for end, start in zip(sums, before[name], strict=True)))
        for name, sums in after.items()
    }


def net(sums: Mapping[str, Sums], overhead: Overhead) -> dict[str, float]:
    """Seconds of each stage without those for reading the clock.

    Example:
        >>> net({"work": Sums(1.0, 100, 50)}, Overhead(0.001, 0.002))
        {'work': 0.8}
    """
    return {
        name: seconds - entered * overhead.inside - left * overhead.outside
        for name, (seconds, entered, left) in sums.items()
    }


def measure_overhead(directory: Path) -> Overhead:
    """What one boundary costs in this process now (medians)."""
    path = directory / f"overhead-{os.getpid()}"
    watch = Stopwatch(["outer", "inner"], path)
    timed = watch.wrap(_nothing, "inner")
    insides, outsides = [], []
    for _ in range(15):
        before = read(path, watch.stages[1:])
        with watch.stage("outer"):
            for _ in range(_CALIBRATION_CALLS):
                timed()
        spent = difference(read(path, watch.stages[1:]), before)
        plain = _seconds_of_plain_calls()
        insides.append(spent["inner"].seconds / _CALIBRATION_CALLS)
        outsides.append((spent["outer"].seconds - plain) / _CALIBRATION_CALLS)
    path.unlink()
    return Overhead(statistics.median(insides), max(statistics.median(outsides), 0.0))


def _seconds_of_plain_calls() -> float:
    started = time.thread_time()
    for _ in range(_CALIBRATION_CALLS):
        _nothing()
    return time.thread_time() - started


def _nothing() -> None:
    return None
