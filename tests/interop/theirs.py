"""Runs tests that another package was installed with, with a plugin that puts armoflow below."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FULL = os.environ.get("INTEROP") == "full"
"""Run all of them, as ``make interop`` does."""


def run_theirs(plugin: str, *arguments: str, **variables: str) -> None:
    """Run tests in a process of their own; fails if one does, or if there are none.

    Args:
        plugin: A module of this package.
        arguments: Of pytest.
        variables: Environment variables.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-p", f"tests.interop.{plugin}"]
    command += ["-p", "no:cacheprovider", "-c", str(Path(__file__).with_name("theirs.ini"))]
    command += ["--timeout", "600" if FULL else "100", "--pyargs", *arguments]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=3600 if FULL else 110,
    )
    print(done.stdout[-20_000:], done.stderr[-2_000:])  # pytest shows it where this fails
    assert done.returncode == 0
    assert re.search(r"^[1-9]\d* passed", done.stdout.splitlines()[-1])


def skip(items: list[pytest.Item], reasons: Mapping[str, str]) -> None:
    """Skip the tests that are listed by the names of their functions.

    Args:
        items: All tests.
        reasons: Why each of these cannot pass.
    """
    for item in items:
        reason = reasons.get(getattr(item, "originalname", item.name))
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))
