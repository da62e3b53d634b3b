"""CPU time, memory and stored bytes of a whole tree of processes.

Systems start daemons, and some of these leave their parent. The process that measures therefore
becomes the one that orphans are handed to (Linux's child subreaper), so that its descendants are
all that the system started, and nothing outlives a trial.
"""

from __future__ import annotations

import bisect
import contextlib
import ctypes
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import psutil

_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Make this process the parent of descendants whose own parent ended (on Linux)."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def descendants(root: psutil.Process) -> list[psutil.Process]:
    """All living processes below ``root``."""
    try:
        found: list[psutil.Process] = root.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return found


def cpu_seconds(root: psutil.Process) -> float:
    """CPU time of the tree, with that of the descendants that ended and were waited for.

    Only differences mean something: two calls around a section give what the section cost.
    """
    total = 0.0
    for process in [root, *descendants(root)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def private_memory(root: psutil.Process) -> int:
    """Bytes of memory that belong to the tree's processes alone.

    Pages of files and of shared memory are left out: each process that maps them would count them
    again, and data in them is counted once as stored bytes. Pages shared since a fork count in
    each process.
    """
    total = 0
    for process in [root, *descendants(root)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            memory = process.memory_info()
            total += memory.rss - getattr(memory, "shared", 0)
    return total


def stored_bytes(directory: Path) -> int:
    """Bytes on disk below a directory (files come and go while it is read)."""
    total = 0
    pending = [str(directory)]
    while pending:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for entry in os.scandir(pending.pop()):
                with contextlib.suppress(FileNotFoundError):
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total


def kill_all(processes: list[psutil.Process]) -> None:
    """Kill processes and wait until they are gone."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    psutil.wait_procs(processes, timeout=10)


@dataclass(slots=True)
class Sample:
    """Memory and stored bytes at one moment."""

    time: float
    memory: int
    store: int


class Peaks(NamedTuple):
    """The largest samples of a section, and what was stored before it."""

    memory: int
    store: int
    together: int
    idle_store: int


@dataclass(slots=True)
class Sampler:
    """Memory and stored bytes of a trial over time, read from outside of it.

    Attributes:
        root: The trial's process.
        directory: The trial's own directory: everything in it counts as stored.
        shared: File systems that the system keeps data in; what they grow by counts as stored.
    """

    root: psutil.Process
    directory: Path
    shared: list[Path] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    _initial: int = 0

    def __post_init__(self) -> None:
        self._initial = self._used()

    def _used(self) -> int:
        return sum(shutil.disk_usage(path).used for path in self.shared if path.exists())

    def sample(self) -> None:
        """Take one sample now."""
        store = stored_bytes(self.directory) + max(0, self._used() - self._initial)
        self.samples.append(Sample(time.monotonic(), private_memory(self.root), store))

    def peaks(self, started: float, ended: float) -> Peaks:
        """The largest values between two moments (monotonic time).

        The samples just before and after count too: a short section may fall between two samples.
        """
        before = [sample for sample in self.samples if sample.time < started][-1:]
        after = [sample for sample in self.samples if sample.time > ended][:1]
        inside = [sample for sample in self.samples if started <= sample.time <= ended]
        chosen = [*before, *inside, *after]
        return Peaks(
            memory=max((sample.memory for sample in chosen), default=0),
            store=max((sample.store for sample in chosen), default=0),
            together=max((sample.memory + sample.store for sample in chosen), default=0),
            idle_store=before[0].store if before else 0,
        )


class Meter:
    """Measures the sections of a workload from inside the trial's process.

    Attributes:
        seconds: Wall time of all sections.
        cpu_seconds: CPU time of all processes in all sections.
        started: When the first section began (monotonic time).
        ended: When the last section ended.
        idle_memory: Private memory of all processes before the first section.
    """

    def __init__(self) -> None:
        self._root = psutil.Process()
        self.seconds = 0.0
        self.cpu_seconds = 0.0
        self.started = self.ended = time.monotonic()
        self.idle_memory = 0
        self._used = False

    @contextlib.contextmanager
    def section(self) -> Iterator[None]:
        """Time what is inside; the reading of the counters itself is left out."""
        if not self._used:
            self.idle_memory = self.memory()
            self.started, self._used = time.monotonic(), True
        cpu = cpu_seconds(self._root)
        began = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - began
        self.ended = time.monotonic()
        self.cpu_seconds += cpu_seconds(self._root) - cpu

    def memory(self) -> int:
        """Private memory of all processes now."""
        return private_memory(self._root)

    def cpu_share(self, seconds: float = 1.0) -> float:
        """CPU seconds per second of all processes, over some time from now."""
        cpu, began = cpu_seconds(self._root), time.monotonic()
        time.sleep(seconds)
        return (cpu_seconds(self._root) - cpu) / (time.monotonic() - began)

    def wait_until_idle(self, idle_share: float = 0.0, limit: float = 60.0) -> None:
        """Wait until all processes together use no more CPU than when they idle.

        Args:
            idle_share: What ``cpu_share`` said while they idled.
            limit: Seconds after which it goes on anyhow.
        """
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if self.cpu_share() <= 0.05 + 1.5 * idle_share:
                return


class OtherPrograms:
    """Watches, in a thread, what programs besides this one and what it started use of the cores."""

    def __init__(self, interval: float = 0.05) -> None:
        self._interval = interval
        self._samples: list[tuple[float, float]] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> OtherPrograms:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def cores_left(self, started: float, ended: float) -> float:
        """Cores that they left, on average, between two moments (monotonic time)."""
        used = self._used_until(ended) - self._used_until(started)
        cores = psutil.cpu_count() or 1
        return min(max(cores - used / (ended - started), 0.1), cores)

    def _used_until(self, moment: float) -> float:
        """Their CPU seconds up to a moment: the straight line between two samples."""
        after = bisect.bisect(self._samples, (moment,))
        after = min(max(after, 1), len(self._samples) - 1)
        (begin, first), (end, last) = self._samples[after - 1 : after + 1]
        return first + (last - first) * (moment - begin) / (end - begin)

    def _watch(self) -> None:
        own = psutil.Process()
        self._sample(own)
        while not self._done.wait(self._interval):
            self._sample(own)
        self._sample(own)

    def _sample(self, own: psutil.Process) -> None:
        times = psutil.cpu_times()
        busy = sum(times) - times.idle - getattr(times, "iowait", 0.0)
        busy -= getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # counted in user
        self._samples.append((time.monotonic(), busy - cpu_seconds(own)))
