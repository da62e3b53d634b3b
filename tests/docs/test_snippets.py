"""What the README and the documentation show is run, and type-checked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from armoflow.protocol.resolve import VARIABLES
from tests.docs.snippets import PAGES, ROOT, Script, extract, first_missing

SCRIPTS = [script for page in PAGES if (script := extract(page)) is not None]
ENDPOINT = "http://127.0.0.1:5001"  # as written in the pages; the tests use a free port
SHARED = ("docs_concepts", "docs_errors_and_retries", "docs_inside_tasks", "docs_tutorial")
"""Pages with many clients: a reader's shell may name an engine for all of them."""


def test_a_page_becomes_a_script_with_the_same_lines(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n```python\nx = 1\n```\n\n```text\n1\n```\n\nand\n```text\nno\n```\n")
    script = extract(page)
    assert script is not None
    assert script.lines[2] == "x = 1"
    assert script.expected == ["1"]


def test_expected_text_is_found_in_order() -> None:
    assert first_missing(["a", "b"], "a b") is None
    assert first_missing(["b", "a"], "a b") == "a"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_page_runs(script: Script, tmp_path: Path, start_engine: Callable[..., str]) -> None:
    source = script.source
    if ENDPOINT in source:
        source = source.replace(ENDPOINT, start_engine())
    variables = environment()
    if script.name in SHARED:
        variables["ARMOFLOW_ENDPOINT"] = start_engine()
    path = tmp_path / f"{script.name}.py"
    path.write_text(source, encoding="utf-8")
    completed = subprocess.run(
        [sys.executable, path],
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert completed.returncode == 0, f"{script.page.name}:\n{completed.stderr}"
    missing = first_missing(script.expected, completed.stdout)
    assert missing is None, (
        f"{script.page.name} says that this is printed:\n{missing}\nprinted:\n{completed.stdout}"
    )


def test_every_page_is_typed(tmp_path: Path) -> None:
    for script in SCRIPTS:
        (tmp_path / f"{script.name}.py").write_text(script.source, encoding="utf-8")
    completed = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict"),
            *("--config-file", ROOT / "pyproject.toml"),
            *sorted(tmp_path.glob("*.py")),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr


def environment() -> dict[str, str]:
    """The environment of a reader's shell, with no endpoint set."""
    return {name: value for name, value in os.environ.items() if name not in VARIABLES}
