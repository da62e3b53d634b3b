"""``python -m tests.campaign.cluster``: a mixed workload on an engine that does what the real one
did; a table, and 1 if a value was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.campaign.stage import ROOT
from tests.realistic.process import Realistic

PATIENCE = 180.0
"""Seconds that a client may take before it counts as hanging: none of its calls takes one."""

OUTAGE = 10.0

UNKNOWN_SESSIONS = "sessions left open, their creation answered with a fault"

COUNTED = (
    *("rows late", "late rows read", "events doubled", "events overtaken", "events lost"),
    *("streams cut", "streams silenced"),
    *("faults before the effect", "faults after the effect", "calls in the outage"),
    *("tasks lost", "deletes refused", UNKNOWN_SESSIONS),
)


@dataclass
class Verdict:
    """What came of a round.

    Attributes:
        seed: Of the round.
        values: How many values were seen.
        problems: What should not be: wrong values, hanging clients, retries without their inputs.
        counts: What the engine did.
        seconds: How long it took.
    """

    seed: int
    values: int = 0
    problems: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


def play(seed: int, outage: float = OUTAGE) -> Verdict:
    """Play one round."""
    verdict = Verdict(seed)
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="afr-", dir="/tmp"))
    try:
        _play(folder, verdict, outage)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    verdict.seconds = time.monotonic() - began
    return verdict


def _play(folder: Path, verdict: Verdict, outage: float) -> None:
    chance = random.Random(verdict.seed)
    for part in ("engine", "notes"):
        (folder / part).mkdir()
    arguments = ["--delete-payload"] if chance.random() < 0.5 else []
    engine = Realistic(
        folder / "engine", "--workers", "2", *arguments, seed=verdict.seed, outage=outage
    )
    try:
        _run_client(folder, engine.endpoint, verdict)
    finally:
        engine.stop()
    verdict.counts.update(engine.counts())
    log = (folder / "engine" / "log").read_text()
    verdict.problems += [line for line in log.splitlines() if "STUCK" in line]
    used, unknown = engine.open_sessions()
    verdict.problems += used
    verdict.counts[UNKNOWN_SESSIONS] += unknown


def _run_client(folder: Path, endpoint: str, verdict: Verdict) -> None:
    command = [sys.executable, "-m", "tests.campaign.cluster_workload", endpoint]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (folder / "client.log").open("w+") as log:
        client = subprocess.Popen(
            [*command, str(folder / "notes"), str(verdict.seed)],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
            cwd=ROOT,
        )
        try:
            out, _ = client.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            client.kill()
            out, _ = client.communicate()
            verdict.problems.append("the client hangs")
        said = [json.loads(line) for line in out.splitlines()]
        verdict.problems += [text for text in said if isinstance(text, str)]
        verdict.values = sum(number for number in said if isinstance(number, int))
        if client.returncode or verdict.problems:
            log.seek(0)
            verdict.problems.append(f"client: {client.returncode}: {log.read()[-3000:]}")


def table(verdicts: Sequence[Verdict]) -> str:
    """What the engine did, and what came of it, in Markdown."""
    counts: Counter[str] = Counter()
    for verdict in verdicts:
        counts.update(verdict.counts)
    wrong = sum(bool(verdict.problems) for verdict in verdicts)
    lines = ["| what | times |", "|---|---|", f"| rounds | {len(verdicts)} |"]
    lines += [f"| {what} | {counts[what]} |" for what in COUNTED]
    lines.append(f"| values and errors seen | {sum(verdict.values for verdict in verdicts)} |")
    lines.append(f"| rounds with a wrong value, a hang or a stuck task | {wrong} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the rounds; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.cluster", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="the first one")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="rounds at once")
    chosen = parser.parse_args(arguments)
    verdicts: list[Verdict] = []
    with ThreadPoolExecutor(chosen.jobs) as pool:
        seeds = range(chosen.seed, chosen.seed + chosen.rounds)
        for verdict in pool.map(play, seeds):
            verdicts.append(verdict)
            outcome = "; ".join(verdict.problems) or "well"
            print(
                f"[{len(verdicts)}/{chosen.rounds}] seed {verdict.seed}, {verdict.values} values, "
                f"{verdict.seconds:.0f} s: {outcome}",
                file=sys.stderr,
                flush=True,
            )
    print(table(verdicts))
    return int(any(verdict.problems for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
