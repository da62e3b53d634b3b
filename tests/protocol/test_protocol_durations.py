"""How long tasks ran, as a stock engine shows it: in the summaries of one listing."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from armonik.protogen.common import task_status_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from armoflow.errors import EngineError
from tests.protocol.fake_engine import FakeEngine, broken

COMPLETED = task_status_pb2.TASK_STATUS_COMPLETED
LONGER = Duration(seconds=2, nanos=500_000_000)


def ask(engine: FakeEngine, *task_ids: str) -> dict[str, float | None]:
    async def call() -> dict[str, float | None]:
        return await engine.transport().durations(task_ids)

    return asyncio.run(asyncio.wait_for(call(), 30))


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        ({"processing_to_end_duration": LONGER}, 2.5),
        ({"started_at": Timestamp(seconds=10), "ended_at": Timestamp(seconds=11)}, 1.0),
        ({"started_at": Timestamp(seconds=10)}, None),
        ({}, None),
    ],
    ids=["duration", "dates", "no end", "no times"],
)
def test_durations_or_dates(times: dict[str, Any], seconds: float | None) -> None:
    engine = FakeEngine()
    engine.tasks["a"] = COMPLETED
    engine.times["a"] = times
    assert ask(engine, "a") == {"a": seconds}


@pytest.mark.parametrize("status", ["PROCESSING", "RETRIED", "ERROR", "CANCELLED"])
def test_tasks_that_did_not_complete_say_nothing_of_a_batch(status: str) -> None:
    engine = FakeEngine()
    engine.tasks = {"a": task_status_pb2.TaskStatus.Value(f"TASK_STATUS_{status}"), "b": COMPLETED}
    engine.times = {name: {"processing_to_end_duration": LONGER} for name in "ab"}
    assert ask(engine, "a", "b", "unknown") == {"b": 2.5}


def test_it_is_one_call() -> None:
    engine = FakeEngine()
    engine.tasks = {str(number): COMPLETED for number in range(8)}
    ask(engine, *engine.tasks)
    assert engine.calls == ["ListTasks"]


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED])
def test_a_call_that_fails_is_not_repeated(code: grpc.StatusCode) -> None:
    engine = FakeEngine()

    def fail(name: str) -> None:
        raise broken(code)

    engine.before = fail
    with pytest.raises(EngineError):
        ask(engine, "a")
    assert engine.calls == ["ListTasks"]
