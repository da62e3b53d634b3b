"""A plugin for dask's own tests: armoflow is the scheduler; see ``test_dask.py``."""

from __future__ import annotations

from collections.abc import Iterator

import dask
import pytest

from armoflow import Client
from armoflow.integrations.dask import get
from tests.interop.theirs import choose

MEMORY = "writes into an object of the caller's, which tasks in other processes have a copy of"
LOCK = "a lock of threads, which does not reach other processes"
WARNING = "a warning of numpy's, turned into an error in the caller's process, not in a worker"
KEYWORD = "an unknown keyword: dask's schedulers drop it, here it is an error"

REASONS = {
    # --- delayed
    "test_delayed_compute_forward_kwargs": KEYWORD,
    "test_traverse_false": "asks for the identity of an object that went to a worker and back",
    # --- bag
    "test_bag_compute_forward_kwargs": KEYWORD,
    "test_to_delayed_optimize_graph": "counts calls in a variable of the caller's process",
    "test_read_text_unicode_no_collection": "the value of a task is a generator",
    # --- array
    "test_array_compute_forward_kwargs": KEYWORD,
    "test_store": MEMORY,
    "test_store_compute_false": MEMORY,
    "test_store_delayed_target": MEMORY,
    "test_store_regions": MEMORY,
    "test_memmap": MEMORY,
    "test_store_locks_count_calls": LOCK,
    "test_from_array_with_lock": LOCK,
    "test_nanquantile_all_nan": WARNING,
    "test_array_cumreduction_axis": WARNING,
    "test_average_raises": WARNING,
    "test_binary_operator_delegation": "takes a plugin of pytest's that is not installed",
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    choose(config, items, REASONS)


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    with Client(workers=2) as started:
        yield started


@pytest.fixture(autouse=True)
def _scheduler(client: Client) -> Iterator[None]:
    with dask.config.set(scheduler=get):
        yield
