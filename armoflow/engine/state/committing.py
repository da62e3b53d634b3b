"""How a task that ran ends: its success is committed, its failure retried or propagated."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import TypeAlias

from armoflow.agent.effects import CreatedResult
from armoflow.codec.item_log import told_failures
from armoflow.engine.records import (
    FINAL,
    Changes,
    Event,
    NewResult,
    NewTask,
    ResultRecord,
    StateError,
    Stored,
    TaskRecord,
    TaskStatus,
    make_tuple,
)
from armoflow.engine.state.record_changes import (
    CANCELLED,
    CANCELLING,
    COMPLETED,
    CREATED,
    CREATING,
    ERROR,
    NEW_TASK,
    PENDING,
    PROCESSING,
    RETRIED,
    SESSION_DELETED,
    TASK_COMPLETED,
    TASK_STATUS,
    end_task,
    set_owner,
    set_task,
)
from armoflow.engine.state.submission_checks import Checked
from armoflow.engine.state.submission_commands import SubmissionCommands

TaskSuccess: TypeAlias = (
    "tuple[str, Sequence[CreatedResult], Mapping[str, Stored], Sequence[NewTask]]"
)
"""One task's success: its id, the results it created, the data it stored, its children."""


class Completion(SubmissionCommands):
    """Commit, fail, retry."""

    def _commit(self, changes: Changes, now: float, commit: TaskSuccess) -> None:
        """Commit one success.

        Raises:
            StateError: If its effects are invalid; nothing was changed then.
        """
        task_id, created, stored, children = commit
        task = self.tasks.get(task_id)
        sessions = self.sessions
        if (
            task is None
            or task.status is not PROCESSING
            or sessions[task.session_id].status is SESSION_DELETED  # it is being removed
        ):
            # Cancelled, deleted or ended meanwhile: as if it had never run.
            if task is not None:
                self._is_over(changes, task)
            self._drop(changes, stored)
        elif created or children:
            self._commit_effects(changes, now, task, commit)
        elif not self.strict and (undelivered := self._undelivered(task, stored, ())):
            self._fail_undelivered(changes, now, task, stored, undelivered)
        else:
            self._succeed(changes, now, task, self._store(changes, now, stored))

    def _commit_effects(
        self, changes: Changes, now: float, task: TaskRecord, commit: TaskSuccess
    ) -> None:
        """A commit with results or children of its own: checked whole, then told."""
        _, created, stored, children = commit
        news = [NewResult(result_id, name) for result_id, name in created]
        self._check_new(news)
        announced = Changes()
        # Children are checked against the results created with them.
        self._insert(announced, now, task.session_id, news, task.id)
        try:
            checked = self._check_children(task, children)
        except StateError:
            self._take_back(news)
            raise
        if not self.strict and (undelivered := self._undelivered(task, stored, children)):
            self._take_back(news)
            self._fail_undelivered(changes, now, task, stored, undelivered)
            return
        changes.results.update(announced.results)
        changes.events += announced.events
        if not self.strict:
            stored = self._leave_to_children(changes, stored, children)
        completed = self._store(changes, now, stored)
        if checked:
            session = self.sessions[task.session_id]
            self._create_children(changes, now, session, checked, task)
        failed = told_failures([result.name for result in created])
        self._succeed(changes, now, task, completed, failed_items=failed)

    def _succeed(
        self,
        changes: Changes,
        now: float,
        task: TaskRecord,
        completed: Sequence[ResultRecord],
        *,
        failed_items: bool = False,
    ) -> None:
        for result in completed:
            if result.dependents is not None:
                self._wake(changes, now, result)
        if self.delete_payload and (self.strict or not failed_items):
            self._delete_payload(changes, task)
        if task.processed_at is None:  # its agent does not know better
            task.processed_at = now
        task.ended_at = now
        task.success = True
        task.status = TASK_COMPLETED
        changes.tasks[task.id] = task
        if self.watched:
            changes.events.append(make_tuple(Event, (TASK_STATUS, task, TASK_COMPLETED)))

    def _leave_to_children(
        self, changes: Changes, stored: Mapping[str, Stored], children: Iterable[NewTask]
    ) -> Mapping[str, Stored]:
        """What a task stored, without the outputs that its children produce, too: theirs count.

        Strict: the task's data is there until theirs comes, and may have been read by then.
        """
        delegated = {output for child in children for output in child.outputs} & stored.keys()
        if not delegated:
            return stored
        self._drop(changes, {output: stored[output] for output in delegated})
        return {key: data for key, data in stored.items() if key not in delegated}

    def _keep_refused(self, changes: Changes, now: float, commit: TaskSuccess) -> None:
        """What is left of a success whose children are refused in ArmoniK.Core: its data."""
        task_id, created, stored, _ = commit
        news = [NewResult(result_id, name) for result_id, name in created]
        self._insert(changes, now, self.tasks[task_id].session_id, news, task_id)
        for result in self._store(changes, now, stored):
            self._wake(changes, now, result)

    def _commit_or_fail(self, changes: Changes, now: float, commit: TaskSuccess) -> None:
        try:
            self._commit(changes, now, commit)
        except StateError as refusal:
            if self.strict:
                self._keep_refused(changes, now, commit)
            else:
                self._drop(changes, commit[2])
            text = f"its results and children were refused: {refusal}"
            self._fail_or_retry(changes, now, self.tasks[commit[0]], ERROR, text, retry=True)

    def _check_children(self, task: TaskRecord, children: Sequence[NewTask]) -> list[Checked]:
        if not children:
            return []
        self._check_may_submit(task)
        session = self.sessions[task.session_id]
        options = self._merge_all(session.options, [child.options for child in children])
        return self._check_tasks(task.session_id, options, children, task)

    def _undelivered(
        self, task: TaskRecord, stored: Container[str], children: Sequence[NewTask]
    ) -> list[str]:
        """Expected outputs that nobody would produce any more."""
        outputs = task.outputs
        if len(outputs) == 1 and outputs[0] in stored:
            return []
        missing = [output for output in outputs if output not in stored]
        delegated = {output for child in children for output in child.outputs}
        results = self.results
        return [
            output
            for output in missing
            if output not in delegated
            and (result := results.get(output)) is not None
            and result.status is CREATED
            and result.owner_task_id == task.id
        ]

    def _fail_undelivered(
        self,
        changes: Changes,
        now: float,
        task: TaskRecord,
        stored: Mapping[str, Stored],
        undelivered: Sequence[str],
    ) -> None:
        self._drop(changes, stored)
        text = undelivered_text(undelivered)
        self._fail_or_retry(changes, now, task, ERROR, text, retry=False)

    def _store(
        self, changes: Changes, now: float, stored: Mapping[str, Stored]
    ) -> list[ResultRecord]:
        """Complete results; data for those that take none (any more) is dropped."""
        completed = []
        results = self.results
        for result_id, data in stored.items():
            result = results.get(result_id)
            if result is None or (result.status is not CREATED and not self.strict):
                self._discard(changes, data.opaque_id)
                continue
            self._complete(changes, now, result, data)
            completed.append(result)
        return completed

    def _drop(self, changes: Changes, stored: Mapping[str, Stored]) -> None:
        for data in stored.values():
            self._discard(changes, data.opaque_id)

    def _is_over(self, changes: Changes, task: TaskRecord) -> bool:
        """Whether the task has ended; one that was being cancelled ends now."""
        if task.status is CANCELLING:
            if not task.owner:  # it was in the queue
                task.success = False
            set_task(changes, task, CANCELLED)
            return True
        return task.status in FINAL

    # --- failure ---

    def _fail_or_retry(
        self,
        changes: Changes,
        now: float,
        task: TaskRecord,
        status: TaskStatus,
        error: str,
        *,
        retry: bool,
    ) -> None:
        if task.status is PROCESSING and task.processed_at is None:
            task.processed_at = now
        if retry and status is ERROR and len(task.retry_of) < task.options.max_retries:
            self._retry(changes, now, task, error)
            return
        # What a failed task was given stays, so that it can be run again to see why.
        if self.delete_payload and self.strict:
            self._delete_payload(changes, task)
        self._fail(changes, now, task, status, error)

    def _retry(self, changes: Changes, now: float, task: TaskRecord, error: str) -> None:
        """Replace a task by its next attempt, which stands at the same place in the queue."""
        end_task(changes, now, task, RETRIED, error)
        attempt = len(task.retry_of) + 1
        successor = TaskRecord(
            f"{task.initial_id}###{attempt}",
            task.session_id,
            task.payload_id,
            task.dependencies,
            task.outputs,
            task.options,
            now,
            task.initial_id,
            task.depth,
            task.id,
            (*task.retry_of, task.id),
            order=task.order,
            success=False,
        )
        self._add_tasks(task.session_id, {successor.id: successor})
        changes.events.append(make_tuple(Event, (NEW_TASK, successor, CREATING)))
        for output in task.outputs:
            result = self.results.get(output)
            if result is not None and result.owner_task_id == task.id:
                set_owner(changes, result, successor.id)
        set_task(changes, successor, PENDING)
        if self._has_lost_input(successor):
            self._fail_for_lost_input(changes, now, successor)
        else:
            self._queue(changes, now, successor)

    def _delete_payload(self, changes: Changes, task: TaskRecord) -> None:
        """Delete the payload, if no other task needs it."""
        members = self._members[task.session_id]
        if members.payloads and not members.release_payload(task.payload_id):
            return
        payload = self.results.get(task.payload_id)
        if payload is not None and payload.status is COMPLETED and not payload.manual_deletion:
            self._delete_data(changes, payload)


def undelivered_text(outputs: Iterable[str]) -> str:
    """Why a task fails that ended in success without some of its outputs."""
    return (
        f"it ended in success without its expected output(s) {', '.join(outputs)}: a task must "
        "produce each of its outputs or hand it to a child"
    )
