"""The chain of tasks that a session could not be quicker than. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from armoflow.report.trace import TaskRun


class Step(NamedTuple):
    """A task of the path.

    Attributes:
        run: The task.
        waited: Seconds from when what it follows had ended to its start.
        ran: Seconds from its start to its end, as far as the next step waited for it.
    """

    run: TaskRun
    waited: float
    ran: float


def critical_path(runs: Sequence[TaskRun]) -> list[Step]:
    """From the task that ended last back to what it waited for last, and so on; first task first.

    Of a task's inputs the one counts whose producer ended last; a task without inputs follows the
    task that submitted it.

    Example:
        >>> a = TaskRun("a", "f", "done", created=0.0, started=1.0, ended=3.0, outputs=("x",))
        >>> b = TaskRun("b", "g", "done", created=0.0, started=4.0, ended=9.0, inputs=("x",))
        >>> [(step.run.id, step.waited, step.ran) for step in critical_path([b, a])]
        [('a', 1.0, 2.0), ('b', 1.0, 5.0)]
    """
    ran = [run for run in runs if run.started is not None and run.ended is not None]
    if not ran:
        return []
    producers = producers_of(ran)
    known = {run.id: run for run in ran}
    path: list[TaskRun] = []
    at: TaskRun | None = max(ran, key=_ended)
    seen: set[str] = set()
    while at is not None and at.id not in seen:
        seen.add(at.id)
        path.append(at)
        before = [producers[id] for id in at.inputs if id in producers]
        if at.parent in known:
            before.append(known[at.parent])
        # What ended after this one had begun is not what it waited for (a retry, a stray clock).
        begun = _started(at)
        at = max((run for run in before if _ended(run) <= begun), key=_ended, default=None)
    path.reverse()
    steps = []
    free: float | None = path[0].created
    for run in path:
        started, ended = _started(run), _ended(run)
        waited = 0.0 if free is None else max(started - free, 0.0)
        steps.append(Step(run, waited, ended - started))
        free = ended
    return steps


def producers_of(runs: Sequence[TaskRun]) -> dict[str, TaskRun]:
    """The task that made each result: of several that were to, the last one that ended."""
    found: dict[str, TaskRun] = {}
    for run in runs:
        for id in run.outputs:
            other = found.get(id)
            if other is None or _ended(other) <= _ended(run):
                found[id] = run
    return found


def _started(run: TaskRun) -> float:
    return run.started or 0.0


def _ended(run: TaskRun) -> float:
    return run.ended or 0.0
