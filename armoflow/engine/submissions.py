"""Takes in very many tasks of a client at once, others' calls in between.

They are checked and announced in parts, as children are (see :mod:`armoflow.engine.announcements`),
and started when all are there: all of them or, if some are refused, none. The journal notes of
which session tasks are being announced, so that a restart removes those that were not all there.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from armoflow.engine import parts
from armoflow.engine.journal import Journal
from armoflow.engine.loading import ANNOUNCED, OF_CLIENT
from armoflow.engine.parts import cut
from armoflow.engine.records import ApiOptions, Changes, NewTask

if TYPE_CHECKING:
    from armoflow.engine.core import Engine


def is_large(tasks: Sequence[NewTask]) -> bool:
    """Whether tasks are taken in in parts."""
    return len(tasks) > parts.MANY or sum(map(_links, tasks)) > 2 * parts.LINKS


class Submissions:
    """The large submissions of an engine.

    Args:
        engine: The engine.
        journal: Where it is noted of which session tasks are being announced.
        turn: Held by who announces: one after the other.
    """

    def __init__(self, engine: Engine, journal: Journal, turn: asyncio.Lock) -> None:
        self._engine = engine
        self._journal = journal
        self._turn = turn
        self._under_way: set[asyncio.Task[None]] = set()

    async def submit(
        self, session_id: str, options: ApiOptions | None, tasks: Sequence[NewTask]
    ) -> None:
        """Submit tasks: all of them or, if some are refused, none.

        Raises:
            StateError: Why they are refused.
        """
        task = asyncio.create_task(self._submit(session_id, options, tasks))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        await asyncio.shield(task)  # who asked may go: what was begun is brought to its end

    async def stop(self) -> None:
        """Leave what is under way: the next start removes it."""
        under_way = [*self._under_way]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    async def _submit(
        self, session_id: str, options: ApiOptions | None, tasks: Sequence[NewTask]
    ) -> None:
        engine = self._engine
        async with self._turn:
            await engine.sweeper.all_started()  # a restart must tell those from these
            await self._check(session_id, options, tasks)
            announced: list[Sequence[NewTask]] = []
            try:
                for part in cut(tasks, parts.PART, _links):
                    announce = functools.partial(self._announce, session_id, options, part)
                    await engine.sweeper.step(announce)
                    announced.append(part)
            except Exception:  # whatever it is: others would never see to what is there
                for part in announced:
                    await engine.sweeper.step(functools.partial(self._withdraw, part))
                self._journal.note(ANNOUNCED, "")
                raise
            self._journal.note(ANNOUNCED, "")
            ids, payloads = [new.id for new in tasks], [new.payload_id for new in tasks]
            changes = engine.state.start_client_tasks(session_id, ids, payloads)
            await asyncio.shield(engine.apply(changes))

    async def _check(
        self, session_id: str, options: ApiOptions | None, tasks: Sequence[NewTask]
    ) -> None:
        """Refuse them before anything is there.

        Raises:
            StateError: Why they are refused.
        """
        claimed: set[str] = set()
        for part in cut(tasks, parts.PART, _links):
            self._engine.state.check_client_part(session_id, options, part, claimed)
            await asyncio.sleep(0)

    def _announce(
        self, session_id: str, options: ApiOptions | None, part: Sequence[NewTask]
    ) -> Changes:
        engine = self._engine
        self._journal.note(ANNOUNCED, f"{OF_CLIENT}{session_id}")
        return engine.state.announce_client_part(engine.now(), session_id, options, part)

    def _withdraw(self, part: Sequence[NewTask]) -> Changes:
        engine = self._engine
        return engine.state.withdraw(engine.now(), "", [new.id for new in part], ())


def _links(task: NewTask) -> int:
    return len(task.dependencies) + len(task.outputs)
