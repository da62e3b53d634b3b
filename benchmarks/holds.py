"""An engine that measures how long its event loop is held.

    python -m benchmarks.holds FILE up --listen ADDRESS ...

Runs ``armoflow up ...`` in asyncio's own event loop, and measures the processor time of each thing
that the loop runs. At each SIGUSR1 the longest since the last one goes to FILE: milliseconds, and
what it was.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from asyncio.events import Handle
from pathlib import Path
from typing import Any


class Meter:
    """The longest hold since it was told last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._longest = 0.0
        self._what = ""

    def install(self) -> None:
        """Measure all that event loops of this process run from now on."""
        run, clock = Handle._run, time.thread_time

        def measured(handle: Any) -> None:
            started = clock()
            run(handle)
            spent = clock() - started
            if spent > self._longest:
                self._longest, self._what = spent, repr(handle)

        Handle._run = measured  # type: ignore[method-assign, assignment]
        signal.signal(signal.SIGUSR1, lambda *_: self.tell())

    def tell(self) -> None:
        """Write the longest hold, and begin anew."""
        partial = self._path.with_suffix(".partial")
        partial.write_text(f"{1e3 * self._longest:.2f} {self._what}\n")
        partial.rename(self._path)
        self._longest, self._what = 0.0, ""


def ask(process_id: int, path: Path) -> tuple[float, str]:
    """The longest hold of an engine since the last question, and what it was."""
    path.unlink(missing_ok=True)
    os.kill(process_id, signal.SIGUSR1)
    while not path.exists():
        time.sleep(0.01)
    longest, _, what = path.read_text().partition(" ")
    return float(longest), what.strip()


def main() -> int:
    """Run the engine."""
    from armoflow.cli.main import main as run_command

    sys.modules["uvloop"] = None  # type: ignore[assignment]  # its handles cannot be measured
    Meter(Path(sys.argv[1])).install()
    return run_command(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
