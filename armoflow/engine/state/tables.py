"""What every command stands on: the records, the indexes, and look-ups that refuse."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from armoflow.config import MAX_PRIORITY
from armoflow.engine.records import (
    FINAL,
    Changes,
    Partition,
    ResultRecord,
    SessionRecord,
    StateError,
    TaskRecord,
)
from armoflow.engine.state.members import Members, Sweep
from armoflow.engine.state.record_changes import (
    COMPLETED,
    DELETED,
    SESSION_DELETED,
    set_result,
)
from armoflow.engine.state.task_options import Merger


class Base:
    """The records of :class:`~armoflow.engine.state.State`, and how they are found.

    Args:
        partitions: The deployment's partitions.
        default_partition: The one that sessions get which name none.
        max_priority: Priorities of tasks above it are refused.
        delete_payload: Delete a task's payload when the task has completed.
        strict: Follow ArmoniK.Core to the letter where the engine would rather deviate.
        slice_size: How many records one command changes where it may leave the rest for later.

    Attributes:
        watched: Whether all events are told; else, of those that every task has, only what becomes
            of results: nobody would hear the others.
        on_break: Called when memory ends in the middle of a command.
    """

    def __init__(
        self,
        partitions: Sequence[Partition],
        default_partition: str,
        *,
        max_priority: int = MAX_PRIORITY,
        delete_payload: bool = False,
        strict: bool = False,
        slice_size: int = sys.maxsize,
    ) -> None:
        self.partitions = {partition.id: partition for partition in partitions}
        self.default_partition = default_partition
        self.max_priority = max_priority
        self.delete_payload = delete_payload
        self.strict = strict
        self.slice_size = slice_size
        self.watched = True
        self.on_break: Callable[[MemoryError], object] = _ignore
        self._options = Merger(strict=strict)
        self.sessions: dict[str, SessionRecord] = {}
        self.tasks: dict[str, TaskRecord] = {}
        self.results: dict[str, ResultRecord] = {}
        self._members: dict[str, Members] = {}
        # Commands on whole sessions that are not finished, tasks whose input was aborted, with the
        # reason, and tasks one of whose inputs was completed.
        self._sweeps: dict[str, Sweep] = {}
        self._orphans: deque[tuple[str, Iterator[str]]] = deque()
        self._waking: deque[Iterator[str]] = deque()
        # Children that were announced by tasks that have ended well since.
        self._starting: deque[Iterator[str]] = deque()
        # Places in the queue: of the newest client task, and of the foremost child.
        self._last = 0
        self._front = 0

    def evict(self, task_ids: Iterable[str]) -> None:
        """Forget tasks that have ended, once the journal holds them; unknown ids are fine.

        Raises:
            ValueError: If a task has not ended.
        """
        tasks = self.tasks
        gone: dict[str, list[str]] = {}
        session_id, ids = "", list[str]()
        for task_id in task_ids:
            task = tasks.get(task_id)
            if task is None:
                continue
            if task.status not in FINAL:
                raise ValueError(f"task {task_id!r} has not ended: it is {task.status.name}")
            del tasks[task_id]
            if task.session_id != session_id:  # most are of one session
                session_id = task.session_id
                ids = gone.setdefault(session_id, [])
            ids.append(task_id)
        for session_id, ids in gone.items():
            members, sweep = self._members.get(session_id), self._sweeps.get(session_id)
            left = ids if members is None else members.tasks.remove(ids)
            if left and sweep is not None:
                sweep.tasks.remove(left)

    def evict_results(self, result_ids: Iterable[str]) -> None:
        """Forget deleted results, once the journal holds them; others and unknown ids are left.

        Strict: they are kept, for an upload may bring them back.
        """
        if self.strict:
            return
        results = self.results
        gone: dict[str, list[str]] = {}
        session_id, ids = "", list[str]()
        for result_id in result_ids:
            result = results.get(result_id)
            if result is not None and result.status is DELETED:
                del results[result_id]
                if result.session_id != session_id:
                    session_id = result.session_id
                    ids = gone.setdefault(session_id, [])
                ids.append(result_id)
        for session_id, ids in gone.items():
            self._remove_members(session_id, ids)
            session = self.sessions.get(session_id)
            if session is not None and session.client_submission:
                self._members[session_id].forget(ids)

    def _session(self, session_id: str) -> SessionRecord:
        session = self.sessions.get(session_id)
        if session is None or session.status is SESSION_DELETED:
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

    def _result_in(self, session_id: str, result_id: str) -> ResultRecord:
        """A result of a session; that of another one does not exist in it (strict: it does)."""
        result = self._result(result_id)
        if result.session_id != session_id and not self.strict:
            raise StateError(
                "NOT_FOUND", f"result {result_id!r} does not exist in session {session_id!r}"
            )
        return result

    def _task(self, task_id: str) -> TaskRecord:
        task = self.tasks.get(task_id)
        if task is None:
            raise StateError("NOT_FOUND", f"task {task_id!r} does not exist, or has ended")
        return task

    def results_of(self, session_id: str) -> Iterator[list[ResultRecord]]:
        """The results of a session that are in memory, some at a time: there may be millions."""
        members = self._members.get(session_id)
        return iter(()) if members is None else members.results.parts()

    def has_tasks(self, session_id: str) -> bool:
        """Whether tasks of a session have not ended, or a command on all of it has not."""
        members = self._members.get(session_id)
        return session_id in self._sweeps or (members is not None and bool(members.tasks))

    def _add_tasks(self, session_id: str, tasks: Mapping[str, TaskRecord]) -> None:
        self._note_newest(session_id, tasks)
        self.tasks.update(tasks)
        # A command that is under way comes to these too.
        (self._sweeps.get(session_id) or self._members[session_id]).tasks.add(tasks)

    def _add_results(
        self, session_id: str, results: Mapping[str, ResultRecord], created_by: str
    ) -> None:
        self._note_newest(session_id, results)
        self.results.update(results)
        sweep = self._sweeps.get(session_id)
        # Strict: clients may create some in a session that is being deleted; they go with it.
        if sweep is not None and (created_by or sweep.session.status is SESSION_DELETED):
            sweep.results.add(results)
        else:
            members = self._members.get(session_id)
            if members is None:
                members = self._members[session_id] = Members()
            members.results.add(results)

    def _note_newest(
        self, session_id: str, records: Mapping[str, TaskRecord] | Mapping[str, ResultRecord]
    ) -> None:
        """Records are created in a session, all of them now."""
        session = self.sessions.get(session_id)
        if session is not None and session.newest is not None:
            for record in records.values():
                session.newest = record.created_at
                break

    def _remove_result(self, result_id: str) -> None:
        """Take a result out of memory."""
        self._remove_members(self.results.pop(result_id).session_id, [result_id])

    def _remove_members(self, session_id: str, result_ids: Sequence[str]) -> None:
        """These results are a session's no longer."""
        members, sweep = self._members.get(session_id), self._sweeps.get(session_id)
        left = result_ids if members is None else members.results.remove(result_ids)
        if left and sweep is not None:
            sweep.results.remove(left)

    def _is_full(self, changes: Changes) -> bool:
        """Whether a command has changed as much as it may before the others have their turn."""
        return len(changes.tasks) + len(changes.results) >= self.slice_size

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
        """Have an object deleted; if several results name it, it is gone by the first of them."""
        if opaque_id:
            changes.deleted.append(opaque_id)

    def _delete_data(self, changes: Changes, result: ResultRecord) -> None:
        """Make a result deleted; its size, dates and owner stay."""
        self._discard(changes, result.opaque_id)
        result.opaque_id = b""
        set_result(changes, result, DELETED)


def _ignore(_: MemoryError) -> None:
    """Nobody listens."""
