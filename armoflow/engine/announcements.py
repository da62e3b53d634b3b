"""Takes in what a task has made in great numbers, others' calls in between.

What an execution has stored, created and submitted is prepared, stored and announced in parts (see
:mod:`armoflow.engine.state.announcing`), each a turn of the event loop and a transaction of its
own; one completion after the other. The journal notes whose children are being announced, so that
a restart removes those of a task whose success was not committed: it is run again then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from armoflow.agent.effects import TEMPORARY, ChildTask, CreatedResult, Effects
from armoflow.codec.item_log import told_failures
from armoflow.engine import commits, parts
from armoflow.engine.engine_options import decode_options
from armoflow.engine.faults import StorageError
from armoflow.engine.journal import Journal
from armoflow.engine.loading import ANNOUNCED
from armoflow.engine.parts import cut
from armoflow.engine.records import (
    Changes,
    NewResult,
    NewTask,
    SessionStatus,
    StateError,
    Stored,
    TaskRecord,
    TaskStatus,
)
from armoflow.errors import ArmoflowError, OptionError
from armoflow.protocol.frames import PAYLOAD_PREFIX

if TYPE_CHECKING:
    from armoflow.engine.core import Engine

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class AnnouncedPart:
    """Some of what a task has created, and some of its children; ``data`` by the results' ids."""

    created: list[NewResult] = field(default_factory=list)
    data: dict[str, str] = field(default_factory=dict)
    children: list[NewTask] = field(default_factory=list)
    stored: dict[str, Stored] = field(default_factory=dict)


class Withdrawn(Exception):
    """The task is no longer processing, or by another agent."""


def is_large(effects: Effects) -> bool:
    """Whether a completion is taken in in parts."""
    return _entries(effects) > parts.MANY or len(effects.data) > parts.MANY


def _entries(effects: Effects) -> int:
    return len(effects.children) + len(effects.created)


class Announcements:
    """The large completions of an engine.

    Args:
        engine: The engine.
        journal: Where it is noted whose children are being announced.
        turn: Held by who announces: one after the other.
    """

    def __init__(self, engine: Engine, journal: Journal, turn: asyncio.Lock) -> None:
        self._engine = engine
        self._journal = journal
        self._turn = turn
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._entries = 0

    def take_in(self, task_id: str, effects: Effects) -> asyncio.Task[None]:
        """Commit an execution that ended in success; done when it is committed, or will not be."""
        self._entries += _entries(effects)
        task = asyncio.get_running_loop().create_task(self._take_in(task_id, effects))
        self._under_way[task_id] = task
        task.add_done_callback(lambda _: self._done(task_id, effects))
        return task

    def under_way(self, task_id: str) -> Awaitable[None] | None:
        """Done when a task's completion is taken in; None if that is no large one."""
        task = self._under_way.get(task_id)
        return None if task is None else asyncio.shield(task)

    @property
    def entries(self) -> int:
        """Results and children that are in memory, but no records yet."""
        return self._entries

    async def stop(self) -> None:
        """Leave what is under way: those tasks are run again after the next start."""
        under_way = {**self._under_way}
        for task in under_way.values():
            task.cancel()
        await asyncio.gather(*under_way.values(), return_exceptions=True)
        engine = self._engine
        for task_id in under_way:
            record = engine.state.tasks.get(task_id)
            if record is not None and record.status is TaskStatus.PROCESSING:
                engine.apply(engine.state.release(engine.now(), task_id))

    def _done(self, task_id: str, effects: Effects) -> None:
        del self._under_way[task_id]
        self._entries -= _entries(effects)

    async def _take_in(self, task_id: str, effects: Effects) -> None:
        async with self._turn:
            completion = _Completion(self._engine, self._journal, task_id, effects)
            try:
                await completion.run()
            except ArmoflowError as error:  # the engine ends, and a restart runs the task again
                logger.debug("the children of task %s are not taken in: %s", task_id, error)
            except Exception as error:  # whoever waits for the task is told
                logger.exception("the children of task %s could not be taken in", task_id)
                self._engine.fail(task_id, _refused(error))


