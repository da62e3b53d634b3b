"""What failed in a named run, run again without its script; see ``orchestrator.named.again``."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Mapping, Sequence, Set

from armoflow import config
from armoflow.client.loop import LoopThread
from armoflow.client.open_run import OpenRun
from armoflow.codec.container import Buffer
from armoflow.errors import ArmoflowError, DataLostError
from armoflow.options import TaskOptions
from armoflow.orchestrator.blame import Blame
from armoflow.orchestrator.named.again import NO_PAYLOAD, Again, RunFailures, failed, names_of
from armoflow.orchestrator.named.copies import fetch_copies
from armoflow.orchestrator.named.manifest import ResultSlots, TaskNote
from armoflow.orchestrator.named.recorder import PlanRecorder
from armoflow.orchestrator.named.run_keys import RunKeys
from armoflow.orchestrator.named.session import RunSession, this_planner
from armoflow.orchestrator.planned import PlannedTask
from armoflow.orchestrator.targets import WaitingTarget
from armoflow.protocol.portions import chunks
from armoflow.protocol.result_handle import ResultState

logger = logging.getLogger(__name__)

_NAMED = 4
"""How many calls are named that cannot be run again."""


class RunAgain:
    """Runs again what failed in a run, and what hangs on it.

    Args:
        run: The run.
        asked: Where the values are that were asked for.
        chosen: The tasks to be run again, each after those that it needs.
        stored: The payloads of these that are there; of the others there are copies.
    """

    def __init__(
        self,
        run: OpenRun,
        asked: Sequence[ResultSlots],
        chosen: Sequence[TaskNote],
        stored: Set[str],
    ) -> None:
        self._run = run
        self._epoch = 0
        self._asked = asked
        self._chosen = chosen
        self._stored = stored
        self._again = Again(run.tasks, run.session.progress, chosen)

    @classmethod
    async def look(cls, run: OpenRun) -> RunAgain | None:
        """Find out what can be run again; None: there is nothing. What cannot is told."""
        manifest, progress = run.session.manifest, run.session.progress
        asked = manifest.before if manifest.end is None else manifest.end
        if asked is None:
            return None
        missing = failed(manifest, progress, asked)
        states = await run.session.states([task.payload_id for task in missing.tasks])
        stored = {one for one, state in states.items() if state is ResultState.COMPLETED}
        chosen, impossible = _possible(run.session, missing, stored)
        if impossible:
            logger.warning("%s", _told(run.name, impossible))
        if not chosen and manifest.end is not None:
            return None
        return cls(run, asked, chosen, stored)

    async def take_the_say(self) -> bool:
        """Let everybody know who does it; False: somebody else does, in the same moment."""
        epoch = await self._run.session.begin(self._run.head._replace(planner=this_planner()))
        self._epoch = epoch or 0
        return epoch is not None

    def run(self, loop: LoopThread, settle: Callable[[WaitingTarget], None]) -> None:
        """Submit the tasks; returns when all are on their way."""
        recorder = loop.run(lambda: self._prepare(settle))
        for notes in chunks(self._chosen, config.CACHE_BATCH):
            payloads = loop.call(self._fetch([note.payload_id for note in notes]))
            for note in notes:
                for task in self._repeat(note, payloads[note.payload_id], loop):
                    self._run.orchestrator.will_submit(task)
                    recorder.put(task)
        recorder.put(recorder.planned)

    def _prepare(self, settle: Callable[[WaitingTarget], None]) -> PlanRecorder:
        run, again = self._run, self._again
        target = WaitingTarget(None, run.orchestrator.fetcher.fetch, settle)
        recorder = run.record(target, self._epoch, RunKeys(TaskOptions()))
        values, partials = run.session.manifest.notes_of(again.replaced.keys())
        recorder.renew(again.replaced, values, partials)
        target.place(
            [again.piece(place, run.piece(place)) for place in self._asked], run.head.whole
        )
        target.seal()
        return recorder

    async def _fetch(self, payload_ids: Sequence[str]) -> dict[str, Buffer | DataLostError]:
        """The payloads, or their copies."""
        session, transport = self._run.session, self._run.orchestrator.transport
        there = [one for one in payload_ids if one in self._stored]
        fetched = dict(zip(there, await transport.fetch(session.id, there), strict=True))
        good = {one for one, data in fetched.items() if not isinstance(data, DataLostError)}
        copies = session.manifest.copies
        wanted = {one: copies[one] for one in payload_ids if one not in good and one in copies}
        return {**fetched, **await fetch_copies(transport, session.id, wanted)}

    def _repeat(
        self, note: TaskNote, data: Buffer | DataLostError, loop: LoopThread
    ) -> Sequence[PlannedTask]:
        """The tasks that take the place of one; none if its payload cannot be had, or is none."""
        try:
            if isinstance(data, DataLostError):
                raise data
            return list(self._again.repeat(note, data))
        except ArmoflowError as error:
            failure = error
        loop.run(lambda: self._fail(note, failure))
        return ()

    def _fail(self, note: TaskNote, error: ArmoflowError) -> None:
        """Let what needs a task fail with it."""
        for output in note.outputs:
            result = self._again.replaced[output]
            result.blame = Blame(note.names[-1], error=error)
            result.end(ResultState.ABORTED)


def _possible(
    session: RunSession, missing: RunFailures, stored: Set[str]
) -> tuple[list[TaskNote], dict[str, str]]:
    """The tasks that can be run again; and what cannot, and why."""
    impossible = dict(missing.unknown)
    had = stored | session.manifest.copies.keys()
    made = {output for task in missing.tasks for output in task.outputs}
    chosen: list[TaskNote] = []
    gone: set[str] = session.progress.lost - made
    for task in missing.tasks:
        if task.payload_id not in had:
            why = NO_PAYLOAD
        elif not gone.isdisjoint(task.inputs):
            why = "what it needs cannot be"
        else:
            chosen.append(task)
            continue
        gone.update(task.outputs)
        names = list(names_of(task, session.progress))
        if not names and why is NO_PAYLOAD:
            names = [f"what puts {task.names[-1]} together"]
        impossible.update(dict.fromkeys(names, why))
    return chosen, impossible


def _told(name: str, impossible: Mapping[str, str]) -> str:
    shown = [f"{call} ({why})" for call, why in [*impossible.items()][:_NAMED]]
    if len(impossible) > _NAMED:
        shown.append(f"and {len(impossible) - _NAMED:,} more")
    return (
        f"of run {name!r} these cannot be run again as they were: {', '.join(shown)}; its script "
        f"runs them, armoflow resume {shlex.quote(name)} SCRIPT, or client.submit(graph, "
        f"name={name!r})"
    )
