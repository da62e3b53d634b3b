"""How many threads numerical libraries start: as many as the running task has processors.

They read variables when they are loaded, and are told later through their own functions. A process
that has loaded one for a task of four processors goes on to one of a single processor.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

VARIABLES = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"),
    *("VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS"),
    *("RAYON_NUM_THREADS", "POLARS_MAX_THREADS", "LOKY_MAX_CPU_COUNT"),
)
"""What libraries read when they are loaded."""

_OPENBLAS = tuple(
    f"{prefix}openblas_set_num_threads{suffix}"
    for prefix in ("", "scipy_")
    for suffix in ("", "64_", "_64", "64")
)
_SETTERS = {
    "openblas": _OPENBLAS,
    "libgomp": ("omp_set_num_threads",),
    "libiomp": ("omp_set_num_threads",),
    "libomp": ("omp_set_num_threads",),
    "mkl_rt": ("MKL_Set_Num_Threads",),
    "libblis": ("bli_thread_set_num_threads",),
}
"""By a part of a library's file name, what it may be told by."""


class ThreadCounts:
    """The threads of one process.

    Args:
        usual: How many they are for tasks that say nothing.
    """

    def __init__(self, usual: int | None = None) -> None:
        said = os.environ.get(VARIABLES[0], "")
        counts = usual, int(said) if said.isdecimal() else 0, os.cpu_count(), 1
        self._now = self._usual = next(count for count in counts if count)

    @contextmanager
    def of_task(self, cpus: int | None) -> Iterator[None]:
        """While a task runs that has so many processors; None: it says nothing."""
        count = cpus or self._usual
        if count != self._now:
            self._now = count
            for tell in _loaded():
                tell(count)
        if cpus is None:
            yield
            return
        before = {name: os.environ.get(name) for name in VARIABLES}
        os.environ.update(dict.fromkeys(VARIABLES, str(cpus)))
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _loaded() -> Iterator[Callable[[int], object]]:
    """What tells each of the libraries that this process has loaded."""
    for path in _mapped():
        name = os.path.basename(path)  # noqa: PTH119 - pathlib is not imported in children
        for part, setters in _SETTERS.items():
            if part in name:
                with suppress(OSError):  # it is of another kind, by that name
                    library = ctypes.CDLL(path)
                    yield from (
                        getattr(library, setter) for setter in setters if hasattr(library, setter)
                    )


def _mapped() -> list[str]:
    paths: dict[str, None] = {}
    with suppress(OSError), open("/proc/self/maps", encoding="utf-8") as file:  # noqa: PTH123
        for line in file:
            path = line.rstrip("\n").partition("/")[2]
            if ".so" in path:
                paths[f"/{path}"] = None
    return list(paths)
