"""Which of the tasks that a lane has taken run, and which wait for their turn.

Tasks are started as they are sent to a child: to start each when its turn comes would be a message
more for every one, and most wait for a millisecond. Those that wait for longer, behind one that
takes long or for what they need to be installed, are dispatched and not processing, as tasks are
that an agent of ArmoniK's holds beside the one that runs: whoever looks sees what truly runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from armoflow.engine.core import Engine
from armoflow.engine.records import TaskRecord, TaskStatus
from armoflow.worker.work import Assignment

HELD = (TaskStatus.DISPATCHED, TaskStatus.PROCESSING)
"""What a task is in that an agent holds and nobody has cancelled."""


class Turns:
    """Whose turn it is in one lane.

    Args:
        engine: The engine.
        is_running: Whether this work is its task's now: a follower whose leader went elsewhere is
            not.
    """

    def __init__(self, engine: Engine, is_running: Callable[[Assignment], bool]) -> None:
        self._engine = engine
        self._is_running = is_running
        self._waiting = False  # perhaps some do: most of the time none does

    def wait(self, tasks: Iterable[TaskRecord]) -> None:
        """These do not run yet, and will not within milliseconds."""
        ids = [task.id for task in tasks if task.status is TaskStatus.PROCESSING]
        if ids:
            self._waiting = True
            engine = self._engine
            engine.apply(engine.state.put_behind(engine.now(), ids), urgent=False)

    def begin(self, task: TaskRecord) -> None:
        """This one runs, if it waited."""
        if task.status is TaskStatus.DISPATCHED:
            engine = self._engine
            engine.apply(engine.state.start(engine.now(), task.id), urgent=False)

    def begin_next(self, works: Sequence[Assignment]) -> None:
        """A child has ended some: it has begun the first of those that it still has."""
        if self._waiting and works and self._is_running(works[0]):
            self.begin(works[0].key)

    def wait_behind(self, running: Assignment, works: Iterable[Assignment]) -> None:
        """A child has run one of these for a while: the others wait for it."""
        if self._is_running(running):
            self.begin(running.key)
        self.wait(work.key for work in works if work is not running and self._is_running(work))
