"""dask.distributed with a local cluster of single-threaded worker processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.suite.functions import total
from benchmarks.suite.systems.base import CHUNK, Function, System, apply_chunk, in_chunks


class DaskDistributed(System):
    name = "dask"
    modules = ("dask", "distributed")

    def start(self) -> None:
        from distributed import Client, LocalCluster

        self._cluster = LocalCluster(
            n_workers=self.workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            local_directory=str(self.directory),
        )
        self._client = Client(self._cluster)

    def stop(self) -> None:
        self._client.close()
        self._cluster.close()

    def call(self, function: Function, *arguments: Any) -> Any:
        return self._client.submit(function, *arguments, pure=False)

    def values(self, handles: Sequence[Any]) -> list[Any]:
        values: list[Any] = self._client.gather(list(handles))
        return values

    def map_each(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return self.values(self._client.map(function, items, pure=False))

    def map_batched(self, function: Function, items: Sequence[Any]) -> list[Any]:
        # Faster than a dask.bag of the same partitions.
        handles = [self.call(apply_chunk, function, chunk) for chunk in in_chunks(items, CHUNK)]
        return [value for chunk in self.values(handles) for value in chunk]

    def share(self, value: Any) -> Any:
        return self._client.scatter(value, broadcast=True)

    def round_trip(self, function: Function, argument: Any) -> Any:
        return self._client.submit(function, argument, pure=False).result()

    def spread(self, branching: int, depth: int) -> int:
        leaves: int = self._client.submit(_spread, branching, depth, pure=False).result()
        return leaves


def _spread(branching: int, depth: int) -> int:
    if depth == 0:
        return 1
    from distributed import worker_client

    with worker_client() as client:
        futures = [
            client.submit(_spread, branching, depth - 1, pure=False) for _ in range(branching)
        ]
        return total(*client.gather(futures))
