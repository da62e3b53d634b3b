"""``armoflow cancel``, ``pause``, ``resume``, ``purge``: what is done to sessions from outside."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import rich_click as click
from armonik.common import Session, SessionStatus, Task

from armoflow.cli.endpoint import engine_options, look
from armoflow.cli.finding import (
    BEGIN_ANEW,
    OPEN,
    find,
    find_session,
    find_sessions,
    gone,
    session_of_run,
    told_of,
)
from armoflow.cli.printing import json_option, print_json
from armoflow.errors import OptionError, UnknownIdError
from armoflow.orchestrator.named.run_facts import RunFacts
from armoflow.protocol.entities import Entity, id_of, kind_of
from armoflow.protocol.inspection import Inspection
from armoflow.protocol.settings import ConnectionSettings
from armoflow.protocol.states import grouped

_NAMED = 3
"""How many failures are named."""

_ids = click.argument("ids", nargs=-1, required=True, metavar="ID|NAME...")


@click.command()
@_ids
@engine_options
@json_option
def cancel(settings: ConnectionSettings, ids: Sequence[str], as_json: bool) -> None:
    """Cancel sessions with all their tasks, named runs, or single tasks.

    Each ID is a session's or a task's, or enough of its beginning; a NAME is a named run's, and is
    meant where something else's ID begins so, too.
    """
    done = []
    with look(settings) as inspection:
        for found in [_find(inspection, id) for id in ids]:  # all, before anything is done
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


def _find(inspection: Inspection, said: str) -> Entity:
    """What is to be cancelled."""
    run = session_of_run(inspection, said)
    if run is not None and run.status not in OPEN:
        raise UnknownIdError(
            f"run {said!r} was cancelled, or has ended: nothing is left to cancel; armoflow purge "
            f"{shlex.quote(said)} deletes its data"
        )
    return find(inspection, said)


@click.command()
@_ids
@engine_options
@json_option
def pause(settings: ConnectionSettings, ids: Sequence[str], as_json: bool) -> None:
    """Start no more tasks of these sessions, or named runs; what runs goes on."""
    _each(settings, ids, Inspection.pause, "paused", as_json)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("ids", nargs=-1, required=True, metavar="ID...|NAME [SCRIPT [ARGUMENT...]]")
@engine_options
@json_option
def resume(settings: ConnectionSettings, ids: Sequence[str], as_json: bool) -> None:
    """Go on with paused sessions, or with a named run.

    What a client of the run has laid out and not submitted is submitted, and what failed runs again
    with the code and the arguments of then, where the engine still has them. With the SCRIPT that
    submits the graph by that name, it is run, and what is missing of the run is planned anew.
    """
    from armoflow.cli.run_script import run_script  # they load a client, which others need not
    from armoflow.cli.runs_command import describe_run, take_up

    name, *rest = ids
    if rest and Path(rest[0]).is_file():
        _begin_again(settings, name, needed=True)
        run_script(settings.endpoint, rest)
        return
    if rest and (Path(rest[0]).suffix == ".py" or "/" in rest[0]):
        raise click.UsageError(f"there is no script {rest[0]!r}")
    for one in ids:  # they are taken for a script's, which may have any
        if one.startswith("-"):
            raise click.NoSuchOption(one)
    runs = [one for one in ids if _begin_again(settings, one, needed=False)]
    others = [one for one in ids if one not in runs]
    if others:
        _each(settings, others, Inspection.resume, "resumed", as_json)
    taken = [take_up(settings, run) for run in runs]
    if taken and as_json:
        told = [*map(describe_run, taken)]
        print_json({"runs": told} if len(told) > 1 else {"run": told[0]})
        return
    for run in taken:
        click.echo(
            f"run {run.name}: {run.state}, {run.done:,} done, {run.open:,} to come{_left(run)}"
        )


def _begin_again(settings: ConnectionSettings, name: str, *, needed: bool) -> bool:
    """Let a named run go on that was paused; whether there is one.

    Raises:
        UnknownIdError: If there is none any more, or one is needed.
    """
    with look(settings) as inspection:
        run = session_of_run(inspection, name)
        if run is not None and run.status in OPEN:
            if run.status == SessionStatus.PAUSED:
                inspection.resume(id_of(run))
            return True
    was = told_of(settings, name)
    if run is not None:
        raise UnknownIdError(f"run {name!r} was cancelled, or has ended: {BEGIN_ANEW}")
    if was is not None:
        raise UnknownIdError(gone(name, was))
    if needed:
        raise UnknownIdError(f"there is no run {name!r}: {BEGIN_ANEW}")
    return False


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
@click.argument("ids", nargs=-1, metavar="[ID|NAME...]")
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
    """Delete sessions with all their data, for good; of a named run all that it has had.

    What `armoflow up --retention` does some time after their end, at once.
    """
    if bool(ids) == ended:
        raise OptionError(
            "write which sessions to purge: their IDs, names of runs, or --ended for all that have"
        )

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
        _each(settings, ids, action, "purged", as_json, which=find_sessions)
        return
    with look(settings) as inspection:
        found = [id_of(session) for session in inspection.ended_sessions()]
        for session_id in found:
            inspection.purge(session_id)
    _tell("purged", [("session", session_id) for session_id in found], as_json)


def _one(inspection: Inspection, said: str) -> Sequence[Session]:
    return [find_session(inspection, said)]


def _each(
    settings: ConnectionSettings,
    ids: Sequence[str],
    action: Callable[[Inspection, str], None],
    verb: str,
    as_json: bool,
    *,
    which: Callable[[Inspection, str], Sequence[Session]] = _one,
) -> None:
    with look(settings) as inspection:
        sessions = [each for id in ids for each in which(inspection, id)]
        found = list(dict.fromkeys(map(id_of, sessions)))  # all, before anything is done
        for session_id in found:
            action(inspection, session_id)
    _tell(verb, [("session", session_id) for session_id in found], as_json)


def _tell(verb: str, done: Sequence[tuple[str, str]], as_json: bool) -> None:
    if as_json:
        print_json({verb: [id for _, id in done]})
        return
    for kind, id in done:
        click.echo(f"{verb} {kind} {id}")
