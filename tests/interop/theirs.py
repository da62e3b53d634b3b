"""Runs tests that another package was installed with, with a plugin that puts armoflow below."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FULL = os.environ.get("INTEROP") == "full"
"""Run all of them, as ``make interop`` does."""

ONE_OF = 5
"""Else this part of them is run, the same each time."""


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


def choose(config: pytest.Config, items: list[pytest.Item], reasons: Mapping[str, str]) -> None:
    """Skip the tests that cannot pass, and leave out most where not all are to run.

    Args:
        config: Is told of those left out.
        items: All tests.
        reasons: Why each of these cannot pass, by the names of their functions.
    """
    for item in items:
        reason = reasons.get(getattr(item, "originalname", item.name))
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))
    if not FULL:
        left_out = [item for item in items if zlib.crc32(item.nodeid.encode()) % ONE_OF]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)
