"""Programs that are the first process of a container."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from armoflow.system.descendants import children_of, has_ended
from armoflow.system.first_process import bury
from tests.faults.scripts import PATIENCE, Place, line_of, wait_for
from tests.faults.test_signals import SLEEP, WAITS

CONTAINER = ["unshare", "--pid", "--fork", "--mount-proc"]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "tmp")


@contextmanager
def first_process(place: Place, *command: str) -> Iterator[subprocess.Popen[str]]:
    """It runs in the process below this one; the test is skipped where that may not be."""
    if subprocess.run([*CONTAINER, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user can make no container")
    with subprocess.Popen(
        [*CONTAINER, "--kill-child", sys.executable, *command],
        env=place.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as outer:
        try:
            yield outer
        finally:
            outer.kill()


def inner(outer: subprocess.Popen[str]) -> int:
    wait_for(lambda: children_of(outer.pid), "the container does not start")
    return children_of(outer.pid)[0]


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (number - 1) & 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_client_ends_with_its_process(place: Place, number: signal.Signals) -> None:
    """Which the signal does not end by itself."""
    script = "import textwrap; exec(textwrap.dedent(" + repr(WAITS.format(before="", wait=SLEEP))
    with first_process(place, "-c", script + "))") as outer:
        line_of(outer)
        os.kill(inner(outer), number)
        assert outer.wait(PATIENCE) == 128 + number


def test_an_engine_that_has_only_begun_to_start_ends(place: Place, tmp_path: Path) -> None:
    arguments = ("up", "--listen", f"unix:{tmp_path}/s", "--state", str(tmp_path / "state"))
    with first_process(place, "-m", "armoflow", *arguments, "--workers", "1") as outer:
        engine = inner(outer)
        wait_for(lambda: catches(engine, signal.SIGTERM), "it does not look after signals")
        os.kill(engine, signal.SIGTERM)
        assert outer.wait(PATIENCE) in (0, 128 + signal.SIGTERM)


def test_what_nobody_waits_for_is_waited_for() -> None:
    process = subprocess.Popen(["true"])
    wait_for(lambda: has_ended(process.pid), "it does not end")
    assert process.pid in bury(set()) and has_ended(process.pid)  # its parent may be about to
    assert process.pid not in bury({process.pid})
    assert process.pid not in children_of(os.getpid())
    process.wait(PATIENCE)
