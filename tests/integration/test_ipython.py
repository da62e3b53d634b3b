"""Cells of a notebook: tasks written in them, values as they are shown, a running loop, Ctrl-C."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("IPython")

SHELL = """
import asyncio, json, os, signal, sys, threading
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
shell.autoawait = True
told = []


def interrupt_when_rung(path):
    with open(path, "rb") as bell:
        bell.read(1)
    os.kill(os.getpid(), signal.SIGINT)


async def run():
    for cell in json.loads(sys.argv[1]):
        if cell.startswith("# interrupt "):
            path = cell.split("\\n")[0].removeprefix("# interrupt ")
            threading.Thread(target=interrupt_when_rung, args=(path,), daemon=True).start()
        if sys.argv[2] == "loop":  # as a kernel runs them
            result = await shell.run_cell_async(cell, transformed_cell=cell)
        else:
            result = shell.run_cell(cell)
        error = result.error_before_exec or result.error_in_exec
        shown = {} if result.result is None else shell.display_formatter.format(result.result)[0]
        told.append([shown.get("text/plain"), sorted(shown), type(error).__name__ if error else ""])


if sys.argv[2] == "loop":
    asyncio.run(run())
else:
    try:
        run().send(None)
    except StopIteration:
        pass
print("TOLD" + json.dumps(told))
"""

SETUP = """
import os, time
from armoflow import AsyncClient, Client, task
@task
def double(number):
    return 2 * number
@task
def hang(bell):
    fd = os.open(bell, os.O_WRONLY)
    os.write(fd, b"!")
    os.close(fd)
    time.sleep(3600)
client = Client(workers=2)
"""


def run_cells(directory: Path, *cells: str, loop: bool = False) -> list[Any]:
    """What each cell shows: its text, its forms, its error."""
    program = directory / "shell.py"
    program.write_text(SHELL)
    completed = subprocess.run(
        [sys.executable, program, json.dumps(cells), "loop" if loop else ""],
        capture_output=True,
        text=True,
        timeout=100,
        env={**_environment(), "IPYTHONDIR": str(directory)},
        check=False,
    )
    assert "TOLD" in completed.stdout, completed.stdout + completed.stderr
    told: list[Any] = json.loads(completed.stdout.rpartition("TOLD")[2])
    return told


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.mark.parametrize("loop", [False, True])
def test_tasks_of_cells_run_and_their_values_are_shown(tmp_path: Path, loop: bool) -> None:
    told = run_cells(
        tmp_path,
        SETUP,
        "client.compute(double.map([1, 2]))",
        "client",
        "double(double(1))",
        "future = client.submit(double(4)); future.result(); future",
        "@task\ndef double(number):\n    return 3 * number",
        "double(2).compute() if False else client.compute(double(2))",
        "double(2).visualize()",
        "client.explain(double(2))",
        "client.close()",
        loop=loop,
    )
    assert [error for _, _, error in told] == [""] * len(told)
    assert told[1][0] == "[2, 4]"
    assert "text/html" in told[2][1]
    assert "image/svg+xml" in told[3][1]
    assert "text/html" in told[4][1]
    assert told[6][0] == "6"
    assert "image/svg+xml" in told[7][1]
    assert told[8][0] == "double: 1 not cached\n  not cached: nothing says cache=True"


def test_coroutines_are_awaited_in_cells(tmp_path: Path) -> None:
    told = run_cells(
        tmp_path,
        SETUP,
        "asynchronous = await AsyncClient(workers=1).__aenter__()",
        "await asynchronous.compute(double(21))",
        "await client.submit(double(4))",
        "await asynchronous.close()\nclient.close()",
        loop=True,
    )
    assert [error for _, _, error in told] == [""] * len(told)
    assert (told[2][0], told[3][0]) == ("42", "8")


def test_an_interrupt_ends_the_cell_and_what_it_runs(tmp_path: Path) -> None:
    bell = tmp_path / "bell"
    os.mkfifo(bell)
    told = run_cells(
        tmp_path,
        SETUP,
        f"# interrupt {bell}\nclient.compute([hang({str(bell)!r})])",
        "client.compute(double.map(range(3)))",
        "client.close()",
    )
    assert [error for _, _, error in told] == ["", "KeyboardInterrupt", "", ""]
    assert told[2][0] == "[0, 2, 4]"
