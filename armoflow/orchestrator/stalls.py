"""What a client waits for, in words, when nothing has ended for a while.

Nothing runs after a first submission to a cluster whose partition has scaled to nothing, or has a
worker that dies of every task: from outside both look as if the client hung. The engine knows how
many tasks are queued, run, or were taken up again, so it is asked, and the user is told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from armoflow import config
from armoflow.errors import ArmoflowError
from armoflow.orchestrator.tracker import Tracker
from armoflow.protocol.transport import TaskState, Transport

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Census:
    """How many tasks there are in a partition, by state.

    Attributes:
        partition: Its name.
        pods: How many pods it may have; None if the engine does not say.
        own: The tasks of the client's session.
        all: Those of everybody, where the client may count them.
    """

    partition: str
    pods: int | None
    own: Mapping[TaskState, int]
    all: Mapping[TaskState, int]

    def count(self, state: TaskState) -> int:
        """The session's tasks in a state."""
        return self.own.get(state, 0)

    @property
    def where(self) -> str:
        """The partition, as a text names it."""
        pods = f" (at most {self.pods} pods)" if self.pods else ""
        return f"partition {self.partition!r}{pods}"


def explain_stall(census: Census, seconds: float, repeated: int = 0) -> str | None:
    """Why nothing has ended, as far as the counts tell; None where tasks simply take their time.

    Args:
        census: How many tasks there are now.
        seconds: For how long nothing has ended.
        repeated: How many tasks were taken up again in that time.

    Example:
        >>> queued = {TaskState.QUEUED: 600}
        >>> explain_stall(Census("gpu", 4, queued, queued), 10.0)
        "nothing has ended for 10 s in partition 'gpu' (at most 4 pods), 600 queued: no pod of it \
takes tasks yet"
        >>> running = {TaskState.RUNNING: 4}
        >>> explain_stall(Census("gpu", 4, running, running), 10.0) is None
        True
    """
    queued = census.count(TaskState.QUEUED)
    if repeated:
        what, why = (
            f"{repeated:,} taken up again",
            "its pods are lost, or die of them: see their log",
        )
    elif census.count(TaskState.RUNNING):
        return None
    elif census.count(TaskState.PAUSED):
        what, why = f"{census.count(TaskState.PAUSED):,} paused", "resume the session"
    elif queued:
        what, why = f"{queued:,} queued", _why_queued(census)
    elif waiting := census.count(TaskState.WAITING):
        what, why = f"{waiting:,} not released", "the engine says that their data is not all there"
    else:
        return None
    return f"nothing has ended for {seconds:.0f} s in {census.where}, {what}: {why}"


def _why_queued(census: Census) -> str:
    if census.pods == 0:
        return "it is configured without pods, name another one"
    if others := census.all.get(TaskState.RUNNING):
        return f"{others:,} of other sessions are running there"
    return "no pod of it takes tasks yet"


class Stalls:
    """Asks and tells while nothing ends; lives in the loop's thread.

    Args:
        transport: The way to the engine.
        tracker: Knows what is under way.
        session: The id of the open session, or None.

    Attributes:
        reason: What is waited for now, if nothing has ended for a while.
    """

    def __init__(
        self, transport: Transport, tracker: Tracker, session: Callable[[], str | None]
    ) -> None:
        self._transport = transport
        self._tracker = tracker
        self._session = session
        self._repeated = 0
        self._over: dict[str, int] = {}
        self.reason = ""

    async def run(self) -> None:
        """Watch until cancelled."""
        loop = asyncio.get_running_loop()
        ended, since, due = -1, 0.0, 0.0
        while True:
            await asyncio.sleep(config.STALL_SECONDS / 4)
            now = loop.time()
            if ended != self._tracker.ended_tasks or not self._tracker.open:
                ended, since, due = self._tracker.ended_tasks, now, now + config.STALL_SECONDS
                self.reason = ""
            elif now >= due:
                stands = await self._tell(now - since)
                due = now + (min(now - since, config.STALL_REPEAT) if stands else 0.0)

    async def _tell(self, seconds: float) -> bool:
        """Tell what is waited for; False if tasks of tasks have ended since the last look."""
        stands = True
        session_id = self._session()
        if session_id is None:
            return stands
        if words := self._transport.traffic.words():
            logger.warning("nothing has ended for %.0f s: %s", seconds, words)
            return stands
        for partition in sorted({task.options.partition for task in self._tracker.open.values()}):
            try:
                census = await self._count(session_id, partition)
            except ArmoflowError as error:  # it may be down, or not allow it: told elsewhere
                logger.debug("what is waited for is not known: %s", error)
                return stands
            over = census.count(TaskState.ENDED)
            if self._over.get(partition) != over:
                self._over[partition] = over
                stands = False
                continue
            before, self._repeated = self._repeated, census.count(TaskState.REPEATED)
            if text := explain_stall(census, seconds, max(self._repeated - before, 0)):
                self.reason = text
                logger.warning("%s", text)
        return stands

    async def _count(self, session_id: str, partition: str) -> Census:
        info = self._transport.info
        name = info.name_of(partition)
        own = await self._transport.count_tasks(session_id, partition)
        queued = own.get(TaskState.QUEUED)
        everybody = await self._transport.count_tasks("", name) if queued else own
        return Census(name, info.pods.get(name), own, everybody)
