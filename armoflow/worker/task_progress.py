"""What was done of a task that goes on in another process, after a pause or a child's death."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from armoflow import config
from armoflow.codec.envelope import Cell
from armoflow.worker import data
from armoflow.worker.failures import UnreadableDataError
from armoflow.worker.job import Job
from armoflow.worker.mark import cell_from_wire, weight
from armoflow.worker.saved import Fold, pack_saved, unpack_saved


@dataclass(slots=True)
class TaskProgress:
    """What earlier processes did for a task.

    Attributes:
        spent: The attempts that items have spent, and when they are tried again (CLOCK_MONOTONIC
            nanoseconds; 0: at once).
        finished: Cells of finished items in each output, by item.
        fold: How far a reduction had come.
        inline: The graph that the task returns may be begun in its process.
    """

    spent: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    finished: dict[int, Sequence[Cell]] = field(default_factory=dict)
    fold: Fold | None = None
    inline: bool = True

    @classmethod
    def decode(
        cls,
        spent: Mapping[int, Any],
        entries: Iterable[Any],
        saved: data.DataSource | None,
        inline: bool = True,
    ) -> TaskProgress:
        """Read what a RUN message says; ``saved`` is what :func:`save` wrote."""
        progress = cls(spent, inline=inline)
        if saved is not None:
            with suppress(UnreadableDataError):  # it is gone: then all is made again
                kept, progress.fold = unpack_saved(data.read(saved))
                entries = [*kept, *entries]
        for item, cells in entries:
            progress.finished[item] = [cell_from_wire(cell) for cell in cells]
        return progress

    def finished_in(self, shift: int, count: int) -> dict[int, Sequence[Cell]]:
        """The finished items of one step, those of the step whose items are counted from shift.

        What a later step has finished need not be made again: an absent slot stands for it.

        Example:
            >>> TaskProgress(finished={0: [b"a"], 1: [b"b"], 2: [b"c"]}).finished_in(0, 2)
            {0: [None], 1: [b'b']}
        """
        later = {item % count: [None] for item in self.finished if item >= shift + count}
        own = {
            item - shift: cells
            for item, cells in self.finished.items()
            if shift <= item < shift + count
        }
        return {**own, **later}

    def spent_in(self, shift: int, count: int) -> dict[int, tuple[int, int]]:
        """The attempts that items of one step have spent.

        Example:
            >>> TaskProgress(spent={0: (1, 0), 3: (2, 99)}).spent_in(2, 2)
            {1: (2, 99)}
        """
        return {
            item - shift: spent
            for item, spent in self.spent.items()
            if shift <= item < shift + count
        }


class TaskPaused(BaseException):
    """A task goes on later, in whatever process there is then. Never seen by the user's code.

    Attributes:
        due: When, in CLOCK_MONOTONIC nanoseconds.
        spent: As :class:`TaskProgress` has it.
        saved: What is finished, for :meth:`TaskProgress.decode`.
    """

    def __init__(
        self, due: int, spent: Mapping[int, tuple[int, int]], saved: data.DataSource
    ) -> None:
        super().__init__(due)
        self.due = due
        self.spent = spent
        self.saved = saved


def save(before: Job | None, job: Job, fold: Fold | None, path: str) -> data.DataSource | None:
    """Keep what is finished of a step, and what it needs of the step before.

    Args:
        before: The step before, if there is one.
        job: The step.
        fold: How far it has come, if it is a reduction.
        path: Where to write it, if it is much.

    Returns:
        None if it cannot be kept.
    """
    if job.pending or (before is not None and before.pending):
        return None  # a graph lives in this process only
    shift = job.recorder.shift
    waiting = job.attempts.due
    rows = [] if fold else list(_rows(job, shift, waiting, inside=False))
    if before is not None:
        rows += _rows(before, shift - job.payload.slot_count, waiting, inside=True)
    if sum(weight(cell) for _, cells in rows for cell in cells) > config.PROGRESS_BYTES:
        return None
    content = pack_saved(rows, fold)
    if len(content) <= config.INLINE_DATA_LIMIT:
        return content
    try:
        staged = data.write_own(path, [content])
    except OSError:  # no room
        return None
    return [staged.path, staged.size]


def _rows(
    job: Job, shift: int, waiting: Mapping[int, int], *, inside: bool
) -> Iterable[tuple[int, list[Cell]]]:
    """The cells of the items that wait (``inside``), or of the others."""
    for item in range(job.payload.slot_count):
        if (item in waiting) is inside:
            yield shift + item, [output[item] for output in job.cells]
