"""What a person sees who waits."""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import io
import os
import pty
import re
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from armoflow import Client, config, task
from armoflow.client import output_display, progress
from armoflow.client.future import Future
from armoflow.client.planned_future import FutureOrigin
from armoflow.client.progress import Display, Waiting, is_wanted
from armoflow.client.reporting import tell
from armoflow.errors import OptionError
from armoflow.graph.render import STATES
from armoflow.orchestrator import overview
from armoflow.orchestrator.outcomes import Names
from armoflow.orchestrator.tally import Count
from tests.faults.scripts import wait_for

PATIENCE = 60

ERASED = "\x1b[2K"
"""What a terminal is told where lines are to go, and in front of each that is drawn anew."""


class Screen:
    """A terminal, and work that goes on."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        patience: float = 0.0,
        file: io.StringIO | None = None,
    ) -> None:
        monkeypatch.setattr(progress, "PATIENCE", patience)
        self.file = file or io.StringIO()
        self.counts: dict[str, Count] = {}
        self.reason = ""
        console = Console(file=self.file, force_terminal=True, width=100)
        self.looked = 0
        self.display = Display(lambda: self.counts, lambda: self.reason, self.look, console=console)

    def look(self) -> None:
        self.looked += 1

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
        screen.counts["load"] = Count(planned=1200, ended=900, failed=7, running=4, repeated=2)
        screen.counts["total"] = Count(planned=1)
        waiting.tick()
        drawn = screen.read()
        assert all(
            part in drawn
            for part in ("900/1200", "7 failed", "4 running", "2 retried", "total", "0/1")
        )
        assert screen.looked == 3  # when it began, too
        screen.counts = {"load": Count(1200, 1200), "total": Count(1, 1)}
    assert ERASED in screen.read()


def test_bars_stand_between_the_waits_of_who_takes_one_value_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = Screen(monkeypatch)
    for ended in range(20):
        screen.counts["load"] = Count(planned=20, ended=ended)
        screen.display.due = 0.0
        with Waiting(screen.display):
            assert f"{ended}/20" in screen.read()
        assert screen.read() == ""
        screen.display.write(screen.file, "load | a line\n")  # above them
        assert "load | a line" in (drawn := screen.read()) and f"{ended}/20" in drawn
    screen.counts["load"] = Count(planned=20, ended=20)
    wait_for(lambda: ERASED in screen.read(), "the bars stand when all is done")


def test_bars_go_when_no_wait_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch)
    screen.counts["load"] = Count(planned=12, ended=3)
    with Waiting(screen.display):
        pass
    wait_for(lambda: ERASED in screen.read(), "the bars stand though nobody waits")
    with pytest.raises(KeyboardInterrupt), Waiting(screen.display):  # they come again, and
        raise KeyboardInterrupt  # the user leaves
    assert ERASED in screen.read()
    screen.display.due = 0.0
    with Waiting(screen.display):
        screen.read()
    screen.display.close()
    assert ERASED in screen.read()
    with monkeypatch.context() as prompting:  # a person types the next line
        prompting.setattr(sys, "ps1", ">>> ", raising=False)
        screen.display.due = 0.0
        with Waiting(screen.display):
            screen.read()
        assert ERASED in screen.read()


class ClosedTerminal(io.StringIO):
    """One that was closed under a program that goes on, as after ``disown``."""

    error: Exception | None = None

    def write(self, text: str) -> int:
        if self.error is not None:
            raise self.error
        return super().write(text)


@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "gone"), ValueError("closed")])
def test_who_waits_is_not_told_that_nobody_watches(
    monkeypatch: pytest.MonkeyPatch, error: Exception, begun: bool
) -> None:
    screen = Screen(monkeypatch, file=(file := ClosedTerminal()))
    streams = sys.stdout, sys.stderr
    screen.counts["load"] = Count(planned=12, ended=3)
    if begun:
        with Waiting(screen.display) as waiting:
            waiting.tick()
        assert "3/12" in screen.read()
    file.error = error
    for _ in range(2):
        screen.display.due = 0.0
        with Waiting(screen.display) as waiting:
            waiting.tick()
    screen.display.close()
    assert (sys.stdout, sys.stderr) == streams
    monkeypatch.setattr(sys, "stderr", file)
    tell("the last line")


def test_a_short_wait_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch, patience=60)
    with Waiting(screen.display) as waiting:
        waiting.tick()
    assert screen.read() == "" and screen.display.summary() == ""


def test_short_waits_in_a_row_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch, patience=1.0)
    screen.counts["load"] = Count(planned=12, ended=3)
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    drawn = []
    for _ in range(4):
        with Waiting(screen.display) as waiting:
            now += 0.4
            waiting.tick()
            drawn.append("load" in screen.read())
        screen.read()
        now += 0.1
    now += 10
    with Waiting(screen.display) as waiting:
        now += 0.4
        waiting.tick()
        drawn.append("load" in screen.read())
    assert drawn == [False, False, True, True, False]


def test_bars_go_on_while_values_come_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch)
    screen.counts["load"] = Count(planned=12, ended=3)
    with Waiting(screen.display) as waiting:
        assert "3/12" in screen.read()
        screen.counts["load"] = Count(planned=12, ended=4)
        screen.display.due = float("inf")  # what was drawn has taken its share of the time
        waiting.glance()
        assert screen.read() == ""
        screen.display.due = 0.0
        waiting.glance()
        assert "4/12" in screen.read()


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
    screen.display.close()


def await_all(futures: list[Any]) -> None:
    async def gather() -> None:
        await asyncio.gather(*futures, return_exceptions=True)

    asyncio.run(gather())


def take_all(futures: list[Any]) -> None:
    assert len(list(concurrent.futures.as_completed(futures))) == 3


@pytest.mark.parametrize("door", [concurrent.futures.wait, take_all, await_all])
def test_waits_that_are_not_ours_show_bars_too(
    monkeypatch: pytest.MonkeyPatch, door: Callable[[list[Any]], object]
) -> None:
    monkeypatch.setattr(progress, "BESIDE", 0.01)
    screen = Screen(monkeypatch)
    screen.counts["load"] = Count(planned=12, ended=3)
    origin: Any = FutureOrigin(None, display=screen.display)  # type: ignore[arg-type]
    futures: list[Future[int]] = [Future(origin, Names("load")) for _ in range(3)]
    waiting = threading.Thread(target=door, args=[futures])
    waiting.start()
    wait_for(lambda: "3/12" in screen.read(), "no bars are shown")
    futures.pop().end_cancelled()
    screen.counts["load"] = Count(planned=12, ended=4)
    wait_for(lambda: "4/12" in screen.read(), "bars end with the first of the futures")
    for future in futures:
        future.end_cancelled()
    waiting.join()
    wait_for(lambda: screen.display._beside is None, "somebody draws for nobody")
    wait_for(lambda: screen.display._bars is None, "the bars stand though nobody waits")


def test_no_bars_come_after_the_end_of_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "BESIDE", 0.01)
    screen = Screen(monkeypatch)
    screen.display.enter()
    screen.display.close()
    screen.display.enter()
    assert screen.display._beside is None and screen.display._bars is None


def test_of_many_names_those_that_are_left_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch)
    done = {f"done{number}": Count(5, 5) for number in range(progress.SHOWN)}
    screen.counts = {**done, "open": Count(5, 1)}
    with Waiting(screen.display) as waiting:
        waiting.tick()
        drawn = screen.read()
    assert "open" in drawn and "done3" not in drawn


def test_colours_are_left_out_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    colour = re.compile("\x1b\\[[\\d;]*3\\d")
    for asked in (False, True):
        if asked:
            monkeypatch.setenv("NO_COLOR", "1")
        screen = Screen(monkeypatch)
        screen.counts["load"] = Count(planned=12, ended=3, failed=1)
        with Waiting(screen.display) as waiting:
            waiting.tick()
            drawn = screen.read()
        assert "1 failed" in drawn and bool(colour.search(drawn)) is not asked


def test_each_row_of_waits_shows_its_own_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the cells of a notebook with one client for all of them."""
    screen = Screen(monkeypatch)
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    screen.counts = {"load": Count(planned=10), "clean": Count(planned=4)}
    with Waiting(screen.display) as waiting:
        waiting.tick()
        assert "0/10" in screen.read()
        screen.counts = {"load": Count(10, 10, failed=3), "clean": Count(4, 1)}
    screen.counts = {"load": Count(30, 15, failed=4), "clean": Count(4, 1)}
    with Waiting(screen.display) as waiting:
        waiting.tick()
        drawn = screen.read()
        assert "5/20" in drawn and "1 failed" in drawn and "1/4" in drawn  # clean goes on
        screen.counts = {"load": Count(30, 30, failed=4), "clean": Count(4, 4)}
    assert screen.read()
    screen.counts = {**screen.counts, "total": Count(planned=1)}
    with Waiting(screen.display) as waiting:
        waiting.tick()
        drawn = screen.read()
        assert "0/1" in drawn and "load" not in drawn and "clean" not in drawn


