"""Scripts that run as processes of their own, and what they leave behind."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import armoflow
from tests.processes import running

PATIENCE = 60.0
ROOT = str(Path(armoflow.__file__).parents[1])


def wait_for(condition: Callable[[], Any], what: Callable[[], str] | str) -> None:
    """Wait until something is so; only so long that a broken test ends."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what if isinstance(what, str) else what()
        time.sleep(0.01)


class Place:
    """A temporary directory, and processes that are told apart by a variable.

    Args:
        directory: What ``TMPDIR`` is for them.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)
        self._mark = f"TESTED_PROCESS={secrets.token_hex(8)}"
        name, _, value = self._mark.partition("=")
        self.environment = {
            **os.environ,
            name: value,
            "TMPDIR": str(directory),
            "PYTHONPATH": ROOT,
        }

    @contextmanager
    def run(
        self, code: str, *arguments: str, before: str = "", **options: Any
    ) -> Iterator[subprocess.Popen[str]]:
        """A script under way; it is killed at the end.

        Args:
            code: The script.
            arguments: Its own.
            before: What a shell does first in that process. (Popen's ``preexec_fn`` is not for
                processes that use gRPC: its handlers of forks may end the copy before it begins.)
            options: Of Popen.
        """
        command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
        if before:
            command = ["sh", "-c", f'{before} && exec "$@"', "sh", *command]
        with running(
            command,
            **{
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "text": True,
                "env": self.environment,
                **options,
            },
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def left(self) -> list[str]:
        """Processes and files that are still there."""
        return [*self.processes(), *map(str, self.directory.iterdir())]

    def processes(self) -> list[str]:
        """The command lines of processes that have the variable."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                environment = (path / "environ").read_bytes()
                command = (path / "cmdline").read_bytes()
            except OSError:
                continue
            if self._mark.encode() in environment.split(b"\0") and command:
                found.append(f"{path.name} {command.replace(bytes(1), b' ').decode()}")
        return found

    def wait_until_clean(self) -> None:
        """Wait until nothing is left."""
        wait_for(lambda: not self.left(), lambda: f"left: {self.left()}")


def line_of(process: subprocess.Popen[str]) -> str:
    """What a script prints next."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.stderr.read() if process.stderr is not None else "it has ended"
    return line.strip()
