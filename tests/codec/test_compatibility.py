from __future__ import annotations

import sys
from pathlib import Path

import pytest

import armoflow
from armoflow.codec.compatibility import check_versions, own_versions
from armoflow.errors import VersionMismatchError

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_the_versions_here() -> None:
    python, cloudpickle, own = own_versions().split()
    assert python == ".".join(map(str, sys.version_info[:3]))
    assert cloudpickle[0].isdigit() and own == armoflow.__version__


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib is there from 3.11 on")
def test_the_package_has_the_version_that_it_says() -> None:
    import tomllib

    declared = tomllib.loads(PYPROJECT.read_text())["project"]["version"]
    assert declared == armoflow.__version__


@pytest.mark.parametrize(
    "theirs", ["", "3.11.2 3.1.0 0.1.0", "3.11.9 3.0.0 0.1.9", "3.11.7 3.1.0 0.1.0 numpy==2.1.0"]
)
def test_what_understands_each_other(theirs: str) -> None:
    check_versions(theirs, "3.11.7 3.1.0 0.1.0", node="f")


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        (
            "3.12.1 3.1.0 0.1.0",
            "task 'f' comes from Python 3.12.1, but this worker has Python 3.11.7, which cannot "
            "run its code: run the client with Python 3.11, or workers (their image) with Python "
            "3.12",
        ),
        ("3.11.7 2.2.1 0.1.0", "cloudpickle 2.2.1, but this worker has cloudpickle 3.1.0"),
        ("3.11.7 3.1.0 0.2.0", "run the client with armoflow 0.1, or workers (their image) with "),
    ],
)
def test_what_does_not(theirs: str, message: str) -> None:
    with pytest.raises(VersionMismatchError) as refused:
        check_versions(theirs, "3.11.7 3.1.0 0.1.0", node="f")
    assert message in str(refused.value)
