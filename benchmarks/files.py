"""What files cost: bytes sent, and memory at client and worker while a large one travels.

    python -m benchmarks.files [--megabytes 1024] [--calls 100]

On a private engine's own lane, and through ``armoflow worker`` over the standard calls. One file is
sent to a task, made by a task, and downloaded; memory is the most that the process had at once
beyond what it had before, mapped files included (``VmHWM``). Then an array is given to many
submits: the bytes that went up, as a multiple of the array's.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import armoflow
from armoflow import Client, FileCopy, task
from armoflow.protocol.traffic import Traffic
from tests.integration.engines import EMBEDDED, STOCK, up

MB = 1_000_000
PIECE = os.urandom(MB)


def peak(status: str = "VmHWM") -> int:
    """What this process has, or had at most, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(status))


def forget_peak() -> int:
    """Begin to measure; returns what this process has now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return peak("VmRSS")


def make(path: Path, megabytes: int) -> None:
    with path.open("wb") as made:
        for _ in range(megabytes):
            made.write(PIECE)


@task
def begin() -> int:
    return forget_peak()


@task
def size(path: FileCopy) -> tuple[int, int]:
    return path.nbytes, peak()


@task
def write(megabytes: int) -> FileCopy:
    folder = Path(tempfile.mkdtemp())
    make(folder / "made.bin", megabytes)
    return armoflow.file(folder / "made.bin")


@task
def so_far() -> int:
    return peak()


@task
def first(array: Any, number: int) -> float:
    return float(array[0]) + number


def measured(what: str, size: int, run: Callable[[], object], client: Client) -> dict[str, int]:
    """Run something on one worker; prints and returns the most memory that it took, in bytes."""
    at_worker = client.compute(begin())
    here = forget_peak()
    began = time.perf_counter()
    run()
    seconds = time.perf_counter() - began
    grown = {"client": peak() - here, "worker": client.compute(so_far()) - at_worker}
    told = ", ".join(f"{name} +{grown[name] / MB:.0f} MB" for name in grown)
    print(f"  {what}: {seconds:.1f} s ({size / MB / seconds:.0f} MB/s); {told}", flush=True)
    return grown


def travel(client: Client, directory: Path, megabytes: int) -> list[dict[str, int]]:
    """Send a large file, have one made, download it."""
    client.submit(write(1)).download(directory / "warm")  # all is imported
    source, target = directory / "source.bin", directory / "target.bin"
    make(source, megabytes)
    found = []

    def send() -> None:
        assert client.compute(size(armoflow.file(source)))[0] == megabytes * MB

    def bring() -> None:
        client.submit(write(megabytes)).download(target)
        assert target.stat().st_size == megabytes * MB

    for what, run in (("sent", send), ("made and downloaded", bring)):
        found.append(measured(what, megabytes * MB, run, client))
    source.unlink()
    target.unlink()
    return found


class Sent:
    """Counts what goes up, for the length of a block."""

    def __enter__(self) -> Sent:
        self.bytes = 0
        self._before = Traffic.uploading

        def uploading(traffic: Traffic, size: int) -> Any:
            self.bytes += size
            return self._before(traffic, size)

        Traffic.uploading = uploading  # type: ignore[method-assign, assignment]
        return self

    def __exit__(self, *_: object) -> None:
        Traffic.uploading = self._before  # type: ignore[method-assign]


def share(client: Client, calls: int) -> None:
    """Give an array to many calls."""
    array = np.ones(50 * MB // 8)
    for what in ("one compute", "submits"):
        array += 1
        began = time.perf_counter()
        with Sent() as sent:
            graphs = [first(array, number) for number in range(calls)]
            if what == "submits":
                values = [future.result() for future in [client.submit(one) for one in graphs]]
            else:
                values = client.compute(graphs)
        assert values == [array[0] + number for number in range(calls)]
        seconds = time.perf_counter() - began
        times = sent.bytes / array.nbytes
        print(f"  50 MB in {calls} calls, {what}: {seconds:.2f} s, sent {times:.2f} times")


def main() -> None:
    parser = argparse.ArgumentParser(description="What files cost.")
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--calls", type=int, default=100)
    arguments = parser.parse_args()
    kinds = {"embedded": (*EMBEDDED, "--workers", "1"), "standard": (*STOCK, "--workers", "1")}
    for name, options in kinds.items():
        print(name)
        with tempfile.TemporaryDirectory() as directory:
            root = Path(directory)
            with up(root, *options) as engine, Client(engine.endpoint, workers=1) as client:
                travel(client, root, arguments.megabytes)
                share(client, arguments.calls)


if __name__ == "__main__":
    main()
