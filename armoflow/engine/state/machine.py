"""The state machine with all its commands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from armoflow.agent.effects import CreatedResult
from armoflow.engine.records import (
    Changes,
    NewResult,
    NewTask,
    Options,
    Partition,
    ResultRecord,
    SessionRecord,
    Stored,
    TaskRecord,
    TaskStatus,
)

Commit: TypeAlias = (
    "tuple[str, Sequence[CreatedResult], Mapping[str, Stored], Sequence[NewTask]]"
)
"""One task's success: its id, the results it created, the data it stored, its children."""


class State:
    """Sessions, tasks and results, and every command that changes them.

    A command validates everything first, then changes, and returns the changes. A refusal raises
    :class:`StateError` and changes nothing. Data that a command does not keep (a repeated upload, the
    commit of a task that was cancelled meanwhile) is named in ``Changes.deleted``.
    """

    sessions: dict[str, SessionRecord]
    tasks: dict[str, TaskRecord]
    results: dict[str, ResultRecord]

    def __init__(
        self,
        partitions: Sequence[Partition],
        default_partition: str,
        *,
        max_priority: int = 10,
        delete_payload: bool = False,
        strict: bool = False,
    ) -> None:
        raise NotImplementedError

    # --- sessions ---

    def create_session(
        self, now: float, session_id: str, options: Options, partition_ids: Sequence[str]
    ) -> Changes:
        """Open a session. No partitions (or one empty name) means the default partition."""
        raise NotImplementedError

    def pause_session(self, now: float, session_id: str) -> Changes:
        """Hold what is queued. Dispatched tasks are held too, and their agents interrupted."""
        raise NotImplementedError

    def resume_session(self, now: float, session_id: str) -> Changes:
        """Queue the tasks that were held."""
        raise NotImplementedError

    def stop_submission(self, now: float, session_id: str, client: bool, worker: bool) -> Changes:
        """Refuse further submissions of clients, of tasks, or of both."""
        raise NotImplementedError

    def close_session(self, now: float, session_id: str) -> Changes:
        """End a session; queued tasks are cancelled, running ones finish."""
        raise NotImplementedError

    def cancel_session(self, now: float, session_id: str) -> Changes:
        """Cancel all that has not ended; running tasks are interrupted (cancelling until then)."""
        raise NotImplementedError

    def purge_session(self, now: float, session_id: str) -> Changes:
        """Delete the data of a closed or cancelled session, except results of manual deletion."""
        raise NotImplementedError

    def delete_session(self, now: float, session_id: str) -> Changes:
        """Remove a session and all its tasks and results; unknown ids change nothing."""
        raise NotImplementedError

    # --- results ---

    def create_results(
        self, now: float, session_id: str, results: Sequence[NewResult], created_by: str = ""
    ) -> Changes:
        """Create results; those with ``stored`` are completed at once."""
        raise NotImplementedError

    def complete_results(
        self, now: float, session_id: str, results: Sequence[tuple[str, Stored]]
    ) -> Changes:
        """Complete results with uploaded data, and queue the tasks that waited for them.

        A completed result of the same size is accepted again (the caller compared the data); the
        new copy is then named in ``Changes.deleted``.
        """
        raise NotImplementedError

    def import_results(
        self, now: float, session_id: str, results: Sequence[tuple[str, Stored]]
    ) -> Changes:
        """Complete results with data that is stored already; all must be in created."""
        raise NotImplementedError

    def delete_results(self, now: float, result_ids: Sequence[str]) -> Changes:
        """Delete data; unknown results and those of manual deletion are skipped."""
        raise NotImplementedError

    # --- submission ---

    def submit_tasks(
        self,
        now: float,
        session_id: str,
        request_options: Options | None,
        tasks: Sequence[NewTask],
    ) -> Changes:
        """Submit a client's tasks."""
        raise NotImplementedError

    def submit_with_data(
        self,
        now: float,
        session_id: str,
        results: Sequence[NewResult],
        tasks: Sequence[NewTask],
        payloads: Sequence[tuple[str, Stored]],
    ) -> Changes:
        """Create results, submit tasks and complete payloads, in this order, in one command.

        May be repeated with the same ids: what exists already is left as it is.
        """
        raise NotImplementedError

    def check_children(
        self, task_id: str, options: Iterable[Options | None], outputs: int = 0
    ) -> None:
        """Refuse a running task's submission early, for what can be known before its commit."""
        raise NotImplementedError

    # --- execution ---

    def acquire(self, now: float, task_id: str, owner: str) -> Changes:
        """Give a queued task to an agent (dispatched).

        If data that it needs was deleted, the task ends in error instead: look at its status.
        """
        raise NotImplementedError

    def start(self, now: float, task_id: str, owner: str | None = None) -> Changes:
        """The agent starts a dispatched task; refused if it was taken away meanwhile."""
        raise NotImplementedError

    def release(self, now: float, task_id: str, owner: str | None = None) -> Changes:
        """The agent gives a task back unharmed: it is queued again, no retry is counted."""
        raise NotImplementedError

    def run(self, now: float, task_ids: Iterable[str], owner: str) -> Changes:
        """Acquire and start many tasks; those no longer queued are skipped.

        The tasks to run are those of the changes whose status is PROCESSING.
        """
        raise NotImplementedError

    def complete_task(
        self,
        now: float,
        task_id: str,
        created: Sequence[CreatedResult],
        stored: Mapping[str, Stored],
        children: Sequence[NewTask],
    ) -> Changes:
        """Commit a task's success, in the reference's order; refused if its effects are invalid.

        A task that was cancelled or removed meanwhile has no effects; its data is deleted.
        """
        raise NotImplementedError

    def complete_tasks(self, now: float, commits: Iterable[Commit]) -> Changes:
        """Commit many; one whose effects are invalid fails as its commit would (with retry)."""
        raise NotImplementedError

    def fail_task(
        self,
        now: float,
        task_id: str,
        error: str,
        *,
        status: TaskStatus = TaskStatus.ERROR,
        retry: bool = False,
    ) -> Changes:
        """End a task in failure; with ``retry`` it is tried again while its options allow it."""
        raise NotImplementedError

    def cancel_tasks(self, now: float, task_ids: Iterable[str]) -> Changes:
        """Cancel tasks that have not ended; running ones are cancelling until their agent stops."""
        raise NotImplementedError

    def stopped(self, now: float, task_ids: Iterable[str]) -> Changes:
        """An agent has stopped these interrupted tasks: cancelling becomes cancelled."""
        raise NotImplementedError

    # --- memory and restart ---

    def restore(
        self,
        now: float,
        sessions: Iterable[SessionRecord],
        tasks: Iterable[TaskRecord],
        results: Iterable[ResultRecord],
    ) -> Changes:
        """Take over what the journal holds after a restart, and repair what the stop cut short."""
        raise NotImplementedError

    def evict(self, task_id: str) -> None:
        """Forget a final task (the journal has it); unknown ids are fine."""
        raise NotImplementedError

    def evict_result(self, result_id: str) -> None:
        """Forget a deleted result (the journal has it); others and unknown ids are left."""
        raise NotImplementedError
