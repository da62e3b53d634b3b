"""The engine answers as ArmoniK.Core does, but for what docs/differences.md tells, with reasons."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .asking import ANSWERS, QUESTIONS, SOLOS, WORKER, ask_all

DIFFERENCES = Path(__file__).parents[2] / "docs" / "differences.md"
MOST_IN_STRICT = 10


def told_differences(*, strict: bool) -> set[str]:
    """The questions that the page says are answered differently in this mode."""
    told = set()
    for line in DIFFERENCES.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        modes = ("the same",) if strict else ("the same", "as ArmoniK")
        if len(cells) == 4 and cells[2] in modes:
            told.update(re.findall(r"`(\w+)`", cells[3]))
    return told


@contextmanager
def engine(state: Path, *options: str) -> Iterator[str]:
    """An engine in a process of its own; its address."""
    command = [sys.executable, "-m", "armoflow", "up", "--listen", "127.0.0.1:0"]
    command += ["--state", str(state), "--worker", shlex.join([sys.executable, str(WORKER)])]
    for partition in ("default=5", "empty=0", *(f"{name}=1" for name in SOLOS)):
        command += ["--partition", partition]
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        ready = process.stdout.readline()
        assert ready.startswith("ready: http://"), ready
        yield ready.removeprefix("ready: http://").strip()
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


@pytest.mark.parametrize(
    "options", [(), ("--strict", "--no-extensions")], ids=["default", "strict"]
)
def test_recorded_questions_are_answered_as_they_were(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    told = told_differences(strict=bool(options))
    with engine(tmp_path / "state", *options) as endpoint:
        found = ask_all(endpoint, told)
    shown = "\n".join(
        f"{name} ({(QUESTIONS[name].__doc__ or '').strip()}): {differences[:5]}"
        for name, differences in found.items()
        if name not in told
    )
    assert not found.keys() - told, f"answered differently, not told of:\n{shown}"
    assert not told - found.keys(), "told of as different, and the same"


def test_what_is_told_of_was_asked() -> None:
    told = told_differences(strict=False)
    assert told <= QUESTIONS.keys()
    assert QUESTIONS.keys() == ANSWERS.keys()
    assert len(told_differences(strict=True)) <= MOST_IN_STRICT
