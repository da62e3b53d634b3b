"""Ray's core: remote functions and object references."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.suite.functions import total
from benchmarks.suite.systems.base import CHUNK, Function, System, apply_chunk, in_chunks

OBJECT_STORE_BYTES = 2 * 1024**3


class RayCore(System):
    name = "ray"
    modules = ("ray",)

    def start(self) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ["RAY_AUTH_MODE"] = "disabled"  # nothing written to the home directory
        import ray

        self._ray = ray
        self._remote: dict[Function, Any] = {}
        ray.init(
            num_cpus=self.workers,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
            _temp_dir=str(self.directory / "ray"),
        )

    def stop(self) -> None:
        self._ray.shutdown()

    def call(self, function: Function, *arguments: Any) -> Any:
        remote = self._remote.get(function)
        if remote is None:
            remote = self._remote[function] = self._ray.remote(function)
        return remote.remote(*arguments)

    def values(self, handles: Sequence[Any]) -> list[Any]:
        values: list[Any] = self._ray.get(list(handles))
        return values

    def map_each(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return self.values([self.call(function, item) for item in items])

    def map_batched(self, function: Function, items: Sequence[Any]) -> list[Any]:
        handles = [self.call(apply_chunk, function, chunk) for chunk in in_chunks(items, CHUNK)]
        return [value for chunk in self.values(handles) for value in chunk]

    def share(self, value: Any) -> Any:
        return self._ray.put(value)

    def spread(self, branching: int, depth: int) -> int:
        (leaves,) = self.values([self.call(_spread, branching, depth)])
        return int(leaves)

    @classmethod
    def stores(cls) -> list[Path]:
        return [Path("/dev/shm")]


def _spread(branching: int, depth: int) -> int:
    if depth == 0:
        return 1
    import ray

    remote = ray.remote(_spread)
    return total(*ray.get([remote.remote(branching, depth - 1) for _ in range(branching)]))
