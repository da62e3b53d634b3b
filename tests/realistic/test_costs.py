"""What the real engine costs, and the order in which it serves."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from armonik.common import TaskStatus

from armoflow import Client
from armoflow.orchestrator import backlog
from tests.integration.gates import Bell, Gate
from tests.integration.looking import Looking
from tests.realistic.process import Realistic
from tests.realistic.tasks import double, hand_on, quick, ring_at, slow
from tests.realistic.test_realistic import engine


def test_calls_and_tasks_take_their_time(tmp_path: Path) -> None:
    started = Realistic(tmp_path, "--costed", "--workers", "2")
    try:
        with Client(started.endpoint) as client:
            assert client.compute(double(double(1)), hand_on(3)) == (4, 6)
    finally:
        started.stop()
    counts = started.counts()
    assert counts["tasks paid"] == 4
    assert counts["children paid"] == 1
    assert counts["Tasks/SubmitTasks paid"] >= 1
    assert "faults before the effect" not in counts


@pytest.mark.parametrize("in_order", [True, False], ids=["in order", "in turns"])
def test_a_small_call_waits_for_a_short_queue_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_order: bool
) -> None:
    """Where a partition serves in order, who waits does so for what others have queued there.

    That is three tasks for each pod, of the ten that the other client has.
    """
    monkeypatch.setattr(backlog, "SHORTEST_TASK", math.inf)  # however far the engine seems to be
    gate, bell = Gate(tmp_path / "gate"), Bell(tmp_path / "bell")
    with (
        engine(tmp_path, "--workers", "1", in_order=in_order) as started,
        Client(started.endpoint) as first,
        Client(started.endpoint) as second,
    ):
        looking = Looking(started)

        def given(session: str, count: int) -> bool:
            there = (TaskStatus.SUBMITTED, TaskStatus.DISPATCHED, TaskStatus.PROCESSING)
            return sum(one.status in there for one in looking.tasks(session)) == count

        with gate.closed():
            many = [first.submit(ring_at(gate.path, bell.path, f"{n}")) for n in range(10)]
            looking.until(looking.sessions)
            (session,) = looking.sessions()
            looking.until(lambda: given(session, 3))
            few = second.submit(ring_at(gate.path, bell.path, "other"))
            looking.until(lambda: len(looking.sessions()) == 2)
            other = next(key for key in looking.sessions() if key != session)
            looking.until(lambda: given(other, 1))
        heard = [bell.hear() for _ in range(11)]
        first.gather([*many])
        assert few.result() is None
        looking.close()
    bell.close()
    assert heard.index("other") in ((3,) if in_order else (1, 2))
    assert sorted(heard) == sorted([*map(str, range(10)), "other"])


def test_a_cluster_of_many_pods_gets_a_task_for_each_slow_call_and_few_for_tiny_ones(
    tmp_path: Path,
) -> None:
    """It may have a thousand, says the engine; two are there."""
    with (
        engine(tmp_path, "--workers", "2", "--pods", "1000", "--costed") as started,
        Client(started.endpoint) as client,
    ):
        looking = Looking(started)

        def tasks() -> int:
            return sum(len(looking.tasks(session)) for session in looking.sessions())

        assert client.compute(slow.map(range(8))) == list(range(8))
        alone = tasks()
        assert alone == 8
        assert client.compute(quick.map(range(5_000))) == [2 * n for n in range(5_000)]
        futures = [client.submit(quick(n)) for n in range(1_000)]
        assert client.gather(futures) == [2 * n for n in range(1_000)]
        # One by one they would be 6,000; how few depends on how busy this machine is just now.
        assert tasks() - alone < 1_500
        looking.close()
