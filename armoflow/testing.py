"""For tests of programs that use armoflow: faults on demand, and a clock that nobody waits for.

The fixtures of pytest that go with it are ``armoflow_client`` and ``armoflow_faults``.
"""

from __future__ import annotations

import functools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from armoflow.errors import GraphError, OptionError, WorkerDiedError

if TYPE_CHECKING:
    from armoflow.client.client import Client
    from armoflow.client.future import Future
    from armoflow.graph.base_task import BaseTask

    AnyTask = TypeVar("AnyTask", bound=BaseTask[..., Any])


class FakeClock:
    """Time that passes when somebody sleeps, and at once.

    Attributes:
        now: Seconds since it was made.
        pauses: How long was slept, each time.

    Example:
        >>> clock = FakeClock()
        >>> clock.sleep(3600)
        >>> clock.now, clock.pauses
        (3600.0, [3600])
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        """Let so much time pass."""
        self.pauses.append(seconds)
        self.now += seconds

    def time(self) -> float:
        """What ``time.monotonic`` is of the real one."""
        return self.now


def local_client(clock: FakeClock | None = None, **options: Any) -> Client:
    """A client that runs everything in the caller's thread, with pauses that take no time.

    Args:
        clock: Passes the pauses before retries; by default a new one.
        options: Options of tasks.

    Example:
        >>> from armoflow import task
        >>> clock, failures = FakeClock(), [OSError("busy"), OSError("busy")]
        >>> @task(retries=2, backoff=60)
        ... def load() -> str:
        ...     if failures:
        ...         raise failures.pop()
        ...     return "loaded"
        >>> with local_client(clock) as client:
        ...     client.compute(load())
        'loaded'
        >>> clock.pauses
        [60.0, 120.0]
    """
    from armoflow.client.client import Client
    from armoflow.client.local_backend import LocalBackend

    client = Client(local=True, **options)
    backend = client._backend
    assert isinstance(backend, LocalBackend)
    backend.pause_with((clock or FakeClock()).sleep)
    return client


class Faults:
    """Makes tasks that meet faults: so many times, counted over all processes of this machine.

    Args:
        directory: An empty one, for the counts.

    Example:
        >>> import tempfile
        >>> from armoflow import task
        >>> double = task(lambda number: 2 * number)
        >>> with tempfile.TemporaryDirectory() as folder, local_client(retries=1) as client:
        ...     faults = Faults(folder)
        ...     client.compute(faults.raises(double, OSError("no disk"))(21))
        ...     faults.met
        42
        1
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._directory = Path(directory)
        self._made = 0

    @property
    def met(self) -> int:
        """How many faults were met so far."""
        return sum(1 for _ in self._directory.glob("*/*"))

    def kills_worker(self, task: AnyTask, times: int = 1) -> AnyTask:
        """The same task, whose calls kill the process that they run in, the first so many times.

        With ``local=True`` they raise ``WorkerDiedError`` instead.
        """
        return self._with(task, times, functools.partial(_kill, os.getpid()))

    def raises(self, task: AnyTask, error: BaseException, times: int = 1) -> AnyTask:
        """The same task, whose calls raise an error, the first so many times."""
        if not isinstance(error, BaseException):
            raise OptionError(f"error must be an exception, such as OSError('busy'), not {error!r}")
        return self._with(task, times, functools.partial(_raise, error))

    def delays(self, task: AnyTask, seconds: float, times: int = 1) -> AnyTask:
        """The same task, whose calls begin so much later, the first so many times."""
        return self._with(task, times, functools.partial(time.sleep, seconds))

    def loses(self, future: Future[Any]) -> None:
        """Delete the data of a future's value in the engine, once it has ended.

        Tasks that need it fail with ``DataLostError``.

        Raises:
            GraphError: If the client has no engine.
        """
        from armoflow.client.engine_backend import EngineBackend

        future.exception()
        backend = future.client._backend
        if not isinstance(backend, EngineBackend):
            raise GraphError("local=True stores nothing that could be lost")
        backend.delete_data(future.pieces)

    def _with(self, task: AnyTask, times: int, fault: Callable[[], object]) -> AnyTask:
        if isinstance(times, bool) or not isinstance(times, int) or times < 1:
            raise OptionError(f"times must be an integer from 1 on, not {times!r}")
        self._made += 1
        counts = self._directory / str(self._made)
        counts.mkdir()
        return type(task)(
            _Faulty(task.function, fault, str(counts), times),
            name=task.name,
            options=task.task_options,
            outputs=task.outputs,
        )


class _Faulty:
    """A function that meets a fault first."""

    def __init__(
        self, function: Callable[..., Any], fault: Callable[[], object], counts: str, times: int
    ) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._fault = fault
        self._counts = counts
        self._times = times

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if _takes_one(self._counts, self._times):
            self._fault()
        return self._function(*args, **kwargs)


def _takes_one(counts: str, times: int) -> bool:
    """Whether a fault is left, which is taken: by one process, whoever asks at the same time."""
    for number in range(times):
        try:
            os.close(os.open(f"{counts}/{number}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        return True
    return False


def _kill(caller: int) -> None:
    if os.getpid() == caller:
        raise WorkerDiedError("the process of the task would have been killed here")
    os.kill(os.getpid(), signal.SIGKILL)


def _raise(error: BaseException) -> None:
    raise error
