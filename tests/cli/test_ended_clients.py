"""What clients leave that have ended by themselves, looked at by the commands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_commands import SCRIPT, Commanded, engine
from tests.cli.test_up import PATIENCE

__all__ = ["engine"]


@pytest.mark.parametrize("ending", ["raise SystemExit(3)", "raise RuntimeError('mine')", ""])
def test_what_a_client_leaves_that_has_ended_can_be_looked_at(
    engine: Commanded, tmp_path: Path, ending: str
) -> None:
    script = tmp_path / "ended.py"
    script.write_text(SCRIPT.replace("os.kill(os.getpid(), signal.SIGKILL)", ending))
    done = subprocess.run(
        [sys.executable, script],
        check=False,
        capture_output=True,
        env=engine.environment,
        timeout=PATIENCE,
    )
    assert done.returncode == (3 if "Exit" in ending else 1 if ending else 0), done.stderr
    session = engine.sessions()[0]
    assert session["application"] == "ended" and session["id"] in engine.run("ps")
    (failure,) = engine.json("show", session["id"])["failures"]
    assert 'raise ValueError(f"no {x}")' in engine.json("show", failure["first"])["traceback"]
    (pack,) = engine.json("show", session["id"])["tasks with failed items"]
    items = engine.json("show", pack["task"])["failed items"]  # values are gone, errors stay
    assert [item["error"].partition(" in ")[0] for item in items] == [
        "ValueError: odd 1",
        "ValueError: odd 3",
        "ValueError: odd 5",
    ]
    assert 'raise ValueError(f"odd {x}")' in items[2]["traceback"]
    if engine.keeps_output:
        assert "about to fail" in engine.run("logs", session["id"])
    page = tmp_path / "run.html"
    engine.run("report", session["id"], "-o", str(page))
    told = page.read_text()
    assert "ValueError: no 3" in told and "ValueError: odd 1" in told
    assert "3 \N{MULTIPLICATION SIGN} ValueError: odd 1" in re.sub(r"<[^>]*>", "", told)
