"""Second runs of stragglers in a named run: what may have one, and what they have made.

Only what no other task needs is run twice, once all is with the engine: whoever goes on with the
run finds it whole, whenever this client dies. Both runs are noted as making the same values. Which
one counts the engine decides, for all who wait: it is the first, unless it was cancelled in time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from armoflow.orchestrator.planned import PlannedTask, Result

if TYPE_CHECKING:
    from armoflow.orchestrator.named.recorder import PlanRecorder

MadeByOthers = Callable[[Sequence[Result]], Awaitable[Mapping[Result, Result]]]


async def _nothing(_: Sequence[Result]) -> Mapping[Result, Result]:
    return {}


class SecondRuns:
    """Those of one run, for one client.

    Attributes:
        recorder: Notes what this client plans; None: others have planned the run.
        made_by_others: Gives what others have made in the place of results that will not come.
    """

    def __init__(self) -> None:
        self.recorder: PlanRecorder | None = None
        self.made_by_others: MadeByOthers = _nothing

    def may(self, task: PlannedTask) -> bool:
        """Whether a task may be run a second time now."""
        needed = any(output.consumers for output in task.outputs)
        return self.recorder is not None and not needed and self.recorder.may_repeat(task)

    def begin(self, copy: PlannedTask) -> None:
        """A task is run a second time."""
        if self.recorder is not None:
            self.recorder.repeat(copy)

    async def made(
        self,
        aborted: Sequence[tuple[PlannedTask, Result]],
        made_here: Callable[[PlannedTask, Result], Result | None],
    ) -> Mapping[Result, Result]:
        """What was made in the place of results that will not come.

        Args:
            aborted: The results, with their tasks.
            made_here: Gives what this client's second runs have made.
        """
        found = {
            result: made
            for task, result in aborted
            if (made := made_here(task, result)) is not None
        }
        unknown = [result for _, result in aborted if result not in found]
        return {**found, **await self.made_by_others(unknown)} if unknown else found
