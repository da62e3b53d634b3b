"""From a fresh interpreter to the first result, measured from outside."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Any, ClassVar

from benchmarks.suite.measure import Meter
from benchmarks.suite.model import Metric, check_value
from benchmarks.suite.systems.base import System
from benchmarks.suite.workloads.base import Workload


@dataclass(frozen=True)
class StartUp(Workload):
    metric: ClassVar[Metric] = Metric("first_result", "start to first result", "s")
    starts_system: ClassVar[bool] = False

    @property
    def name(self) -> str:
        return "start-up"

    @property
    def title(self) -> str:
        return "fresh interpreter: import, start, first result"

    def run(self, system: System, meter: Meter) -> dict[str, Any]:
        command = [
            sys.executable,
            "-m",
            "benchmarks.suite.first_result",
            f"{type(system).__module__}:{type(system).__qualname__}",
            str(system.workers),
            tempfile.mkdtemp(dir=system.directory),
        ]
        with meter.section():
            began = time.perf_counter()
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert process.stdout is not None
            line = next((text for text in process.stdout if text.startswith("first ")), "nothing")
            first_result = time.perf_counter() - began
            process.stdout.read()
            code = process.wait()
        check_value(line.strip(), "first 42", "the first result")
        check_value(code, 0, "the exit code")
        return {"first_result": first_result, "start_and_stop": meter.seconds}


FULL = (StartUp(),)
QUICK = (StartUp(),)
