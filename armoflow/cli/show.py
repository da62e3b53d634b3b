"""``armoflow show``: all that an engine knows of a session, a task or a result."""

from __future__ import annotations

from collections import Counter
from typing import Any

import rich_click as click
from armonik.common import Result, ResultStatus, Session, Task

from armoflow.cli.endpoint import engine_options, look
from armoflow.cli.finding import find
from armoflow.cli.printing import echo, json_option, print_facts, print_json
from armoflow.cli.ps import describe_session
from armoflow.protocol.entities import moment, task_name
from armoflow.protocol.inspection import Inspection
from armoflow.protocol.item_inspection import ItemInspection
from armoflow.protocol.settings import ConnectionSettings
from armoflow.report.facts import headline, task_facts
from armoflow.report.failure_groups import NOT_KEPT
from armoflow.report.wording import length

FAILURES = 200
"""Failed tasks that are looked at to tell the kinds of failures."""

KINDS = 10
"""Kinds of failures that are shown."""

ITEMS = 20
"""Failed items of a task that are shown, and tasks of a session with such."""


@click.command()
@click.argument("id", metavar="ID|NAME")
@engine_options
@json_option
def show(settings: ConnectionSettings, id: str, as_json: bool) -> None:
    """Show all that is known of a session, a task or a result.

    ID is one's id, or enough of its beginning; NAME is a named run's. Of a failed task that is the
    error, with the traceback where armoflow's worker ran it.
    """
    with look(settings) as inspection:
        found = find(inspection, id)
        if isinstance(found, Session):
            facts = _session(inspection, found)
        elif isinstance(found, Task):
            facts = task_facts(inspection, found)
        else:
            facts = _result(found)
    if as_json:
        print_json({"kind": type(found).__name__.lower(), **facts})
    else:
        _print(type(found).__name__, facts)


def _session(inspection: Inspection, session: Session) -> dict[str, Any]:
    facts = describe_session(inspection, session)
    failures = inspection.failures(session.session_id, FAILURES)
    kinds = Counter(headline(task) for task in failures.tasks)
    first: dict[str, str] = {}
    for task in failures.tasks:
        first.setdefault(headline(task), task.id)
    facts["failures"] = [
        {"error": error, "tasks": count, "first": first[error]}
        for error, count in kinds.most_common(KINDS)
    ]
    summaries = ItemInspection(inspection).summaries(session.session_id)
    facts["failed items"] = sum(summary.failed for summary in summaries.values())
    facts["tasks with failed items"] = [
        {"task": task_id, **summary._asdict()} for task_id, summary in [*summaries.items()][:ITEMS]
    ]
    return facts


def _result(result: Result) -> dict[str, Any]:
    return {
        "id": result.result_id,
        "name": task_name(result.name),
        "status": ResultStatus(result.status).name.lower(),
        "session": result.session_id,
        "bytes": result.size,
        "task": result.owner_task_id,
        "created by": result.created_by,
        "created": moment(result.created_at),
        "completed": moment(result.completed_at),
    }


def _print(kind: str, facts: dict[str, Any]) -> None:
    shown = dict(facts)
    trace = shown.pop("traceback", None)
    failures = shown.pop("failures", ())
    packs = shown.pop("tasks with failed items", ())
    items = shown.pop("failed items", ())
    if packs:
        shown["failed items"] = items
    if "seconds" in shown:
        shown["lasted"] = length(shown.pop("seconds"))
    for name in ("inputs", "outputs"):
        if name in shown:
            shown[name] = [f"{id} ({each})" if each else id for id, each in shown[name].items()]
    for name in ("tasks", "items", "options"):
        if shown.get(name):
            pairs = shown[name].items()
            shown[name] = ", ".join(f"{key} {value}" for key, value in pairs if value is not None)
    print_facts(f"{kind} {shown.pop('id')}", shown)
    for failure in failures:
        echo(f"  {failure['tasks']:,} failed: {failure['error']}")
        echo(f"      armoflow show {failure['first']}")
    for pack in packs:
        names = ", ".join(pack["names"])
        echo(f"  {pack['failed']:,} of {pack['items']:,} items failed: {names}")
        echo(f"      armoflow show {pack['task']}")
    if kind == "Task":
        for item in items[:ITEMS]:
            echo(f"  {item['name']} failed: {item['error'] or NOT_KEPT}")
        if len(items) > ITEMS:
            echo(f"  ... and {len(items) - ITEMS:,} more")
    if trace:
        echo(f"\n{trace.rstrip()}")
