"""The machine's clock is set, by hours: what waits for a time waits as long as it was told to."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from engine_support import Running, in_loop

from armoflow.protocol.frames import RUN_LABEL

HOURS = 5 * 3600.0
PAUSE = 100.0


class Kept:
    """What an agent keeps of a task that waits for its retry."""

    def discard(self) -> None: ...


def pause_of(running: Running, task_id: str) -> float:
    """Seconds until a task is queued."""
    timer = running.engine.pauses._timers[task_id]
    return timer.when() - asyncio.get_running_loop().time()


@pytest.mark.parametrize("step", [-HOURS, 0.0, PAUSE / 2])
@in_loop
async def test_a_pause_is_no_longer_after_a_restart_with_another_clock(
    tmp_path: Path, step: float
) -> None:
    async with Running(tmp_path) as running:
        running.open_session()
        task = running.submit()
        running.take()
        running.engine.delay(task.id, PAUSE, Kept())
        assert pause_of(running, task.id) <= PAUSE
    running = Running(tmp_path)
    running.engine.clock.read = lambda: time.time() + step
    async with running:
        assert PAUSE / 4 < pause_of(running, task.id) <= PAUSE


@in_loop
async def test_no_clock_ends_a_named_run(tmp_path: Path) -> None:
    async with Running(tmp_path, retention=HOURS) as running:
        engine = running.engine
        named = running.open_session({RUN_LABEL: "nightly"})
        assert engine._retention._due() == []
        engine.clock.read = lambda: time.time() + 10 * HOURS
        assert engine._retention._due() == []
        assert list(engine.state.sessions) == [named]
