"""The stages of a small task's way, and engines and workers whose stages are timed.

``python -m benchmarks.micro.stages DIRECTORY ...`` is ``python -m armoflow.engine ...`` with
stopwatches in the engine and its worker processes; they keep their sums in that directory.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.micro.stopwatch import (
    Boundary,
    Overhead,
    Stopwatch,
    Sums,
    difference,
    measure_overhead,
    net,
    read,
)

BUILD = "build"
CHECK = "check"
PICKLE = "pickle"
PLAN = "plan"
LAY_OUT = "lay out"
SUBMIT = "submit"
RPC = "RPC"
TAKE_IN = "state machine, submit"
START = "state machine, run"
END = "state machine, complete"
JOURNAL = "journal, loop"
WRITER = "journal, writer thread"
DISPATCH = "dispatch"
COMPLETE = "complete"
NOTIFY = "notify"
FREE = "free"
GATHER = "gather"
RUN = "run"
FRAMES = "frames"

CLIENT = (
    Boundary("armoflow.client.client:Client.compute", PLAN),
    Boundary("armoflow.client.graph_runs:GraphRuns._compute", GATHER),
    Boundary("armoflow.client.surveying:Surveyor.survey", CHECK),
    Boundary("armoflow.orchestrator.orchestrator:Orchestrator.run", PLAN),
    Boundary("armoflow.orchestrator.orchestrator:Run._plan", PLAN),
    Boundary("armoflow.orchestrator.planning.drafts:Draft.dumps_named", PICKLE),
    Boundary("armoflow.orchestrator.planning.drafts:Draft.column", PICKLE),
    Boundary("armoflow.orchestrator.submit:Pipeline.run", SUBMIT),
    Boundary("armoflow.orchestrator.submit:Pipeline._send", SUBMIT),
    Boundary("armoflow.protocol.batch:lay_out", LAY_OUT),
    Boundary("armoflow.protocol.stream:Stream.request", RPC),
    Boundary("armoflow.protocol.stream:Stream._hear", RPC),
    Boundary("armoflow.protocol.stream:Stream._flush", RPC),
    Boundary("armoflow.protocol.stream_watch:StreamWatch._changed", NOTIFY),
    Boundary("armoflow.orchestrator.orchestrator:Orchestrator._watch", NOTIFY),
    Boundary("armoflow.orchestrator.orchestrator:Orchestrator._apply", NOTIFY),
    Boundary("armoflow.orchestrator.fetch:Fetcher._fetch", NOTIFY),
    Boundary("armoflow.orchestrator.freeing:Freeing._release_now", FREE),
)
"""The client's, in the places that are called a few times for each batch (pickling: each task)."""

ENGINE = (
    Boundary("armoflow.engine.services.connection:Connection.take", RPC),
    Boundary("armoflow.engine.services.replies:Replies.send", RPC),
    Boundary("armoflow.engine.services.connection:Connection._submit", TAKE_IN),
    Boundary("armoflow.engine.state:State.submit_with_data", TAKE_IN),
    Boundary("armoflow.engine.state:State.run", START),
    Boundary("armoflow.engine.state:State.complete_tasks", END),
    Boundary("armoflow.engine.core:Engine._committed", END),
    Boundary("armoflow.engine.journal:Journal.add", JOURNAL),
    Boundary("armoflow.engine.journal:Journal._flush", JOURNAL),
    Boundary("armoflow.engine.journal:Journal._written", JOURNAL),
    Boundary("armoflow.engine.journal:Journal._write", WRITER),
    Boundary("armoflow.engine.scheduler:Scheduler.push", DISPATCH),
    Boundary("armoflow.engine.agents.lane:LaneAgent._deal", DISPATCH),
    Boundary("armoflow.worker.child_process:ChildProcess._on_readable", COMPLETE),
    Boundary("armoflow.engine.watchers:Watchers.tell", NOTIFY),
    Boundary("armoflow.engine.services.connection:Connection._tell", NOTIFY),
    Boundary("armoflow.engine.services.connection:Connection._delete", FREE),
)

