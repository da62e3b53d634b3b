"""``armoflow runs`` and ``armoflow attach``: named runs, and their values."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click

from armoflow.cli.endpoint import engine_options
from armoflow.cli.printing import json_option, newest_option, print_json, print_table, tell_older
from armoflow.client.client import Client
from armoflow.codec.unprintable import printable_lines
from armoflow.config import CONNECT_TIMEOUT
from armoflow.errors import NamedRunError, UnknownIdError
from armoflow.orchestrator.named.run_facts import RunFacts, describe_named, list_runs
from armoflow.protocol.connect import connect
from armoflow.protocol.settings import CONNECTION_OPTIONS, ConnectionSettings
from armoflow.protocol.transport import Transport
from armoflow.report.wording import age
from armoflow.run_notes import RunNotes

T = TypeVar("T")

EXIT_FAILED = 1


def ask(settings: ConnectionSettings, question: Callable[[Transport], Awaitable[T]]) -> T:
    """Ask an engine something, by the calls that every ArmoniK serves."""

    async def connected() -> T:
        transport = await connect(
            settings, payloads="auto", extensions=False, timeout=CONNECT_TIMEOUT
        )
        try:
            return await question(transport)
        finally:
            await transport.close()

    return asyncio.run(connected())


def client_of(settings: ConnectionSettings) -> Client:
    """A client of the engine that a command looks at."""
    options: dict[str, Any] = {
        name: getattr(settings, name)
        for name in CONNECTION_OPTIONS
        if name in settings.origins and name != "client_p12_password"
    }
    return Client(settings.endpoint, **options)


def describe_run(run: RunFacts) -> dict[str, Any]:
    """What is known of a run, for programs."""
    facts = run._asdict()
    facts["created"] = datetime.fromtimestamp(run.created, timezone.utc)
    return facts


@click.command()
@engine_options
@newest_option
@json_option
def runs(settings: ConnectionSettings, limit: int, as_json: bool) -> None:
    """List the named runs of an engine, the newest first.

    Those are gone that clients of this user have begun, or attached to, and whose sessions were
    purged.
    """
    listed = ask(settings, lambda transport: list_runs(transport, limit))
    gone = [
        RunFacts(note.name, note.session, "gone", note.begun, note.asked, planned=False)
        for note in RunNotes(settings.endpoint).all()
        if note.session not in listed.sessions
    ]
    found = sorted([*listed.newest, *gone], key=lambda run: run.created, reverse=True)[:limit]
    total = listed.total + len(gone)
    rows = [describe_run(run) for run in found]
    if as_json:
        print_json({"total": total, "runs": rows})
        return
    columns = ["name", "state", "asked", "done", "open", "failed", "created", "session"]
    print_table(
        list(map(str.upper, columns)),
        [
            [*(row[name] for name in columns[:6]), f"{age(row['created'])} ago", row["session"]]
            for row in rows
        ],
    )
    tell_older(total, len(rows))


@click.command()
@click.argument("name")
@engine_options
@json_option
def attach(settings: ConnectionSettings, name: str, as_json: bool) -> int:
    """Wait for a named run, and print its value; what its client left undone is taken over.

    The value is unpickled, which runs code of whoever could write to the run's session. Ctrl-C
    leaves the run as it is.
    """
    sys.path.insert(0, str(Path.cwd()))  # where a script here finds classes
    with client_of(settings) as client:
        try:
            failure = (future := client.attach(name)).exception()
        except NamedRunError as error:
            raise UnknownIdError(str(error)) from error
        if isinstance(failure, NamedRunError):
            raise UnknownIdError(str(failure)) from failure
        value = repr(future.result()) if failure is None else None
    told = None if failure is None else f"{type(failure).__name__}: {failure}"
    if as_json:
        print_json({"name": name, "value": value, "error": told})
    elif told is not None:
        print(printable_lines(told), file=sys.stderr)
    else:
        print(value)
    return 0 if failure is None else EXIT_FAILED


def take_up(settings: ConnectionSettings, name: str) -> RunFacts:
    """Run again what failed in a run, and submit what was laid out; returns what is known then.

    Raises:
        UnknownIdError: If it has ended meanwhile.
    """
    with client_of(settings) as client:
        client.resume(name)
    found = ask(settings, lambda transport: describe_named(transport, name))
    if found is None:
        raise UnknownIdError(f"run {name!r} was cancelled, or has ended")
    return found
