"""What tasks start ends with their attempt, or with their process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from armoflow import Client, task
from armoflow.system import descendants
from tests.faults.scripts import PATIENCE, Place, line_of, wait_for
from tests.integration.engines import EMBEDDED, STOCK, Up, alive, up

DOUBLE_FORK = """
import os, sys, time
if os.fork():
    os._exit(0)
os.setsid()
print(os.getpid(), flush=True)
os.close(1)
time.sleep(1000)
"""


def start(kind: str) -> int:
    """Start a process that stays; its id."""
    environment = {} if "without environment" in kind else None
    if "double fork" in kind:
        command = [sys.executable, "-c", DOUBLE_FORK]
        forked = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment)
        return int(forked.stdout)
    own = kind in ("session", "without environment")
    return subprocess.Popen(["sleep", "1000"], start_new_session=own, env=environment).pid


KINDS = (
    *("group", "session", "double fork"),
    *("without environment", "double fork without environment"),
)


@task
def leave(place: Path) -> list[int]:
    """End well, with processes that stay."""
    pids = list(map(start, KINDS))
    place.write_text(" ".join(map(str, pids)))
    return pids


@task
def start_and_stay(place: Path, limit: float = 1000) -> None:
    """Start processes and run on."""
    place.with_suffix(".new").write_text(" ".join(str(start(kind)) for kind in KINDS))
    place.with_suffix(".new").replace(place)
    time.sleep(limit)


def started(place: Path) -> list[int]:
    """What a task has started, once it has."""
    wait_for(place.exists, "the task does not start")
    return list(map(int, place.read_text().split()))


def wait_for_ends(pids: list[int]) -> None:
    assert len(pids) == len(KINDS)
    wait_for(
        lambda: not any(map(alive, pids)),
        lambda: f"left: {[kind for kind, pid in zip(KINDS, pids, strict=True) if alive(pid)]}",
    )


@pytest.fixture(scope="module", params=[EMBEDDED, STOCK], ids=["lane", "service"])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("engine"), *request.param) as started_engine:
        yield started_engine


def test_with_an_attempt_that_takes_too_long(engine: Up, tmp_path: Path) -> None:
    with Client(engine.endpoint) as client:
        late = client.submit(start_and_stay.with_options(timeout=2)(tmp_path / "pids"))
        pids = started(tmp_path / "pids")
        assert isinstance(late.exception(PATIENCE), TimeoutError)
        wait_for_ends(pids)


def test_with_an_attempt_that_is_cancelled(engine: Up, tmp_path: Path) -> None:
    with Client(engine.endpoint) as client:
        future = client.submit(start_and_stay(tmp_path / "pids"))
        pids = started(tmp_path / "pids")
        client.close()
        wait_for_ends(pids)
        assert future.cancelled()


def test_those_of_a_task_that_ended_well_stay_as_long_as_its_process(tmp_path: Path) -> None:
    for arguments in (EMBEDDED, STOCK):
        place = tmp_path / arguments[-1][-6:].strip()
        place.mkdir()
        with up(place, *arguments) as engine, Client(engine.endpoint) as client:
            pids = client.compute(leave(place / "pids"))
            assert client.compute(task(lambda: 1)()) == 1
            assert all(map(alive, pids))
            client.close()
            engine.stop()
            wait_for_ends(pids)


@task
def leave_ended(count: int) -> int:
    """Start processes that lose their parent at once, and end."""
    left = f"for n in $(seq {count}); do (true &); done"
    subprocess.run(["sh", "-c", left], check=True)
    wait_for(
        lambda: sum(map(descendants.has_ended, descendants.children_of(os.getpid()))) >= count,
        "they are not adopted",
    )
    return os.getpid()


def test_a_process_that_has_adopted_many_is_replaced(engine: Up) -> None:
    """They are counted until it ends, and a container may have some hundreds of processes."""
    with Client(engine.endpoint) as client:
        few = client.compute(leave_ended(5))
        assert client.compute(task(len)("more")) == 4
        assert alive(few)
        many = client.compute(leave_ended(100))
        wait_for(lambda: not alive(many), "it is not replaced")
        assert client.compute(task(len)("more")) == 4


def test_with_an_engine_that_is_killed(tmp_path: Path) -> None:
    marked = [kind for kind in KINDS if "without environment" not in kind]
    for arguments in (EMBEDDED, STOCK):
        place = tmp_path / arguments[-1][-6:].strip()
        place.mkdir()
        with up(place, *arguments) as engine, Client(engine.endpoint) as client:
            client.submit(start_and_stay(place / "pids"))
            pids = dict(zip(KINDS, started(place / "pids"), strict=True))
            engine.kill()
            wait_for(
                lambda pids=pids: not any(alive(pids[kind]) for kind in marked),  # type: ignore[misc]
                "a process is left",
            )
            descendants.kill_all(pids[kind] for kind in KINDS if kind not in marked)
            engine.start()  # its client ends its session


def test_with_a_client_that_is_killed_with_its_engine(tmp_path: Path) -> None:
    place = Place(tmp_path / "tmp")
    code = """
        import subprocess, time
        from armoflow import Client, task

        @task
        def start():
            return subprocess.Popen(["sleep", "1000"], start_new_session=True).pid

        client = Client(workers=1)
        print(client.compute(start()), client._backend._engine.pid, flush=True)
        time.sleep(1000)
    """
    for first in ("client", "engine"):
        with place.run(code, stderr=subprocess.DEVNULL) as process:
            _, engine = map(int, line_of(process).split())
            if first == "engine":
                os.kill(engine, signal.SIGKILL)
            process.kill()
            place.wait_until_clean()


def test_marks_are_told_apart() -> None:
    mark = descendants.new_mark({})
    sleep = ["sleep", "1000"]
    own = subprocess.Popen(sleep, env={descendants.MARK: f"{mark}/1"})
    inner = subprocess.Popen(sleep, env={"A": "1", descendants.MARK: f"{mark}/1/x", "B": "2"})
    other = subprocess.Popen(sleep, env={descendants.MARK: f"{mark}/10"})
    try:
        descendants.end_marked(f"{mark}/1")
        assert own.wait(PATIENCE) == inner.wait(PATIENCE) == -signal.SIGKILL
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
