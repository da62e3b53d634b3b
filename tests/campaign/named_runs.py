"""``python -m tests.campaign.named_runs``: clients of named runs are killed, and others go on.

A run of many tasks is killed at a random moment, its client alone or the engine with it; another
process attaches, and submits the graph again where its plan was not whole. A table; exits with 1 if
a value was wrong, or if a task ran again that was committed.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

import psutil
from armonik.common import Result

from armoflow.protocol.frames import KEPT_PREFIX, RUN_LABEL
from armoflow.protocol.inspection import Inspection
from armoflow.protocol.settings import ConnectionSettings
from tests.campaign.named_workload import expected
from tests.campaign.stage import ROOT
from tests.integration.engines import EMBEDDED, STOCK, Up
from tests.integration.gates import Log

PATIENCE = 180.0
"""Seconds that a client may take before it counts as hanging."""

KILLED = ("client", "client and engine")


@dataclass
class Verdict:
    """What came of a round.

    Attributes:
        killed: What was killed.
        at: Seconds after the client had begun.
        found: What who attached has found: the value, or that the plan was not whole.
        noted: How many tasks had begun when it was killed.
        again: How many of them ran again.
        problems: What should not be.
    """

    killed: str
    at: float
    found: str = ""
    noted: int = 0
    again: int = 0
    problems: list[str] = field(default_factory=list)


class Campaign:
    """Rounds on one engine.

    Args:
        directory: Where all files go.
        tasks: How many a run has.
        stock: An engine that offers what a stock cluster does.
    """

    def __init__(self, directory: Path, tasks: int, *, stock: bool = False) -> None:
        self._directory = directory
        self._tasks = tasks
        self._engine = Up(directory, *(STOCK if stock else EMBEDDED))
        self._number = 0

    def close(self) -> None:
        """Stop the engine."""
        self._engine.stop()

    def lasts(self) -> float:
        """Seconds that a run takes from its beginning, if nothing is killed."""
        log = self._new_log()
        with self._client("begin", log) as client:
            begun = self._begun(client)
            self._value(client)
            return time.monotonic() - begun

    def play(self, killed: str, at: float) -> Verdict:
        """Kill something so many seconds after a client has begun a run, and go on."""
        verdict, log = Verdict(killed, at), self._new_log()
        with self._client("begin", log) as client:
            begun = self._begun(client)
            time.sleep(max(0.0, begun + at - time.monotonic()))
            client.send_signal(signal.SIGKILL)
            if killed != "client":
                self._kill_engine()
        before = log.counts()
        verdict.noted = len(before)
        killed_at = datetime.now(timezone.utc)
        if killed != "client":
            self._engine.start()
        with self._client("attach", log) as client:
            self._begun(client)
            verdict.found = self._value(client)
        if verdict.found in ("not whole", "not there"):
            with self._client("begin", log) as client:
                self._begun(client)
                value = self._value(client)
        else:
            value = verdict.found
        counts = log.counts()
        self._judge(verdict, value, counts)
        if killed != "client":
            # An engine that dies takes up again what it had not committed, and nothing else.
            missing = self._tasks + 1 - self._committed(killed_at)
            began = counts.total() - before.total()
            if began != missing:
                verdict.problems.append(f"{began} tasks began then, {missing} were missing")
        return verdict

    def _kill_engine(self) -> None:
        children = psutil.Process(self._engine.process.pid).children(recursive=True)
        self._engine.kill()
        psutil.wait_procs(children, timeout=PATIENCE)

    def _committed(self, before: datetime) -> int:
        """How many of the run's tasks had ended by then, as the engine says."""
        with Inspection(ConnectionSettings(self._engine.endpoint)) as inspection:
            (session,) = (
                session
                for session in inspection.sessions(1_000)[1]
                if session.options.options.get(RUN_LABEL) == f"run-{self._number}"
            )
            results = inspection.listed(Result.session_id == session.session_id)
            return sum(
                result.name.startswith(KEPT_PREFIX)
                and result.completed_at is not None
                and result.completed_at < before
                for result in results
            )

    def _judge(self, verdict: Verdict, value: str, counts: Counter[str]) -> None:
        if value != str(expected(self._tasks)):
            verdict.problems.append(f"the value is {value}, not {expected(self._tasks)}")
        if len(counts) != self._tasks + 1:
            verdict.problems.append(f"{len(counts)} tasks ran, not {self._tasks + 1}")
        again = {name: count for name, count in counts.items() if count > 1}
        verdict.again = len(again)
        if again and verdict.killed == "client":
            verdict.problems.append(f"run again: {again}")

    def _new_log(self) -> Log:
        self._number += 1
        return Log(self._directory / f"log-{self._number}")

    def _client(self, what: str, log: Log) -> subprocess.Popen[str]:
        arguments = [what, self._engine.endpoint, f"run-{self._number}", log.path]
        return subprocess.Popen(
            [sys.executable, "-m", "tests.campaign.named_workload", *arguments, str(self._tasks)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "ARMOFLOW_CACHE": str(self._directory / "cache")},
        )

    def _begun(self, client: subprocess.Popen[str]) -> float:
        assert client.stdout is not None
        assert client.stdout.readline() == "begun\n"
        return time.monotonic()

    def _value(self, client: subprocess.Popen[str]) -> str:
        return client.communicate(timeout=PATIENCE)[0].strip()


def table(verdicts: Sequence[Verdict]) -> str:
    """What was killed how often, and what that has cost, in Markdown."""
    lines = [
        "| killed | rounds | plan was whole | begun by then | wrong | ran again |",
        "|---|---|---|---|---|---|",
    ]
    for killed in KILLED:
        cell = [verdict for verdict in verdicts if verdict.killed == killed]
        if cell:
            whole = sum(verdict.found not in ("not whole", "not there") for verdict in cell)
            noted = sorted(verdict.noted for verdict in cell)
            problems = sum(bool(verdict.problems) for verdict in cell)
            again = sum(verdict.again for verdict in cell)
            lines.append(
                f"| {killed} | {len(cell)} | {whole} | {noted[0]:,} to {noted[-1]:,} | {problems} "
                f"| {again} |"
            )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the rounds; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.named_runs")
    parser.add_argument("--rounds", type=int, default=30, metavar="N", help="of each kind")
    parser.add_argument("--tasks", type=int, default=2_000, metavar="N", help="of a run")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--only", choices=KILLED)
    parser.add_argument("--stock", action="store_true", help="on an engine like a stock cluster")
    chosen = parser.parse_args(arguments)
    chance = random.Random(chosen.seed)
    verdicts = []
    with tempfile.TemporaryDirectory() as directory:
        campaign = Campaign(Path(directory), chosen.tasks, stock=chosen.stock)
        try:
            lasts = campaign.lasts()
            for killed in KILLED:
                for _ in range(chosen.rounds if chosen.only in (None, killed) else 0):
                    verdict = campaign.play(killed, chance.uniform(0.0, 1.1 * lasts))
                    verdicts.append(verdict)
                    print(verdict, file=sys.stderr, flush=True)
        finally:
            campaign.close()
    print(f"A run takes {lasts:.1f} s if nothing is killed.\n\n{table(verdicts)}")
    return 1 if any(verdict.problems for verdict in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
