"""Successes with very many children: announced some at a time, true all at once.

What a task creates, and its children, come in slices while it still counts as running: the children
are ``CREATING``, and nobody runs them. Then its success is one short command, and what follows, the
children's start, comes in slices again. What a client submits in great numbers comes in the same
way. Until that command a restart removes all of it (see
:func:`armoflow.engine.loading.drop_announced`): a task has all of its children, or none.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence

from armoflow.engine.records import (
    FINAL,
    ApiOptions,
    Changes,
    NewResult,
    NewTask,
    ResultRecord,
    Stored,
    TaskRecord,
)
from armoflow.engine.state.committing import Completion, undelivered_text
from armoflow.engine.state.record_changes import (
    CREATED,
    CREATING,
    DELETED,
    cancel_queued,
    set_owner,
)
from armoflow.engine.state.submission_checks import Checked, output_named_twice


class Announcing(Completion):
    """Check, announce, commit, withdraw."""

    def check_announced(
        self, task_id: str, created: Container[str], children: Sequence[NewTask]
    ) -> None:
        """Refuse some of a task's children as its completion would; nothing changes.

        Args:
            task_id: The task.
            created: All results that it creates.
            children: Some of its children.

        Raises:
            StateError: Why they are refused.
        """
        task = self._task(task_id)
        self._check_may_submit(task)
        options = self._merge_all(
            self.sessions[task.session_id].options, [child.options for child in children]
        )
        stand_in = ResultRecord("", task.session_id, "", 0.0)
        find = self.results.get

        def find_any(result_id: str) -> ResultRecord | None:
            return stand_in if result_id in created else find(result_id)

        self._check_tasks(task.session_id, options, children, task, find_any)

    def undelivered(self, task_id: str, stored: Container[str], heirs: Sequence[NewTask]) -> str:
        """Why a task fails whose outputs are not all there, or handed to children; or nothing."""
        if self.strict:
            return ""
        missing = self._undelivered(self._task(task_id), stored, heirs)
        return undelivered_text(missing) if missing else ""

    def announce(  # noqa: PLR0917 - what a completion has, in order
        self,
        now: float,
        task_id: str,
        created: Sequence[NewResult],
        stored: Mapping[str, Stored],
        children: Sequence[NewTask],
        order: int,
    ) -> Changes:
        """Create some results of a running task, with their data, and some of its children.

        They were checked before. An input that was deleted since fails the child when it is run.

        Args:
            now: The time.
            task_id: The task.
            created: The results.
            stored: Data of these.
            children: The children.
            order: The place of the first of them in the queue: see :meth:`reserve_places`.

        Raises:
            StateError: If one of the results exists.
        """
        task = self._task(task_id)
        session = self.sessions[task.session_id]
        self._check_new(created)
        options = self._merge_all(session.options, [child.options for child in children])
        changes = Changes()
        self._insert(changes, now, task.session_id, created, task_id)
        for result_id, data in stored.items():
            self._complete(changes, now, self.results[result_id], data)
        self._create_tasks(
            changes,
            now,
            session,
            [
                self._resolve(task, new, option)
                for new, option in zip(children, options, strict=True)
            ],
            depth=task.depth + 1,
            created_by=task_id,
            order=order,
            announced=True,
        )
        return changes

    def check_client_part(
        self,
        session_id: str,
        request_options: ApiOptions | None,
        tasks: Sequence[NewTask],
        claimed: set[str],
    ) -> None:
        """Refuse some of a client's tasks as their submission would; nothing changes.

        Args:
            session_id: Their session.
            request_options: What holds for all of them.
            tasks: Some of them.
            claimed: The outputs of those before them; these ones' are added.

        Raises:
            StateError: Why they are refused.
        """
        self._check_client_tasks(self._session(session_id), request_options, tasks)
        outputs = [output for new in tasks for output in new.outputs]
        if not self.strict and not claimed.isdisjoint(outputs):
            raise output_named_twice(min(claimed.intersection(outputs)))
        claimed.update(outputs)

    def announce_client_part(
        self,
        now: float,
        session_id: str,
        request_options: ApiOptions | None,
        tasks: Sequence[NewTask],
    ) -> Changes:
        """Create some of a client's tasks, which nobody runs yet.

        Raises:
            StateError: If they are refused: what they need has changed.
        """
        session = self._session(session_id)
        checked = self._check_client_tasks(session, request_options, tasks)
        changes = Changes()
        order = self._last + 1
        self._last += len(checked)
        self._create_tasks(
            changes, now, session, checked, depth=1, created_by="", order=order, announced=True
        )
        return changes

    def start_client_tasks(
        self, session_id: str, task_ids: Iterable[str], payload_ids: Sequence[str]
    ) -> Changes:
        """All of a client's tasks are announced: from now on they are started, in slices."""
        members = self._members.get(session_id)
        if members is not None and not self.strict:
            members.share_payloads(payload_ids)
        self._starting.append(iter([*task_ids]))
        return Changes()

    def reserve_places(self, count: int) -> int:
        """The first of so many places in the queue, in front of everything older."""
        self._front -= count
        return self._front

    def complete_announced(
        self,
        now: float,
        task_id: str,
        stored: Mapping[str, Stored],
        children: Iterable[str],
        heirs: Sequence[NewTask],
        *,
        payloads: Mapping[str, int],
        failed_items: bool = False,
    ) -> Changes:
        """Commit the success of a task whose children are announced; they are started in slices.

        Args:
            now: The time.
            task_id: The task.
            stored: Data of its own outputs.
            children: The ids of its children.
            heirs: Those to which it hands outputs of its own.
            payloads: How many of the children need a payload, where it is not one child's alone.
            failed_items: Whether it has noted items that failed.
        """
        task = self._task(task_id)
        changes = Changes()
        if not self.strict:
            stored = self._leave_to_children(changes, stored, heirs)
        completed = self._store(changes, now, stored)
        members = self._members[task.session_id]
        for payload_id, count in payloads.items():
            known = members.payloads.get(payload_id, 0)
            if known or count > 1:
                members.payloads[payload_id] = known + count
        for heir in heirs:
            self._hand_over(changes, now, task, heir)
        self._starting.append(iter([*children]))
        self._succeed(changes, now, task, completed, failed_items=failed_items)
        self._fail_orphans(changes, now)
        return changes

    def withdraw(
        self, now: float, task_id: str, children: Iterable[str], results: Iterable[str]
    ) -> Changes:
        """Take back what a task has announced, or a client, whose id is empty."""
        changes = Changes()
        for child_id in children:
            child = self.tasks.get(child_id)
            if child is None or child.status is not CREATING:
                continue
            cancel_queued(changes, now, child)
            for output in child.outputs:
                result = self.results.get(output)
                if result is not None and result.owner_task_id == child_id:
                    set_owner(changes, result, "")
        for result_id in results:
            result = self.results.get(result_id)
            if result is None or result.created_by != task_id or result.status is DELETED:
                continue
            result.dependents = None
            self._delete_data(changes, result)
        return changes

    def _hand_over(self, changes: Changes, now: float, task: TaskRecord, heir: NewTask) -> None:
        """Outputs of a task become those of its child, which may have failed already."""
        child = self.tasks.get(heir.id)
        for output in heir.outputs:
            result = self.results.get(output)
            if result is None or result.owner_task_id != task.id or result.status is not CREATED:
                continue
            set_owner(changes, result, heir.id)
            if child is None or child.status in FINAL:
                reason = f"task {heir.id} was to produce it, and did not run"
                self._abort(changes, now, result, reason)

    def _resolve(self, task: TaskRecord, new: NewTask, option: ApiOptions) -> Checked:
        """The inputs of a child, and those of its outputs that are nobody's."""
        find = self.results.get
        inputs = [
            find(result_id) or ResultRecord(result_id, task.session_id, "", 0.0, DELETED)
            for result_id in (new.payload_id, *new.dependencies)
        ]
        outputs = [
            result
            for output in new.outputs
            if (result := find(output)) is not None
            and result.status is CREATED
            and not result.owner_task_id
        ]
        return new, option, inputs, outputs
