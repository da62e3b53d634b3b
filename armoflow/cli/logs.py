"""``armoflow logs``: what the tasks of a session have written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import rich_click as click
from armonik.common import Session, Task

from armoflow.cli.endpoint import engine_options, look
from armoflow.cli.finding import find
from armoflow.cli.printing import json_option
from armoflow.codec.unprintable import printable
from armoflow.errors import UnknownIdError
from armoflow.protocol.entities import id_of, kind_of
from armoflow.protocol.inspection import Inspection
from armoflow.protocol.session_output import session_output
from armoflow.protocol.settings import ConnectionSettings

ELSEWHERE = (
    "this engine does not keep what tasks write. On an ArmoniK cluster `armoflow worker` writes it "
    "to the standard output of its container, a line of JSON each: look in the log viewer of the "
    "deployment (Seq, Grafana, kubectl logs) for sessionId = {session}. Client(logs=True) has it "
    "stored with the session, too. An engine of `armoflow up --no-extensions` keeps it in output/ "
    "in its state directory. `armoflow show` tells the last lines of what failed"
)


@click.command()
@click.argument("id", metavar="ID|NAME")
@click.option("-f", "--follow", is_flag=True, help="Go on until the session ends, or Ctrl-C.")
@click.option("--task", metavar="ID|NAME", help="Only of one task, or of all tasks of a name.")
@engine_options
@json_option
def logs(
    settings: ConnectionSettings, id: str, follow: bool, task: str | None, as_json: bool
) -> None:
    """Show what the tasks of a session have written: print, logs, and what they have started.

    ID is a session's, or a task's: then it is that task's output; NAME is a named run's.
    """
    with look(settings) as inspection:
        session_id, task = _meant(inspection, id, task)
        for line in _lines(inspection, session_id, follow=follow):
            if task is None or _is_of(line, task):
                _show(line, as_json=as_json)


def _meant(inspection: Inspection, id: str, task: str | None) -> tuple[str, str | None]:
    """The session, and the task in it that is asked for."""
    found = find(inspection, id)
    if isinstance(found, Session):
        return id_of(found), task
    if isinstance(found, Task):
        return found.session_id, found.id
    raise UnknownIdError(f"{id!r} is a {kind_of(found)}, and neither a session nor a task")


def _lines(inspection: Inspection, session_id: str, *, follow: bool) -> Iterator[dict[str, Any]]:
    lines = session_output(inspection, session_id, follow=follow)
    if lines is None:
        raise UnknownIdError(ELSEWHERE.format(session=session_id))
    return lines


def _is_of(line: dict[str, Any], task: str) -> bool:
    """Whether a task is meant: by the beginning of its id, its name, or that of all its items."""
    name: str = line["name"]
    return task in (name, name.partition("[")[0]) or line["task"].startswith(task)


def _show(line: dict[str, Any], *, as_json: bool) -> None:
    for text in line["text"].split("\n"):
        if as_json:
            click.echo(json.dumps({**line, "text": text}))
        else:
            time = datetime.fromtimestamp(line["time"]).astimezone()
            click.echo(f"{time:%H:%M:%S} {printable(line['name'])} | {printable(text)}")
