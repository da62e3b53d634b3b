"""An engine measured from outside."""

from __future__ import annotations

import asyncio
import socket
import sys
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from engine_support import Running, in_loop

from armoflow import Client, task
from armoflow.agent.effects import Effects
from armoflow.engine.exposition import Exposition, families
from armoflow.engine.meter import Meter
from armoflow.engine.records import TaskStatus
from armoflow.errors import OptionError
from tests.engine.serving import serve


def fetch(url: str) -> set[str]:
    with urllib.request.urlopen(url) as reply:
        return set(reply.read().decode().splitlines())


@in_loop
async def test_prometheus_sees_tasks_latencies_data_and_memory(tmp_path: Path) -> None:
    pytest.importorskip("prometheus_client")
    async with Running(tmp_path) as running:
        engine = running.engine
        engine.meter = Meter(engine)
        running.open_session()
        good, bad, _, waiting = (running.submit(bytes(100_000)) for _ in range(4))
        running.take(3)
        engine.complete([(good.id, Effects(data={good.outputs[0]: b"value"}))])
        await engine.fail(bad.id, "broken")
        assert waiting.id in engine.state.tasks
        exposition = Exposition(engine.meter.read, "127.0.0.1", 0)
        try:
            lines = await asyncio.to_thread(fetch, exposition.url)
        finally:
            await asyncio.to_thread(exposition.stop)
        assert {
            'armoflow_tasks{partition="default",state="queued"} 1.0',
            'armoflow_tasks{partition="default",state="running"} 1.0',
            'armoflow_tasks_ended_total{partition="default",status="completed"} 1.0',
            'armoflow_tasks_ended_total{partition="default",status="error"} 1.0',
            'armoflow_tasks_ended_total{partition="default",status="cancelled"} 0.0',
            'armoflow_sessions{status="running"} 1.0',
            'armoflow_acquire_seconds_bucket{le="+Inf"} 2.0',
            'armoflow_data_bytes{where="files"} 400000.0',
            "armoflow_journal_lag_seconds 0.0",
        } <= lines
        values = {line.split()[0]: float(line.split()[1]) for line in lines if line[0] != "#"}
        assert values["armoflow_commit_seconds_count"] >= 1
        assert values["armoflow_journal_bytes"] > 0
        if sys.platform == "linux":
            assert values["process_resident_memory_bytes"] > 0


@in_loop
async def test_a_port_that_is_taken_is_told() -> None:
    pytest.importorskip("prometheus_client")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OptionError, match=f"--metrics-port {port} at 127.0.0.1 cannot"):
            Exposition(lambda: pytest.fail("nobody asks"), "127.0.0.1", port)


@pytest.mark.parametrize("host", ["::1", "[::1]", "127.0.0.1"])
@in_loop
async def test_the_address_is_one_that_can_be_opened(host: str) -> None:
    pytest.importorskip("prometheus_client")
    if ":" in host and not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    exposition = Exposition(lambda: pytest.fail("nobody asks"), host, 0)
    await asyncio.to_thread(exposition.stop)
    assert exposition.url.rpartition(":")[0] == f"http://{'[::1]' if ':' in host else host}"


@in_loop
async def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(OptionError, match=r"pip install 'armoflow\[metrics\]'"):
        Exposition(lambda: pytest.fail("nobody asks"), "127.0.0.1", 0)


@task(batch_size=1, fuse=False)
def fail_some(number: int) -> int:
    if number % 10 == 0:
        raise ValueError(number)
    return number


def test_each_task_that_has_ended_is_counted_once(tmp_path: Path) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    with serve(tmp_path, workers=2) as serving:
        engine = serving.server.engine

        async def begin() -> Meter:
            engine.meter = Meter(engine)
            return engine.meter

        async def count() -> dict[TaskStatus, int]:
            return engine.task_counts.count(None)

        meter = serving.run(begin())
        with Client(serving.target, progress=False, logs=False) as client:
            futures = [client.submit(fail_some(number)) for number in range(1_000)]
            failed = [future.exception() is not None for future in futures]
        assert sum(failed) == 100
        truth = serving.run(count())
        text = generated(families(meter.read()))
        found = {
            (sample.labels["partition"], sample.labels["status"]): sample.value
            for family in parser.text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "armoflow_tasks_ended_total"
        }
        assert truth == {TaskStatus.COMPLETED: 900, TaskStatus.ERROR: 100}
        assert found["default", "completed"] == 900 and found["default", "error"] == 100
        assert sum(found.values()) == 1_000


def generated(found: Iterable[Any]) -> str:
    """Families as Prometheus reads them."""
    from prometheus_client import CollectorRegistry, generate_latest

    class Found:
        def collect(self) -> Iterable[Any]:
            return found

        def describe(self) -> Iterable[Any]:
            return ()

    registry = CollectorRegistry()
    registry.register(Found())
    return generate_latest(registry).decode()
