"""A worker process with stopwatches, for an engine that :mod:`benchmarks.stages` has started."""

from __future__ import annotations

from benchmarks.stages import run_worker as main

__all__ = ["main"]
