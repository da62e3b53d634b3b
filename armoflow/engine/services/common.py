"""What the services share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from armoflow.engine.core import Engine
from armoflow.engine.records import Changes, NewTask, StateError

T = TypeVar("T")

SHOWN_AT_ONCE: Final = 100
"""Records that become messages before others have their turn: some milliseconds."""


class Service:
    """A service of an engine.

    Replies wait for the commit of what they say, which other calls wait for, too: what they share
    is never cancelled. While the disk is full they say so instead.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def _commit(self, changes: Changes) -> None:
        """Apply what a command changed, at once, and wait until it is committed."""
        await self._engine.admission.promise(self._engine.apply(changes))

    async def _committed(self) -> None:
        """Wait until all that was applied so far is committed."""
        await self._engine.admission.promise(self._engine.committed())

    async def _show(self, field: Any, records: Sequence[T], convert: Callable[[T], Any]) -> None:
        """Show records, which may be as many as the caller wants, in a repeated field."""
        for start in range(0, len(records), SHOWN_AT_ONCE):
            if start:
                await asyncio.sleep(0)
            field.extend(map(convert, records[start : start + SHOWN_AT_ONCE]))

    async def _explain(self, refusal: StateError, tasks: Iterable[NewTask]) -> StateError:
        """The refusal of a submission, with inputs that were deleted told from unknown ones."""
        inputs = {key for task in tasks for key in (task.payload_id, *task.dependencies)}
        return await self._tell_deleted(refusal, inputs)

    async def _tell_deleted(self, refusal: StateError, result_ids: Iterable[str]) -> StateError:
        """A refusal, with results that were deleted told from unknown ones.

        The state machine forgets deleted results; the journal has not.
        """
        if refusal.code != "NOT_FOUND":
            return refusal
        unknown = [key for key in result_ids if key not in self._engine.state.results]
        deleted = sorted(await self._engine.queries.read_results(unknown))
        if not deleted:
            return refusal
        text = f"the data of results was deleted: {', '.join(deleted)}"
        return StateError("FAILED_PRECONDITION", text, deleted)
