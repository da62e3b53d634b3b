"""The session of a named run: found by its name, read, and gone on with.

One session has all that was ever run under a name, until somebody removes it: so what is there
already is named by its id, and nothing is imported. Whoever plans begins an *epoch*; who comes
second in the same moment joins the first.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence, Set

from armoflow import config
from armoflow.orchestrator.named import fence
from armoflow.orchestrator.named.claims import Claims
from armoflow.orchestrator.named.history import (
    Manifest,
    RunProgress,
    ValuePlace,
    has_failed_items,
    left_out,
    look,
    without,
)
from armoflow.orchestrator.named.manifest import (
    EPOCHS,
    Head,
    ManifestPart,
    PartialNote,
    PlanningProcess,
    ResultSlots,
    pack_part,
)
from armoflow.orchestrator.named.recorder import PULSE
from armoflow.orchestrator.named.run_keys import ValueKey
from armoflow.orchestrator.planned import PlannedTask
from armoflow.protocol.frames import CONSTANT_PREFIX, PAYLOAD_PREFIX, RUN_LABEL
from armoflow.protocol.portions import chunks
from armoflow.protocol.result_handle import ResultState
from armoflow.protocol.submission import InputsAbortedError, WireOptions
from armoflow.protocol.transport import LabelledSession, Transport
from armoflow.system.this_process import lives, machine, started
from armoflow.system.uptime import uptime

logger = logging.getLogger(__name__)

_PAUSE = 0.2
"""Seconds between two looks at what others do with a run."""

_QUIET_LOOKS = 10
"""Looks for which nobody has to be told what is waited for."""

_PATIENCE = 3 * PULSE
"""Seconds without a word from a planner on another machine after which it counts as gone."""


def this_planner() -> PlanningProcess:
    """This process, as others are told of it."""
    return PlanningProcess(machine(), os.getpid(), started(os.getpid()))


async def sessions_of(transport: Transport, name: str) -> list[LabelledSession]:
    """The sessions that have had a name, the oldest first."""
    return await transport.shared.find(RUN_LABEL, name)


class RunSession:
    """The session of one run.

    Args:
        transport: The way to the engine.
        session_id: The session.

    Attributes:
        manifest: What was read of its manifest.
        progress: What became of its tasks.
        asked_at: When it was asked last whether somebody else has begun an epoch.
    """

    def __init__(self, transport: Transport, session_id: str) -> None:
        self.id = session_id
        self.manifest = Manifest()
        self.progress = RunProgress((), set(), set(), set(), {})
        self._submitted: set[str] = set()
        self.asked_at = uptime()
        self._looked_at = 0
        self._transport = transport

    @classmethod
    async def find(cls, transport: Transport, name: str) -> RunSession | None:
        """The session of a run, if there is one that goes on."""
        for session in await sessions_of(transport, name):
            if session.open:
                return cls(transport, session.id)
        return None

    @classmethod
    async def open(cls, transport: Transport, name: str, options: WireOptions) -> RunSession:
        """Open the session of a run, or find the one that somebody else has opened meanwhile."""
        own = await transport.shared.open(options, (RUN_LABEL, name))
        first = await cls.find(transport, name)
        if first is None or first.id == own:
            return cls(transport, own)
        await transport.end_session(own)
        return first

    async def read(self) -> None:
        """Read what is new in the manifest."""
        await self.manifest.read(self._transport, self.id)

    async def has_come(self) -> bool:
        """Whether what was asked for is there: then nothing else is looked at."""
        await self.read()
        asked = {place.result_id for place in self.manifest.end or ()}
        if self.manifest.end is None or "" in asked:
            return False
        last = [place.result_id for place in self.manifest.end[-1:]]
        if await self._there(last) != set(last):  # of many items, the last one comes late
            return False
        there = await self._there(sorted(asked))
        if there < asked or await has_failed_items(self._transport, self.id):
            return False
        self._submitted = {output for task in self.manifest.tasks for output in task.outputs}
        self._looked_at = len(self.manifest.tasks)
        self.progress = RunProgress((), self._submitted | there, set(), set(), {})
        return True

    async def refresh(self) -> None:
        """Find out what the engine knows now."""
        await self.read()
        self.progress = await look(self._transport, self.id, self.manifest.tasks)
        self._submitted = {output for task in self.manifest.tasks for output in task.outputs}
        self._looked_at = len(self.manifest.tasks)
        places = {place.result_id for place in self.manifest.end or ()}
        others = places - self._submitted  # items that no task makes, or what was not submitted
        there = await self._there(sorted(others - {""}))
        self.progress.done.update(there)
        self.progress.lost.update(others - there)
        self.manifest.take_second_runs(self.progress)

    async def second_runs(self, result_ids: Set[str]) -> dict[str, str]:
        """What second runs have made in the place of results that will not come, by these."""
        await self.read()
        twins = self.manifest.twins(result_ids)
        there = await self._there(sorted({other for each in twins.values() for other in each}))
        return {
            result_id: other
            for result_id, others in twins.items()
            for other in others
            if other in there
        }

    async def _there(self, result_ids: Sequence[str]) -> set[str]:
        """Those of these results that are there."""
        changes = await self._transport.poll(self.id, result_ids) if result_ids else ()
        return {one.result_id for one in changes if one.state is ResultState.COMPLETED}

    @property
    def planned(self) -> bool:
        """Whether its plan is whole."""
        return self.manifest.end is not None

    @property
    def running(self) -> bool:
        """Whether some of its tasks have not ended."""
        return bool(self.progress.open)

    @property
    def failed(self) -> bool:
        """Whether what was asked for will not come."""
        lost, bad = self.progress.lost, self.progress.bad
        return any(
            place.result_id in lost
            or not bad.get(place.result_id, set()).isdisjoint(range(place.start, place.stop))
            for place in self.manifest.end or ()
        )

    async def settle_failures(self) -> None:
        """Where something has failed, wait for what still runs: that may hang on it."""
        looks = 0
        while self.running and (self.progress.lost or self.progress.bad):
            looks += 1
            if looks == _QUIET_LOOKS:
                logger.warning(
                    "what failed runs again when %d results have come, or failed, that are being "
                    "made yet",
                    len(self.progress.open),
                )
            await asyncio.sleep(_PAUSE)
            await self.refresh()

    def asked_for(self) -> Sequence[ResultSlots] | None:
        """Where the values are that were asked for; None: that was not planned."""
        head, end = self.manifest.head, self.manifest.end
        if end is not None or head is None or not head.whole:
            return end
        found = self.manifest.places(self.progress).get((head.root, head.output))
        if found is None:
            return None
        return [ResultSlots(found.result_id, head.name, None, found.slot, found.slot + 1)]

    def was_submitted(self, place: ResultSlots) -> bool:
        """Whether somebody has made, or will make, what is at a place, or tried to."""
        return place.result_id in self._submitted or place.result_id in self.progress.done

    def lost(self) -> Sequence[str]:
        """The results that never come, each after those that its task needs."""
        return [
            output
            for task in self.manifest.tasks
            for output in task.outputs
            if output in self.progress.lost
        ]

    async def places(self, skipping: Sequence[ValueKey]) -> dict[ValueKey, ValuePlace]:
        """Where values are, or will be, by their keys.

        Args:
            skipping: In whose place there may be nothing, because they failed: these are not there.
        """
        found = self.manifest.places(self.progress)
        done = self.progress.done
        doubtful = {found[key]: key for key in skipping if key in found}
        ready = [place for place in doubtful if place.result_id in done]
        for place in await left_out(self._transport, self.id, ready):
            del found[doubtful[place]]
        return found

    def partials(self) -> dict[bytes, list[PartialNote]]:
        """What reductions have made, or will make, of some of their items, by their keys."""
        return self.manifest.partials(self.progress)

    async def being_planned(self) -> bool:
        """Whether somebody plans it now."""
        if self.planned or self.manifest.stopped or self._planner_is_gone():
            return False
        head = self.manifest.head
        if head is not None and head.planner.host == machine():
            return True
        return await self.wait_until_planned()

    async def wait_until_planned(self) -> bool:
        """Wait for the plan that somebody makes; False: nobody does.

        A planner says that it is at work where there is nothing else to say.
        """
        loop = asyncio.get_running_loop()
        news = loop.time()
        while True:
            gone = self._planner_is_gone()
            if await self.manifest.read(self._transport, self.id):
                news = loop.time()
            manifest = self.manifest
            if manifest.end is not None:
                return True
            if gone or manifest.stopped or loop.time() - news > _PATIENCE:
                return False
            await asyncio.sleep(_PAUSE)

    def _planner_is_gone(self) -> bool:
        head = self.manifest.head
        if head is None:
            return True
        planner = head.planner
        return planner.host == machine() and not lives(planner.process, planner.started)

    async def begin(self, head: Head) -> int | None:
        """Begin an epoch; returns its number, None if somebody else was first.

        Who planned the one before submits nothing more from here on, but may have until then.
        """
        epoch = self.manifest.epoch + 1
        self.asked_at = uptime()
        own = await self.store(f"{EPOCHS}{epoch}", pack_part(ManifestPart(epoch, head=head)))
        await self.manifest.read(self._transport, self.id)
        if self.manifest.begun_in != own:
            return None
        if len(self.manifest.tasks) != self._looked_at:
            await self.refresh()
        return epoch

    @property
    def may_grow(self) -> bool:
        """Whether who plans it may submit more."""
        return not (self.planned or self.manifest.stopped or self._planner_is_gone())

    async def settle_submissions(self) -> None:
        """Wait until who planned before this epoch submits nothing more, and look what it has.

        It is at work, and has not asked whether it has been overtaken for as long as an answer
        holds; where the engine fences, that makes no difference.
        """
        if not self._transport.info.fences:
            await asyncio.sleep(fence.TRUSTED)
            await self.refresh()

    async def take_over(self) -> None:
        """Whoever planned it counts as gone; should it come back, it has no say any more."""
        epoch = self.manifest.epoch
        if not self.manifest.stopped and not self._planner_is_gone():
            part = ManifestPart(epoch, stopped="it was silent, and another client has taken over")
            await self.store(f"{EPOCHS}{epoch + 1}", pack_part(part))
            await self.manifest.read(self._transport, self.id)

    async def unpause(self) -> None:
        """Let it go on, if it was paused."""
        await self._transport.shared.unpause(self.id)

    async def overtaken(self, epoch: int) -> bool:
        """Whether somebody has begun a later epoch, or taken over."""
        prefix = CONSTANT_PREFIX + EPOCHS
        names = await self._transport.shared.names(self.id, prefix)
        begun = (name.removeprefix(prefix) for name in names)
        return any(number.isdecimal() and int(number) > epoch for number in begun)

    async def store(self, name: str, data: bytes) -> str:
        """Store data in it; returns the id of the result."""
        return await self._transport.store(self.id, name, [data])

    async def states(self, result_ids: Sequence[str]) -> dict[str, ResultState]:
        """What becomes of results of it, by id."""
        if not result_ids:
            return {}
        owned = await self._transport.shared.owned(self.id, result_ids)
        return {result_id: result.state for result_id, result in owned.items()}

    async def cancel_unneeded(self, needed: set[str]) -> None:
        """Cancel the tasks that had not ended when this was read, but what some results need."""
        open_ = self.progress.open
        for task in reversed(self.manifest.tasks):
            if not needed.isdisjoint(task.outputs):
                needed = needed.union(task.inputs)
        owned = await self._transport.shared.owned(self.id, sorted(open_ - needed))
        owners = {result.owner for result in owned.values() if result.owner}
        await self._transport.cancel_tasks(self.id, sorted(owners))

    async def submit_rest(self, tasks: Sequence[PlannedTask]) -> list[PlannedTask]:
        """Submit what a client has laid out and not submitted; returns what cannot be.

        On engines without the batch extension, payloads are there before their tasks, and large
        ones may be missing after them.
        """
        claims = Claims(self._transport, self.id, _PATIENCE)
        while True:
            ready, lost = await self._laid_out(tasks, claims)
            if not ready or await claims.come_first():
                break
            await claims.wait({output.id for task in ready for output in task.outputs})
        self._lose({output.id for task in lost for output in task.outputs})
        for batch in chunks(ready, config.BATCH_TASKS):
            await self._forward(batch)
        return lost

    async def _laid_out(
        self, tasks: Sequence[PlannedTask], claims: Claims
    ) -> tuple[list[PlannedTask], list[PlannedTask]]:
        """The tasks that are still to be submitted; and those that cannot be."""
        tasks = self._hopeful(tasks)
        if not tasks:
            return [], []
        free = await claims.free()
        absent = set(await self._transport.shared.created(self.id, PAYLOAD_PREFIX))
        lost = [task for task in tasks if task.payload_id in absent]
        waiting = [
            task
            for task in tasks
            if task.payload_id not in absent and all(output.id in free for output in task.outputs)
        ]
        states = await self.states([task.payload_id for task in waiting])
        ready: list[PlannedTask] = []
        for task in waiting:
            there = states.get(task.payload_id) is ResultState.COMPLETED
            (ready if there else lost).append(task)
        return ready, lost

    async def _forward(self, tasks: Sequence[PlannedTask]) -> None:
        """Submit tasks as they were laid out, but those whose inputs fail meanwhile."""
        hopeful = self._hopeful(tasks)
        if not hopeful:
            return
        try:
            await self._transport.shared.forward(self.id, hopeful)
        except InputsAbortedError as error:
            self._lose(error.result_ids)
            if len(self._hopeful(hopeful)) == len(hopeful):
                raise
            await self._forward(hopeful)

    def _hopeful(self, tasks: Sequence[PlannedTask]) -> list[PlannedTask]:
        """Those tasks that nothing keeps from ending well."""
        lost = self.progress.lost
        return [task for task in tasks if not any(output.id in lost for output in task.outputs)]

    def _lose(self, result_ids: Set[str]) -> None:
        self.progress = without(self.progress, self.manifest.tasks, set(result_ids))