class _Completion:
    """One of them."""

    def __init__(self, engine: Engine, journal: Journal, task_id: str, effects: Effects) -> None:
        self._engine = engine
        self._journal = journal
        self._id = task_id
        self._effects = effects
        self._parts: list[AnnouncedPart] = []
        self._created = {created.id for created in effects.created}
        self._names: dict[str, str] = {}
        self._heirs: list[NewTask] = []
        self._shared: dict[str, int] = {}
        self._left = {**effects.data}
        self._failed_items = False
        self._own: dict[str, Stored] = {}
        self._announced: list[AnnouncedPart] = []
        task = self._task()
        self._acquired_at = None if task is None else task.acquired_at
        self._outputs = frozenset(() if task is None else task.outputs)

    async def run(self) -> None:
        """Take it in, to whichever end.

        Raises:
            EngineError: If the journal cannot be written any more.
        """
        engine = self._engine
        try:
            self._check_alive()
            await self._prepare()
            if (text := engine.state.undelivered(self._id, self._effects.data, self._heirs)) != "":
                engine.fail(self._id, text, effects=self._effects)
                return
            await self._store()
        except Withdrawn:
            engine.skip(self._task(), self._effects)
        except StorageError as fault:
            engine.hold_up(self._id, self._effects, fault)
        except StateError as refusal:
            if engine.options.strict:  # some of it stays nevertheless
                engine.complete([(self._id, self._effects)], at_once=True)
            else:
                engine.fail(self._id, _refused(refusal), retry=True, effects=self._effects)
        except (OptionError, OSError, MemoryError) as error:
            engine.fail(self._id, _refused(error), effects=self._effects)
        else:
            await self._announce_and_commit()

    async def _announce_and_commit(self) -> None:
        engine = self._engine
        try:
            await self._announce()
            await asyncio.shield(self._commit())
        except Withdrawn:
            await self._withdraw()
            engine.skip(self._task(), Effects())
        except (StateError, MemoryError) as error:
            await self._withdraw()
            engine.fail(self._id, _refused(error), retry=isinstance(error, StateError))

    # --- nothing is changed yet -----------------------------------------------------------------

    async def _prepare(self) -> None:
        """Divide it, and check it.

        Raises:
            StateError, OptionError: If some of it is refused.
        """
        if len(self._created) < len(self._effects.created):
            raise StateError("ALREADY_EXISTS", "a result is created twice")
        for results in cut(self._effects.created, parts.PART):
            self._parts.append(self._part_of_results(results))
            await self._turn_of_others()
        for children in cut(self._effects.children, parts.PART // 2, _links):
            part = self._part_of_children(children)
            self._parts.append(part)
            self._engine.state.check_announced(self._id, self._created, part.children)
            await self._turn_of_others()
        if not self._engine.options.strict:
            existing = self._engine.state.results
            commits.check_own(self._task_now(), self._left.keys(), (), existing)

    def _part_of_results(self, created: Sequence[CreatedResult]) -> AnnouncedPart:
        take = self._left.pop
        self._failed_items |= told_failures([result.name for result in created])
        return AnnouncedPart(
            [NewResult(result.id, result.name) for result in created],
            {result.id: result.id for result in created if take(result.id, None) is not None},
        )

    def _part_of_children(self, children: Sequence[ChildTask]) -> AnnouncedPart:
        part, new_id, names = AnnouncedPart(), self._engine.new_id, self._names
        for child in children:
            payload_id = child.payload_id
            if payload_id.startswith(TEMPORARY) and payload_id not in names:
                if self._left.pop(payload_id, None) is None:
                    text = f"a child task has no payload: {payload_id!r}"
                    raise StateError("INVALID_ARGUMENT", text)
                names[payload_id] = new_id()
                part.created.append(NewResult(names[payload_id], PAYLOAD_PREFIX))
                part.data[names[payload_id]] = payload_id
                payload_id = names[payload_id]
                self._created.add(payload_id)
            else:
                payload_id = names.get(payload_id, payload_id)
                first = 1 if payload_id in self._created else 0
                self._shared[payload_id] = self._shared.get(payload_id, first) + 1
            new = NewTask(
                child.id or new_id(),
                payload_id,
                child.dependencies,
                child.outputs,
                decode_options(child.options),
            )
            part.children.append(new)
            if not self._outputs.isdisjoint(child.outputs):
                self._heirs.append(new)
        return part

    async def _store(self) -> None:
        """Store all data, or nothing.

        Raises:
            StateError: If some of it cannot be stored.
        """
        effects, objects = self._effects.data, self._engine.objects
        done: dict[str, Stored] = {}
        try:
            for part in self._parts:
                stored = commits.store_all(effects, objects, part.data.values())
                done.update(stored)
                part.stored = {result_id: stored[key] for result_id, key in part.data.items()}
                await asyncio.shield(self._engine.apply(Changes(), urgent=False))
                self._check_alive()
            for keys in cut(list(self._left), parts.PART):
                stored = commits.store_all(effects, objects, keys)
                done.update(stored)
                self._own.update(stored)
                await asyncio.shield(self._engine.apply(Changes(), urgent=False))
                self._check_alive()
        except BaseException:
            self._own.clear()
            commits.give_back(effects, done, objects)
            raise

    # --- some of it is there --------------------------------------------------------------------

    async def _announce(self) -> None:
        """Announce all parts.

        Raises:
            StateError: If some of it is refused.
            Withdrawn: If the task was taken away.
        """
        count = len(self._effects.children)
        place = self._engine.state.reserve_places(count)
        for part in self._parts:
            await self._engine.sweeper.step(self._announcing(part, place))
            place += len(part.children)
        self._check_alive()

    def _announcing(self, part: AnnouncedPart, place: int) -> Callable[[], Changes]:
        def announce() -> Changes:
            self._check_alive()
            self._journal.note(ANNOUNCED, self._id)
            changes = self._engine.state.announce(
                self._engine.now(), self._id, part.created, part.stored, part.children, place
            )
            self._announced.append(part)
            return changes

        return announce

    def _commit(self) -> asyncio.Future[None]:
        engine, task = self._engine, self._task_now()
        if self._failed_items:
            engine.kept_data.note(task.session_id, task.payload_id, task.dependencies)
        changes = engine.state.complete_announced(
            engine.now(),
            self._id,
            self._own,
            [child.id for part in self._parts for child in part.children],
            self._heirs,
            payloads=self._shared,
            failed_items=self._failed_items,
        )
        self._journal.note(ANNOUNCED, "")
        return engine.apply(changes)

    async def _withdraw(self) -> None:
        """Take back what was announced, and delete the data of what was not."""
        engine = self._engine
        engine.objects.delete([data.opaque_id for data in self._own.values()])
        for part in self._parts[len(self._announced) :]:
            engine.objects.delete([data.opaque_id for data in part.stored.values()])
        for part in reversed(self._announced):
            children = [child.id for child in part.children]
            results = [created.id for created in part.created]

            def take_back(children: list[str] = children, results: list[str] = results) -> Changes:
                return engine.state.withdraw(engine.now(), self._id, children, results)

            await engine.sweeper.step(take_back)
        self._journal.note(ANNOUNCED, "")

    # --- parts ----------------------------------------------------------------------------------

    def _task(self) -> TaskRecord | None:
        return self._engine.state.tasks.get(self._id)

    def _task_now(self) -> TaskRecord:
        return self._engine.state.tasks[self._id]

    def _check_alive(self) -> None:
        """Raise Withdrawn if the task was taken away meanwhile."""
        task = self._task()
        if task is None or task.status is not TaskStatus.PROCESSING:
            raise Withdrawn
        session = self._engine.state.sessions[task.session_id]
        if session.status is SessionStatus.DELETED or task.acquired_at != self._acquired_at:
            raise Withdrawn

    async def _turn_of_others(self) -> None:
        await asyncio.sleep(0)
        self._check_alive()


def _links(child: ChildTask) -> int:
    return len(child.dependencies) + len(child.outputs)


def _refused(error: Exception) -> str:
    reason = str(error) if isinstance(error, ArmoflowError | StateError) else repr(error)
    return f"its results and children were refused: {reason}"
