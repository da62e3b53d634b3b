"""``armoflow timeline``: when which task ran where, for Perfetto."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import rich_click as click

from armoflow.cli.endpoint import engine_options, look
from armoflow.cli.finding import find_session
from armoflow.cli.printing import json_option, output_option, tell_written, write_file
from armoflow.protocol.settings import ConnectionSettings
from armoflow.report.collect import collect
from armoflow.report.digest import by_start
from armoflow.report.lanes import Lanes
from armoflow.report.trace import TaskRun


@click.command()
@click.argument("session", metavar="SESSION|NAME")
@engine_options
@output_option("The file to write (trace.json); open it at ui.perfetto.dev.")
@json_option
def timeline(settings: ConnectionSettings, session: str, output: Path, as_json: bool) -> None:
    """Write when which engine task of SESSION ran, in which pod.

    Of a pack it is the pack that is shown, with what it waited for.
    """
    with look(settings) as inspection:
        trace = collect(inspection, find_session(inspection, session))
    runs = [run for run in trace.runs if run.started is not None]
    events = list(trace_events(runs))
    write_file(output, json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}).encode())
    tell_written(trace.id, len(runs), output, as_json=as_json)


def trace_events(runs: Sequence[TaskRun]) -> Iterator[dict[str, Any]]:
    """Tasks as events of Chrome's trace format: a process a pod, rows for what runs at once.

    Args:
        runs: What has begun.
    """
    lanes = Lanes()
    placed = [(run, lanes.add(run)) for run in by_start(runs)]
    pods = {pod: number for number, pod in enumerate(dict.fromkeys(r.pod for r in lanes.rows), 1)}
    for pod, number in pods.items():
        yield {"ph": "M", "name": "process_name", "pid": number, "args": {"name": pod}}
    for run, lane in placed:
        if lane >= 0:
            yield {
                "ph": "X",
                "name": run.name,
                "pid": pods[lanes.rows[lane].pod],
                "tid": lane + 1,
                "ts": round((run.started or 0.0) * 1_000_000),
                "dur": round((run.seconds or 0.0) * 1_000_000),
                "args": {"task": run.id, "status": run.state, **_waits(run)},
            }


def _waits(run: TaskRun) -> dict[str, float]:
    """How long it waited, in seconds: for its inputs, for a worker, for its data."""
    times = (run.created, run.queued, run.taken, run.started)
    labels = ("waited for inputs", "queued", "fetching")
    return {
        label: round(after - before, 6)
        for label, before, after in zip(labels, times, times[1:], strict=False)
        if before is not None and after is not None
    }
