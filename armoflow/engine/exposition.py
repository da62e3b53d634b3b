"""``/metrics``: an engine as Prometheus sees it, from a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from armoflow.engine.address import Address
from armoflow.engine.meter import Reading
from armoflow.errors import OptionError

LOOK_TIMEOUT = 5.0
"""Seconds in which the event loop has to say what the engine looks like."""


class Exposition:
    """Serves ``http://HOST:PORT/metrics``.

    Args:
        read: Looks at the engine, in the event loop that is running now.
        host: Where it listens.
        port: The same; 0: any that is free.

    Attributes:
        url: Where it is.

    Raises:
        OptionError: If prometheus-client is not there, or the port is taken.
    """

    def __init__(self, read: Callable[[], Reading], host: str, port: int) -> None:
        try:
            import prometheus_client
        except ImportError as error:
            raise OptionError(
                "--metrics-port needs prometheus-client: pip install 'armoflow[metrics]'"
            ) from error
        self._read = read
        self._loop = asyncio.get_running_loop()
        registry = prometheus_client.CollectorRegistry()
        prometheus_client.ProcessCollector(registry=registry)
        registry.register(self)
        try:
            self._server, self._thread = prometheus_client.start_http_server(
                port, addr=host.strip("[]"), registry=registry
            )
        except OSError as error:
            raise OptionError(
                f"--metrics-port {port} at {host} cannot be listened at: {error.strerror}"
            ) from error
        place = Address(host=host.strip("[]"), port=int(self._server.server_address[1]))
        self.url = f"{place.url}/metrics"

    def stop(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def describe(self) -> Iterator[Any]:
        """Nothing: names are known when the engine is looked at."""
        return iter(())

    def collect(self) -> Iterator[Any]:
        """The families of the present moment; called in the server's thread."""

        async def look() -> Reading:
            return self._read()

        looking = asyncio.run_coroutine_threadsafe(look(), self._loop)
        return families(looking.result(LOOK_TIMEOUT))


def families(reading: Reading) -> Iterator[Any]:
    """A reading as Prometheus' metric families."""
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    tasks = GaugeMetricFamily(
        "armoflow_tasks", "Tasks that wait for a worker or run.", labels=["partition", "state"]
    )
    for state, counts in (("queued", reading.queued), ("running", reading.running)):
        for partition, count in counts.items():
            tasks.add_metric([partition, state], count)
    yield tasks
    ended = CounterMetricFamily(
        "armoflow_tasks_ended",
        "Tasks that have ended since the engine started.",
        labels=["partition", "status"],
    )
    for labels, count in reading.ended.items():
        ended.add_metric(labels, count)
    yield ended
    yield _gauges("armoflow_sessions", "Sessions.", "status", reading.sessions)
    yield GaugeMetricFamily(
        "armoflow_records", "Tasks and results in memory.", value=reading.records
    )
    for name, text, histogram in (
        ("acquire", "From when a task was ready to when a worker had it.", reading.acquiring),
        ("commit", "From the first change of a transaction to its commit.", reading.committing),
    ):
        yield HistogramMetricFamily(
            f"armoflow_{name}_seconds", text, buckets=histogram.buckets(), sum_value=histogram.total
        )
    yield GaugeMetricFamily(
        "armoflow_journal_lag_seconds",
        "For how long the oldest change waits for its commit.",
        value=reading.lag,
    )
    yield _gauges("armoflow_data_bytes", "Data of results.", "where", reading.data)
    yield GaugeMetricFamily(
        "armoflow_journal_bytes", "The journal, its log included.", value=reading.journal
    )


def _gauges(name: str, text: str, label: str, values: Mapping[str, int]) -> Any:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(name, text, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family
