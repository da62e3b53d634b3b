"""Commands on results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from armoflow.engine.records import (
    Changes,
    Event,
    NewResult,
    ResultRecord,
    StateError,
    Stored,
    make_tuple,
)
from armoflow.engine.state.propagation import Propagation
from armoflow.engine.state.record_changes import (
    COMPLETED,
    CREATED,
    DELETED,
    NEW_RESULT,
)

Value = TypeVar("Value", str, bytes)


class ResultCommands(Propagation):
    """Create, upload, import and delete."""

    def create_results(
        self, now: float, session_id: str, results: Sequence[NewResult], created_by: str = ""
    ) -> Changes:
        """Create results; those with ``stored`` are completed at once."""
        if not self.strict:
            self._session(session_id)
        self._check_new(results)
        changes = Changes()
        self._insert(changes, now, session_id, results, created_by)
        if session_id in self._members:
            self._members[session_id].hear(new.name for new in results)
        return changes

    def complete_results(
        self, now: float, session_id: str, results: Sequence[tuple[str, Stored]]
    ) -> Changes:
        """Complete results with uploaded data, and queue the tasks that waited for them.

        A completed result of the same size is accepted again (the caller compared the data); if the
        new copy is another object, that is deleted. Strict: any result takes any data, as in
        ArmoniK.Core, and the data that was there is orphaned.
        """
        self._session(session_id)
        records = [
            (self._result_in(session_id, result_id), stored) for result_id, stored in results
        ]
        if not self.strict:
            for result, stored in records:
                _check_upload(result, stored)
        changes = Changes()
        woken = []
        for result, stored in records:
            if result.status is CREATED or self.strict:
                self._complete(changes, now, result, stored)
                woken.append(result)
            elif stored.opaque_id != result.opaque_id:
                self._discard(changes, stored.opaque_id)
        for result in woken:
            self._wake(changes, now, result)
        return changes

    def import_results(
        self, now: float, session_id: str, results: Sequence[tuple[str, Stored]]
    ) -> Changes:
        """Complete results with data that is stored already, and queue the tasks that waited.

        Several results may name one object. Deleting any of them deletes it.
        """
        changes = Changes()
        if not results:
            return changes
        records = self.check_import(session_id, results)
        for result, stored in records:
            self._complete(changes, now, result, stored)
        for result, _ in records:
            self._wake(changes, now, result)
        return changes

    def check_import(
        self, session_id: str, results: Sequence[tuple[str, Stored]]
    ) -> list[tuple[ResultRecord, Stored]]:
        """Refuse an import, or some of it, as the command would; the results, if it is taken.

        Raises:
            StateError: Why it is refused.
        """
        self._session(session_id)
        records = [
            (self._result_in(session_id, result_id), stored) for result_id, stored in results
        ]
        for result, _ in records:
            if result.status is not CREATED:
                raise StateError(
                    "FAILED_PRECONDITION",
                    f"result {result.id} is {result.status.name.lower()}: data is imported only "
                    "into a result that has none (create another with CreateResultsMetaData)",
                )
        duplicate: str | bytes | None = first_duplicate(result_id for result_id, _ in results)
        if duplicate is None and self.strict:
            duplicate = first_duplicate(stored.opaque_id for _, stored in results)
        if duplicate is not None:
            raise StateError(
                "UNKNOWN" if self.strict else "INVALID_ARGUMENT",
                f"{duplicate!r} is named twice in one import: name it once",
            )
        return records

    def delete_results(
        self, now: float, result_ids: Sequence[str], session_id: str = ""
    ) -> Changes:
        """Delete data; unknown results and those of manual deletion are skipped.

        So are results of another session than the one named, and those that have no data yet: they
        end completed or aborted first (strict: both are deleted too, as in ArmoniK.Core).
        """
        changes = Changes()
        for result_id in result_ids:
            result = self.results.get(result_id)
            if result is None or result.manual_deletion or result.status is DELETED:
                continue
            if session_id and result.session_id != session_id and not self.strict:
                continue
            if result.status is not CREATED or self.strict:
                self._delete_data(changes, result)
        return changes

    def _check_new(self, results: Sequence[NewResult]) -> None:
        ids = {new.id for new in results}
        if len(ids) == len(results) and self.results.keys().isdisjoint(ids):
            return
        duplicate = first_duplicate((*self.results.keys() & ids, *(new.id for new in results)))
        raise StateError(
            "INTERNAL" if self.strict else "ALREADY_EXISTS",
            f"result {duplicate!r} exists already: give each result an id of its own",
        )

    def _insert(
        self,
        changes: Changes,
        now: float,
        session_id: str,
        results: Iterable[NewResult],
        created_by: str,
    ) -> None:
        records = {}
        events, watched = changes.events, self.watched
        owner = "" if created_by else session_id
        for result_id, name, manual_deletion, stored in results:
            if stored is None:
                record = ResultRecord(result_id, session_id, name, now, CREATED, created_by)
                status = CREATED
            else:
                record = ResultRecord(
                    result_id, session_id, name, now, COMPLETED, created_by, owner, now
                )
                record.opaque_id, record.size = stored
                status = COMPLETED
            if manual_deletion:
                record.manual_deletion = True
            records[result_id] = record
            if watched or stored is not None:
                events.append(make_tuple(Event, (NEW_RESULT, record, status)))
        self._add_results(session_id, records, created_by)
        changes.results.update(records)


def _check_upload(result: ResultRecord, stored: Stored) -> None:
    if result.status is CREATED:
        return
    if result.status is not COMPLETED:
        raise StateError(
            "FAILED_PRECONDITION",
            f"result {result.id} is {result.status.name.lower()}: it takes no data any more; "
            "create another with CreateResultsMetaData",
        )
    if result.size != stored.size:
        raise StateError(
            "FAILED_PRECONDITION",
            f"result {result.id} holds {result.size} bytes already, the upload has {stored.size}: "
            "completed data never changes, create another with CreateResultsMetaData",
        )


def first_duplicate(values: Iterable[Value]) -> Value | None:
    """The first value that comes a second time."""
    seen: set[Value] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None
