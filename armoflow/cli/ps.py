"""``armoflow ps``: the sessions of an engine."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import rich_click as click
from armonik.common import Session, SessionStatus

from armoflow.cli.endpoint import engine_options, look
from armoflow.cli.printing import json_option, newest_option, print_json, print_table, tell_older
from armoflow.protocol.entities import moment, seconds
from armoflow.protocol.frames import RUN_LABEL
from armoflow.protocol.inspection import Inspection
from armoflow.protocol.settings import ConnectionSettings
from armoflow.protocol.states import grouped
from armoflow.report.wording import age, length, short_ids


def describe_session(inspection: Inspection, session: Session) -> dict[str, Any]:
    """What is known of a session, for programs."""
    options = session.options
    return {
        "id": session.session_id,
        "status": SessionStatus(session.status).name.lower(),
        "application": (options and options.application_name) or None,
        "run": options.options.get(RUN_LABEL) if options and options.options else None,
        "created": moment(session.created_at),
        "seconds": seconds(session.duration),
        "partitions": list(session.partition_ids),
        "tasks": grouped(inspection.counts(session.session_id)),
    }


def shown_status(row: Mapping[str, Any]) -> str:
    """How a session is, for people: that of a named run stays open when all of it has ended.

    Example:
        >>> tasks = dict.fromkeys(("waiting", "queued", "running"), 0)
        >>> shown_status({"status": "running", "run": "nightly", "tasks": tasks})
        'at rest'
        >>> shown_status({"status": "running", "run": None, "tasks": tasks})
        'running'
    """
    open_tasks = any(row["tasks"][name] for name in ("waiting", "queued", "running"))
    at_rest = row["run"] and row["status"] == "running" and not open_tasks
    return "at rest" if at_rest else str(row["status"])


@click.command()
@engine_options
@newest_option
@json_option
def ps(settings: ConnectionSettings, limit: int, as_json: bool) -> None:
    """List the sessions of an engine, the newest first, with their tasks."""
    with look(settings) as inspection:
        total, sessions = inspection.sessions(limit)
        rows = [describe_session(inspection, session) for session in sessions]
    if as_json:
        print_json({"total": total, "sessions": rows})
        return
    ids = short_ids([row["id"] for row in rows]) if sys.stdout.isatty() else {}
    columns = ["SESSION", "STATUS", "APPLICATION", "CREATED", "LASTED", "PARTITIONS"]
    shown = ["waiting", "queued", "running", "done", "failed", "cancelled"]
    print_table(
        [*columns, *map(str.upper, shown)],
        [
            [
                ids.get(row["id"], row["id"]),
                shown_status(row),
                row["application"],
                f"{age(row['created'])} ago",
                length(row["seconds"]),
                row["partitions"],
                *(row["tasks"][name] for name in shown),
            ]
            for row in rows
        ],
    )
    tell_older(total, len(rows))
