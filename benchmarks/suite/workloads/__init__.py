"""One file per workload; each lists its sizes for a full and for a quick run."""

from __future__ import annotations

from benchmarks.suite.workloads import (
    arrays,
    batched,
    chain,
    dynamic,
    latency,
    noop,
    queued,
    startup,
    task_bench,
    tree,
)
from benchmarks.suite.workloads.base import Workload

_MODULES = (noop, batched, latency, chain, tree, dynamic, arrays, startup, queued, task_bench)

FULL: dict[str, Workload] = {
    workload.name: workload for module in _MODULES for workload in module.FULL
}
QUICK: dict[str, Workload] = {
    workload.name: workload for module in _MODULES for workload in module.QUICK
}


def find_workload(name: str, *, quick: bool) -> Workload:
    """The workload of that name; in a quick run with its quick size where it has one.

    Raises:
        ValueError: If there is no such workload.
    """
    first, second = (QUICK, FULL) if quick else (FULL, QUICK)
    found = first.get(name) or second.get(name)
    if found is None:
        raise ValueError(f"unknown workload {name!r}: known are {', '.join([*FULL, *QUICK])}")
    return found
