"""One adapter per system, imported only when it is used: some imports cost seconds."""

from __future__ import annotations

import importlib

from benchmarks.suite.systems.base import System

SYSTEMS = {
    "armoflow": "benchmarks.suite.systems.armoflow:Embedded",
    "armoflow-socket": "benchmarks.suite.systems.armoflow:SocketAgent",
    "dask": "benchmarks.suite.systems.dask_distributed:DaskDistributed",
    "ray": "benchmarks.suite.systems.ray_core:RayCore",
    "parsl": "benchmarks.suite.systems.parsl_htex:ParslHtex",
    "joblib": "benchmarks.suite.systems.joblib_loky:JoblibLoky",
    "process-pool": "benchmarks.suite.systems.process_pool:ProcessPool",
}
"""Those of a run in which nothing is selected, in the order of the report."""

EXTRA_SYSTEMS = {
    "armoflow-default": "benchmarks.suite.systems.armoflow:EmbeddedDefault",
}
"""Those that run only when they are named."""

REFERENCE = "armoflow"
"""The system that the others are compared with."""


def load_system(name: str) -> type[System]:
    """The adapter class of a system.

    Args:
        name: A name of ``SYSTEMS`` or ``EXTRA_SYSTEMS``, or ``module:Class``.

    Raises:
        ValueError: If there is no such system.
    """
    path = SYSTEMS.get(name) or EXTRA_SYSTEMS.get(name) or name
    module, separator, attribute = path.partition(":")
    if not separator:
        known = ", ".join([*SYSTEMS, *EXTRA_SYSTEMS])
        raise ValueError(f"unknown system {name!r}: known are {known}, or module:Class")
    loaded: type[System] = getattr(importlib.import_module(module), attribute)
    return loaded
