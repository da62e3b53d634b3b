"""What a person sees who waits."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from armoflow import Client, task
from armoflow.client import progress
from armoflow.client.progress import Display, Waiting, is_wanted
from armoflow.orchestrator.tally import Count

PATIENCE = 60


class Screen:
    """A terminal, and work that goes on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, patience: float = 0.0) -> None:
        monkeypatch.setattr(progress, "PATIENCE", patience)
        self.file = io.StringIO()
        self.counts: dict[str, Count] = {}
        self.reason = ""
        console = Console(file=self.file, force_terminal=True, width=100)
        self.display = Display(lambda: self.counts, lambda: self.reason, console)

    def read(self) -> str:
        """What was drawn since the last time."""
        text = self.file.getvalue()
        self.file.seek(0)
        self.file.truncate()
        return text


def test_bars_follow_the_work_and_leave_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch)
    screen.counts["load"] = Count(planned=1200, ended=300)
    with Waiting(screen.display) as waiting:
        waiting.tick()
        assert "load" in (drawn := screen.read()) and "300/1200" in drawn
        screen.counts["load"] = Count(planned=1200, ended=900, failed=7)
        screen.counts["total"] = Count(planned=1)
        waiting.tick()
        drawn = screen.read()
        assert all(part in drawn for part in ("900/1200", "7 failed", "total", "0/1"))
    assert "\x1b[2K" in screen.read()  # the lines are erased


def test_a_short_wait_shows_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = Screen(monkeypatch, patience=60)
    with Waiting(screen.display) as waiting:
        waiting.tick()
    screen.display.close()
    assert screen.read() == "" and capsys.readouterr().err == ""


def test_what_holds_the_work_up_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch)
    with Waiting(screen.display) as waiting:
        screen.reason = "nothing has ended for 10 s, 3 queued: no pod takes tasks yet"
        waiting.tick()
        assert "no pod takes tasks yet" in screen.read()
        screen.reason = ""
        waiting.tick()
        assert "no pod takes tasks yet" not in screen.read()


def test_one_of_those_who_wait_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch)
    first, second = Waiting(screen.display), Waiting(screen.display)
    first.tick()
    screen.read()
    other = threading.Thread(target=second.tick)
    other.start()
    other.join()
    assert screen.read() == ""
    first.__exit__()
    second.tick()
    assert screen.read() != ""
    second.__exit__()


def test_of_many_names_those_that_are_left_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch)
    done = {f"done{number}": Count(5, 5) for number in range(progress.SHOWN)}
    screen.counts = {**done, "open": Count(5, 1)}
    with Waiting(screen.display) as waiting:
        waiting.tick()
        drawn = screen.read()
    assert "open" in drawn and "done3" not in drawn


def test_the_last_line_sums_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = Screen(monkeypatch)
    screen.counts = {"load": Count(1200, 1200, 2), "total": Count(1, 1)}
    with Waiting(screen.display) as waiting:
        waiting.tick()
    screen.display.close()
    told = capsys.readouterr().err
    assert told.startswith("armoflow: 1,201 done in ") and told.endswith(", 2 failed\n")


@pytest.mark.parametrize("extensions", [True, False])
def test_items_are_counted_by_name_at_every_door(extensions: bool) -> None:
    @task
    def same(value: int) -> int:
        return value

    @task
    def odd(value: int) -> int:
        if value % 2 == 0:
            raise ValueError(value)
        return value

    @task(fuse=False)
    def total(values: list[int]) -> int:
        return sum(values)

    with Client(workers=2, progress=True, extensions=extensions) as client:
        display = client._backend.display
        assert display is not None
        assert client.compute(total(same.map(range(50)))) == 1225
        futures = [client.submit(odd(number)) for number in range(20)]
        futures += client.map(odd, range(20, 30))
        errors = [future.exception() for future in futures]
        counts = display._counts()
    assert sum(error is not None for error in errors) == 15
    assert {name: (count.planned, count.ended, count.failed) for name, count in counts.items()} == {
        "same": (50, 50, 0),
        "total": (1, 1, 0),
        "odd": (30, 30, 15),
    }


SCRIPT = """
import time
from armoflow import Client, task

@task
def nap(seconds):
    time.sleep(seconds)
    return seconds

with Client(workers=1) as client:
    print(client.compute(nap(2.5)))
"""


def test_a_terminal_shows_bars_and_a_pipe_does_not(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    environment |= {"TERM": "xterm", "COLUMNS": "100"}
    ours, theirs = pty.openpty()
    shown = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=theirs, env=environment
    )
    piped = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )
    os.close(theirs)
    drawn = b""
    while True:
        try:
            more = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not more:
            break
        drawn += more
    os.close(ours)
    assert shown.communicate(timeout=PATIENCE)[0] == b"2.5\n"
    assert b"nap" in drawn and b"0/1" in drawn and b"armoflow: 1 done in" in drawn
    assert piped.communicate(timeout=PATIENCE) == ("2.5\n", "")


def test_where_bars_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_wanted(True) and not is_wanted(False)
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed, object()):
        monkeypatch.setattr("sys.stderr", stream)
        assert not is_wanted(None)


def test_what_was_cancelled_has_not_failed() -> None:
    @task
    def nap(seconds: float) -> None:
        time.sleep(seconds)

    with Client(workers=1, progress=True) as client:
        display = client._backend.display
        assert display is not None
        future = client.submit(nap(60))
        assert future.cancel()
        assert display._counts()["nap"].failed == 0
