"""CPython's own tests of executors, on a client's executor; see ``test_cpython_executor.py``.

    python -m unittest tests.interop.cpython_executor

Left out: ``test_max_workers_negative``, since how many workers there are is the engine's. The class
of each test makes an executor of its own; they share a client.
"""

from __future__ import annotations

import unittest
from typing import Any

from test import test_concurrent_futures as cpython  # type: ignore[import-not-found, unused-ignore]

from armoflow import Client
from armoflow.client.executor import ClientExecutor

WORKERS = 2


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


class ExecutorTest(OnClient, cpython.ExecutorTest, unittest.TestCase):  # type: ignore[misc]
    test_max_workers_negative: Any = None


class WaitTest(OnClient, cpython.WaitTests, unittest.TestCase):  # type: ignore[misc]
    pass


class AsCompletedTest(OnClient, cpython.AsCompletedTests, unittest.TestCase):  # type: ignore[misc]
    pass
