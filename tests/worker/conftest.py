from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Paths of Unix sockets are limited to about 100 bytes."""
    path = Path(tempfile.mkdtemp(prefix="armoflow-test-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)  # what is in it may be going away by itself
