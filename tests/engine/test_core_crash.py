"""Every acknowledged change survives kill -9 at any moment."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

from engine_support import Running, in_loop

from armoflow.engine.records import FINAL, ResultStatus, TaskStatus

HERE = Path(__file__).parent
ROUNDS = 5


def run_and_kill(directory: Path, lines: int, dice: random.Random) -> tuple[set[str], set[str]]:
    """Let the program say a number of lines, then kill it wherever it is by then."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])])}
    process = subprocess.Popen(
        [sys.executable, str(HERE / "crash_program.py"), str(directory)],
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    )
    said: dict[str, set[str]] = {"submitted": set(), "completed": set()}
    with process:
        assert process.stdout is not None
        for number, line in enumerate(process.stdout):
            what, *ids = line.split()
            said[what].update(ids)
            if number == lines:
                for _ in range(dice.randrange(200_000)):
                    pass  # somewhere in the next transactions
                process.kill()
        # What it said before it died was acknowledged too; the last line may be cut short.
    return said["submitted"], said["completed"]


async def check(directory: Path, submitted: set[str], completed: set[str]) -> None:
    async with Running(directory) as running:
        engine = running.engine
        tasks = await engine.queries.read_tasks(sorted(submitted))
        assert tasks.keys() == submitted
        assert {id_ for id_ in completed if tasks[id_].status is not TaskStatus.COMPLETED} == set()
        for result in engine.state.results.values():
            if result.status is ResultStatus.COMPLETED:
                data = await engine.objects.read(result.opaque_id)
                size = len(data) if isinstance(data, bytes) else data.stat().st_size
                assert size == result.size
        unfinished = {task.id for task in engine.state.tasks.values() if task.status not in FINAL}
        assert set(running.take(100_000)) == unfinished
        files = set((directory / "objects").glob("*/*"))
        named = {engine.objects.peek(result.opaque_id) for result in engine.state.results.values()}
        assert files <= named


def test_nothing_acknowledged_is_lost_by_kill(tmp_path: Path) -> None:
    dice = random.Random(7)
    submitted: set[str] = set()
    completed: set[str] = set()
    for _ in range(ROUNDS):
        more_submitted, more_completed = run_and_kill(tmp_path, dice.randrange(1, 40), dice)
        submitted |= more_submitted
        completed |= more_completed
        in_loop(check)(tmp_path, submitted, completed)
    assert completed
