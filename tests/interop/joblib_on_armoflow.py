"""A plugin for joblib's own tests: what is tested of "loky" is tested of armoflow's backend.

See ``test_joblib.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import joblib.testing
import pytest

import armoflow.integrations.joblib
from armoflow import Client
from tests.interop.theirs import choose

assert armoflow.integrations.joblib

MAPPED = "joblib's own sharing of arrays through files: here what is shared is uploaded"
INITIALIZER = "initializers of pools are not supported: that is an error here"

REASONS = {
    "test_auto_memmap_on_arrays_from_generator": MAPPED,
    "test_memmapping_leaks": MAPPED,
    "test_initializer_context": INITIALIZER,
    "test_initializer_parallel": INITIALIZER,
    "test_dispatch_multiprocessing": "queues of multiprocessing are for its own processes",
    "test_error_capture": "KeyboardInterrupt of a task is that task's error, not the caller's",
    "test_nested_backend_in_sequential": "without n_jobs all workers are used, as dask's backend "
    "does",
}

IMPORTED = "import armoflow.integrations.joblib\nfrom joblib import Parallel, delayed"

PATIENCE = 60
"""Seconds for a script."""

_theirs = joblib.testing.parametrize


def _parametrize(names: Any, values: Any, *arguments: Any, **options: Any) -> Any:
    """In place of joblib's: of a list of backends that has "loky", the test is for armoflow."""
    if any(isinstance(value, str) and value == "loky" for value in values):
        values = ["armoflow"]
    return _theirs(names, values, *arguments, **options)


joblib.testing.parametrize = _parametrize

_run_script = joblib.testing.check_subprocess_call


def _check_subprocess_call(command: Any, timeout: float | None = None, **options: Any) -> Any:
    """In place of joblib's: each script starts an engine, which loaded machines take long for."""
    return _run_script(command, timeout=PATIENCE, **options)


joblib.testing.check_subprocess_call = _check_subprocess_call


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    choose(config, items, REASONS)
    for module in {item.module for item in items if isinstance(item, pytest.Function)}:
        for name, text in vars(module).items():
            if isinstance(text, str):  # scripts that tests run
                setattr(
                    module, name, text.replace("from joblib import Parallel, delayed", IMPORTED)
                )


@pytest.fixture(scope="session", autouse=True)
def client() -> Iterator[Client]:
    with Client(workers=4) as started:
        yield started
