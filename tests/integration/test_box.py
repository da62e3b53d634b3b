"""``armoflow worker`` with what a pod gives it: another user, half a processor, 512 MiB."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from armoflow import Client, task
from armoflow.errors import WorkerDiedError
from tests.examples.test_examples import described, run
from tests.integration import box


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    writable = Path(tempfile.mkdtemp(prefix="af-box-"))
    try:
        with box.box(writable) as worker:
            process = box.start(writable, worker)
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                assert line.startswith("ready: "), line
                yield line.removeprefix("ready: ").strip()
            finally:
                process.terminate()
                process.communicate(timeout=60)
    except box.NoBox as reason:
        pytest.skip(str(reason))
    finally:
        shutil.rmtree(writable)


@task
def look() -> dict[str, Any]:
    import getpass

    # Not by trying, which would leave a file behind: a full disk or other rights say other things.
    flags = {place: os.statvfs(place).f_flag for place in ("/", "/tmp", "/dev/shm")}
    assert all(flag & os.ST_RDONLY for flag in flags.values()), flags
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"something")
    (Path.home() / "settings").touch()
    return {
        "uid": os.getuid(),
        "user": getpass.getuser(),
        "threads": os.environ["OMP_NUM_THREADS"],
    }


@task(crash_retries=0)
def fill() -> int:
    """Slowly enough for an owner that gets little of a busy machine to see it coming."""
    blocks = []
    while len(blocks) < 1000:
        blocks.append(bytearray(b"x") * 2**21)
        time.sleep(0.02)
    return len(blocks)


@pytest.mark.parametrize("example", ["word_count", "monte_carlo_pi"])
def test_an_example_runs_in_the_box(example: str, endpoint: str) -> None:
    assert run(example, ARMOFLOW_ENDPOINT=endpoint) == described(example)


def test_what_tasks_find_there(endpoint: str) -> None:
    with Client(endpoint) as client:
        seen = client.compute(look())
    assert seen == {"uid": box.USER, "user": str(box.USER), "threads": "1"}


def test_a_task_that_takes_all_memory_ends_before_its_pod(endpoint: str) -> None:
    with Client(endpoint) as client:
        with pytest.raises(WorkerDiedError, match="'fill' was ended because the memory of its con"):
            client.compute(fill())
        assert client.compute(look())["uid"] == box.USER


def test_the_boxes_of_a_machine_that_makes_none_are_skipped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(box.NoBox, match="needs root"), box.box(tmp_path):
        pass
