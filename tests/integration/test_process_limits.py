"""Limits of a process: who meets one is told which, and what to do."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from typing import Any

import pytest

from armoflow import Client, task
from armoflow.errors import WorkerDiedError

CLIENT = "from armoflow import Client\nClient(workers=1)"


def run_with(limit: str, *arguments: str) -> str:
    """What a program says last that ends by itself."""
    command = ["sh", "-c", f'ulimit {limit} && exec "$@"', "sh", sys.executable, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    return next(line for line in ended.stderr.splitlines() if "too few files" in line)


def test_a_client_that_may_open_few_files() -> None:
    told = run_with("-n 12", "-c", CLIENT)
    assert "this process may have 12 files open at a time: ulimit -n" in told
    assert "a client of an engine needs 24 more. Raise the limit, ulimit -n 1024" in told


def test_an_engine_that_may_open_few_files() -> None:
    told = run_with("-n 32", "-c", CLIENT)
    assert "engine on this machine did not start: too few files may be open" in told
    assert "an engine with 1 workers needs 40 more" in told


def test_a_worker_that_may_open_few_files() -> None:
    assert "a worker needs 32 more. Raise the limit" in run_with(
        "-n 24", "-m", "armoflow.cli.main", "worker"
    )


def test_an_engine_raises_its_own_limit() -> None:
    code = f"{CLIENT}.close()"
    command = ["sh", "-c", 'ulimit -Sn 40 && exec "$@"', "sh", sys.executable, "-c", code]
    subprocess.run(command, timeout=60, check=True)


def closes_everything() -> None:
    os.closerange(0, 1024)


def becomes_another_program() -> None:
    os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(60)"])


@pytest.mark.skipif(sys.platform != "linux", reason="what a process does is found through /proc")
@pytest.mark.parametrize("cut", [closes_everything, becomes_another_program])
def test_a_task_that_cuts_its_process_off(client: Client, cut: Any) -> None:
    with pytest.raises(WorkerDiedError) as caught:
        client.compute(task(crash_retries=0)(cut)())
    told = str(caught.value).splitlines()[0]
    assert f"{cut.__name__!r} ran on without its connection to armoflow, and was ended" in told
    assert "must not close descriptors" in told
    assert client.compute(task(lambda: 1)()) == 1


def writes_much() -> bytes:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    return bytes(1 << 21)


def test_a_value_larger_than_a_file_may_be(client: Client) -> None:
    with pytest.raises(OSError, match="File too large") as caught:
        client.compute(task(writes_much)())
    told = str(caught.value)
    assert "this process may write files of up to 1,048,576 bytes: ulimit -f; raise that" in told
    assert "make room" not in told
