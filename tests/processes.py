"""Processes of tests, none of which outlives its test or holds it up."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

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


def own_children() -> set[int]:
    """The processes that this one has started itself.

    Not those below them: an engine that earlier tests have used, and that others will use, starts
    and ends processes when it likes.
    """
    return {child.pid for child in psutil.Process().children()}


def with_descendants(process_ids: set[int]) -> list[psutil.Process]:
    """Processes, and all below them."""
    found = [psutil.Process(process_id) for process_id in process_ids]
    return [*found, *(below for one in found for below in one.children(recursive=True))]
