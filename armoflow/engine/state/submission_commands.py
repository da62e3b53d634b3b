"""Submitting tasks: the client's, and the children of running ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from armoflow.engine.records import (
    ApiOptions,
    Changes,
    NewResult,
    NewTask,
    ResultRecord,
    SessionRecord,
    StateError,
    Stored,
    TaskRecord,
)
from armoflow.engine.state.record_changes import (
    CREATED,
    CREATING,
    NEW_TASK,
    PENDING,
    RESULT_OWNER,
    TASK_STATUS,
    set_owner,
    tell,
)
from armoflow.engine.state.submission_checks import Checked, SubmissionChecks
from armoflow.engine.state.task_options import check_request_options
from armoflow.protocol.frames import TAKEN_OVER


class SubmissionCommands(SubmissionChecks):
    """Submit."""

    def submit_tasks(
        self,
        now: float,
        session_id: str,
        request_options: ApiOptions | None,
        tasks: Sequence[NewTask],
    ) -> Changes:
        """Submit a client's tasks: all of them or, if one is refused, none."""
        if not tasks:
            raise StateError("INVALID_ARGUMENT", "task_creations is empty: name at least one task")
        session = self._session(session_id)
        checked = self._check_client_tasks(session, request_options, tasks)
        changes = Changes()
        self._create_client_tasks(changes, now, session, checked)
        return changes

    def submit_with_data(
        self,
        now: float,
        session_id: str,
        results: Sequence[NewResult],
        tasks: Sequence[NewTask],
        payloads: Sequence[tuple[str, Stored]],
        *,
        unless: str = "",
    ) -> Changes:
        """Create results, submit tasks and complete payloads, in this order, in one command.

        May be repeated with the same ids after an unknown outcome: results and tasks that exist are
        left as they are, and a payload that is no longer awaited is dropped. Once a client has made
        a result called ``unless``, no more tasks are submitted: see ``SAY_PREFIX``.
        """
        session = self._session(session_id)
        past, fresh, wanted = self._split_off_past(session_id, results, tasks)
        if wanted and unless in self._members[session_id].says:
            raise StateError(
                TAKEN_OVER,
                f"session {session_id} has a result {unless!r}: what was to be submitted only as "
                "long as there is none comes too late",
            )
        changes = Changes()
        self._insert(changes, now, session_id, fresh, "")
        try:
            checked = self._check_client_tasks(session, None, wanted) if wanted else []
            uploads = self._find_uploads(session_id, payloads, past)
        except StateError:
            self._take_back(fresh)
            raise
        if checked:
            self._create_client_tasks(changes, now, session, checked)
        elif not tasks:
            self._members[session_id].hear(new.name for new in fresh)
        for new in results if past else ():
            if new.id in past and new.stored is not None:
                self._drop_copy(changes, self.results.get(new.id), new.stored)
        awaited = []
        for result, stored in uploads:
            if result is not None and result.status is CREATED:
                self._complete(changes, now, result, stored)
                awaited.append(result)
            else:
                self._drop_copy(changes, result, stored)
        for result in awaited:
            self._wake(changes, now, result)
        return changes

    def check_children(
        self, task_id: str, request: ApiOptions | None, children: Iterable[ApiOptions | None]
    ) -> None:
        """Refuse a running task's submission early, for what is known before its commit.

        Args:
            task_id: The running task.
            request: The options of the request.
            children: Those of each child, laid over them.

        Raises:
            StateError: If submission was stopped when the task started, or options are refused.
        """
        task = self._task(task_id)
        session = self._session(task.session_id)
        self._check_may_submit(task)
        base = self._options.merge(session.options, request)
        check_request_options(base, session, self.max_priority, strict=self.strict)
        self._merge_all(session.options, children)

    def disown(self, now: float, result_ids: Iterable[str]) -> Changes:
        """Take results from the tasks that own them.

        That is what a submission which is refused for its inputs does in ArmoniK.Core to all
        outputs that it names (strict mode only).
        """
        changes = Changes()
        for result_id in dict.fromkeys(result_ids):
            result = self.results.get(result_id)
            if result is not None:
                set_owner(changes, result, "")
        return changes

    def _split_off_past(
        self, session_id: str, results: Sequence[NewResult], tasks: Sequence[NewTask]
    ) -> tuple[set[str], Sequence[NewResult], Sequence[NewTask]]:
        """What an earlier, identical command did: result ids; and what is left to create.

        Raises:
            StateError: If a result is named twice.
        """
        newest, older = self._members[session_id].forgotten
        ids = {new.id for new in results}
        known_ids = self.results.keys()
        if known_ids.isdisjoint(ids) and newest.isdisjoint(ids) and older.isdisjoint(ids):
            if len(ids) < len(results):
                self._check_new(results)
            return set(), results, tasks  # as by far the most
        find = self.results.get
        past = {
            new.id
            for new in results
            if ((known := find(new.id)) is not None and known.session_id == session_id)
            or new.id in newest
            or new.id in older
        }
        if not past:
            self._check_new(results)
            return past, results, tasks
        submitted = {task.id for task in tasks if self._was_submitted(task, past)}
        # Of what was deleted since, payload or output, there may be no other trace: a session that
        # takes no more tasks remembers none.
        for task in tasks:
            if task.id in submitted:
                past.update((task.payload_id, *task.outputs))
        fresh = [new for new in results if new.id not in past]
        self._check_new(fresh)
        return past, fresh, [task for task in tasks if task.id not in submitted]

    def _was_submitted(self, task: NewTask, past: set[str]) -> bool:
        """Whether a task exists or existed: ended ones are evicted, but their outputs have owners.

        A task without outputs was submitted if its payload was created.
        """
        if task.id in self.tasks:
            return True
        if not task.outputs:
            return task.payload_id in past
        for output in task.outputs:
            result = self.results.get(output)
            if output in past and (result is None or result.owner_task_id):
                return True
        return False

    def _find_uploads(
        self, session_id: str, payloads: Iterable[tuple[str, Stored]], past: set[str]
    ) -> list[tuple[ResultRecord | None, Stored]]:
        """The results that payloads are for."""
        find = self.results.get
        uploads = []
        for result_id, stored in payloads:
            result = find(result_id)
            if result is None or result.session_id != session_id:
                result = self._find_upload(session_id, result_id, past)
            uploads.append((result, stored))
        return uploads

    def _find_upload(self, session_id: str, result_id: str, past: set[str]) -> ResultRecord | None:
        """The result that a payload is for; None if it was deleted and evicted."""
        if result_id in self.results:
            return self._result_in(session_id, result_id)
        if result_id in past or self._members[session_id].knew(result_id):
            return None
        return self._result(result_id)

    def _take_back(self, results: Iterable[NewResult]) -> None:
        for new in results:
            self._remove_result(new.id)

    def _drop_copy(self, changes: Changes, result: ResultRecord | None, stored: Stored) -> None:
        if result is None or stored.opaque_id != result.opaque_id:
            self._discard(changes, stored.opaque_id)

    def _create_client_tasks(
        self, changes: Changes, now: float, session: SessionRecord, checked: Sequence[Checked]
    ) -> None:
        order = self._last + 1
        self._last += len(checked)
        self._create_tasks(changes, now, session, checked, depth=1, created_by="", order=order)

    def _create_children(
        self,
        changes: Changes,
        now: float,
        session: SessionRecord,
        checked: Sequence[Checked],
        parent: TaskRecord,
    ) -> None:
        """Children stand in front of everything older, so that graphs run depth first."""
        self._front -= len(checked)
        self._create_tasks(
            changes,
            now,
            session,
            checked,
            depth=parent.depth + 1,
            created_by=parent.id,
            order=self._front,
        )

    def _create_tasks(
        self,
        changes: Changes,
        now: float,
        session: SessionRecord,
        checked: Iterable[Checked],
        *,
        depth: int,
        created_by: str,
        order: int,
        announced: bool = False,
    ) -> None:
        """Make tasks; ``announced`` ones are those of a task that has not ended yet."""
        session_id = session.id
        status = CREATING if announced else PENDING
        changed_results = changes.results
        records: dict[str, TaskRecord] = {}
        owned: list[ResultRecord] = []
        ready: list[TaskRecord] = []
        for new, options, inputs, outputs in checked:
            # Ids are those that the records have already, so that each is in memory once: what was
            # submitted has copies of its own. Our client names tasks after their first output.
            payload_id = inputs[0].id
            dependencies = tuple([result.id for result in inputs[1:]]) if len(inputs) > 1 else ()
            output_ids = _output_ids(new, outputs)
            task_id = output_ids[0] if output_ids and output_ids[0] == new.id else new.id
            task = TaskRecord(
                task_id,
                session_id,
                payload_id,
                dependencies,
                output_ids,
                options,
                now,
                task_id,
                depth,
                created_by,
                (),
                status,
            )
            task.order = order
            order += 1
            for result in outputs:
                result.owner_task_id = task_id
                changed_results[result.id] = result
            owned += outputs
            if not _await_inputs(task, inputs):
                ready.append(task)
            records[task_id] = task
        tasks = records.values()
        # ArmoniK.Core deletes one for all with the first.
        if (created_by or not self.strict) and not announced:
            self._members[session_id].share_payloads([task.payload_id for task in tasks])
        if self.watched:
            tell(changes, NEW_TASK, tasks, CREATING)
            tell(changes, RESULT_OWNER, owned, CREATED)
            if not announced:
                tell(changes, TASK_STATUS, tasks, PENDING)
        self._add_tasks(session_id, records)
        changes.tasks.update(records)
        for task in () if announced else ready:
            self._queue(changes, now, task)


def _output_ids(new: NewTask, outputs: Sequence[ResultRecord]) -> tuple[str, ...]:
    """A task's outputs; strict: unknown ones too."""
    if len(outputs) == 1 == len(new.outputs):
        return (outputs[0].id,)
    if len(outputs) != len(new.outputs):
        return tuple(new.outputs)
    return tuple([result.id for result in outputs])


def _await_inputs(task: TaskRecord, inputs: Iterable[ResultRecord]) -> int:
    """Make the task wait for the inputs that are open; returns how many."""
    remaining = 0
    for result in inputs:
        if result.status is CREATED:
            remaining += 1
            if result.dependents is None:
                result.dependents = [task.id]
            else:
                result.dependents.append(task.id)
    task.remaining = remaining
    return remaining
