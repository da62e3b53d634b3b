"""A worker process with stopwatches, for an engine that ``benchmarks.micro.stages`` started."""

from __future__ import annotations

from benchmarks.micro.stages import run_worker as main

__all__ = ["main"]
