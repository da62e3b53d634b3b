"""Asks an engine for a session's tasks, by the calls that every ArmoniK serves."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import islice

from armonik.common import Result, ResultStatus, Session, SessionStatus, Task, TaskStatus

from armoflow.config import KIB
from armoflow.protocol.entities import moment, task_name
from armoflow.protocol.frames import PAYLOAD_PREFIX
from armoflow.protocol.inspection import Inspection, ResultFacts
from armoflow.protocol.item_inspection import ItemInspection
from armoflow.protocol.states import ENDED, grouped, state_of
from armoflow.protocol.submission import NAMESPACE
from armoflow.protocol.task_rows import (
    MOST,
    TaskRow,
    ids_of,
    moment_of,
    offers_task_rows,
    read_ended,
)
from armoflow.report.failure_groups import faults_of
from armoflow.report.trace import SessionTrace, TaskRun
from armoflow.version import __version__

AT_ONCE = 1_000
"""Tasks whose results are asked for together."""


def collect(inspection: Inspection, session: Session) -> SessionTrace:
    """All that an engine knows of a session's tasks, their errors included."""
    trace = describe(inspection, session, versions(inspection))
    over = trace.total == sum(trace.counts[state] for state in ENDED)
    if over and offers_task_rows(inspection, trace.id):
        trace.runs = [*_told(inspection, trace.id)]
        stored = _stored(inspection, trace)
    else:
        reader = RunReader(inspection)
        page: list[Task] = []
        for task in inspection.tasks(trace.id, with_errors=True):
            page.append(task)
            if len(page) == AT_ONCE:
                trace.runs += reader.read(page)
                page = []
        trace.runs += reader.read(page)
        stored = [id for id in _first_outputs(trace) if reader.is_small(id)]
    trace.runs = with_items(inspection, trace, stored[:LOGS])
    return trace


def _told(inspection: Inspection, session_id: str) -> Iterator[TaskRun]:
    """The tasks that have ended, of an engine of armoflow's: a tenth of what lists take."""
    place, more = None, True
    while more:
        found = read_ended(inspection, session_id, place, MOST)
        place, more = found.place, found.more
        for row in found.rows:
            yield run_of(row, found.errors.get(row.id, ""))


def _first_outputs(trace: SessionTrace) -> list[str]:
    """The results that may hold a log of items."""
    return [run.outputs[0] for run in trace.runs if run.state == "done" and run.outputs]


def _stored(inspection: Inspection, trace: SessionTrace) -> list[str]:
    """Those of these that are there, and small enough to be looked into."""
    outputs = set(_first_outputs(trace)) if trace.armoflow else ()
    if not outputs:
        return []
    there = (Result.session_id == trace.id) & (Result.status == ResultStatus.COMPLETED)
    small = (
        result.result_id
        for result in inspection.listed(there)
        if result.result_id in outputs and (result.size or 0) <= LOG_BYTES
    )
    return [*islice(small, LOGS)]


def with_items(inspection: Inspection, trace: SessionTrace, stored: Sequence[str]) -> list[TaskRun]:
    """The tasks with what became of the calls that they ran, as far as that is still there.

    Args:
        inspection: Whom to ask.
        trace: The session.
        stored: Results that are looked into for it.
    """
    if not trace.armoflow:
        return trace.runs
    items = ItemInspection(inspection)
    left, told = items.left(trace.id), items.told(trace.id, stored)
    runs = []
    for run in trace.runs:
        output = run.outputs[0] if run.outputs and run.state == "done" else ""
        found = [each for each in (told.get(output), left.get(run.id)) if each is not None]
        records = next((each.records for each in found if each.records), ())
        faults = faults_of(records, [error for each in found for error in each.errors])
        runs.append(run._replace(items=records, faults=faults) if records else run)
    return runs


def describe(
    inspection: Inspection,
    session: Session,
    versions: Mapping[str, str],
    counts: Mapping[TaskStatus, int] | None = None,
) -> SessionTrace:
    """What is known of a session itself, without its tasks; counts are asked for if not given."""
    options = session.options
    if counts is None:
        counts = inspection.counts(session.session_id)
    return SessionTrace(
        id=session.session_id,
        application=(options and options.application_name) or "",
        armoflow=bool(options and options.application_namespace == NAMESPACE),
        status=SessionStatus(session.status).name.lower(),
        created=_seconds(session.created_at),
        endpoint=inspection.settings.endpoint,
        partitions=tuple(session.partition_ids),
        counts=grouped(counts),
        versions=versions,
    )


def versions(inspection: Inspection) -> dict[str, str]:
    """The versions of the engine's parts, and of what looks at it."""
    engine = {f"ArmoniK {name}": version for name, version in inspection.versions().items()}
    return {
        **engine,
        "armoflow (this page)": __version__,
        "Python (this page)": f"{platform.python_version()} on {sys.platform}",
    }


