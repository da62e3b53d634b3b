"""One trial in a process of its own: one workload on one system. Started by the runner."""

from __future__ import annotations

import dataclasses
import faulthandler
import json
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.suite.measure import Meter, adopt_orphans
from benchmarks.suite.systems import load_system
from benchmarks.suite.workloads import find_workload

OUTCOME_FILE = "outcome.json"

STOP_SIGNAL = signal.SIGUSR1
"""Sent to a trial whose time is over: it prints the stacks of all its threads and dies."""


@dataclass(frozen=True, slots=True)
class TrialSpec:
    """What a trial is told on its command line.

    Attributes:
        directory: The trial's own directory; the outcome is written there.
    """

    system: str
    workload: str
    quick: bool
    workers: int
    directory: str

    def to_argument(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_argument(cls, text: str) -> TrialSpec:
        return cls(**json.loads(text))


def main(argument: str) -> None:
    """Run the trial; the outcome goes to a file, an exception to standard error and exit code 1."""
    spec = TrialSpec.from_argument(argument)
    faulthandler.register(STOP_SIGNAL, chain=True)
    adopt_orphans()
    directory = Path(spec.directory)
    system = load_system(spec.system)(spec.workers, directory)
    workload = find_workload(spec.workload, quick=spec.quick)
    meter = Meter()
    if workload.starts_system:
        system.start()
        workload.warm_up(system)
    numbers = workload.run(system, meter)
    outcome = _outcome(meter, numbers)
    (directory / OUTCOME_FILE).write_text(json.dumps(outcome))
    if workload.starts_system:
        system.stop()


def _outcome(meter: Meter, numbers: dict[str, Any]) -> dict[str, Any]:
    metrics = {
        "seconds": meter.seconds,
        "cpu_seconds": meter.cpu_seconds,
        "idle_memory": float(meter.idle_memory),
    }
    details = {}
    for key, value in numbers.items():
        if isinstance(value, (int, float)):
            metrics[key] = float(value)
        else:
            details[key] = value
    return {
        "metrics": metrics,
        "details": details,
        "started": meter.started,
        "ended": meter.ended,
    }


if __name__ == "__main__":
    main(sys.argv[1])
