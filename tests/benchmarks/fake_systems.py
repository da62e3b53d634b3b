"""Systems that are small, wrong, slow to answer or badly behaved."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.suite.systems.base import Function, LevelSystem, System


class Inline(System):
    """Runs every task at once in the caller's thread; queued ones in threads."""

    name = "inline"

    def start(self) -> None:
        self._threads = ThreadPoolExecutor(self.workers)

    def stop(self) -> None:
        self._threads.shutdown()

    def call(self, function: Function, *arguments: Any) -> Any:
        return function(*arguments)

    def values(self, handles: Sequence[Any]) -> list[Any]:
        return list(handles)

    def map_each(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return [function(item) for item in items]

    def map_batched(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return self.map_each(function, items)

    def spread(self, branching: int, depth: int) -> int:
        return int(branching**depth)

    def queue(self, function: Function, items: Iterable[Any]) -> list[Future[Any]]:
        return [self._threads.submit(function, item) for item in items]

    def drain(self, queued: list[Future[Any]]) -> list[Any]:
        return [future.result() for future in queued]


class InlineLevels(LevelSystem):
    """Runs graphs level by level, and remembers how large the levels were."""

    name = "inline-levels"

    def start(self) -> None:
        self.levels: list[int] = []

    def stop(self) -> None:
        pass

    def run_level(self, calls: list[tuple[Function, tuple[Any, ...]]]) -> list[Any]:
        self.levels.append(len(calls))
        return [function(*arguments) for function, arguments in calls]

    def map_each(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return [function(item) for item in items]

    def map_batched(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return self.map_each(function, items)


class Wrong(Inline):
    """Loses the last item of anything longer than a warm-up."""

    name = "wrong"

    def map_each(self, function: Function, items: Sequence[Any]) -> list[Any]:
        values = super().map_each(function, items)
        return values[:-1] if len(values) > 100 else values


class Hanging(Inline):
    """Never answers, and has a child that ignores being asked to end."""

    name = "hanging"

    def start(self) -> None:
        code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()"
        child = subprocess.Popen([sys.executable, "-c", code])
        Path(os.environ["FAKE_SYSTEM_FILE"]).write_text(str(child.pid))

    def map_each(self, function: Function, items: Sequence[Any]) -> list[Any]:
        threading.Event().wait()
        raise AssertionError("unreachable")


class Crashing(Inline):
    """Dies in the middle of the work."""

    name = "crashing"

    def map_each(self, function: Function, items: Sequence[Any]) -> list[Any]:
        print("the last words", file=sys.stderr, flush=True)
        os._exit(7)


class Daemon(Inline):
    """Starts a daemon that leaves its parent, works, and stays when the system stops."""

    name = "daemon"

    def map_each(self, function: Function, items: Sequence[Any]) -> list[Any]:
        if len(items) > 100:
            burn = "import time\nwhile time.process_time() < 0.5: pass\nprint(flush=True)\n"
            daemon = f"import signal, sys\n{burn}sys.stdout.close()\nsignal.pause()"
            # The parent in between ends at once, so that the daemon is an orphan.
            parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {daemon!r}])"
            done = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE)
            assert done.stdout is not None
            done.stdout.readline()
            done.wait()
        return super().map_each(function, items)


class Absent(Inline):
    """Is not installed."""

    name = "absent"
    modules = ("a_module_that_nobody_has",)
