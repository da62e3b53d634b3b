"""Processes of tests, none of which outlives its test or holds it up."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

PATIENCE = 60.0


@contextlib.contextmanager
def running(command: Sequence[str | Path], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A process; where the test fails it is killed, and else it is waited for.

    What ``subprocess.Popen`` gives waits for its process for ever, whatever becomes of the test.
    """
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
            process.wait(PATIENCE)
        finally:
            process.kill()
