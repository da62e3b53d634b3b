"""``armoflow cancel``, ``pause``, ``resume``, ``purge``: what is done to sessions from outside."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click
from armonik.common import Task

from armoflow.cli.endpoint import engine_options, look
from armoflow.cli.printing import json_option, print_json
from armoflow.errors import OptionError, UnknownIdError
from armoflow.protocol.inspection import Entity, Inspection, id_of, kind_of
from armoflow.protocol.settings import ConnectionSettings
from armoflow.protocol.states import grouped

if TYPE_CHECKING:
    from armoflow.orchestrator.named.facts import RunFacts

_NAMED = 3
"""How many failures are named."""

_ids = click.argument("ids", nargs=-1, required=True, metavar="ID...")


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID|NAME...")
@engine_options
@json_option
def cancel(settings: ConnectionSettings, ids: Sequence[str], as_json: bool) -> None:
    """Cancel sessions with all their tasks, named runs, or single tasks.

    Each ID is a session's or a task's, or enough of its beginning; a NAME is a named run's, and is
    meant where something else's ID begins so, too.
    """
    from armoflow.cli.runs_command import sessions_of_runs

    runs = sessions_of_runs(settings, ids)
    done = []
    with look(settings) as inspection:
        for found in [_find(inspection, runs.get(id, id), settings, id) for id in ids]:
            if isinstance(found, Task):
                inspection.cancel_task(id_of(found))
            elif kind_of(found) == "session":
                inspection.cancel(id_of(found))
            else:
                raise UnknownIdError(
                    f"{id_of(found)!r} is a result: cancel the task that makes it, or its session"
                )
            done.append((kind_of(found), id_of(found)))
    _tell("cancelled", done, as_json)


def _find(inspection: Inspection, id: str, settings: ConnectionSettings, said: str) -> Entity:
    """What is meant; of a run that went it is told what it was."""
    from armoflow.cli.runs_command import told_of

    try:
        return inspection.find(id)
    except UnknownIdError as error:
        was = told_of(settings, said)
        if was is None:
            raise
        raise UnknownIdError(
            f"run {said!r} was cancelled, has ended or was purged{was}: nothing is left to cancel"
        ) from error


@click.command()
@_ids
@engine_options
@json_option
def pause(settings: ConnectionSettings, ids: Sequence[str], as_json: bool) -> None:
    """Start no more tasks of these sessions; what runs goes on."""
    _each(settings, ids, Inspection.pause, "paused", as_json)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("ids", nargs=-1, required=True, metavar="ID...|NAME [SCRIPT [ARGUMENT...]]")
@engine_options
@json_option
def resume(settings: ConnectionSettings, ids: Sequence[str], as_json: bool) -> None:
    """Go on with paused sessions, or with a named run.

    What a client of the run has laid out and not submitted is submitted. With the SCRIPT that
    submits the graph by that name, it is run, and what is missing of the run is planned anew.
    """
    from armoflow.cli.run_script import run_script
    from armoflow.cli.runs_command import describe_run, is_run, take_up, told_of

    name, *rest = ids
    if rest and Path(rest[0]).is_file():
        if not is_run(settings, name):
            known = told_of(settings, name) or ""
            raise UnknownIdError(
                f"there is no run {name!r}{known}: armoflow run {rest[0]} begins it"
            )
        run_script(settings.endpoint, rest)
    elif not rest and is_run(settings, name):
        run = take_up(settings, name)
        if as_json:
            print_json({"run": describe_run(run)})
            return
        click.echo(f"run {name}: {run.state}, {run.done:,} done, {run.open:,} to come{_left(run)}")
    elif not rest and (was := told_of(settings, name)) is not None:
        raise UnknownIdError(
            f"run {name!r} is not there any more{was}: its session was purged, and its values with "
            "it. armoflow run SCRIPT begins it anew"
        )
    else:
        _each(settings, ids, Inspection.resume, "resumed", as_json)


def _left(run: RunFacts) -> str:
    """What of a run needs its script."""
    again = f"armoflow resume {shlex.quote(run.name)} SCRIPT"
    if not run.planned:
        return f"; what was not planned needs the script: {again}"
    if not run.failures:
        return ""
    *named, last = run.failures
    told = f"{', '.join(named)} and more" if len(named) == _NAMED else ", ".join([*named, last])
    return f"; failed, or not run for that: {told}: {again} runs these alone"


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID...]")
@engine_options
@click.option("--ended", is_flag=True, help="All sessions that have ended, whoever opened them.")
@click.option("--cancel", "first_cancel", is_flag=True, help="Cancel what still runs in them.")
@json_option
def purge(
    settings: ConnectionSettings,
    ids: Sequence[str],
    ended: bool,
    first_cancel: bool,
    as_json: bool,
) -> None:
    """Delete sessions with all their data, for good.

    What `armoflow up --retention` does some time after their end, at once.
    """
    if bool(ids) == ended:
        raise OptionError("write which sessions to purge: their IDs, or --ended for all that have")

    def action(inspection: Inspection, session_id: str) -> None:
        tasks = grouped(inspection.counts(session_id))
        live = tasks["waiting"] + tasks["queued"] + tasks["running"]
        if first_cancel and live:
            inspection.cancel(session_id)
        elif live:
            raise OptionError(
                f"session {session_id} has {live:,} tasks that have not ended: wait for them, or "
                "write purge --cancel"
            )
        inspection.purge(session_id)

    if not ended:
        _each(settings, ids, action, "purged", as_json)
        return
    with look(settings) as inspection:
        found = [id_of(session) for session in inspection.ended_sessions()]
        for session_id in found:
            inspection.purge(session_id)
    _tell("purged", [("session", session_id) for session_id in found], as_json)


def _each(
    settings: ConnectionSettings,
    ids: Sequence[str],
    action: Callable[[Inspection, str], None],
    verb: str,
    as_json: bool,
) -> None:
    with look(settings) as inspection:
        found = [id_of(inspection.session_of(id)) for id in ids]  # all, before anything is done
        for session_id in found:
            action(inspection, session_id)
    _tell(verb, [("session", session_id) for session_id in found], as_json)


def _tell(verb: str, done: Sequence[tuple[str, str]], as_json: bool) -> None:
    if as_json:
        print_json({verb: [id for _, id in done]})
        return
    for kind, id in done:
        click.echo(f"{verb} {kind} {id}")
