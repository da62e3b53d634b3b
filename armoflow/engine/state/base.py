"""What every command stands on: the records, the indexes, and look-ups that refuse."""

from __future__ import annotations

from collections.abc import Sequence

from armoflow.engine.records import (
    FINAL,
    Changes,
    Partition,
    ResultRecord,
    SessionRecord,
    StateError,
    TaskRecord,
)
from armoflow.engine.state.record_changes import COMPLETED, DELETED, set_result


class Base:
    """The records of :class:`~armoflow.engine.state.State`, and how they are found.

    There is no index of them by session. It would cost a tenth of a queued task's memory, and only
    commands on whole sessions would use it, which are few and change most of what they look at.

    Args:
        partitions: The deployment's partitions.
        default_partition: The one that sessions get which name none.
        max_priority: Priorities of tasks above it are refused.
        delete_payload: Delete a task's payload when the task has ended.
        strict: Follow ArmoniK.Core to the letter where the engine would rather deviate.
    """

    def __init__(
        self,
        partitions: Sequence[Partition],
        default_partition: str,
        *,
        max_priority: int = 10,
        delete_payload: bool = False,
        strict: bool = False,
    ) -> None:
        self.partitions = {partition.id: partition for partition in partitions}
        self.default_partition = default_partition
        self.max_priority = max_priority
        self.delete_payload = delete_payload
        self.strict = strict
        self.sessions: dict[str, SessionRecord] = {}
        self.tasks: dict[str, TaskRecord] = {}
        self.results: dict[str, ResultRecord] = {}
        # Evicted results, by session.
        self._forgotten: dict[str, set[str]] = {}
        # Places in the queue: of the newest client task, and of the foremost child.
        self._last = 0
        self._front = 0
        # Objects that several results may name, and those of them that are deleted already.
        self._shared_objects: set[bytes] = set()
        self._gone_objects: set[bytes] = set()

    def evict(self, task_id: str) -> None:
        """Forget a task that has ended, once the journal holds it; unknown ids are fine.

        Raises:
            ValueError: If the task has not ended.
        """
        task = self.tasks.get(task_id)
        if task is None:
            return
        if task.status not in FINAL:
            raise ValueError(f"task {task_id!r} has not ended: it is {task.status.name}")
        del self.tasks[task_id]

    def evict_result(self, result_id: str) -> None:
        """Forget a deleted result, once the journal holds it; others and unknown ids are left."""
        result = self.results.get(result_id)
        if result is not None and result.status is DELETED:
            del self.results[result_id]
            self._forgotten.setdefault(result.session_id, set()).add(result_id)

    def _session(self, session_id: str) -> SessionRecord:
        session = self.sessions.get(session_id)
        if session is None:
            raise StateError(
                "NOT_FOUND",
                f"session {session_id!r} does not exist (any more): create one with CreateSession",
            )
        return session

    def _result(self, result_id: str) -> ResultRecord:
        result = self.results.get(result_id)
        if result is None:
            raise StateError(
                "NOT_FOUND",
                f"result {result_id!r} does not exist (any more): create it with "
                "CreateResultsMetaData",
            )
        return result

    def _task(self, task_id: str) -> TaskRecord:
        task = self.tasks.get(task_id)
        if task is None:
            raise StateError("NOT_FOUND", f"task {task_id!r} does not exist, or has ended")
        return task

    def _tasks_of(self, session_id: str) -> list[TaskRecord]:
        """The live tasks of a session."""
        return [task for task in self.tasks.values() if task.session_id == session_id]

    def _results_of(self, session_id: str) -> list[ResultRecord]:
        """The results of a session that are not evicted."""
        return [result for result in self.results.values() if result.session_id == session_id]

    def _has_lost_input(self, task: TaskRecord) -> bool:
        """Whether data that the task needs was deleted since it was submitted."""
        results = self.results
        payload = results.get(task.payload_id)
        if payload is None or payload.status is not COMPLETED:
            return True
        for dependency in task.dependencies:
            result = results.get(dependency)
            if result is None or result.status is not COMPLETED:
                return True
        return False

    def _discard(self, changes: Changes, opaque_id: bytes) -> None:
        """Have an object deleted: told once, even if several results name it."""
        if not opaque_id or opaque_id in self._gone_objects:
            return
        if opaque_id in self._shared_objects:
            self._gone_objects.add(opaque_id)
        changes.deleted.append(opaque_id)

    def _delete_data(self, changes: Changes, result: ResultRecord) -> None:
        """Make a result deleted; its size, dates and owner stay."""
        self._discard(changes, result.opaque_id)
        result.opaque_id = b""
        set_result(changes, result, DELETED)
