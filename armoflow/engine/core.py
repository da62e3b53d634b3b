"""The engine without its services: state machine, journal, data, queues and watchers as one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from armoflow.agent.effects import Effects
from armoflow.engine.objects import ObjectStore
from armoflow.engine.options import EngineOptions
from armoflow.engine.queries import Queries
from armoflow.engine.records import (
    Changes,
    Event,
    Partition,
    ResultRecord,
    TaskRecord,
    TaskStatus,
)
from armoflow.engine.scheduler import Scheduler
from armoflow.engine.watchers import ResultChange, Watcher

if TYPE_CHECKING:
    from armoflow.engine.state import State


class Engine:
    """All that happens in the engine goes through here, in one event loop.

    A command is ``engine.apply(engine.state.<command>(engine.now(), ...))``: the state machine
    checks and changes, ``apply`` queues, journals, and tells. A reply that promises something
    awaits what ``apply`` returned.

    Attributes:
        identity: A name that this state directory keeps for ever (for caches).
        failed: Done, with an exception, when the journal cannot be written: the engine must stop.
    """

    options: EngineOptions
    state: State
    objects: ObjectStore
    scheduler: Scheduler
    queries: Queries
    partitions: Mapping[str, Partition]
    identity: str
    failed: asyncio.Future[None]

    def __init__(self, options: EngineOptions) -> None:
        raise NotImplementedError

    async def start(self) -> None:
        """Lock the state directory, recover what it holds, queue what was ready.

        Raises:
            EngineError: If another engine uses the directory, or its journal is corrupt or newer.
        """
        raise NotImplementedError

    async def stop(self) -> None:
        """Commit what was applied, end the watchers, close the journal, free the directory."""
        raise NotImplementedError

    def now(self) -> float:
        """The time given to commands: seconds since the epoch."""
        raise NotImplementedError

    def new_id(self) -> str:
        """A new id, shaped as a GUID, for a session, task or result."""
        raise NotImplementedError

    def apply(self, changes: Changes) -> asyncio.Future[None]:
        """Take over what a command changed; call it at once after the command, without awaiting.

        Ready tasks are queued and running ones interrupted before it returns.

        Returns:
            A future, shared by many calls, that is done when the changes are committed and
            watchers are told. Never cancel it: ``await asyncio.shield(future)`` under a timeout.
        """
        raise NotImplementedError

    def committed(self) -> asyncio.Future[None]:
        """A future that is done when everything applied so far is committed."""
        raise NotImplementedError

    def watch(self, session_id: str) -> Watcher[Event]:
        """All events of a session, from now on, in batches as they are committed."""
        raise NotImplementedError

    def watch_results(self, session_id: str) -> Watcher[ResultChange]:
        """Final status changes of the results of a session, in batches as they are committed."""
        raise NotImplementedError

    async def read_task(self, task_id: str) -> TaskRecord | None:
        """A task, live or from the journal."""
        raise NotImplementedError

    async def read_result(self, result_id: str) -> ResultRecord | None:
        """A result, live or from the journal."""
        raise NotImplementedError

    def complete(self, completions: Sequence[tuple[str, Effects]]) -> asyncio.Future[None]:
        """Commit executions that ended in success, as one change.

        A task that is no longer processing (cancelled, session deleted) is skipped, its data
        removed. One whose effects are refused (a child with an unknown input...) fails with that
        message; the others are not harmed.
        """
        raise NotImplementedError

    def fail(
        self,
        task_id: str,
        error: str,
        *,
        status: TaskStatus = TaskStatus.ERROR,
        retry: bool = False,
        effects: Effects | None = None,
    ) -> asyncio.Future[None]:
        """End an execution that failed; ``effects`` are those whose staged files go.

        Args:
            task_id: The task; skipped if it is no longer processing.
            error: What the task shows, and its dependents with it.
            status: ERROR or TIMEOUT.
            retry: Try it again while its ``max_retries`` allow (lost workers).
            effects: What the execution had asked for.
        """
        raise NotImplementedError