WORKER = (
    Boundary("armoflow.worker.child:Child.serve", FRAMES),
    Boundary("armoflow.worker.runner:Runner.run", RUN),
)

ROLES: dict[str, tuple[Boundary, ...]] = {"client": CLIENT, "engine": ENGINE, "worker": WORKER}

EXTRA = {"client": (BUILD,)}
"""Stages that have no function of armoflow's own at their boundary."""

_VARIABLE = "BENCHMARK_STAGES"
_WORKER_MODULE = "benchmarks.micro.timed_worker"
_ROOT = Path(__file__).resolve().parents[2]


def names(role: str) -> list[str]:
    """The stages of a role, but for the rest."""
    return [*EXTRA.get(role, ()), *dict.fromkeys(boundary.stage for boundary in ROLES[role])]


def start_watch(role: str, directory: Path) -> Stopwatch:
    """A stopwatch for this process, which has this role."""
    stem = f"{role}-{os.getpid()}"
    overhead = measure_overhead(directory)
    (directory / f"{stem}.overhead").write_text(json.dumps(overhead))
    return Stopwatch(names(role), directory / f"{stem}.sums")


class Reading:
    """What all stopwatches of a directory show at one moment, by process."""

    def __init__(self, directory: Path) -> None:
        self._sums: dict[str, dict[str, Sums]] = {}
        self._overheads: dict[str, Overhead] = {}
        for path in directory.glob("*.sums"):
            self._sums[path.stem] = read(path, names(_role(path.stem)))
            overhead = json.loads(path.with_suffix(".overhead").read_text())
            self._overheads[path.stem] = Overhead(*overhead)

    def since(self, before: Reading) -> dict[tuple[str, str], float]:
        """Seconds by role and stage between two readings, without those of the measurement."""
        total: dict[tuple[str, str], float] = {}
        for process, sums in self._sums.items():
            if process not in before._sums:
                continue  # a spare process that has just been started
            spent = net(difference(sums, before._sums[process]), self._overheads[process])
            for stage, seconds in spent.items():
                key = _role(process), stage
                total[key] = total.get(key, 0.0) + seconds
        return total


def _role(stem: str) -> str:
    return stem.partition("-")[0]


@contextlib.contextmanager
def timed_engine(workers: int, directory: Path) -> Iterator[str]:
    """An engine with stopwatches, as a client starts it; gives its address."""
    address = f"unix:{directory / 'engine.sock'}"
    command = [sys.executable, "-m", "benchmarks.micro.stages", str(directory)]
    command += ["--listen", address, "--state", str(directory / "state")]
    command += ["--workers", str(workers), "--delete-payload"]
    alive, held = os.pipe()  # it ends with this process, whatever becomes of that
    with subprocess.Popen(
        [*command, "--alive-fd", str(alive)],
        stdout=subprocess.PIPE,
        env=_environment(),
        pass_fds=[alive],
    ) as process:
        os.close(alive)
        try:
            assert process.stdout is not None
            if not process.stdout.readline().startswith(b"ready"):
                raise RuntimeError(f"the engine ended with exit code {process.wait()}")
            yield address
        finally:
            process.terminate()
            os.close(held)


def _environment() -> Mapping[str, str]:
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


def run_engine(directory: Path, arguments: list[str]) -> int:
    """An engine whose workers are timed, too; returns its exit code."""
    from armoflow.engine.__main__ import main
    from armoflow.worker import child_process

    os.environ[_VARIABLE] = str(directory)
    child_process._MODULE = _WORKER_MODULE
    with start_watch("engine", directory).timing(ENGINE):
        return main(arguments)


def run_worker() -> None:
    """A worker process that is timed."""
    from armoflow.worker.child import main

    with start_watch("worker", Path(os.environ[_VARIABLE])).timing(WORKER):
        main()


if __name__ == "__main__":
    sys.exit(run_engine(Path(sys.argv[1]), sys.argv[2:]))
