"""The report that a client leaves."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from armoflow import Client, task
from armoflow.errors import OptionError

SCRIPT = """
import sys
from armoflow import Client, task

@task
def load(x):
    return x

@task(fuse=False)
def check(x):
    raise ValueError(f"{x} is odd")

client = Client(workers=1, name="watched", report=sys.argv[1])
print(client.submit(check(load(3))).exception())
"""


@task
def double(number: int) -> int:
    return 2 * number


def test_a_client_that_is_not_closed_leaves_its_report_at_the_end(tmp_path: Path) -> None:
    script, page = tmp_path / "script.py", tmp_path / "run.html"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, script, page], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == "3 is odd\n" and f"armoflow: report in {page}" in done.stderr
    text = page.read_text("utf-8")
    assert "raise ValueError(f&quot;{x} is odd&quot;)" in text
    assert {"load", "check"} <= set(re.findall(r'<th scope="row">(\w+)</th>', text))


def test_a_report_may_be_left_where_a_loop_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "run.html"

    async def run() -> int:
        with Client(workers=1, report=page) as client:
            return client.compute(double(4))

    assert asyncio.run(run()) == 8
    assert "double" in page.read_text("utf-8") and str(page) in capsys.readouterr().err


def test_what_cannot_be_a_report_is_refused_at_once(tmp_path: Path) -> None:
    for value in (7, "", str(tmp_path), tmp_path / "missing" / "run.html"):
        with pytest.raises(OptionError, match="report"):
            Client(report=value)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="leave out report"):
        Client(local=True, report="run.html")


@task
def odd(number: int) -> int:
    if number % 10 == 3:
        raise ValueError(f"{number} ends in three")
    return number


def test_a_report_tells_of_calls_that_travelled_together(tmp_path: Path) -> None:
    page = tmp_path / "run.html"
    with Client(workers=1, report=page) as client:
        client.compute(odd(1))  # what takes long, as this module's import, is divided
        futures = client.map(odd, range(50))
        failed = [each for each in futures if each.exception() is not None]
    assert len(failed) == 5
    text = page.read_text("utf-8")
    row = re.search(r'<th scope="row">odd</th>(.*?)</tr>', text, re.DOTALL)
    assert row is not None
    calls, tasks, failures = re.findall(r">([\d,]+)<", row[1])[:3]
    assert (calls, failures) == ("51", "5") and int(tasks) < 50
    assert "ValueError: 3 ends in three in task &#x27;odd[3]&#x27;" in text
