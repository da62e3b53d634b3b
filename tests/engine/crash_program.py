"""Runs tasks for ever and says what was acknowledged: to be killed at any moment."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from engine_support import Running

from armoflow.agent.effects import Effects
from armoflow.engine.records import NewTask, TaskStatus

LARGE = b"L" * 70_000


async def main(directory: Path) -> None:
    async with Running(directory) as running:
        engine = running.engine
        sessions = list(engine.state.sessions)
        running.session = sessions[0] if sessions else running.open_session()
        running.take(10_000)  # what an earlier run left
        for task_id in list(engine.scheduler.running):
            finish(running, [task_id])
        await engine.committed()
        number = 0
        while True:
            tasks: list[NewTask] = [
                running.submit(LARGE if number % 7 == 0 else b"p" * (number % 50 + 1))
                for number in range(number, number + 20)
            ]
            number += 20
            await engine.committed()
            say("submitted", [task.id for task in tasks])
            ready = running.take(15)
            finished = finish(running, ready)
            await engine.committed()
            say("completed", finished)


def finish(running: Running, task_ids: list[str]) -> list[str]:
    engine = running.engine
    completions = []
    for task_id in task_ids:
        task = engine.state.tasks[task_id]
        assert task.status is TaskStatus.PROCESSING
        data = LARGE if hash(task_id) % 5 == 0 else task_id.encode()
        completions.append((task_id, Effects(data={task.outputs[0]: data})))
    engine.complete(completions)
    return task_ids


def say(what: str, ids: list[str]) -> None:
    sys.stdout.write(f"{what} {' '.join(ids)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
