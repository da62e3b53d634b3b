"""How long a client's single call takes while another session, with a long queue, runs and ends.

    python benchmarks/fairness.py [--tasks 200000] [--seconds 0.001]

One engine, two workers. A first client queues many tasks and is killed; a second one makes single
calls, one after the other, while the first one's session runs, is paused, cancelled or closed,
purged, and deleted. Then: how long chains of child tasks take to run and to close.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
from armonik.client import ArmoniKSessions, ArmoniKTasks
from armonik.common import Task

from armoflow import Client, task

FLOOD = """
import sys, time
from armoflow import Client, task

@task(batch_size=1)
def nap(number):
    time.sleep({seconds})

client = Client(sys.argv[1])
client.submit(nap.map(range({tasks})))
time.sleep(10_000)
"""
CHAINS = (1_000, 10_000)


@task
def touch(number: int) -> int:
    return number


@task
def down(levels: int) -> int:
    return down(levels - 1) if levels else 0  # type: ignore[return-value]


@contextlib.contextmanager
def serve() -> Iterator[str]:
    """An engine of its own; its address."""
    with tempfile.TemporaryDirectory(prefix="armoflow-") as directory:
        address = f"unix:{directory}/engine.sock"
        command = Path(sys.executable).with_name("armoflow")
        arguments = ["up", "--listen", address, "--state", f"{directory}/state", "--workers", "2"]
        engine = subprocess.Popen([command, *arguments], stdout=subprocess.PIPE)
        try:
            assert engine.stdout is not None
            engine.stdout.readline()
            yield address
        finally:
            engine.terminate()
            engine.wait()


class Scene:
    """A session with many queued tasks, and a client that makes single calls beside it."""

    def __init__(self, address: str, tasks: int, seconds: float) -> None:
        channel = grpc.insecure_channel(address)
        self._sessions = ArmoniKSessions(channel)
        self._tasks = ArmoniKTasks(channel)
        self._client = Client(address)
        self._client.compute(touch(0))
        known = {session.session_id for session in self._sessions.list_sessions()[1]}
        program = FLOOD.format(seconds=seconds, tasks=tasks)
        flood = subprocess.Popen([sys.executable, "-c", program, address])
        try:
            while not (new := {s.session_id for s in self._sessions.list_sessions()[1]} - known):
                time.sleep(0.1)
            (self.session_id,) = new
            while self._count() < tasks:
                time.sleep(0.5)
        finally:
            flood.kill()
            flood.wait()

    def close(self) -> None:
        """End the client."""
        self._client.close()

    def _count(self) -> int:
        wanted = Task.session_id == self.session_id
        return self._tasks.list_tasks(wanted, page_size=0)[0]

    def do(self, name: str) -> Callable[[], object]:
        """A command on the session, by its name."""
        command = getattr(self._sessions, f"{name}_session")
        return lambda: command(self.session_id)

    def measure(self, name: str, action: Callable[[], object]) -> None:
        """Make single calls while something is done; print how long each took."""
        thread = threading.Thread(target=action)
        started = time.perf_counter()
        thread.start()
        calls = []
        while thread.is_alive() or len(calls) < 5:
            begin = time.perf_counter()
            self._client.compute(touch(len(calls)))
            calls.append(1e3 * (time.perf_counter() - begin))
        thread.join()
        ended = time.perf_counter() - started
        calls.sort()
        print(
            f"{name:<10} {ended:6.2f} s, {len(calls):5} calls: median "
            f"{statistics.median(calls):6.2f} ms, 99 % {calls[int(0.99 * (len(calls) - 1))]:6.2f}, "
            f"max {calls[-1]:6.2f}",
            flush=True,
        )


def measure_sessions(tasks: int, seconds: float) -> None:
    """Both ways in which a session ends."""
    for steps in (("pause", "resume", "cancel", "purge", "delete"), ("close", "purge", "delete")):
        with serve() as address:
            scene = Scene(address, tasks, seconds)
            scene.measure("run", lambda: time.sleep(3))
            for step in steps:
                scene.measure(step, scene.do(step))
            scene.close()


def measure_chains() -> None:
    """Chains of child tasks, run and closed."""
    for levels in CHAINS:
        client = Client(workers=1)
        started = time.perf_counter()
        client.compute(down(levels))
        ran = time.perf_counter()
        client.close()
        closed = time.perf_counter()
        print(
            f"chain of {levels:6}: {1e3 * (ran - started) / levels:.2f} ms a level, "
            f"closed in {closed - ran:.2f} s",
            flush=True,
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=0.001)
    arguments = parser.parse_args()
    measure_sessions(arguments.tasks, arguments.seconds)
    measure_chains()


if __name__ == "__main__":
    main()
