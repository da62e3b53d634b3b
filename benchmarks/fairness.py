"""How long a client's single call takes while another session, with a long queue, runs and ends.

    python -m benchmarks.fairness [--tasks 100000] [--seconds 0.001] [--what]

One engine, two workers. A first client queues many tasks and is killed; a second one makes single
calls, one after the other, while the first one's session runs, is paused, resumed, cancelled or
closed, purged, and deleted. A row tells how long the engine's event loop was held by one thing at
most (its processor time, which the load of the machine does not change), and how long the calls
took. Then: how long chains of child tasks take to run and to close.
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
from armonik.protogen.client.sessions_service_pb2_grpc import SessionsStub
from armonik.protogen.common import sessions_common_pb2

from armoflow import Client, task
from armoflow.protocol.frames import TIDY
from benchmarks import holds

FLOOD = """
import sys, time
from armoflow import Client, config, task

config.TASKS_UNDER_WAY = {tasks}  # all of them are to be with the engine

@task(batch_size=1)
def nap(number):
    time.sleep({seconds})

client = Client(sys.argv[1])
client.submit(nap.map(range({tasks})))
time.sleep(10_000)
"""
CHAINS = (1_000, 10_000)
ROOT = Path(__file__).parent.parent


@task
def touch(number: int) -> int:
    return number


@task
def down(levels: int) -> int:
    return down(levels - 1) if levels else 0  # type: ignore[return-value]


class Engine:
    """An engine whose event loop is measured.

    Attributes:
        address: Where it listens.
    """

    def __init__(self, address: str, process_id: int, path: Path) -> None:
        self.address = address
        self._process_id = process_id
        self._path = path

    def longest_holds(self) -> list[holds.Longest]:
        """Since the last question: of its loop, and of its journal."""
        return holds.ask(self._process_id, self._path)


@contextlib.contextmanager
def serve() -> Iterator[Engine]:
    """An engine of its own."""
    with tempfile.TemporaryDirectory(prefix="armoflow-") as directory:
        address = f"unix:{directory}/engine.sock"
        holds_file = Path(directory) / "holds"
        command = [sys.executable, "-m", "benchmarks.holds", str(holds_file), "up"]
        arguments = ["--listen", address, "--state", f"{directory}/state", "--workers", "2"]
        engine = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, cwd=ROOT)
        try:
            assert engine.stdout is not None
            engine.stdout.readline()
            yield Engine(address, engine.pid, holds_file)
        finally:
            engine.terminate()
            engine.wait()


class Scene:
    """A session with many queued tasks, and a client that makes single calls beside it."""

    def __init__(self, engine: Engine, tasks: int, seconds: float) -> None:
        self._engine = engine
        address = engine.address
        channel = grpc.insecure_channel(address)
        self._sessions = ArmoniKSessions(channel)
        self._stub = SessionsStub(channel)
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
        count: int = self._tasks.list_tasks(wanted, page_size=0)[0]
        return count

    def do(self, name: str) -> Callable[[], object]:
        """A command on the session, by its name; "tidy" is the last one of a client that leaves."""
        if name == "tidy":
            request = sessions_common_pb2.CloseSessionRequest(session_id=self.session_id)
            return lambda: self._stub.CloseSession(request, metadata=(TIDY,))
        command = getattr(self._sessions, f"{name}_session")
        return lambda: command(self.session_id)

    def measure(self, name: str, action: Callable[[], object], what: bool) -> None:
        """Make single calls while something is done; print how long each took."""
        self._engine.longest_holds()  # of what was before
        thread = threading.Thread(target=action)
        started = time.perf_counter()
        thread.start()
        calls: list[float] = []
        while thread.is_alive() or len(calls) < 5:
            begin = time.perf_counter()
            self._client.compute(touch(len(calls)))
            calls.append(1e3 * (time.perf_counter() - begin))
        thread.join()
        ended = time.perf_counter() - started
        loop, journal = self._engine.longest_holds()
        print(
            f"| {name} | {ended:.1f} s | {loop.milliseconds:.1f} ms | "
            f"{journal.milliseconds:.1f} ms | {len(calls)} | "
            f"{statistics.median(calls):.1f} ms | {max(calls):.0f} ms |",
            flush=True,
        )
        if what:
            print(f"  longest: {loop.what}; {journal.what}")


def measure_sessions(tasks: int, seconds: float, what: bool) -> None:
    """The ways in which a session ends."""
    print("| phase | takes | longest hold (CPU) | journal | calls beside | median | longest |")
    print("|---|---|---|---|---|---|---|")
    for steps in (
        ("pause", "resume", "cancel", "purge", "delete"),
        ("close", "purge", "delete"),
        ("cancel", "tidy"),
    ):
        with serve() as engine:
            scene = Scene(engine, tasks, seconds)
            scene.measure("run", lambda: time.sleep(3), what)
            for step in steps:
                scene.measure(step, scene.do(step), what)
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
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=0.001)
    parser.add_argument("--what", action="store_true", help="tell what held the loop longest")
    arguments = parser.parse_args()
    measure_sessions(arguments.tasks, arguments.seconds, arguments.what)
    measure_chains()


if __name__ == "__main__":
    main()
