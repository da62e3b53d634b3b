"""A process that cleans up after another one, however that one ends.

A killed process cannot end what it has started, nor remove its files. So each that starts workers
starts this program first (``armoflow.system.guardian_program``), and holds the other end of its
standard input. At the end of the input the process groups that it was told of are ended, then every
process that carries the owner's mark, and then the owner's directories are removed, as soon as no
other process has them.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from armoflow.system import interpreter
from armoflow.system.descendants import MARK

_PROGRAM = str(Path(__file__).with_name("guardian_program.py"))


class Guardian:
    """Starts the program.

    Args:
        mark: The mark of the processes that it ends, with those whose marks begin with it.
        directories: Directories to remove in the end.
    """

    def __init__(self, mark: str, directories: Sequence[Path] = ()) -> None:
        environment = {name: value for name, value in os.environ.items() if name != MARK}
        self._process = subprocess.Popen(
            interpreter.file_command(_PROGRAM, interpreter.ROOT, mark, *map(str, directories)),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd="/",
            start_new_session=True,
        )

    def tell(self, sign: str, group: int) -> None:
        """``+`` for a process group that lives, ``-`` for one that has ended."""
        assert self._process.stdin is not None
        with suppress(OSError):  # it was killed
            self._process.stdin.write(f"{sign}{group}\n".encode())
            self._process.stdin.flush()

    def stop(self) -> None:
        """Let it do its work, now."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()

    def wait(self) -> None:
        """Wait for its end."""
        self._process.wait()
