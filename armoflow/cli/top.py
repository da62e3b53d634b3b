"""``armoflow top``: what an engine does, live."""

from __future__ import annotations

import time
from typing import Any

import rich_click as click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from armoflow.cli.endpoint import engine_options, look
from armoflow.cli.printing import json_option, make_table, print_json, wide_console
from armoflow.cli.ps import describe_session, shown_status
from armoflow.codec.unprintable import printable_lines
from armoflow.errors import EngineUnreachableError
from armoflow.protocol.inspection import Inspection
from armoflow.protocol.settings import ConnectionSettings
from armoflow.protocol.states import STATES, grouped
from armoflow.report.wording import age, short_ids

SESSIONS = 15


@click.command()
@engine_options
@click.option(
    "--interval",
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    type=click.FloatRange(min=0.1),
    help="How often it looks.",
)
@click.option("--once", is_flag=True, help="Look once, print, and end.")
@json_option
def top(settings: ConnectionSettings, interval: float, once: bool, as_json: bool) -> None:
    """Show live what runs: tasks by partition and by session, and how many end in a second.

    Ctrl-C ends it; an engine that does not answer is told of, and looked for again. Where the
    output is no terminal, or with --json, it looks once.
    """
    console = wide_console()
    with look(settings) as inspection:
        if as_json:
            print_json(_snapshot(inspection))
        elif once or not console.is_terminal:
            console.print(_view(_snapshot(inspection), None, console))
        else:
            _watch(inspection, interval, console)


def _watch(inspection: Inspection, interval: float, console: Console) -> None:
    before, looked = _snapshot(inspection), time.monotonic()
    view = _view(before, None, console)
    with Live(view, console=console, screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(interval)
            try:
                now, moment = _snapshot(inspection), time.monotonic()
            except EngineUnreachableError as error:  # it may be started again
                trouble = Text(printable_lines(str(error)), style="bold red")
                live.update(Group(trouble, Text(), view), refresh=True)
                continue
            ended = _ended(now) - _ended(before)
            rate = max(ended, 0) / (moment - looked)
            view = _view(now, rate, console)
            live.update(view, refresh=True)
            before, looked = now, moment


def _snapshot(inspection: Inspection) -> dict[str, Any]:
    _, sessions = inspection.sessions(SESSIONS)
    return {
        "endpoint": inspection.settings.endpoint,
        "core": inspection.info.core_version,
        "tasks": grouped(inspection.counts()),
        "partitions": {
            name: {"pods at most": pods, **grouped(inspection.counts(partition=name))}
            for name, pods in inspection.info.pods.items()
        },
        "sessions": [describe_session(inspection, session) for session in sessions],
    }


def _ended(snapshot: dict[str, Any]) -> int:
    tasks = snapshot["tasks"]
    return sum(tasks[name] for name in ("done", "failed", "cancelled", "retried"))


def _view(snapshot: dict[str, Any], rate: float | None, console: Console) -> Group:
    shown = [name for name in STATES if name != "retried"]
    speed = "" if rate is None else f", {rate:,.0f} tasks/s"
    head = Text(f"{snapshot['endpoint']} ({snapshot['core']}){speed}", style="bold")
    partitions = [
        [name, found["pods at most"], *(found[group] for group in shown)]
        for name, found in snapshot["partitions"].items()
    ]
    found = [row["id"] for row in snapshot["sessions"]]
    ids = short_ids(found) if console.is_terminal else {}
    sessions = [
        [
            ids.get(row["id"], row["id"]),
            shown_status(row),
            row["application"],
            age(row["created"]),
            *(row["tasks"][group] for group in shown),
        ]
        for row in snapshot["sessions"]
    ]
    names = [name.upper() for name in shown]
    return Group(
        head,
        Text(),
        make_table(["PARTITION", "PODS", *names], partitions, console.width),
        Text(),
        make_table(["SESSION", "STATUS", "APPLICATION", "AGE", *names], sessions, console.width),
    )