LOGS = 2_000
"""Results that are looked into for a log of items, at most: each is a download."""

LOG_BYTES = 256 * KIB
"""Bytes of a result that is looked into, at most."""


class RunReader:
    """Makes records of tasks; asks what their results are called and how large they are.

    Args:
        inspection: Whom to ask.
    """

    def __init__(self, inspection: Inspection) -> None:
        self._inspection = inspection
        self._results: dict[str, ResultFacts] = {}

    def read(self, tasks: Sequence[Task]) -> list[TaskRun]:
        """Records of some tasks."""
        fresh: dict[str, None] = {}
        for task in tasks:
            # What is not completed yet changes: it is asked for again.
            fresh.update(dict.fromkeys((*task.expected_output_ids, task.payload_id)))
        for task in tasks:
            inputs = task.data_dependencies
            fresh.update(dict.fromkeys(id for id in inputs if id not in self._results))
        self._results |= self._inspection.results([id for id in fresh if id])
        return [self._run(task) for task in tasks]

    def is_small(self, result_id: str) -> bool:
        """Whether a result is there, and small enough to be looked into for a log."""
        facts = self._results.get(result_id)
        return facts is not None and facts.stored and facts.size <= LOG_BYTES

    def _run(self, task: Task) -> TaskRun:
        return TaskRun(
            id=task.id,
            name=sys.intern(self._name(task)),
            state=state_of(task.status),
            pod=sys.intern(task.pod_hostname or task.owner_pod_id or ""),
            created=_seconds(task.created_at),
            queued=_seconds(task.submitted_at),
            taken=_seconds(task.acquired_at),
            started=_seconds(task.started_at),
            stopped=_seconds(task.processed_at),
            ended=_seconds(task.ended_at),
            inputs=tuple(task.data_dependencies),
            outputs=tuple(task.expected_output_ids),
            parent=task.created_by or "",
            tries=len(task.retry_of_ids),
            bytes_in=self._bytes((task.payload_id, *task.data_dependencies)),
            bytes_out=self._bytes(task.expected_output_ids),
            error=(task.output and task.output.error) or "",
        )

    def _bytes(self, result_ids: Iterable[str]) -> int:
        return sum(facts.size for id in result_ids if (facts := self._results.get(id)))

    def _name(self, task: Task) -> str:
        options = task.options
        outputs = task.expected_output_ids[:1]
        names = ["" if facts is None else facts.name for facts in map(self._results.get, outputs)]
        payload = self._results.get(task.payload_id)
        return name_of(
            (options and options.application_namespace) or "",
            (options and options.application_name) or "",
            (options and options.application_service) or "",
            output="".join(names),
            payload="" if payload is None else payload.name,
            parent=task.created_by or "",
        )


@lru_cache(4096)
def name_of(
    namespace: str, application: str, service: str, *, output: str, payload: str, parent: str
) -> str:
    """What a task is called.

    armoflow names results after their tasks. An output that was handed on has the name of who
    handed it on: of a task of a task it is the payload that tells. Other clients name results as
    they like: there it is what the application says.

    Args:
        namespace: Of the application, as its name and its service from the task's options.
        application: See above.
        service: See above.
        output: The name of the task's first output.
        payload: The name of its payload.
        parent: The task that submitted it.

    Example:
        >>> name_of(NAMESPACE, "run", "", output="output/f", payload="payload/g", parent="t")
        'g'
        >>> name_of("", "bank", "price", output="x", payload="y", parent="")
        'bank.price'
    """
    if namespace != NAMESPACE:
        return ".".join(filter(None, (application, service))) or "task"
    names = [task_name(each.removeprefix(PAYLOAD_PREFIX)) for each in (output, payload)]
    return next(filter(None, reversed(names) if parent else names), "task")


def run_of(row: TaskRow, error: str) -> TaskRun:
    """The record of a task that an engine of armoflow's told in short."""
    return TaskRun(
        id=row.id,
        name=sys.intern(
            name_of(
                row.namespace,
                row.application,
                row.service,
                output=row.output_name,
                payload=row.payload_name,
                parent=row.parent,
            )
        ),
        state=state_of(row.status),
        pod=sys.intern(row.pod),
        created=moment_of(row.created),
        queued=moment_of(row.queued),
        taken=moment_of(row.taken),
        started=moment_of(row.started),
        stopped=moment_of(row.stopped),
        ended=moment_of(row.ended),
        inputs=ids_of(row.inputs),
        outputs=ids_of(row.outputs),
        parent=row.parent,
        tries=len(ids_of(row.retries)),
        bytes_in=row.bytes_in,
        bytes_out=row.bytes_out,
        error=error,
    )


def _seconds(value: datetime | None) -> float | None:
    at = moment(value)
    return None if at is None else at.timestamp()
