"""CPython's own tests of executors pass on a client's, where Python's tests can be found.

A distribution has them in a package of their own (Debian's is ``libpython3.11-testsuite``). ``make
interop`` runs all of them; most of the time of the others is sleep.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.theirs import FULL, ROOT

VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"

PLACES = (Path(os.__file__).parent, Path("/usr/lib", VERSION), Path("/usr/lib64", VERSION))

QUICK = ["submit", "submit_keyword", "map", "map_exception", "no_stale_references", "all_completed"]


def their_tests() -> Iterator[Path]:
    """Packages of Python's tests which have those of executors: most are left without."""
    for place in PLACES:
        if [*place.glob("test/test_concurrent_futures*")]:
            yield place / "test"


@pytest.mark.timeout(600 if FULL else 120)
def test_cpythons_tests_of_executors_pass(tmp_path: Path) -> None:
    theirs = next(their_tests(), None)
    if theirs is None:
        pytest.skip(f"the tests of {VERSION} are not installed")
    (tmp_path / "test").symlink_to(theirs)
    chosen = [] if FULL else [f"-k=*.test_{name}" for name in QUICK]
    done = subprocess.run(
        [sys.executable, "-m", "unittest", *chosen, "tests.interop.cpython_executor"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        check=False,
        timeout=600 if FULL else 110,
    )
    assert done.returncode == 0, done.stderr
    assert " tests in " in done.stderr
