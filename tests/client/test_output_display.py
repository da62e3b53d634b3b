"""What tasks write, as a client shows it."""

from __future__ import annotations

import io
import sys
import threading
from typing import Any

import pytest
from rich.console import Console

from armoflow import Client
from armoflow.agent.passages import STDERR, STDOUT
from armoflow.client.output_display import ShownOutput, least_level
from armoflow.client.progress import Display, Waiting
from armoflow.errors import OptionError
from armoflow.orchestrator.tally import Count
from armoflow.system import printer


def passage(text: str, name: str = "f", level: int = STDOUT) -> list[Any]:
    return ["id", name, level, "", text]


def shown(capsys: pytest.CaptureFixture[str], *passages: list[Any], least: int = 0) -> list[str]:
    output = ShownOutput(least, lambda: None)
    output.hear(passages)
    output.close()
    out, err = capsys.readouterr()
    return [*out.splitlines(), *(f"err: {line}" for line in err.splitlines())]


def test_lines_stand_behind_the_name_of_their_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, passage("a\nb", "f[1]"), passage("c"), passage("d", level=STDERR)) == [
        "f[1] | a",
        "f[1] | b",
        "f | c",
        "err: f | d",
    ]
    assert shown(capsys, passage("a"), passage("b", level=STDERR), least=STDERR) == ["err: f | b"]


def test_what_moves_a_cursor_is_shown_as_a_picture(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, passage("\x1b[2Jgone", "f\x1b[31m")) == ["f␛[31m | ␛[2Jgone"]


def test_of_too_many_lines_it_is_told_how_many(capsys: pytest.CaptureFixture[str]) -> None:
    *lines, last = shown(capsys, passage("\n".join(map(str, range(5000)))))
    assert lines == [f"f | {number}" for number in range(1000)]
    assert last == "err: armoflow | [4,000 lines left out: too many in a second]"


def test_output_is_shown_where_somebody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [least_level(logs) for logs in (True, False, "errors")] == [0, None, STDERR]

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    class Notebook(io.StringIO):
        __module__ = "ipykernel.iostream"

    for stream, least in ((Terminal(), 0), (Notebook(), 0), (io.StringIO(), None), (None, None)):
        monkeypatch.setattr(sys, "stdout", stream)
        assert least_level(None) == least
    closed = Terminal()
    monkeypatch.setattr(closed, "isatty", io.StringIO.isatty.__get__(closed))
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    assert least_level(None) is None


def test_what_can_be_asked_for_is_told() -> None:
    with pytest.raises(OptionError, match="logs must be True, False, 'errors' or None, not 'all'"):
        Client(local=True, logs="all")  # type: ignore[arg-type]


def test_lines_stand_above_the_bars() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=60)
    display = Display(lambda: {"f": Count(planned=10, ended=3)}, lambda: "", console=console)
    waiting = Waiting(display)
    display.show(waiting)
    display.write(None, "f[1] | a line of [bold]more[/] than sixty characters" + "." * 20 + "\n")
    display.close()
    drawn = file.getvalue()
    assert "f[1] | a line of [bold]more[/] than sixty characters" + "." * 20 in drawn
    stream = io.StringIO()
    display.write(stream, "plain\n")
    assert stream.getvalue() == "plain\n"


class Stuck(io.StringIO):
    """A terminal that takes nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()
        self.reached = threading.Event()

    def write(self, text: str) -> int:
        self.reached.set()
        self.free.wait(60)
        return super().write(text)


def test_a_terminal_that_is_held_up_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = Stuck()
    monkeypatch.setattr(sys, "stdout", stuck)
    monkeypatch.setattr(printer, "PRINTER_BYTES", 100)
    output = ShownOutput(0, lambda: None)
    output.hear([passage("first")])
    assert stuck.reached.wait(60)
    for number in range(100):
        output.hear([passage(f"{number:010}")])
    output.catch_up()  # returns, though nothing was shown
    stuck.free.set()
    output.close()
    lines = stuck.getvalue().splitlines()
    assert lines[0] == "f | first" and 3 < len(lines) < 20


def test_a_stream_that_is_gone_ends_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stdout", stream)
    output = ShownOutput(0, lambda: None)
    output.hear([passage("lost")])
    output.catch_up()
    output.close()
    monkeypatch.setattr(sys, "stdout", None)
    output = ShownOutput(0, lambda: None)
    output.hear([passage("lost")])
    output.close()
