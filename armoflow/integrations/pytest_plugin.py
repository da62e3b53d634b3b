"""Fixtures for tests of programs that use armoflow; pytest finds them where armoflow is installed.

``armoflow_client`` is a client of a private engine, which all tests of a run share. A test, class
or module with the mark ``armoflow`` gets one of its own, with these arguments:
``@pytest.mark.armoflow(local=True)``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from armoflow.client.client import Client
    from armoflow.testing import Faults


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest of the mark."""
    config.addinivalue_line(
        "markers",
        "armoflow(**arguments): armoflow_client is a client of its own, Client(**arguments)",
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    """How many workers the engine has, and whether there is one."""
    group = parser.getgroup("armoflow")
    group.addoption(
        "--armoflow-local",
        action="store_true",
        help="run the tasks of tests in pytest's own process, for a debugger",
    )
    parser.addini("armoflow_workers", "worker processes of the tests' engine", default="2")


@pytest.fixture(scope="session")
def _armoflow_shared(request: pytest.FixtureRequest) -> Iterator[Client]:
    from armoflow.client.client import Client

    if request.config.getoption("armoflow_local"):
        with Client(local=True) as client:
            yield client
        return
    with Client(workers=int(request.config.getini("armoflow_workers"))) as client:
        yield client


@pytest.fixture
def armoflow_client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client, which ``compute()`` without one uses, too."""
    from armoflow.client.client import Client
    from armoflow.graph.context import enter, leave

    mark = request.node.get_closest_marker("armoflow")
    if mark is not None:
        with Client(*mark.args, **mark.kwargs) as client:
            yield client
        return
    client = request.getfixturevalue("_armoflow_shared")
    outer = enter(client)
    try:
        yield client
    finally:
        leave(client, outer)


@pytest.fixture
def armoflow_faults(tmp_path_factory: pytest.TempPathFactory) -> Faults:
    """Makes tasks that meet faults; see :class:`armoflow.testing.Faults`."""
    from armoflow.testing import Faults

    return Faults(tmp_path_factory.mktemp("armoflow-faults"))
