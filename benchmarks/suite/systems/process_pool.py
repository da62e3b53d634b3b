"""``concurrent.futures.ProcessPoolExecutor``: the floor that comes with Python."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

from benchmarks.suite.systems.base import CHUNK, Function, LevelSystem


class ProcessPool(LevelSystem):
    name = "process-pool"

    def start(self) -> None:
        self._pool = ProcessPoolExecutor(max_workers=self.workers)

    def stop(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def run_level(self, calls: list[tuple[Function, tuple[Any, ...]]]) -> list[Any]:
        futures = [self._pool.submit(function, *arguments) for function, arguments in calls]
        return [future.result() for future in futures]

    def round_trip(self, function: Function, argument: Any) -> Any:
        return self._pool.submit(function, argument).result()

    def map_each(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return list(self._pool.map(function, items))

    def map_batched(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return list(self._pool.map(function, items, chunksize=CHUNK))

    def queue(self, function: Function, items: Iterable[Any]) -> list[Future[Any]]:
        return [self._pool.submit(function, item) for item in items]

    def drain(self, queued: list[Future[Any]]) -> list[Any]:
        return [future.result() for future in queued]
