"""What stays of sessions: what was to be kept, and what failed tasks and failed items were given.

The same for a client that is gone as for one that ends its session itself, and as by the calls that
every ArmoniK serves (:mod:`armoflow.protocol.remains`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from armoflow.codec.item_log import told_failures
from armoflow.codec.task_needs import TaskNeeds, constants_of
from armoflow.config import FAILED_PAYLOADS
from armoflow.engine.records import Changes, ResultRecord, ResultStatus, TaskStatus
from armoflow.protocol.frames import CONSTANT_PREFIX, STAYING_PREFIXES

if TYPE_CHECKING:
    from armoflow.engine.commits import Commit
    from armoflow.engine.core import Engine

_FAILED: Final = frozenset({TaskStatus.ERROR, TaskStatus.TIMEOUT})


class KeptData:
    """What tasks were given that ended well with failed items: it stays, whoever lets go of it.

    A client lets go of all that a pack was given when that has ended, well as far as it knows; and
    it knows nothing of the tasks that others have returned.

    Args:
        engine: The engine.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._given: dict[str, TaskNeeds] = {}

    def completing(self, commits: Iterable[Commit]) -> None:
        """Tasks end well."""
        for commit in commits:
            created = commit.created
            if created and told_failures([result.name for result in created]):
                task = self._engine.state.tasks[commit.task_id]
                self.note(task.session_id, task.payload_id, task.dependencies)

    def note(self, session_id: str, payload_id: str, inputs: Iterable[str]) -> None:
        """A task of a session has ended well, and has failed items: what it was given."""
        self._given.setdefault(session_id, TaskNeeds()).add(payload_id, inputs)

    def forget(self, session_ids: Iterable[str]) -> None:
        """Sessions are removed."""
        for session_id in session_ids:
            self._given.pop(session_id, None)

    @property
    def spares(self) -> bool:
        """Whether not all can go that clients let go of."""
        return bool(self._given)

    async def going(self, result_ids: Sequence[str]) -> list[str]:
        """Those of these results whose data goes."""
        if not self._given:
            return [*result_ids]
        results = self._engine.state.results
        going, constants = [], dict[str, list[str]]()
        for result_id in result_ids:
            record = results.get(result_id)
            given = None if record is None else self._given.get(record.session_id)
            if record is None or given is None:
                going.append(result_id)
            elif record.name.startswith(CONSTANT_PREFIX):
                constants.setdefault(record.session_id, []).append(result_id)
            elif result_id not in given.results:
                going.append(result_id)
        for session_id, ids in constants.items():
            needed = await self._needed(self._given[session_id])
            if needed is not None:  # else all constants stay
                going += [result_id for result_id in ids if result_id not in needed]
        return going

    async def tidy(self, session_id: str) -> None:
        """Delete the data of a session that has ended, but what stays; done when committed."""
        engine = self._engine
        await asyncio.shield(engine.committed())  # others wait for it, too
        known = self._given.get(session_id, TaskNeeds())
        given = TaskNeeds(set(known.results), list(known.payloads))
        counts = engine.task_counts.count(session_id)
        if not _FAILED.isdisjoint(counts):  # else nobody has to go over all tasks
            for _, payload_id, inputs in await engine.queries.failed_inputs(session_id):
                given.add(payload_id, inputs)
        spared = await self._needed(given)

        def goes(result: ResultRecord) -> bool:
            name = result.name
            if result.status is not ResultStatus.COMPLETED or name.startswith(STAYING_PREFIXES):
                return False
            if spared is None and name.startswith(CONSTANT_PREFIX):
                return False
            return result.id not in (given.results if spared is None else spared)

        def delete(part: Sequence[ResultRecord]) -> Changes:
            going = [result.id for result in part if goes(result)]
            return engine.state.delete_results(engine.now(), going)

        for results in engine.state.results_of(session_id):
            await engine.sweeper.in_slices(results, delete, urgent=False)

    async def _needed(self, given: TaskNeeds) -> set[str] | None:
        """What tasks were given, and the constants that their payloads name.

        Returns:
            None, if the payloads are too many to be read.
        """
        end = len(given.payloads)
        if end > FAILED_PAYLOADS:
            return None
        if given.read < end:
            engine = self._engine
            records = await engine.read_results(given.payloads[given.read : end])
            found = await engine.objects.read_many(each.opaque_id for each in records.values())
            given.learn(end, await asyncio.to_thread(_names, list(found.values())))
        return given.results | given.named


def _names(payloads: Iterable[bytes | Path]) -> set[str]:
    return {name for payload in payloads for name in constants_of(_content(payload))}


def _content(payload: bytes | Path) -> bytes:
    if isinstance(payload, bytes):
        return payload
    try:
        return payload.read_bytes()
    except FileNotFoundError:  # deleted meanwhile: nobody runs it again
        return b""
