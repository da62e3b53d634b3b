"""joblib with its default backend, loky."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.suite.systems.base import Function, LevelSystem


class JoblibLoky(LevelSystem):
    name = "joblib"
    modules = ("joblib",)
    capabilities = frozenset()

    def start(self) -> None:
        from joblib import Parallel, delayed

        self._delayed = delayed
        self._single = Parallel(n_jobs=self.workers, batch_size=1)
        self._auto = Parallel(n_jobs=self.workers)

    def stop(self) -> None:
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True)

    def run_level(self, calls: list[tuple[Function, tuple[Any, ...]]]) -> list[Any]:
        values: list[Any] = self._single(
            self._delayed(function)(*arguments) for function, arguments in calls
        )
        return values

    def map_each(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return self.run_level([(function, (item,)) for item in items])

    def map_batched(self, function: Function, items: Sequence[Any]) -> list[Any]:
        values: list[Any] = self._auto(self._delayed(function)(item) for item in items)
        return values
