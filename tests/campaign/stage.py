"""The processes of one round: an engine, a client, and all that they start."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.integration.engines import WORKER, Up

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
"""Seconds that a round may take for one step before it counts as lost."""

LEASE = 1.0
"""Seconds, where the client is killed; elsewhere it must have time to connect again."""

LONG_LEASE = 600.0
GONE_PATIENCE = 15.0
"""Seconds that processes may take to be gone, on a loaded machine."""


@dataclass(frozen=True)
class Setup:
    """How a round is set up.

    Attributes:
        name: For reports.
        arguments: Of ``armoflow up``; None: the client's private engine.
        extensions: Whether the client uses the batch extension.
    """

    name: str
    arguments: tuple[str, ...] | None
    extensions: bool = True


_UP = ("--workers", "2")
PRIVATE = Setup("private", None)
LANE = Setup("up", _UP)
STANDARD = Setup("up, standard calls", (*_UP, "--no-extensions"), extensions=False)
SERVICE = Setup("up --worker", (*_UP, "--worker", WORKER))
STOCK = Setup("up --worker, standard calls", (*_UP, "--no-extensions", "--worker", WORKER), False)


@dataclass
class Seen:
    """What the client has told.

    Attributes:
        runs: By call: the run that its value is of, and when (CLOCK_MONOTONIC nanoseconds) the
            client first knew it.
        doubled: Calls of which two values were seen.
        failed: What had no or no right value, and why.
        names: Futures that have ended, by name, and when.
        count: How many there are; 0 before all are submitted.
        done: Whether the client has all of them.
    """

    runs: dict[str, tuple[str, int]] = field(default_factory=dict)
    doubled: set[str] = field(default_factory=set)
    failed: list[str] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)
    count: int = 0
    done: bool = False

    def take(self, message: dict[str, Any]) -> None:
        """Note what a line of the client's says."""
        event = message["event"]
        if event == "started":
            self.count = message["count"]
        elif event == "failed":
            self.failed.append(f"{message['name']}: {message['error']}")
            self.names[message["name"]] = message["at"]
        elif event == "seen":
            self.names[message["name"]] = message["at"]
            for key, token in message["runs"].items():
                known, _ = self.runs.setdefault(key, (token, message["at"]))
                if known != token:
                    self.doubled.add(key)

    @property
    def complete(self) -> bool:
        """Whether all futures have ended."""
        return bool(self.count) and len(self.names) == self.count


class Stage:
    """Everything that one round starts, in a folder of its own.

    Args:
        setup: What to start.
        durability: Of the engine.
        seed: Of the workload.
        lease: Of the client.
    """

    def __init__(self, setup: Setup, durability: str, seed: int, lease: float) -> None:
        self.setup = setup
        self.seen = Seen()
        self.engine: Up | None = None
        # Sockets need a short path.
        self.folder = Path(tempfile.mkdtemp(prefix="afc-", dir="/tmp"))
        self.temporary = self.folder / "t"
        self._known: set[psutil.Process] = set()
        self._environment = {
            **os.environ,
            "TMPDIR": str(self.temporary),
            "ARMOFLOW_CACHE": str(self.folder / "cache"),
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        for part in ("t", "notes", "engine"):
            (self.folder / part).mkdir()
        if setup.arguments is not None:
            arguments = (
                *setup.arguments,
                "--durability",
                durability,
                "--client-lease",
                f"{lease:g}",
            )
            self.engine = Up(self.folder / "engine", *arguments, environment=self._environment)
        self.client = self._start_client(seed)
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    # --- the client -----------------------------------------------------------------------------

    def _start_client(self, seed: int) -> subprocess.Popen[str]:
        endpoint = "" if self.engine is None else self.engine.endpoint
        extensions = "yes" if self.setup.extensions else "no"
        command = [sys.executable, "-m", "tests.campaign.workload", endpoint, extensions]
        with (self.folder / "client.log").open("w") as log:
            return subprocess.Popen(
                [*command, str(self.notes), str(seed)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._environment,
                cwd=ROOT,
            )

    def _read(self) -> None:
        assert self.client.stdout is not None
        for line in self.client.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def listen(self, until: float) -> bool:
        """Take what the client says next; False if it says nothing (more) in that time.

        Args:
            until: When to give up, by ``time.monotonic``.
        """
        with contextlib.suppress(queue.Empty):
            line = self._lines.get(timeout=max(0.0, until - time.monotonic()))
            if line is not None:
                self.seen.take(json.loads(line))
                return True
        return False

    def listen_for(self, count: int) -> bool:
        """Listen until so many futures have ended; False if that does not come."""
        until = time.monotonic() + PATIENCE
        while not self.seen.count or len(self.seen.names) < min(count, self.seen.count):
            if not self.listen(until):
                return False
        return True

    def listen_to_the_end(self) -> bool:
        """Listen until all futures have ended; False if they do not."""
        until = time.monotonic() + PATIENCE
        while not self.seen.complete:
            if not self.listen(until):
                return False
        return True

    def close_client(self) -> bool:
        """Let the client end; False if it does not end well."""
        assert self.client.stdin is not None
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self.client.stdin.write("close\n")
            self.client.stdin.close()
            return self.client.wait(PATIENCE) == 0
        return False

    # --- processes ------------------------------------------------------------------------------

    @property
    def notes(self) -> Path:
        """Where the tasks leave notes."""
        return self.folder / "notes"

    @property
    def state(self) -> Path:
        """The engine's state directory."""
        if self.engine is not None:
            return self.folder / "engine" / "state"
        (state,) = self.temporary.glob("*/state")
        return state

    def processes(self) -> list[psutil.Process]:
        """All processes of the round that run now; they are remembered."""
        roots = [self.client.pid]
        if self.engine is not None:
            roots.append(self.engine.process.pid)
        found: list[psutil.Process] = []
        for pid in roots:
            with contextlib.suppress(psutil.NoSuchProcess):
                root = psutil.Process(pid)
                found += [root, *root.children(recursive=True)]
        self._known.update(found)
        return found

    def named(self, part: str) -> list[psutil.Process]:
        """The processes of the round that have this in their command line, in order of start.

        But for the client and ``armoflow up``, which may name it as an option's value.
        """
        roots = {self.client.pid, None if self.engine is None else self.engine.process.pid}
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if part in " ".join(process.cmdline()) and process.pid not in roots:
                    found.append(process)
        return sorted(found, key=lambda process: process.create_time())

    def survivors(self) -> list[str]:
        """Processes of the round that are still there when all should be gone."""
        self._known.update(self._strangers())
        _, alive = psutil.wait_procs(list(self._known), timeout=GONE_PATIENCE)
        return [_describe(process) for process in alive if _runs(process)]

    def _strangers(self) -> Iterator[psutil.Process]:
        """Processes that name the round's folder, whoever their parent is."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.pid != os.getpid() and str(self.folder) in " ".join(process.cmdline()):
                    yield process

    # --- the end --------------------------------------------------------------------------------

    def stop_engine(self) -> bool:
        """Let the engine end; False if it does not end well."""
        if self.engine is None:
            return True
        self.engine.process.terminate()
        try:
            return self.engine.process.wait(PATIENCE) == 0
        except subprocess.TimeoutExpired:
            return False

    def clear(self) -> None:
        """End whatever is left, and remove the folder."""
        self.processes()
        for process in self._known:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.client.wait()
        for pipe in (self.client.stdin, self.client.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        if self.engine is not None:
            self.engine.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def _describe(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return f"process {process.pid}: {' '.join(process.cmdline())[:120]}"
    return f"process {process.pid}"
