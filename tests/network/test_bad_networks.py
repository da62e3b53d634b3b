"""Over any network values are right and nothing hangs; how long it takes is not asked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.network.journeys import Cluster, cluster, travel
from tests.network.link import Weather


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.mark.timeout(300)
def test_a_slow_network_that_loses_packets(there: Cluster) -> None:
    travel(there, Weather(round_trip=0.05, bits=10e6, loss=0.005))


@pytest.mark.timeout(300)
def test_connections_that_are_reset(there: Cluster) -> None:
    assert travel(there, Weather(resets=500_000, times=8)).resets > 0


@pytest.mark.timeout(300)
def test_connections_that_fall_silent(there: Cluster) -> None:
    """Nobody is told: who waits finds out by pings without an answer."""
    assert travel(there, Weather(freezes=500_000, times=2), keepalive=1.0).freezes > 0
