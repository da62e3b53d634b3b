from __future__ import annotations

from pathlib import Path

import pytest
from engine_support import Running, in_loop

from armoflow.agent.effects import ChildTask, Effects
from armoflow.engine import lineage
from armoflow.engine.records import ApiOptions, StateError, TaskRecord

PAYLOAD = "~0"


def grow(running: Running, task_id: str, output: str, *names: str) -> list[str]:
    """A chain of children below a task that is queued; the last one is queued, too."""
    for name in names:
        assert running.take(1) == [task_id]
        child = ChildTask(PAYLOAD, [], [output], None, name)
        running.engine.complete([(task_id, Effects(data={PAYLOAD: b"p"}, children=[child]))])
        task_id = name
    return list(names)


async def read_all(running: Running) -> dict[str, tuple[str, ...]]:
    await running.engine.committed()
    tasks = (await running.engine.queries.tasks(page_size=1000)).items
    found = await running.engine.queries.read_lineages(tasks)
    assert all(task.depth == len(found[task.id]) for task in tasks)
    return found


@in_loop
async def test_all_levels_are_found_however_deep(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        session = running.open_session()
        root = running.submit()
        names = grow(running, root.id, root.outputs[0], *(f"level {n}" for n in range(300)))
        found = await read_all(running)
        above = (session, root.id, *names)
        assert found == {
            task_id: above[: number + 1] for number, task_id in enumerate((root.id, *names))
        }
        assert await read_all(running) == found  # from what is remembered


@in_loop
async def test_a_retry_has_above_it_what_its_first_attempt_had(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        session, engine = running.open_session(), running.engine
        root = running.submit()
        grow(running, root.id, root.outputs[0], "child")
        for attempt in ("child", "child###1"):
            assert running.take() == [attempt]
            await engine.fail(attempt, "lost", retry=True)
        grow(running, "child###2", root.outputs[0], "grandchild")
        assert await read_all(running) == {
            root.id: (session,),
            "child": (session, root.id),
            "child###1": (session, root.id),
            "child###2": (session, root.id),
            "grandchild": (session, root.id, "child###2"),
        }


async def deepen(directory: Path, levels: int) -> int:
    """Grow a chain of children, and fail at its end; the bytes of the journal."""
    async with Running(directory) as running:
        engine = running.engine
        running.open_session()
        root = running.submit()
        waiting = running.submit(dependencies=(root.outputs[0],))
        end = root.id
        for some in range(0, levels, 500):  # no more are begun while much waits for its commit
            names = (f"level {n}" for n in range(some, some + 500))
            end = grow(running, end, root.outputs[0], *names)[-1]
            await engine.committed()
        (last,) = running.take()
        await engine.fail(last, "too deep")
        while engine.state.unfinished:
            await engine.committed()
        task = await engine.read_task(waiting.id)
        assert task is not None
        assert "too deep" in task.error
        assert not engine.state.tasks
    return (directory / "journal.db").stat().st_size


@in_loop
async def test_a_chain_takes_room_in_proportion_to_its_length(tmp_path: Path) -> None:
    sizes = [await deepen(tmp_path / str(levels), levels) for levels in (500, 2000)]
    assert sizes[1] < 5 * sizes[0]


@in_loop
async def test_what_is_remembered_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lineage, "CACHE_IDS", 50)
    async with Running(tmp_path) as running:
        session = running.open_session()
        root = running.submit()
        names = grow(running, root.id, root.outputs[0], *(f"level {n}" for n in range(100)))
        found = await read_all(running)
        assert found[names[-1]] == (session, root.id, *names[:-1])
        assert running.engine.queries._lineages._known_ids <= 50


def test_a_page_with_too_many_parents_names_the_page_that_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lineage, "MAXIMUM_IDS", 100)
    tasks = [
        TaskRecord(str(n), "s", "p", (), (), ApiOptions(), 0.0, str(n), depth=30) for n in range(10)
    ]
    with pytest.raises(StateError, match="page_size of 3") as caught:
        lineage.check_page(tasks)
    assert caught.value.code == "RESOURCE_EXHAUSTED"
    lineage.check_page(tasks[:3])
