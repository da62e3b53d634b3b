"""armoflow: on its embedded engine, and over the socket agent as a stock cluster would run it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.suite.functions import total
from benchmarks.suite.systems.base import Function, System


class Embedded(System):
    """``Client()``: a private engine with its journal on disk, tasks neither fused nor packed."""

    name = "armoflow"
    modules = ("armoflow",)
    call_options: ClassVar[dict[str, Any]] = {"batch_size": 1, "fuse": False}

    def start(self) -> None:
        from armoflow import Client, task

        self._task = task
        self._tasks: dict[Function, Any] = {}
        self._client = Client(workers=self.workers).__enter__()

    def stop(self) -> None:
        self._client.__exit__(None, None, None)

    def call(self, function: Function, *arguments: Any) -> Any:
        return self._single(function)(*arguments)

    def values(self, handles: Sequence[Any]) -> list[Any]:
        values = self._client.compute(*handles)
        return [values] if len(handles) == 1 else list(values)

    def map_each(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return list(self._client.compute(self._single(function).map(items)))

    def map_batched(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return list(self._client.compute(self._task(function).map(items)))

    def share(self, value: Any) -> Any:
        return self._client.put(value)

    def round_trip(self, function: Function, argument: Any) -> Any:
        return self._client.submit(self.call(function, argument)).result()

    def spread(self, branching: int, depth: int) -> int:
        leaves: int = self._client.compute(self.call(_spread, branching, depth))
        return leaves

    def queue(self, function: Function, items: Iterable[Any]) -> Computation:
        return Computation(lambda: self.map_each(function, list(items)))

    def drain(self, queued: Computation) -> list[Any]:
        return queued.result()

    def _single(self, function: Function) -> Any:
        known = self._tasks.get(function)
        if known is None:
            made = self._task(function)
            known = made.with_options(**self.call_options) if self.call_options else made
            self._tasks[function] = known
        return known


class EmbeddedDefault(Embedded):
    """The same with armoflow's own choice of packing and fusing for every task."""

    name = "armoflow-default"
    call_options: ClassVar[dict[str, Any]] = {}


class SocketAgent(Embedded):
    """``armoflow up`` with ``armoflow worker`` under its socket agent, all extensions off."""

    name = "armoflow-socket"

    def start(self) -> None:
        from armoflow import Client, task

        self._task = task
        self._tasks = {}
        script = str(Path(sys.executable).with_name("armoflow"))
        self._engine = subprocess.Popen(
            [
                script,
                "up",
                "--listen",
                f"unix:{self.directory / 'engine.sock'}",
                "--worker",
                f"{script} worker",
                "--workers",
                str(self.workers),
                "--no-extensions",
                "--state",
                str(self.directory / "state"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._client = Client(self._endpoint(), workers=self.workers).__enter__()

    def stop(self) -> None:
        super().stop()
        self._engine.terminate()
        self._engine.wait()

    def _endpoint(self) -> str:
        assert self._engine.stdout is not None
        for line in self._engine.stdout:
            if line.startswith("ready: "):
                # What it prints later must go somewhere, or it would wait for a reader.
                threading.Thread(target=self._engine.stdout.read, daemon=True).start()
                return line.removeprefix("ready: ").strip()
        raise RuntimeError(f"the engine ended with exit code {self._engine.wait()}")


class Computation:
    """A ``compute`` that runs in a thread of its own, so that the script can look around."""

    def __init__(self, compute: Any) -> None:
        self._compute = compute
        self._values: list[Any] | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._values = self._compute()
        except BaseException as error:  # raised again in result()
            self._error = error

    def result(self) -> list[Any]:
        """The values, or the exception, once they are there."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._values is not None
        return self._values


def _spread(branching: int, depth: int) -> Any:
    if depth == 0:
        return 1
    from armoflow import task

    node = task(batch_size=1, fuse=False)(_spread)
    together = task(batch_size=1, fuse=False)(total)
    return together(*[node(branching, depth - 1) for _ in range(branching)])
