"""The benchmarks are not part of the package: they are found beside it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE.parents[1]), str(_HERE)]


@pytest.fixture
def trial_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials run in processes of their own, which must find the fake systems too."""
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(_HERE), os.environ.get("PYTHONPATH", "")])
    )
