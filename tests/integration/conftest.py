"""Engines for all tests: the embedded one with its extensions, and one like a stock cluster.

``ENGINES=mtls`` runs them on a stock cluster behind an ingress that wants client certificates.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from armoflow import Client
from tests.connection.nginx import up_behind_mtls
from tests.integration.apart import Apart, apart
from tests.integration.box import NoBox
from tests.integration.engines import EMBEDDED, STOCK, Up

ENGINES = os.environ.get("ENGINES", "embedded stock").split()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what meets no engine, and would be run again for another one."""
    again = [item for item in items if _is_local_again(item)]
    if again:
        items[:] = [item for item in items if not _is_local_again(item)]
        config.hook.pytest_deselected(items=again)


def _is_local_again(item: pytest.Item) -> bool:
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    values = [value for value in parameters.values() if isinstance(value, str)]
    return parameters.get("engine") in ENGINES[1:] and "local" in values


@pytest.fixture(scope="session", params=ENGINES)
def engine(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    engine_with: Callable[..., Up],
) -> Iterator[Up]:
    if request.param == "mtls":
        with up_behind_mtls(tmp_path_factory.mktemp(request.param)) as started:
            yield started
        return
    yield engine_with(*(EMBEDDED if request.param == "embedded" else STOCK))


@pytest.fixture(scope="session")
def cluster_apart() -> Iterator[Apart]:
    """A cluster whose workers share neither disk, network nor packages with the client."""
    try:
        with apart() as cluster:
            yield cluster
    except NoBox as reason:
        pytest.skip(str(reason))


@pytest.fixture
def client(engine: Up) -> Iterator[Client]:
    with Client(engine.endpoint, workers=2) as connected:
        yield connected


@pytest.fixture(scope="module", params=["local", "embedded", "stock"])
def anywhere(request: pytest.FixtureRequest, engine_with: Callable[..., Up]) -> Iterator[Client]:
    """A client of each kind: the debug mode, the embedded engine, one like a stock cluster."""
    if request.param == "local":
        with Client(local=True) as here:
            yield here
        return
    engine = engine_with(*(EMBEDDED if request.param == "embedded" else STOCK))
    with Client(engine.endpoint, workers=2) as connected:
        yield connected
