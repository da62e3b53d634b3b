"""What puts requirements into a virtual environment: uv, or else pip."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from armoflow import config
from armoflow.errors import RequirementsError
from armoflow.system.interpreter import ROOT
from armoflow.system.locks import FileLock

_LAST_LINES = 20
_LAST_CHARACTERS = 2_000

_IMPORTS = "import armoflow.worker.child, armoflow.worker.expand"

_NOT_HANDED_ON = frozenset({"VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "CONDA_PREFIX"})
"""Variables that name other environments than the one that is installed into."""


class Installer:
    """Installs, in several threads at once too; which index is asked is the matter of uv and pip.

    Args:
        command: How it begins, with a place for the environment's interpreter; None: what is here.
    """

    def __init__(self, command: Sequence[str] | None = None) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._stopped = False
        self._running: set[subprocess.Popen[str]] = set()

    def install(self, directory: Path, requirements: Sequence[str], lock: FileLock) -> None:
        """Install into an environment, which is empty.

        Args:
            directory: The environment.
            requirements: What to install, and what that needs.
            lock: Held until the installer has ended, even if this process is killed.

        Raises:
            RequirementsError: If that cannot be done: the installer's last lines.
        """
        command = self._command or _find()
        wanted = ", ".join(requirements)
        if command is None:
            raise RequirementsError(
                f"{wanted} cannot be installed: there is neither uv nor pip where the worker runs "
                "(pip install 'armoflow[uv]', or put uv on its PATH)"
            )
        python = str(directory / "bin" / "python")
        constraints = directory / "constraints.txt"
        needs = _own_needs()
        constraints.write_text("\n".join(needs), encoding="utf-8")
        limits = ("--constraint", str(constraints)) if needs else ()
        program = "pip" if command[0] == sys.executable else Path(command[0]).name
        self._run(
            [
                *(part.format(python=python) for part in command),
                *(*limits, "--", *requirements),
            ],
            lock,
            f"{wanted} cannot be installed on {os.uname().nodename}: {program}",
        )

    def check(self, directory: Path, requirements: Sequence[str], lock: FileLock) -> None:
        """Refuse an environment in which tasks cannot be run: something in it hides what they need.

        Raises:
            RequirementsError: What its interpreter said.
        """
        python = str(directory / "bin" / "python")
        command = [python, "-c", f"import sys; sys.path.append({ROOT!r}); {_IMPORTS}"]
        wanted = ", ".join(requirements)
        self._run(command, lock, f"armoflow cannot run beside {wanted}: Python")

    def _run(self, command: Sequence[str], lock: FileLock, failed: str) -> None:
        environment = {
            name: value for name, value in os.environ.items() if name not in _NOT_HANDED_ON
        }
        with self._lock:
            if self._stopped:
                raise RequirementsError("the worker is ending")
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                env=environment,
                pass_fds=(lock.fileno(),),
                start_new_session=True,
            )
            self._running.add(process)
        try:
            output, _ = process.communicate(timeout=config.INSTALL_SECONDS)
        except subprocess.TimeoutExpired:
            _kill(process)
            output, _ = process.communicate()
            output += f"\nit was ended after {config.INSTALL_SECONDS:g} s"
        finally:
            with self._lock:
                self._running.remove(process)
        if process.returncode:
            lines = "\n".join(output.strip().splitlines()[-_LAST_LINES:])[-_LAST_CHARACTERS:]
            raise RequirementsError(
                f"{failed} ended with status {process.returncode}; its last lines:\n{lines}"
            )

    def stop(self) -> None:
        """End all that run; nothing is installed any more."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                _kill(process)


def _kill(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _find() -> list[str] | None:
    program = _find_uv()
    if program is not None:
        return [
            *(program, "pip", "install", "--python", "{python}", "--no-progress"),
            *("--color", "never"),
        ]
    if importlib.util.find_spec("pip") is not None:
        return [
            *(sys.executable, "-m", "pip", "--python", "{python}", "install", "--no-input"),
            *("--disable-pip-version-check", "--no-color", "--progress-bar", "off"),
        ]
    return None


def _find_uv() -> str | None:
    if importlib.util.find_spec("uv") is not None:
        from uv import find_uv_bin

        with suppress(FileNotFoundError):
            return str(find_uv_bin())
    return shutil.which("uv")


def _own_needs() -> list[str]:
    """What armoflow needs itself: an environment's own packages come first, to it as well."""
    from importlib import metadata  # which workers mostly need not

    try:
        needed = metadata.requires("armoflow") or []
    except metadata.PackageNotFoundError:  # it is run from its sources
        return []
    return [text for text in needed if "extra ==" not in text]
