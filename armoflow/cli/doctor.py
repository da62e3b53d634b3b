"""``armoflow doctor``: whether work can be done there, and what to do if not."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import rich_click as click
from rich.console import Console
from rich.text import Text

from armoflow.cli.endpoint import engine_options, look
from armoflow.cli.printing import STYLES, json_option, print_json
from armoflow.client.client import Client
from armoflow.client.examination import examine
from armoflow.codec.compatibility import described
from armoflow.errors import ArmoflowError
from armoflow.protocol.entities import moment
from armoflow.protocol.inspection import Inspection
from armoflow.protocol.settings import CONNECTION_OPTIONS, ConnectionSettings
from armoflow.protocol.states import grouped
from armoflow.report.wording import length

SOON = timedelta(days=14)
"""A certificate that expires earlier is told."""

CLOCKS = 5.0
"""Seconds that two clocks may differ."""

DISK = 1 << 30
"""Free bytes below which a disk is told."""

SIGNS = {"ok": "\N{CHECK MARK}", "warning": "!", "failed": "\N{BALLOT X}"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: The thing.
        verdict: 'ok', 'warning' or 'failed'.
        told: What was found.
        remedy: What to do about it.
    """

    what: str
    verdict: str
    told: str
    remedy: str = ""


@click.command()
@engine_options
@click.option("--partition", default="", metavar="NAME", help="Where to send the task.")
@click.option(
    "--timeout",
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    type=click.FloatRange(min=1),
    help="How long a worker may take to run a task.",
)
@json_option
def doctor(settings: ConnectionSettings, partition: str, timeout: float, as_json: bool) -> int:
    """Look whether work can be done there, and say what to do if not.

    Looks at the connection, the certificates, the versions, the partitions and the clocks, and
    sends one task that tells what its worker is. Exit code 1 if something does not work.
    """
    findings = []
    for finding in _examine(settings, partition, timeout):
        findings.append(finding)
        if not as_json:
            _print(finding)
    failed = any(finding.verdict == "failed" for finding in findings)
    if as_json:
        print_json({"ok": not failed, "findings": [asdict(finding) for finding in findings]})
    return 1 if failed else 0


def _print(finding: Finding) -> None:
    console = Console(highlight=False, soft_wrap=True)
    line = Text(f"{SIGNS[finding.verdict]} ", style=STYLES[finding.verdict])
    line.append(f"{finding.what}: ", style="bold").append(finding.told)
    console.print(line)
    if finding.remedy:
        console.print(Text(f"  {finding.remedy}", style="dim"))


def _examine(settings: ConnectionSettings, partition: str, timeout: float) -> Iterator[Finding]:
    yield Finding("endpoint", "ok", settings.named("endpoint"))
    yield _disk("disk here", shutil.disk_usage(tempfile.gettempdir()).free, tempfile.gettempdir())
    try:
        inspection = look(settings)
    except ArmoflowError as error:
        yield Finding("connection", "failed", str(error))
        return
    with inspection:
        yield from _connection(inspection)
        yield from _partitions(inspection, partition)
    yield from _work(settings, partition, timeout)


def _disk(what: str, free: int, where: str) -> Finding:
    told = f"{free / (1 << 30):,.1f} GiB free in {where}"
    if free >= DISK:
        return Finding(what, "ok", told)
    return Finding(what, "warning", told, "values that do not fit fail their tasks: make room")


# --- the engine -----------------------------------------------------------------------------------


def _connection(inspection: Inspection) -> Iterator[Finding]:
    best = min(_round_trip(inspection) for _ in range(5))
    yield Finding("connection", "ok", f"answers within {length(best)}")
    yield from _certificates(inspection)
    core = inspection.info.core_version or "unknown (its version may not be asked for)"
    extensions = "with" if core.endswith("-armoflow.batch") else "without"
    yield Finding("engine", "ok", f"ArmoniK {core}, {extensions} armoflow's batch extension")


def _round_trip(inspection: Inspection) -> float:
    begun = time.perf_counter()
    inspection.versions()
    return time.perf_counter() - begun


def _certificates(inspection: Inspection) -> Iterator[Finding]:
    for whose, facts in inspection.certificates().items():
        left = facts.expires - datetime.now(timezone.utc)
        told = f"of {facts.subject}, by {facts.issuer}, until {facts.expires:%Y-%m-%d}"
        if left > SOON:
            yield Finding(f"{whose} certificate", "ok", told)
        else:
            days = f"{left.days} days left"
            yield Finding(f"{whose} certificate", "warning", f"{told}: {days}", "renew it")


def _partitions(inspection: Inspection, wanted: str) -> Iterator[Finding]:
    pods = inspection.info.pods
    if wanted and wanted not in pods:
        remedy = f"choose one of {', '.join(pods)}"
        yield Finding("partition", "failed", f"{wanted!r} does not exist", remedy)
    for name, most in pods.items():
        tasks = grouped(inspection.counts(partition=name))
        busy = f"{tasks['running']:,} tasks run, {tasks['queued']:,} are queued"
        if not most:
            yield Finding(
                f"partition {name}",
                "warning",
                f"may have no pod; {busy}",
                "tasks sent there wait until somebody raises its pod_max (armoflow up --workers N)",
            )
        else:
            yield Finding(f"partition {name}", "ok", f"{most} pods at most; {busy}")


# --- one task -------------------------------------------------------------------------------------


def _work(settings: ConnectionSettings, partition: str, timeout: float) -> Iterator[Finding]:
    given = {
        name: getattr(settings, name) for name in CONNECTION_OPTIONS if name in settings.origins
    }
    asked = examine.with_options(partition=partition) if partition else examine
    begun = time.perf_counter()
    try:
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(Client(settings.endpoint, **given))
            here = datetime.now(timezone.utc)
            worker = client.compute(asked(), timeout=timeout)
            seconds = time.perf_counter() - begun
            yield from _clock(settings, here)
    except TimeoutError:
        yield Finding(
            "a task",
            "failed",
            f"no worker ran it within {timeout:g} s",
            "are there pods in the partition, do they run armoflow's worker, are they all busy? "
            "armoflow top shows what runs; --timeout gives it longer",
        )
        return
    except ArmoflowError as error:
        yield Finding("a task", "failed", str(error))
        return
    yield Finding("a task", "ok", f"ran in {length(seconds)}, with session and connection")
    yield from _worker(worker)


def _clock(settings: ConnectionSettings, here: datetime) -> Iterator[Finding]:
    """The engine has just made a session, and says when that was."""
    with look(settings) as inspection:
        _, sessions = inspection.sessions(1)
    there = moment(sessions[0].created_at) if sessions else None
    if there is None:
        return
    apart = abs((there - here).total_seconds())
    told = f"{length(apart)} apart from the engine's"
    if apart <= CLOCKS:
        yield Finding("clock", "ok", told)
    else:
        yield Finding("clock", "warning", told, "times of tasks are the engine's: set both by NTP")


def _worker(worker: dict[str, Any]) -> Iterator[Finding]:
    memory = worker["memory"] / (1 << 30)
    told = f"{worker['host']}, user {worker['user']}, {worker['processors']} processors"
    told += f", {memory:,.1f} GiB of memory"
    yield Finding("worker", "ok", told)
    yield _disk("disk of the worker", worker["disk free"], "its working directory")
    told = f"{described(worker['versions'])} there; {described()} here"
    yield Finding("versions", "ok", told)  # what cannot work together was refused before
