"""``armoflow timeline``: when which task ran where, for Perfetto."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import rich_click as click
from armonik.common import Task, TaskStatus

from armoflow.cli.engine import engine_options, look
from armoflow.errors import OptionError
from armoflow.protocol.inspection import moment
from armoflow.protocol.settings import ConnectionSettings


@click.command()
@click.argument("session")
@engine_options
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The file to write (trace.json); open it at ui.perfetto.dev.",
)
def timeline(settings: ConnectionSettings, session: str, output: Path) -> None:
    """Write when which engine task of SESSION ran, in which pod.

    Of a pack it is the pack that is shown, with what it waited for.
    """
    with look(settings) as inspection:
        session_id = inspection.session_of(session).session_id
        tasks = [task for task in inspection.tasks(session_id) if moment(task.started_at)]
        outputs = [task.expected_output_ids[0] for task in tasks if task.expected_output_ids]
        names = inspection.names(outputs)
    events = list(trace_events(tasks, names))
    try:
        output.write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}))
    except OSError as error:
        raise OptionError(f"--output {output} cannot be written: {error.strerror}") from error
    click.echo(f"{len(tasks):,} tasks in {output}")


def trace_events(tasks: Iterable[Task], names: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """The tasks as events of Chrome's trace format: a process a pod, rows for what runs at once.

    Args:
        tasks: What has begun.
        names: Of their results, by id.
    """
    pods: dict[str, tuple[int, list[datetime]]] = {}  # until when each of its rows is taken
    for task in sorted(tasks, key=lambda task: task.started_at or task.created_at):
        begun = moment(task.started_at)
        if begun is None:
            continue
        ended = moment(task.processed_at) or moment(task.ended_at) or begun
        pod = task.pod_hostname or task.owner_pod_id or "unknown"
        if pod not in pods:
            pods[pod] = (len(pods) + 1, [])
            yield {"ph": "M", "name": "process_name", "pid": len(pods), "args": {"name": pod}}
        number, rows = pods[pod]
        output = task.expected_output_ids[0] if task.expected_output_ids else ""
        yield {
            "ph": "X",
            "name": names.get(output) or task.id,
            "pid": number,
            "tid": _row(rows, begun, ended),
            "ts": _microseconds(begun),
            "dur": _microseconds(ended) - _microseconds(begun),
            "args": {"task": task.id, "status": _status(task), **_waits(task)},
        }


def _row(taken: list[datetime], begun: datetime, ended: datetime) -> int:
    """The first row of a pod that is free then; it is taken until the task has ended."""
    for number, until in enumerate(taken):
        if until <= begun:
            taken[number] = ended
            return number + 1
    taken.append(ended)
    return len(taken)


def _status(task: Task) -> str:
    return str(TaskStatus(task.status).name).lower()


def _waits(task: Task) -> dict[str, float]:
    """How long it waited, in seconds: for its inputs, for a worker, for its data."""
    times = [moment(at) for at in (task.created_at, task.submitted_at, task.acquired_at)]
    times.append(moment(task.started_at))
    labels = ("waited for inputs", "queued", "fetching")
    return {
        label: round((after - before).total_seconds(), 6)
        for label, before, after in zip(labels, times, times[1:], strict=False)
        if before is not None and after is not None
    }


def _microseconds(at: datetime) -> int:
    return round(at.timestamp() * 1_000_000)