def test_the_last_line_sums_up(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(monkeypatch)
    screen.counts = {"load": Count(1200, 1200, 2), "total": Count(1, 1)}
    with Waiting(screen.display) as waiting:
        waiting.tick()
    told = screen.display.summary()
    assert told.startswith("armoflow: 1,199 done in ") and told.endswith(", 2 failed")


def looked_at(display: Display, ready: Callable[[Mapping[str, Count]], Any]) -> Mapping[str, Count]:
    """What is counted, once it is so: as for who waits, the engine is asked now and then."""
    end = time.monotonic() + 60
    while not ready(counts := display._counts()):
        assert time.monotonic() < end, counts
        display._refresh()
        time.sleep(0.05)
    return counts


@pytest.mark.parametrize("extensions", [True, False])
def test_items_are_counted_and_shown_by_name_at_every_door(
    extensions: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # However busy the machine is, what was written is waited for.
    monkeypatch.setattr(config, "WRITTEN_PATIENCE", PATIENCE)
    monkeypatch.setattr(output_display, "_CATCH_UP", PATIENCE)

    @task
    def same(value: int) -> int:
        return value

    @task
    def odd(value: int) -> int:
        if value % 2 == 0:
            raise ValueError(f"{value} is not even odd")
        return value

    @task(retries=2, backoff=0.0)
    def flaky(number: int) -> int:
        tries.append(number)
        if tries.count(number) < 3:
            raise OSError("not yet")
        return number

    tries: list[int] = []

    @task
    def nested(number: int) -> Any:
        return flaky(number)

    @task(fuse=False)
    def total(values: list[int]) -> int:
        print("adding up")
        return sum(values)

    with Client(workers=2, progress=True, logs=True, extensions=extensions) as client:
        display = client._backend.display
        assert display is not None
        assert client.compute(total(same.map(range(50)))) == 1225
        assert capsys.readouterr().out == "total | adding up\n"
        futures = [client.submit(odd(number)) for number in range(20)]
        futures += client.map(odd, range(20, 30))
        errors = [future.exception() for future in futures]
        assert [client.compute(flaky(1)), client.submit(flaky(2)).result()] == [1, 2]
        # Of values that no client reads, too; and of calls that a task has returned.
        assert client.compute(total(flaky.map([3, 4, 5])), nested(6)) == (12, 6)
        counts = looked_at(display, lambda counts: counts["flaky"].repeated >= 12)
        shown = client._repr_html_()
        assert "30 of 30" in shown and "15 failed" in shown and "partitions: default" in shown
        assert "not even" in futures[0]._repr_html_() and "failed" in futures[0]._repr_html_()
        assert "state: done" in futures[1]._repr_html_()
        drawn = client.visualize(path=tmp_path / "run.svg")  # as the engine knows it
        assert (tmp_path / "run.svg").read_text() == f"{drawn}\n"
        assert all(name in drawn for name in ("same", "total", "odd"))
        assert STATES["failed"].fill in drawn and STATES["done"].fill in drawn
        assert STATES["failed"].fill in client.visualize([odd(1)], path=tmp_path / "odd.dot")
        with pytest.raises(OptionError, match=r"'run\.svg' is none .* path="):
            client.visualize("run.svg")
        graph = total(odd.map([1, 3]))
        run = client.submit(graph)
        assert run.result() == 4
        assert "32 of 32" in run._repr_html_() and "same" not in run._repr_html_()
        drawn = run.visualize(tmp_path / "future.svg")
        assert (tmp_path / "future.svg").read_text() == f"{drawn}\n"
        assert all(name in drawn for name in ("odd", "total")) and "same" not in drawn
        assert STATES["done"].fill in drawn and STATES["failed"].fill in drawn  # odd, above
        for future in futures[0], futures[20]:  # of a call; of an item, by map
            assert STATES["failed"].fill in future.visualize() and "odd" in future.visualize()
        del graph
        end = time.monotonic() + PATIENCE
        while "odd" in run.visualize():  # until threads that look at it just now are done
            assert time.monotonic() < end
            time.sleep(0.01)
        assert STATES["done"].fill in run.visualize()
    assert "state: closed" in client._repr_html_()
    assert "total" in run.visualize()
    assert sum(error is not None for error in errors) == 15
    told = {
        name: (count.planned, count.ended, count.failed, count.repeated)
        for name, count in counts.items()
    }
    assert told == {
        "same": (50, 50, 0, 0),
        "total": (2, 2, 0, 0),
        "odd": (30, 30, 15, 0),
        "flaky": (5, 5, 0, 12),
        "nested": (1, 1, 0, 0),
    }


SCRIPT = """
import time
from armoflow import Client, config, task

@task
def nap(seconds):
    time.sleep(seconds)
    return seconds

with Client(workers=1) as client:
    print(client.compute(nap(2.5)))
    for future in [client.submit(nap(0.3)) for _ in range(8)]:
        print(future.result())
"""

PRINTED = "2.5\n" + "0.3\n" * 8


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
    assert shown.communicate(timeout=PATIENCE)[0] == PRINTED.encode()
    assert b"nap" in drawn and b"0/1" in drawn and b"armoflow: 9 done in" in drawn
    assert piped.communicate(timeout=PATIENCE) == (PRINTED, "")


class Notebook(io.StringIO):
    """What a notebook has in place of a standard stream."""

    __module__ = "ipykernel.iostream"


class Shown:
    """What IPython shows, with all that was put in its place."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pictures: list[str] = []
        self.displayed = 0
        self.execution_count = 1
        module = types.ModuleType("IPython.display")
        module.HTML = str  # type: ignore[attr-defined]
        module.display = self.display  # type: ignore[attr-defined]
        package = types.ModuleType("IPython")
        package.get_ipython = lambda: self  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "IPython", package)
        monkeypatch.setitem(sys.modules, "IPython.display", module)

    def display(self, picture: str, display_id: bool) -> Shown:
        assert display_id
        self.displayed += 1
        self.pictures.append(picture)
        return self

    def update(self, picture: str) -> None:
        self.pictures.append(picture)


def test_a_notebook_shows_bars_as_html(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    monkeypatch.delenv("CI", raising=False)
    shown, stdout = Shown(monkeypatch), Notebook()
    monkeypatch.setattr("sys.stdout", stdout)
    assert is_wanted(None)
    counts = {"<load>": Count(planned=1200, ended=300, failed=7, running=2)}
    display = Display(lambda: counts, lambda: "upload 3.1 of 4.2 GB")
    with Waiting(display) as waiting:
        waiting.tick()
        (picture,) = shown.pictures
        assert '<progress value="0.2500"' in picture and "upload 3.1 of 4.2 GB" in picture
        assert "&lt;load&gt;" in picture and "2 running, 7 failed" in picture
        display.write(stdout, "load | a line\n")
        counts["<load>"] = Count(planned=1200, ended=1200, failed=7)
    assert "1,200 of 1,200" in shown.pictures[-1] and "upload" not in shown.pictures[-1]
    with Waiting(display) as waiting:
        waiting.tick()
    assert shown.displayed == 1  # the same bars go on
    shown.execution_count += 1
    counts = {**counts, "total": Count(planned=1)}
    with Waiting(display) as waiting:
        waiting.tick()
    assert shown.displayed == 2  # another cell has its own
    assert "total" in shown.pictures[-1] and "load" not in shown.pictures[-1]
    assert stdout.getvalue() == "load | a line\n"
    tell(display.summary())
    assert stdout.getvalue().endswith(", 7 failed\n")
    monkeypatch.setenv("CI", "1")
    assert not is_wanted(None)


def test_where_bars_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_wanted(True) and not is_wanted(False)
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed, object()):
        monkeypatch.setattr("sys.stderr", stream)
        assert not is_wanted(None)


def test_what_runs_is_told_and_what_was_cancelled_has_not_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @task
    def nap(seconds: float) -> None:
        time.sleep(seconds)

    monkeypatch.setattr(overview, "INTERVAL", 0.0)
    with Client(workers=1, progress=True) as client:
        display = client._backend.display
        assert display is not None
        future = client.submit(nap(60))

        def running() -> int:
            display._refresh()
            return display._counts()["nap"].running

        wait_for(lambda: running() == 1, "the engine does not say what runs")
        assert "state: running" in future._repr_html_() and "1 running" in client._repr_html_()
        assert future.cancel()
        assert "state: cancelled" in future._repr_html_()
        assert display._counts()["nap"].failed == 0


def test_a_future_of_the_debug_mode_shows_its_graph() -> None:
    half = task(lambda number: 1 / number, name="half")
    with Client(local=True) as client:
        for number, state in ((2, "done"), (0, "failed")):
            graph = half(task(abs, name="size")(number))
            future = client.submit(graph)
            assert f"state: {state}" in future._repr_html_()
            drawn = future.visualize()
            assert "size" in drawn and STATES[state].fill in drawn


@pytest.mark.parametrize("extensions", [True, False])
def test_fused_steps_have_the_colours_of_the_run(extensions: bool, tmp_path: Path) -> None:
    @task
    def load(number: int) -> int:
        return number

    @task
    def clean(number: int) -> float:
        return 1 / number

    @task
    def train(number: float) -> float:
        return number

    def colours(text: str) -> dict[str, str]:
        """What each box is filled with."""
        fills = {look.fill: state for state, look in STATES.items()}
        assert text.startswith("digraph")
        boxes = re.findall(r'label="(\w+).*fillcolor="(#\w+)"', text)
        return {name: fills.get(fill, "") for name, fill in boxes}

    with Client(workers=1, extensions=extensions) as client:
        for number, expected in ((2, "done done done"), (0, "done failed failed")):
            graph = train(clean(load(number)))
            future = client.submit(graph)
            future.exception()
            states = dict(zip(("load", "clean", "train"), expected.split(), strict=True))
            assert colours(future.visualize(tmp_path / "run.dot")) == states
            assert (
                number == 0 or colours(client.visualize(graph, path=tmp_path / "g.dot")) == states
            )
