"""An engine measured from outside."""

from __future__ import annotations

import asyncio
import socket
import sys
import urllib.request
from pathlib import Path

import pytest
from engine_support import Running, in_loop

from armoflow.agent.effects import Effects
from armoflow.engine.exposition import Exposition
from armoflow.engine.meter import Meter
from armoflow.errors import OptionError


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


@in_loop
async def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(OptionError, match=r"pip install 'armoflow\[metrics\]'"):
        Exposition(lambda: pytest.fail("nobody asks"), "127.0.0.1", 0)
