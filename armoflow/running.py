"""The task that the calling code runs in: who it is, and the checkpoints that it leaves.

A worker process runs one task at a time, so what it runs is asked of the process, from any thread.
In the debug mode (``Client(local=True)``) a task runs in the caller's context.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, SupportsFloat

from armoflow.errors import NoTaskError, OptionError, shown
from armoflow.options import BoundVariable

if TYPE_CHECKING:
    from armoflow.options import TaskOptions
    from armoflow.resources import Resources

PROGRESS = "armoflow.progress"
"""The logger of lines that tell how far a task is."""


class CheckpointStore(Protocol):
    """Where the checkpoint of one item is kept between its attempts."""

    def write(self, value: Any) -> None:
        """Keep a value in place of the one before."""

    def read(self) -> tuple[Any] | None:
        """What was kept last, alone in a tuple; None: nothing was."""


class TaskPlace(Protocol):
    """What a task has of the place where it runs."""

    @property
    def resources(self) -> Resources:
        """What tasks share here."""

    def options(self) -> TaskOptions:
        """The options that the task runs with."""

    def tell(self, line: str, *, last: bool) -> None:
        """Tell how far the task is; lines that come too quickly are left out, but for the last."""


class CurrentTask(NamedTuple):
    """What runs, as it was when it was asked for.

    Attributes:
        id: ArmoniK's id of the engine task; those that share one run in it one after the other.
        session_id: ArmoniK's id of its session.
        name: The task's name.
        item: Position in its collection, if it is an item of one.
        attempt: Which attempt of the item this is, from 1 on.
        deadline: When the attempt is ended, in seconds since the epoch (as ``time.time()``), if it
            has a timeout.
        checkpoints: Where its checkpoint is.
        place: What it has of the place where it runs.
    """

    id: str
    session_id: str
    name: str
    item: int | None
    attempt: int
    deadline: float | None
    checkpoints: CheckpointStore
    place: TaskPlace

    @property
    def label(self) -> str:
        """What errors and output call it: ``name`` or ``name[item]``."""
        return self.name if self.item is None else f"{self.name}[{self.item}]"

    @property
    def logger(self) -> logging.Logger:
        """A logger of the task's name."""
        return logging.getLogger(self.name)

    @property
    def options(self) -> TaskOptions:
        """The options that it runs with, as they were merged: retries, timeout and so on."""
        return self.place.options()

    def progress(self, done: SupportsFloat, text: str = "") -> None:
        """Tell how far this item is, for who watches.

        It is a line of the task's output, of the logger ``armoflow.progress``; the client's bars
        take it up where the engine tells output at once, as the embedded engine does. More than ten
        in a second are left out.

        Args:
            done: The part that is done, from 0 to 1.
            text: What is being done; one line.

        Raises:
            OptionError: If it is no such number, or no text.

        Example:
            >>> from armoflow import Client, current_task, task
            >>> @task
            ... def load(pages):
            ...     for page in range(pages):
            ...         current_task().progress(page / pages, f"page {page + 1} of {pages}")
            ...     return pages
            >>> with Client(local=True) as client:
            ...     client.compute(load(3))
            3
        """
        number = isinstance(done, SupportsFloat) and not isinstance(done, bool)
        if not number or not 0 <= float(done) <= 1:
            raise OptionError(
                f"progress takes the part that is done, from 0 to 1, not {shown(done)}"
            )
        if not isinstance(text, str):
            raise OptionError(f"progress takes a text to show, not {shown(text)}")
        line = f"{int(float(done) * 100)}% {' '.join(text.split())}".strip()
        self.place.tell(line, last=float(done) == 1)

    def checkpoint(self, value: Any) -> None:
        """Keep how far this item has come: a later attempt of it begins there.

        The value is pickled now and takes the place of the one before. A further attempt finds it
        after an exception, a timeout or the death of the process, as long as the engine task is the
        same worker's; it is gone when the engine task has ended. Where it cannot be written,
        because a disk is full, a warning says so and the task goes on.

        Args:
            value: Anything that can be pickled.

        Raises:
            SerializationError: If it cannot be pickled.
        """
        self.checkpoints.write(value)

    def last_checkpoint(self, default: Any = None) -> Any:
        """What an earlier attempt of this item, or this one, has kept last.

        Args:
            default: What to return if nothing was kept.

        Example:
            >>> from armoflow import Client, current_task, task
            >>> @task(retries=1, backoff=0)
            ... def count(stop):
            ...     here = current_task()
            ...     for number in range(here.last_checkpoint(0), stop):
            ...         if number == 3 and here.attempt == 1:
            ...             raise OSError("lost")
            ...         here.checkpoint(number + 1)
            ...     return here.attempt
            >>> with Client(local=True) as client:
            ...     client.compute(count(5))
            2
        """
        kept = self.checkpoints.read()
        return default if kept is None else kept[0]


_running: ContextVar[CurrentTask | None] = ContextVar("armoflow_task", default=None)

_here: list[CurrentTask] = []
"""What runs in contexts of this process: threads that a task starts are in none of them."""

_processes: list[Callable[[], CurrentTask | None]] = []
"""Says what this process runs, in one that is there for that."""


def current_task() -> CurrentTask:
    """The task that the calling code runs in, from any of its threads.

    Raises:
        NoTaskError: Outside of a task.

    Example:
        >>> from armoflow import Client, task
        >>> @task
        ... def who(letter):
        ...     return current_task().label
        >>> with Client(local=True) as client:
        ...     client.compute(who.map("ab"))
        ['who[0]', 'who[1]']
    """
    found = _running.get()
    if found is None and _processes:
        found = _processes[-1]()
    elif found is None:
        found = _alone()
    if found is None:
        raise NoTaskError(
            "current_task() is for code that a task runs, and none runs here: outside of tasks "
            "there is nothing that it could tell"
        )
    return found


def answer_for_process(answer: Callable[[], CurrentTask | None]) -> None:
    """This process is there to run tasks: it says which."""
    _processes.append(answer)


class running(BoundVariable[CurrentTask | None]):  # noqa: N801 - a block
    """A task runs in this context."""

    __slots__ = ("_task",)

    def __init__(self, task: CurrentTask) -> None:
        super().__init__(_running, task)
        self._task = task

    def __enter__(self) -> None:
        super().__enter__()
        _here.append(self._task)

    def __exit__(self, *ended: object) -> None:
        _here.remove(self._task)
        super().__exit__(*ended)


def _alone() -> CurrentTask | None:
    """What runs here if that is one task, which may have started the thread that asks."""
    tasks = list(_here)
    return tasks[0] if len(tasks) == 1 else None
