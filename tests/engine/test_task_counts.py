"""Counts of tasks by status: what is counted as it is committed is what the journal counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from engine_support import Running, in_loop

from armoflow.agent.effects import Effects
from armoflow.engine.filters import Condition
from armoflow.engine.records import TaskStatus


async def compare(running: Running) -> dict[TaskStatus, int]:
    """Counts of the session; the same as the journal's, by every filter that is known."""
    engine = running.engine
    await engine.committed()
    mine = Condition("session_id", "==", running.session)
    here = Condition("options.partition_id", "==", "default")
    ready = Condition("status", "==", int(TaskStatus.SUBMITTED))
    for filters in ([], [[]], [[mine]], [[here]], [[here, mine]], [[ready]], [[mine, ready]]):
        assert engine.task_counts.find(filters) == await engine.queries.count_tasks(filters)
    return engine.task_counts.find([[mine]]) or {}


@in_loop
async def test_every_status_is_counted(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        running.open_session()
        assert await compare(running) == {}
        tasks = [running.submit() for _ in range(4)]
        assert await compare(running) == {TaskStatus.SUBMITTED: 4}
        first, second, *_ = running.take()
        assert (await compare(running))[TaskStatus.PROCESSING] >= 2
        engine.complete([(first, Effects([], {task.outputs[0]: b"" for task in tasks[:1]}))])
        engine.fail(second, "lost", retry=True)
        counts = await compare(running)
        assert (counts[TaskStatus.COMPLETED], counts[TaskStatus.RETRIED]) == (1, 1)
        assert sum(counts.values()) == 5
        other = running.session
        running.open_session()
        running.submit()
        assert await compare(running) == {TaskStatus.SUBMITTED: 1}
        engine.apply(engine.state.delete_session(engine.now(), other))
        await engine.committed()
        assert engine.task_counts.count(other) == {}
        assert sum((engine.task_counts.find([]) or {}).values()) == 1


@in_loop
async def test_after_a_restart_they_are_what_they_were(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        before = running.open_session()
        task, *_ = [running.submit() for _ in range(3)]
        (taken,) = running.take(1)
        running.engine.complete([(taken, Effects([], {task.outputs[0]: b""}))])
        counts = await compare(running)
        assert counts == {TaskStatus.SUBMITTED: 2, TaskStatus.COMPLETED: 1}
    async with Running(tmp_path) as running:
        running.session = before
        assert await compare(running) == counts
        running.take(1)  # those of before are counted on
        assert await compare(running) == {
            TaskStatus.SUBMITTED: 1,
            TaskStatus.PROCESSING: 1,
            TaskStatus.COMPLETED: 1,
        }
        running.open_session()
        running.submit()
        assert await compare(running) == {TaskStatus.SUBMITTED: 1}
        engine = running.engine
        engine.apply(engine.state.delete_session(engine.now(), before))
        await engine.committed()
        assert engine.task_counts.find([]) == {TaskStatus.SUBMITTED: 1}


@pytest.mark.parametrize(
    "filters",
    [
        [[Condition("status", "!=", TaskStatus.ERROR)]],
        [[Condition("session_id", "==", None)]],
        [[Condition("session_id", "!=", "s")]],
        [[Condition("session_id", "==", "s"), Condition("session_id", "==", "t")]],
        [[Condition("session_id", "==", "s")], [Condition("session_id", "==", "t")]],
    ],
)
@in_loop
async def test_other_filters_are_the_journals(tmp_path: Path, filters: Any) -> None:
    async with Running(tmp_path) as running:
        assert running.engine.task_counts.find(filters) is None
