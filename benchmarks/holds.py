"""An engine that measures how long its event loop is held, and its journal.

    python -m benchmarks.holds FILE up --listen ADDRESS ...

Runs ``armoflow up ...`` in asyncio's own event loop, and measures the processor time of each thing
that the loop runs, and how long each thing takes for which commits wait. At each SIGUSR1 the
longest since the last one go to FILE, a line for each: milliseconds, and what it was.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
from asyncio.events import Handle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from armoflow.engine.checkpoints import Checkpointer
from armoflow.engine.compaction import Compaction
from armoflow.engine.row_writer import RowWriter


class Longest(NamedTuple):
    """What took longest: milliseconds, and what it was."""

    milliseconds: float = 0.0
    what: str = ""


class Meter:
    """The longest holds since they were told last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loop = Longest()
        self._journal = Longest()

    def install(self) -> None:
        """Measure all that event loops and the journal of this process run from now on."""
        run, clock = Handle._run, time.thread_time

        def measured(handle: Any) -> None:
            started = clock()
            run(handle)
            spent = clock() - started
            if 1e3 * spent > self._loop.milliseconds:
                self._loop = Longest(1e3 * spent, " ".join(repr(handle).split()))

        Handle._run = measured  # type: ignore[method-assign, assignment]
        for owner, function in (
            (RowWriter, RowWriter.write),
            (Checkpointer, Checkpointer.finish),
            (Checkpointer, Checkpointer.shorten),
            (Compaction, Compaction.step),
        ):
            setattr(owner, function.__name__, self._watched(function))
        signal.signal(signal.SIGUSR1, lambda *_: self.tell())

    def _watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """One of the things that the journal's thread does, measured."""

        @functools.wraps(function)
        def watched(*arguments: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                spent = 1e3 * (time.perf_counter() - started)
                if spent > self._journal.milliseconds:
                    rows = getattr(arguments[-1], "rows", "no")
                    self._journal = Longest(spent, f"{function.__qualname__}, {rows} rows")

        return watched

    def tell(self) -> None:
        """Write the longest holds, and begin anew."""
        partial = self._path.with_suffix(".partial")
        lines = [f"{one.milliseconds:.2f} {one.what}\n" for one in (self._loop, self._journal)]
        partial.write_text("".join(lines))
        partial.rename(self._path)
        self._loop = self._journal = Longest()


def ask(process_id: int, path: Path) -> list[Longest]:
    """The longest holds of an engine since the last question: of its loop, and of its journal."""
    path.unlink(missing_ok=True)
    os.kill(process_id, signal.SIGUSR1)
    while not path.exists():
        time.sleep(0.01)
    told = [line.partition(" ") for line in path.read_text().splitlines()]
    return [Longest(float(longest), what) for longest, _, what in told]


def main() -> int:
    """Run the engine."""
    from armoflow.cli.main import main as run_command

    sys.modules["uvloop"] = None  # type: ignore[assignment]  # its handles cannot be measured
    Meter(Path(sys.argv[1])).install()
    return run_command(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
