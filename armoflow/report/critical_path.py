"""The chain of tasks that a session could not be quicker than. Pure."""

from __future__ import annotations

from typing import NamedTuple

from armoflow.report.trace import TaskRun


class Step(NamedTuple):
    """A task of the path.

    Attributes:
        run: The task.
        waited: Seconds from when what it follows had ended to its start.
        ran: Seconds from its start to its end.
    """

    run: TaskRun
    waited: float
    ran: float


class Lineage:
    """Which task made which result, and which came from which task.

    Attributes:
        producers: The task that made each result: of several that were to, the one that ended last.
        runs: Tasks by id.
    """

    def __init__(self) -> None:
        self.producers: dict[str, TaskRun] = {}
        self.runs: dict[str, TaskRun] = {}
        self._last: TaskRun | None = None

    def add(self, run: TaskRun) -> None:
        """One more task."""
        self.runs[run.id] = run
        for id in run.outputs:
            other = self.producers.get(id)
            if other is None or _ended(other) <= _ended(run):
                self.producers[id] = run
        if run.started is not None and (self._last is None or _ended(self._last) < _ended(run)):
            self._last = run

    def critical_path(self) -> list[Step]:
        """From the task that ended last back to what it waited for last, and so on.

        Of a task's inputs the one counts whose producer ended last; a task without inputs follows
        the task that submitted it.

        Returns:
            The first task first.

        Example:
            >>> lineage = Lineage()
            >>> lineage.add(TaskRun("b", "g", "done", started=4.0, ended=9.0, inputs=("x",)))
            >>> lineage.add(TaskRun("a", "f", "done", created=0.0, started=1.0, ended=3.0,
            ...                     outputs=("x",)))
            >>> [(step.run.id, step.waited, step.ran) for step in lineage.critical_path()]
            [('a', 1.0, 2.0), ('b', 1.0, 5.0)]
        """
        path: list[TaskRun] = []
        seen: set[str] = set()
        at = self._last
        while at is not None and at.id not in seen:
            seen.add(at.id)
            path.append(at)
            at = self._before(at)
        path.reverse()
        steps = []
        free = path[0].created if path else None
        for run in path:
            started, ended = _started(run), _ended(run)
            waited = 0.0 if free is None else max(started - free, 0.0)
            steps.append(Step(run, waited, max(ended - started, 0.0)))
            free = ended
        return steps

    def _before(self, run: TaskRun) -> TaskRun | None:
        """What a task waited for last."""
        before = [self.producers[id] for id in run.inputs if id in self.producers]
        if run.parent in self.runs:
            before.append(self.runs[run.parent])
        # What ended after this one had begun is not what it waited for (a retry, a stray clock).
        begun = _started(run)
        ended = (each for each in before if each.started is not None and _ended(each) <= begun)
        return max(ended, key=_ended, default=None)


def _started(run: TaskRun) -> float:
    return run.started or 0.0


def _ended(run: TaskRun) -> float:
    return run.ended or 0.0
