"""CPython's own tests of executors pass on a client's, where Python comes with its tests."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def their_tests() -> bool:
    """Whether there are any: distributions leave them out, or have a package of their own."""
    try:
        return find_spec("test.test_concurrent_futures") is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.skipif(not their_tests(), reason="this Python comes without its tests")
def test_cpythons_tests_of_executors_pass() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "unittest", "tests.interop.cpython_executor"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert " tests in " in done.stderr
