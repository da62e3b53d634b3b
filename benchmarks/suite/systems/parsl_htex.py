"""Parsl with its high-throughput executor on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.suite.functions import total
from benchmarks.suite.systems.base import CHUNK, Function, System, apply_chunk, in_chunks


class ParslHtex(System):
    name = "parsl"
    modules = ("parsl",)

    def start(self) -> None:
        import parsl
        from parsl.config import Config
        from parsl.executors import HighThroughputExecutor
        from parsl.providers import LocalProvider

        self._parsl = parsl
        self._apps: dict[Function, Any] = {}
        executor = HighThroughputExecutor(
            label="htex",
            address="127.0.0.1",
            max_workers_per_node=self.workers,
            provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1),
        )
        self._kernel = parsl.load(
            Config(
                executors=[executor],
                run_dir=str(self.directory / "parsl"),
                strategy="none",
                initialize_logging=False,
                usage_tracking=0,
            )
        )

    def stop(self) -> None:
        self._kernel.cleanup()
        self._parsl.clear()

    def call(self, function: Function, *arguments: Any) -> Any:
        app = self._apps.get(function)
        if app is None:
            app = self._apps[function] = self._parsl.python_app(function)
        return app(*arguments)

    def values(self, handles: Sequence[Any]) -> list[Any]:
        return [handle.result() for handle in handles]

    def map_each(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return self.values([self.call(function, item) for item in items])

    def map_batched(self, function: Function, items: Sequence[Any]) -> list[Any]:
        handles = [self.call(apply_chunk, function, chunk) for chunk in in_chunks(items, CHUNK)]
        return [value for chunk in self.values(handles) for value in chunk]

    def spread(self, branching: int, depth: int) -> int:
        """Parsl's dynamic tasks are join apps, which run in the script's process."""

        def node(remaining: int) -> Any:
            if remaining == 0:
                return self.call(total, 1)
            return self.call(total, *[join(remaining - 1) for _ in range(branching)])

        join = self._parsl.join_app(node)
        leaves: int = join(depth).result()
        return leaves
