"""What is to be said of the named runs of an engine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from armoflow.orchestrator.named.again import failed, names_of
from armoflow.orchestrator.named.manifest import TaskNote
from armoflow.orchestrator.named.session import RunSession, sessions_of
from armoflow.protocol.frames import RUN_LABEL
from armoflow.protocol.transport import LabelledSession, Transport

SHOWN = 4
"""How many names are known of what has failed."""


class RunFacts(NamedTuple):
    """What is known of a run.

    Attributes:
        name: Its name.
        session: The id of its session.
        state: ``running``, ``done``, ``failed``; ``unfinished`` where its client ended before it
            had planned all and nothing runs any more; ``ended`` where its session was ended.
        created: When it was begun first, in seconds since 1970.
        asked: The task whose value was asked for.
        planned: The plan is whole.
        done: How many results of its tasks are there; of the graph that was submitted last.
        open: How many are to come.
        failed: How many calls failed, or did not run for that.
        failures: The first few of these, each after those that it needs.
    """

    name: str
    session: str
    state: str
    created: float
    asked: str
    planned: bool
    done: int = 0
    open: int = 0
    failed: int = 0
    failures: Sequence[str] = ()


class ListedRuns(NamedTuple):
    """The runs of an engine.

    Attributes:
        total: How many there are.
        newest: The newest of them.
        sessions: The sessions of all.
    """

    total: int
    newest: list[RunFacts]
    sessions: set[str]


async def list_runs(transport: Transport, limit: int) -> ListedRuns:
    """The runs of an engine, and what is known of the newest."""
    found = await transport.shared.find(RUN_LABEL)
    chosen = found[: -limit - 1 : -1]
    facts = [await describe(transport, session) for session in chosen]
    # Of clients that begin a run in the same moment only the first one's session is used.
    used = [run for run in facts if run.asked or run.state != "ended"]
    total = len(found) - len(facts) + len(used)
    return ListedRuns(total, used, {session.id for session in found})


async def describe_named(transport: Transport, name: str) -> RunFacts | None:
    """What is known of a run that goes on, if there is one."""
    for session in await sessions_of(transport, name):
        if session.open:
            return await describe(transport, session)
    return None


async def describe(transport: Transport, labelled: LabelledSession) -> RunFacts:
    """What is known of the run of a session."""
    session = RunSession(transport, labelled.id)
    if not await session.has_come():
        await session.refresh()
    progress, manifest = session.progress, session.manifest
    head, failures = manifest.head, _failures(session)
    done, open_ = progress.done, progress.open
    if manifest.end is not None:  # what a run had before it was planned anew does not count
        done, open_ = done & (needed := manifest.needed()), open_ & needed
    return RunFacts(
        labelled.value,
        labelled.id,
        await _state(session) if labelled.open else "ended",
        labelled.created,
        "" if head is None else head.name,
        session.planned,
        len(done),
        len(open_),
        len(failures),
        failures[:SHOWN],
    )


def _failures(session: RunSession) -> list[str]:
    """The names of the calls that keep what was asked for from coming."""
    manifest, progress = session.manifest, session.progress
    if manifest.end is None:
        tasks: Sequence[TaskNote] = manifest.tasks
        unknown: Iterable[str] = ()
    else:
        tasks, unknown = failed(manifest, progress, manifest.end)
    names = [name for task in tasks for name in names_of(task, progress)]
    return [*names, *unknown]


async def _state(session: RunSession) -> str:
    if session.planned and session.failed:
        return "failed"
    if session.running:
        return "running"
    if session.planned:
        return "done"
    return "running" if await session.being_planned() else "unfinished"
