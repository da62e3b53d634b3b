"""A cluster's partition is not filled with one client's work."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from armoflow import Client, task
from armoflow.orchestrator import backlog
from tests.integration.engines import Up
from tests.integration.gates import Gate, pass_gate
from tests.integration.looking import Looking


@task(batch_size=1, fuse=False)
def wait_at(gate: str, number: int) -> int:
    pass_gate(gate)
    return number


@pytest.mark.parametrize("way", ["submit", "compute", "map"])
def test_a_cluster_has_a_queue_and_not_all_that_is_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(backlog, "SHORTEST_TASK", math.inf)  # however far the engine seems to be
    engine = Up(tmp_path, "--no-extensions", "--workers", "2")
    gate = Gate(tmp_path / "gate")
    looking = Looking(engine)
    try:
        with Client(engine.endpoint) as client:
            with gate.closed():
                calls = [wait_at(gate.path, number) for number in range(100)]
                futures = [client.submit(call) for call in calls] if way == "submit" else []
                if way == "compute":
                    futures = [client.submit(collect(*calls))]
                if way == "map":
                    futures = [client.submit(wait_at.map([gate.path] * 100, range(100)))]
                looking.until(looking.sessions)
                (session,) = looking.sessions()
                looking.until(lambda: len(looking.tasks(session)) == 6)
                client.put(None)  # goes the same way: had more been sent, it would be there
                assert len(looking.tasks(session)) == 6
            values = [future.result() for future in futures]
            assert (values if way == "submit" else list(values[0])) == list(range(100))
            assert len(looking.tasks(session)) >= 100
    finally:
        looking.close()
        engine.stop()


@task(fuse=False)
def collect(*numbers: int) -> list[int]:
    return list(numbers)
