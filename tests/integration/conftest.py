"""Two engines for all tests: the embedded one with its extensions, and one like a stock cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from armoflow import Client
from tests.integration.engines import EMBEDDED, STOCK, Up, up


@pytest.fixture(scope="session", params=["embedded", "stock"])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Up]:
    arguments = EMBEDDED if request.param == "embedded" else STOCK
    with up(tmp_path_factory.mktemp(request.param), *arguments) as started:
        yield started


@pytest.fixture
def client(engine: Up) -> Iterator[Client]:
    with Client(engine.endpoint, workers=2) as connected:
        yield connected
