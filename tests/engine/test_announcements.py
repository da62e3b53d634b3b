"""Completions with very many children: in parts for everybody else, whole for whoever looks."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_support import Running, in_loop

from armoflow.agent.effects import ChildTask, CreatedResult, Effects
from armoflow.engine import announcements
from armoflow.engine.core import Engine
from armoflow.engine.engine_options import EngineOptions
from armoflow.engine.faults import StorageError
from armoflow.engine.records import NewTask, ResultStatus, SessionStatus, TaskStatus

CHILDREN = 40


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is taken in in parts begins with few, and the parts are small."""
    monkeypatch.setattr(announcements, "MANY", 20)
    monkeypatch.setattr(announcements, "PART", 10)
    yield


def many_children(running: Running, parent: NewTask, count: int = CHILDREN) -> Effects:
    """Children in a chain of inputs, two and two with one payload; the last has the output."""
    new_id = running.engine.new_id
    created = [CreatedResult(new_id(), "between") for _ in range(count - 1)]
    kept = CreatedResult(new_id(), "kept")
    outputs = [*(result.id for result in created), parent.outputs[0]]
    children = [
        ChildTask(f"~{number // 2}", [kept.id, *outputs[max(0, number - 1) : number]], [output])
        for number, output in enumerate(outputs)
    ]
    data: dict[str, Any] = {f"~{number}": b"code" for number in range((count + 1) // 2)}
    return Effects([*created, kept], {**data, kept.id: b"kept"}, children)


async def begin(running: Running, **labels: str) -> NewTask:
    """A task that runs."""
    if not running.session:
        running.open_session(labels)
    task = running.submit()
    assert running.take() == [task.id]
    await running.engine.committed()
    return task


def children_of(running: Running, task: NewTask) -> list[Any]:
    tasks = running.engine.state.tasks.values()
    return sorted((one for one in tasks if one.created_by == task.id), key=lambda one: one.order)


async def in_parts(running: Running, until: int = 0) -> None:
    """Wait until so many children are announced."""
    while sum(one.depth > 1 for one in running.engine.state.tasks.values()) < until:
        await asyncio.sleep(0)


async def settled(running: Running) -> None:
    while running.engine.state.unfinished:
        await running.engine.committed()
        await asyncio.sleep(0)


@in_loop
async def test_children_are_those_of_a_small_completion(tmp_path: Path) -> None:
    async with Running(tmp_path, delete_payload=True) as running:
        engine = running.engine
        task = await begin(running)
        older = running.submit()
        effects = many_children(running, task)
        await engine.complete([(task.id, effects)])
        await settled(running)
        assert engine.state.tasks.get(task.id) is None  # it has ended
        children = children_of(running, task)
        assert [one.outputs[0] for one in children] == [one.outputs[0] for one in effects.children]
        assert [one.status for one in children[:2]] == [TaskStatus.SUBMITTED, TaskStatus.PENDING]
        assert engine.state.results[task.outputs[0]].owner_task_id == children[-1].id
        # One after the other, in front of what is older, each with a payload that it shares.
        for child in children:
            (taken,) = running.take(1)
            assert taken == child.id
            assert engine.state.results[child.payload_id].status is ResultStatus.COMPLETED
            engine.complete([(child.id, Effects(data={child.outputs[0]: b"done"}))])
        assert engine.state.results[task.outputs[0]].status is ResultStatus.COMPLETED
        assert running.take() == [older.id]
        await engine.committed()
        payloads = {child.payload_id for child in children}
        assert payloads.isdisjoint(engine.state.results)  # deleted with the last that needs one


@in_loop
async def test_nobody_waits_for_more_than_a_part(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        task = await begin(running)
        rows = []
        engine._journal.on_begun = lambda batch: rows.append(len(batch.tasks) + len(batch.results))
        engine.complete([(task.id, many_children(running, task, 400))])
        while engine.announcements.under_way(task.id) is not None or engine.state.unfinished:
            await asyncio.sleep(0)
        assert max(rows) <= 300 + 3  # a slice of those that are started
        assert sum(rows) > 800


@in_loop
async def test_what_a_kill_leaves_is_all_of_it_or_nothing(tmp_path: Path) -> None:
    """Each transaction's journal is opened, as if the engine had been killed after it."""
    copies: list[Path] = []
    async with Running(tmp_path / "state") as running:
        engine = running.engine
        task = await begin(running)
        write = engine._journal._rows.write

        def write_and_copy(connection: sqlite3.Connection, batch: Any) -> None:
            write(connection, batch)
            copies.append(tmp_path / f"copy-{len(copies)}")
            shutil.copytree(tmp_path / "state", copies[-1])

        engine._journal._rows.write = write_and_copy  # type: ignore[method-assign]
        await engine.complete([(task.id, many_children(running, task))])
        await settled(running)
        engine._journal._rows.write = write  # type: ignore[method-assign]
    seen = set()
    partial = 0
    for copy in copies:
        with contextlib.closing(sqlite3.connect(copy / "journal.db")) as journal:
            rows = journal.execute("SELECT count(*) FROM tasks WHERE created_by<>''").fetchone()
            partial += 0 < rows[0] < CHILDREN
        engine = Engine(EngineOptions(copy))
        await engine.start()
        parent = await engine.read_task(task.id)
        assert parent is not None
        created = [one for one in engine.state.tasks.values() if one.depth > 1]
        results = [one for one in engine.state.results.values() if one.created_by == task.id]
        ended = parent.status is TaskStatus.COMPLETED
        assert len(created) == (CHILDREN if ended else 0)
        assert len(results) == (CHILDREN + CHILDREN // 2 if ended else 0)
        assert (engine.state.results[task.outputs[0]].owner_task_id in engine.state.tasks) is True
        seen.add(ended)
        ready = [one for one in created if one.status is TaskStatus.SUBMITTED]
        assert len(ready) == ended  # the first of the chain
        stored = engine._connection.execute("SELECT count(*) FROM objects").fetchone()[0]
        assert stored == 1 + (1 + CHILDREN // 2 if ended else 0)
        await engine.stop()
    assert seen == {True, False} and partial > 3


@in_loop
async def test_a_task_that_is_cancelled_meanwhile_has_no_children_left(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        task = await begin(running)
        done = engine.complete([(task.id, many_children(running, task))])
        await in_parts(running, 10)
        engine.apply(engine.state.cancel_tasks(engine.now(), [task.id]))
        await done
        await engine.committed()
        record = await engine.read_task(task.id)
        assert record is not None and record.status is TaskStatus.CANCELLED
        assert children_of(running, task) == [] == running.take()
        assert engine.state.results[task.outputs[0]].status is ResultStatus.ABORTED
        assert not any(one.created_by for one in engine.state.results.values())
        assert engine.objects.stored_bytes()["memory"] < 1000


@pytest.mark.parametrize("verb", ["cancel", "delete", "pause"])
@in_loop
async def test_a_session_that_changes_meanwhile(tmp_path: Path, verb: str) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        task = await begin(running)
        done = engine.complete([(task.id, many_children(running, task))])
        await in_parts(running, 10)
        state = engine.state
        command = {
            "cancel": lambda: state.cancel_session(engine.now(), running.session, [task.id]),
            "delete": lambda: state.delete_session(engine.now(), running.session, [task.id]),
            "pause": lambda: state.pause_session(engine.now(), running.session),
        }[verb]
        await engine.sweeper.change(running.session, command)
        await done
        await settled(running)
        await engine.committed()
        if verb == "pause":
            assert len(children_of(running, task)) == CHILDREN and running.take() == []
            resume = lambda: state.resume_session(engine.now(), running.session)  # noqa: E731
            await engine.sweeper.change(running.session, resume)
            assert running.take() == [children_of(running, task)[0].id]
        else:
            assert not any(one.status is TaskStatus.CREATING for one in state.tasks.values())
            assert running.take() == []
            gone = running.session not in state.sessions
            assert gone == (verb == "delete")
            if not gone:
                assert state.sessions[running.session].status is SessionStatus.CANCELLED


@in_loop
async def test_a_refused_child_leaves_nothing_of_the_others(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        task = await begin(running)
        for _ in range(3):  # it may be tried again twice
            task_id = task.id if engine.state.tasks.get(task.id) else running.take()[0]
            effects = many_children(running, task)
            effects.children[-3].dependencies.append("nothing")
            await engine.complete([(task_id, effects)])
            await engine.committed()
        record = await engine.read_task(task_id)
        assert record is not None and record.status is TaskStatus.ERROR
        assert "refused" in record.error and "nothing" in record.error
        assert not any(one.created_by for one in engine.state.results.values())
        assert engine.objects.stored_bytes()["memory"] < 200


@in_loop
async def test_a_success_without_an_output_fails(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        task = await begin(running)
        effects = many_children(running, task)
        effects.children[-1].outputs.clear()
        await engine.complete([(task.id, effects)])
        record = await engine.read_task(task.id)
        assert record is not None and record.status is TaskStatus.ERROR
        assert "without its expected output" in record.error


@in_loop
async def test_data_that_cannot_be_stored_is_stored_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        task = await begin(running)
        put, left = engine.objects.put, [15]

        def sometimes(data: bytes, **options: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise StorageError(OSError(28, "No space left on device"), tmp_path)
            return put(data, **options)

        monkeypatch.setattr(engine.objects, "put", sometimes)
        await engine.complete([(task.id, many_children(running, task))])
        while len(children_of(running, task)) < CHILDREN:
            await asyncio.sleep(0.01)


@in_loop
async def test_an_engine_that_stops_meanwhile_runs_the_task_again(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        task = await begin(running)
        running.engine.complete([(task.id, many_children(running, task))])
        await in_parts(running, 10)
    async with Running(tmp_path) as running:
        assert running.take() == [task.id]  # unharmed: no try of it counts
        assert children_of(running, task) == []
