"""CPython's own tests of executors, on a client's executor; see ``test_cpython_executor.py``.

    python -m unittest tests.interop.cpython_executor

Left out: ``test_max_workers_negative``, since how many workers there are is the engine's. The class
of each test makes an executor of its own; they share a client.
"""

from __future__ import annotations

import importlib
import unittest
from types import ModuleType
from typing import Any

from armoflow import Client
from armoflow.client.executor import ClientExecutor

THEIRS = "test.test_concurrent_futures"

WORKERS = 2


def _theirs(module: str) -> ModuleType:
    """Where they have a class: from Python 3.12 on, in a module of their package."""
    package = importlib.import_module(THEIRS)
    return (
        importlib.import_module(f"{THEIRS}.{module}") if hasattr(package, "__path__") else package
    )


def setUpModule() -> None:
    OnClient.client = Client(workers=WORKERS)


def tearDownModule() -> None:
    OnClient.client.close()


class OnClient:
    """What CPython's tests ask of a mixin: an executor, and how many workers it has."""

    worker_count = WORKERS
    executor_type = ClientExecutor
    executor: ClientExecutor
    client: Client

    def setUp(self) -> None:
        self.executor = self.client.executor()

    def tearDown(self) -> None:
        self.executor.shutdown()


class ExecutorTest(OnClient, _theirs("executor").ExecutorTest, unittest.TestCase):  # type: ignore[misc]
    test_max_workers_negative: Any = None


class WaitTest(OnClient, _theirs("test_wait").WaitTests, unittest.TestCase):  # type: ignore[misc]
    pass


class AsCompletedTest(OnClient, _theirs("test_as_completed").AsCompletedTests, unittest.TestCase):  # type: ignore[misc]
    pass
