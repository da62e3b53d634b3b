"""joblib on armoflow: importing this registers the backend ``"armoflow"``.

What joblib calls, scikit-learn's searches and ensembles among it, runs as tasks of the current
client, or of the one that is given.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, cast

from armoflow import config
from armoflow.client.client import Client
from armoflow.client.future import Future
from armoflow.client.put import Put
from armoflow.errors import OptionError
from armoflow.graph.callables import name_of
from armoflow.graph.context import INSIDE_TASK, find_current, get_computer
from armoflow.graph.task import Task
from armoflow.integrations.extras import missing
from armoflow.options import TaskOptions, make_options, merge_options

try:
    from joblib import register_parallel_backend
    from joblib._parallel_backends import AutoBatchingMixin, FallbackToBackend, SequentialBackend
    from joblib.parallel import BatchedCalls, ParallelBackendBase
except ImportError as _error:
    raise missing("joblib", _error) from _error

_OF_POOLS = frozenset(
    {"temp_folder", "max_nbytes", "mmap_mode", "prefer", "require", "verbose", "context"}
)
"""What a ``Parallel`` says to any backend, about pools and the files that they share."""

_OF_PROCESSES = frozenset({"initializer", "initargs"})
"""What other backends take for the processes that they start."""

Call = tuple[Callable[..., Any], Sequence[Any], dict[str, Any]]


class ArmoflowBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """What joblib asks of a backend; made by joblib where ``"armoflow"`` is named.

    A large argument that comes again is uploaded once.

    Args:
        nesting_level: How many calls of joblib's it is inside of.
        inner_max_num_threads: Threads of the libraries that the calls use; not supported.
        client: Runs the calls; by default the current client, or the default one.
        options: Options of the tasks; see :class:`armoflow.options.TaskOptions`.

    Raises:
        OptionError: If an option is unknown or out of range.

    Example:
        >>> from joblib import Parallel, delayed, parallel_config
        >>> from armoflow import Client
        >>> with Client(local=True), parallel_config("armoflow"):
        ...     Parallel()(delayed(pow)(base, 2) for base in range(4))
        [0, 1, 4, 9]
    """

    supports_retrieve_callback = True
    default_n_jobs = -1

    def __init__(
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        client: Client | None = None,
        **options: Any,
    ) -> None:
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        for name in _OF_PROCESSES & options.keys():
            raise OptionError(
                f"{name} prepares the processes of a pool, and there is none here: make what calls "
                "share with @armoflow.worker_resource, once for each worker process"
            )
        self._given = client
        # joblib makes batches, as large as the calls ask for.
        self._own = merge_options(make_options(options), TaskOptions(batch_size=1))
        self._options = self._own
        self._lock = threading.Lock()
        self._open: weakref.WeakSet[Future[Any]] = weakref.WeakSet()
        self._shared = _SharedArguments(None)

    # --- what joblib calls ----------------------------------------------------------------------

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many calls run at once: those asked for, or with -1 as many as there are workers."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None or self._inside_task():
            return 1
        return n_jobs if n_jobs > 0 else max(1, self._client().workers + 1 + n_jobs)

    def configure(self, n_jobs: int = 1, parallel: Any = None, **values: Any) -> int:
        """Get ready for the calls of a ``Parallel``, whose further arguments may be options."""
        given = make_options({name: values[name] for name in values if name not in _OF_POOLS})
        self._options = merge_options(given, self._own)  # what one Parallel says is not others'
        workers = self.effective_n_jobs(n_jobs)
        if workers == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        return workers

    def start_call(self) -> None:
        """Calls come."""
        self._shared = _SharedArguments(self._client())

    def stop_call(self) -> None:
        """No more calls come."""
        self._shared = _SharedArguments(None)

    def terminate(self) -> None:
        """What was learnt of the durations of these calls is not of others."""
        self.reset_batch_stats()

    def submit(
        self, func: BatchedCalls, callback: Callable[[Any], object] | None = None
    ) -> Future[Any]:
        """Start some calls, as one task."""
        calls = [self._shared.call(call) for call in func.items]
        task = Task(run_calls, name=name_of(calls[0][0]), options=self._options)
        nested = (func._backend, func._n_jobs)
        future: Future[Any] = self._client().submit(task, calls, nested)
        with self._lock:
            self._open.add(future)
        if callback is not None:
            future.call_when_done(callback)
        return future

    def retrieve_result_callback(self, out: Future[Any]) -> Any:
        """The values of some calls."""
        return out.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """One has failed, or nobody wants the others: cancel them."""
        with self._lock:
            left = list(self._open)
        for future in left:
            future.cancel()

    # --------------------------------------------------------------------------------------------

    def _inside_task(self) -> bool:
        """Whether a task asks: its calls run in its own process, or it would wait for itself."""
        return self._given is None and find_current() is INSIDE_TASK

    def _client(self) -> Client:
        if self._given is not None:
            return self._given
        return cast("Client", get_computer())


class _SharedArguments:
    """Arguments of the calls of one ``Parallel``: a large one is uploaded when it comes again."""

    def __init__(self, client: Client | None) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._seen: dict[int, tuple[weakref.ref[Any], Put[Any] | None]] = {}

    def call(self, call: Call) -> Call:
        function, args, kwargs = call
        return (
            function,
            [self._argument(value) for value in args],
            {name: self._argument(value) for name, value in kwargs.items()},
        )

    def _argument(self, value: Any) -> Any:
        if self._client is None or _size(value) <= config.SHARED_ARGUMENT_LIMIT:
            return value
        with self._lock:
            seen, stored = self._seen.get(id(value), (None, None))
            if seen is None or seen() is not value:
                self._seen[id(value)] = (weakref.ref(value), None)
                return value
            if stored is None:
                stored = self._client.put(value)
                self._seen[id(value)] = (seen, stored)
        return stored


def _size(value: Any) -> int:
    """About how many bytes it takes; 0 for what cannot be told from another by its identity."""
    if type(value).__weakrefoffset__ == 0:
        return 0
    size = getattr(value, "nbytes", 0)
    return max(size if isinstance(size, int) else 0, sys.getsizeof(value, 0))


def run_calls(calls: list[Call], nested: tuple[Any, int | None]) -> list[Any]:
    """What the task of some calls runs, on a worker.

    Args:
        calls: The calls.
        nested: Where they run what they call with joblib, and how much of it at once.
    """
    values: list[Any] = BatchedCalls(calls, nested)()
    return values


register_parallel_backend("armoflow", ArmoflowBackend)
