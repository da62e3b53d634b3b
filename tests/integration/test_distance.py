"""What is under way to an engine at the same time, so that its distance counts once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from armoflow import Client, config, task
from armoflow.errors import ClientClosedError
from tests.integration.engines import up
from tests.integration.proxy import Proxy, proxy


@task(batch_size=1, fuse=False)
def double(number: int) -> int:
    return 2 * number


@pytest.fixture
def between(tmp_path: Path) -> Iterator[Proxy]:
    with (
        up(tmp_path, "--workers", "2", "--no-extensions") as engine,
        proxy(engine.endpoint) as started,
    ):
        yield started


def test_batches_do_not_wait_for_each_other(between: Proxy) -> None:
    method = "Results/CreateResultsMetaData"
    with Client(between.endpoint) as client:
        assert client.compute(double(0)) == 0
        between.reset()
        between.hold(method)
        futures = []
        for count in (1, 2, 3):
            futures.append(client.submit(double, count))
            between.wait_for(method, count)
        between.release(method)
        assert [future.result() for future in futures] == [2, 4, 6]


def test_values_come_side_by_side(between: Proxy) -> None:
    method = "Results/DownloadResultData"
    with Client(between.endpoint) as client:
        assert client.compute(double(0)) == 0
        between.reset()
        between.hold(method)
        futures = [client.submit(double, number) for number in range(config.TRANSFERS)]
        between.wait_for(method, config.TRANSFERS)
        between.release(method)
        assert client.gather(futures) == [2 * number for number in range(config.TRANSFERS)]


def test_where_an_engine_is_far_more_come_than_one_connection_carries(
    between: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "LINE_SECONDS", 1e-6)  # whatever the engine's distance
    method, count = "Results/DownloadResultData", 2 * config.TRANSFERS
    with Client(between.endpoint) as client:
        assert client.compute(double(0)) == 0
        between.reset()
        between.hold(method)
        futures = [client.submit(double, number) for number in range(count)]
        between.wait_for(method, count)
        between.release(method)
        assert client.gather(futures) == [2 * number for number in range(count)]


def test_values_that_are_on_their_way_when_the_client_closes(between: Proxy) -> None:
    """Who waits for them is told."""
    method = "Results/DownloadResultData"
    with Client(between.endpoint) as client:
        between.hold(method)
        future = client.submit(double, 1)
        between.wait_for(method)
    with pytest.raises(ClientClosedError, match="while values were being downloaded"):
        future.result()
