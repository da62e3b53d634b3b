from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from engine_support import Changes, Running, in_loop

from armoflow.agent.effects import ChildTask, CreatedResult, Effects, StagedFile
from armoflow.engine import core
from armoflow.engine.core import Engine
from armoflow.engine.engine_options import EngineOptions, decode_options
from armoflow.engine.filters import Condition
from armoflow.engine.records import (
    EventKind,
    NewResult,
    NewTask,
    ResultStatus,
    StateError,
    TaskStatus,
)
from armoflow.engine.watchers import WatcherOverflowError
from armoflow.errors import EngineError


@in_loop
async def test_a_task_from_submission_to_its_value(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        running.open_session()
        events = engine.watch(running.session)
        results = Changes(engine, running.session)
        task = running.submit()
        assert running.agent.woken.is_set()
        assert running.take() == [task.id]
        payload = engine.state.results[task.payload_id]
        assert engine.objects.peek(payload.opaque_id) == b"payload"
        await engine.complete([(task.id, Effects(data={task.outputs[0]: b"value"}))])

        batch = await anext(results)
        assert [(change.record.id, change.status) for change in batch][-1] == (
            task.outputs[0],
            ResultStatus.COMPLETED,
        )
        kinds = {event.kind for event in await anext(events)}
        assert EventKind.NEW_TASK in kinds
        assert EventKind.TASK_STATUS_UPDATE in kinds
        assert task.id not in engine.state.tasks
        assert task.id not in engine.scheduler.running
        record = await engine.read_task(task.id)
        assert record is not None
        assert record.status is TaskStatus.COMPLETED
        assert record.owner == "127.1.0.1/agent"
        output = engine.state.results[task.outputs[0]]
        assert await engine.objects.read(output.opaque_id) == b"value"


@in_loop
async def test_a_restart_goes_on_where_the_last_run_stopped(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        running.open_session()
        done, run, queued = running.submit(), running.submit(), running.submit(b"q" * 10)
        waiting = running.submit(dependencies=(queued.outputs[0],))
        assert running.take(2) == [done.id, run.id]
        running.engine.complete([(done.id, Effects(data={done.outputs[0]: b"1"}))])
        session, identity = running.session, running.engine.identity
    async with Running(tmp_path) as running:
        engine = running.engine
        running.session = session
        assert engine.identity == identity
        assert done.id not in engine.state.tasks
        assert engine.state.tasks[waiting.id].status is TaskStatus.PENDING
        taken = running.take()
        assert sorted(taken) == sorted([f"{run.id}###1", queued.id])
        payload = engine.state.results[queued.payload_id]
        assert await engine.objects.read(payload.opaque_id) == b"q" * 10
        await engine.complete([(queued.id, Effects(data={queued.outputs[0]: b"2"}))])
        assert running.take() == [waiting.id]
        page = await engine.queries.tasks([[Condition("session_id", "==", session)]])
        assert page.total == 5


@in_loop
@pytest.mark.parametrize("failed", [False, True])
async def test_a_payload_that_tasks_share_is_needed_as_long_after_a_restart(
    tmp_path: Path, failed: bool
) -> None:
    async with Running(tmp_path, delete_payload=True) as running:
        engine = running.engine
        session = running.open_session()
        payload_id, first, second = (engine.new_id() for _ in range(3))
        results = [
            NewResult(payload_id, "payload", stored=engine.objects.put(b"both")),
            *(NewResult(output, "output") for output in (first, second)),
        ]
        engine.apply(engine.state.create_results(engine.now(), session, results))
        tasks = [NewTask(output, payload_id, (), (output,)) for output in (first, second)]
        engine.apply(engine.state.submit_tasks(engine.now(), session, None, tasks))
        assert running.take(1) == [first]
        if failed:
            engine.fail(first, "broken")
        else:
            engine.complete([(first, Effects(data={first: b"1"}))])
    async with Running(tmp_path, delete_payload=True) as running:
        engine = running.engine
        assert running.take() == [second]
        await engine.complete([(second, Effects(data={second: b"2"}))])
        await engine.committed()
        assert (payload_id in engine.state.results) is failed


@in_loop
async def test_each_id_and_name_is_in_memory_once_after_a_restart(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        running.open_session()
        for _ in range(2):
            running.submit()
    async with Running(tmp_path) as running:
        state = running.engine.state
        results = list(state.results.values())
        assert len(state.tasks) == 2
        for task in state.tasks.values():
            assert task.session_id is results[0].session_id
            for result_id in (task.payload_id, *task.outputs):
                assert result_id is state.results[result_id].id
            (output,) = (state.results[result_id] for result_id in task.outputs)
            assert output.owner_task_id is task.id is task.initial_id
        for name in {result.name for result in results}:
            assert len({id(result.name) for result in results if result.name == name}) == 1


@in_loop
async def test_children_get_real_ids_and_the_parents_output(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        running.open_session()
        parent = running.submit()
        running.take()
        part = engine.new_id()
        staged = engine.objects.staging / "child-1"
        staged.write_bytes(b"x" * 100_000)
        effects = Effects(
            created=[CreatedResult(part, "part")],
            data={"~1": b"first", "~2": StagedFile(str(staged), 100_000)},
            children=[
                ChildTask("~1", [], [part], {"priority": 2}),
                ChildTask("~2", [part], [parent.outputs[0]]),
            ],
        )
        await engine.complete([(parent.id, effects)])
        (first,) = running.take()
        record = engine.state.tasks[first]
        assert record.options.priority == 2
        payload = engine.state.results[record.payload_id]
        assert engine.objects.peek(payload.opaque_id) == b"first"
        await engine.complete([(first, Effects(data={part: b"part"}))])
        (second,) = running.take()
        payload = engine.state.results[engine.state.tasks[second].payload_id]
        path = await engine.objects.read(payload.opaque_id)
        assert isinstance(path, Path)
        assert path.stat().st_size == 100_000
        assert not staged.exists()
        assert engine.state.results[parent.outputs[0]].owner_task_id == second


@in_loop
async def test_refused_effects_fail_that_task_alone(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        running.open_session()
        good, unknown, malformed = running.submit(), running.submit(), running.submit()
        running.take()
        await engine.complete(
            [
                (good.id, Effects(data={good.outputs[0]: b"1"})),
                (unknown.id, Effects(children=[ChildTask("nothing", [], [unknown.outputs[0]])])),
                (malformed.id, Effects(children=[ChildTask("~1", [], [malformed.outputs[0]])])),
            ]
        )
        await engine.committed()
        assert engine.state.results[good.outputs[0]].status is ResultStatus.COMPLETED
        record = await engine.read_task(unknown.id)
        assert record is not None
        assert record.status is not TaskStatus.COMPLETED
        record = await engine.read_task(malformed.id)
        assert record is not None
        assert "payload" in record.error
        assert engine.state.results[malformed.outputs[0]].status is ResultStatus.ABORTED


@in_loop
async def test_a_cancelled_task_has_no_effects(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        running.open_session()
        task = running.submit()
        running.take()
        engine.apply(engine.state.cancel_tasks(engine.now(), [task.id]))
        assert running.agent.interrupted == [task.id]
        staged = engine.objects.staging / "late"
        staged.write_bytes(b"late")
        effects = Effects(data={task.outputs[0]: StagedFile(str(staged), 4)})
        await engine.complete([(task.id, effects)])
        assert not staged.exists()
        record = await engine.read_task(task.id)
        assert record is not None
        assert record.status is TaskStatus.CANCELLED


@in_loop
async def test_a_failed_task_tells_its_error_with_the_aborted_result(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        running.open_session()
        task = running.submit()
        running.take()
        watcher = Changes(engine, running.session)
        await engine.fail(task.id, "it went wrong")
        aborted = [
            change for change in await anext(watcher) if change.status == ResultStatus.ABORTED
        ]
        assert [(c.record.id, c.owner and c.owner.error) for c in aborted] == [
            (task.outputs[0], "it went wrong")
        ]


@in_loop
async def test_a_task_that_has_left_memory_tells_how_long_it_ran(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        running.open_session()
        task = running.submit()
        running.take()
        engine.state.tasks[task.id].started_at = engine.now() - 5.0
        watcher = Changes(engine, running.session)
        await engine.complete([(task.id, Effects(data={task.outputs[0]: b"value"}))])
        assert task.id not in engine.state.tasks
        (owner,) = [c.owner for c in await anext(watcher) if c.record.id == task.outputs[0]]
        assert owner is not None
        assert owner.started_at is not None
        assert owner.ended_at is not None
        assert owner.ended_at - owner.started_at >= 5.0


@in_loop
async def test_a_lost_worker_is_retried(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        running.open_session()
        task = running.submit()
        running.take()
        await engine.fail(task.id, "the worker vanished", retry=True)
        assert running.take() == [f"{task.id}###1"]
        record = await engine.read_task(task.id)
        assert record is not None
        assert record.status is TaskStatus.RETRIED


@in_loop
async def test_deleted_data_is_gone_at_once_and_after_a_restart(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        session = running.open_session()
        small, large = running.submit(b"small"), running.submit(b"l" * 70_000)
        records = [engine.state.results[task.payload_id] for task in (small, large)]
        opaque_ids = [record.opaque_id for record in records]
        await engine.committed()
        files = list((tmp_path / "objects").glob("*/*"))
        assert len(files) == 1
        ids = [record.id for record in records]
        await engine.apply(engine.state.delete_results(engine.now(), ids))
        for opaque_id in opaque_ids:
            with pytest.raises(StateError, match="no data"):
                await engine.objects.read(opaque_id)
        assert not files[0].exists()
        assert ids[0] not in engine.state.results
        record = await engine.read_result(ids[0])
        assert record is not None
        assert record.status is ResultStatus.DELETED
        assert record.size == 5
        await engine.sweeper.change(
            session, lambda: engine.state.delete_session(engine.now(), session)
        )
        assert (await engine.queries.tasks()).total == 0
        assert (await engine.queries.results()).total == 0
        assert (await engine.queries.sessions()).total == 0


@in_loop
async def test_one_engine_per_directory(tmp_path: Path) -> None:
    async with Running(tmp_path):
        with pytest.raises(EngineError, match=f"{tmp_path}.*process [0-9]+"):
            await Engine(EngineOptions(tmp_path)).start()
    async with Running(tmp_path):
        pass


@in_loop
async def test_what_one_commit_changes_is_told_at_once(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        session = running.open_session()
        tasks = [running.submit() for _ in range(5)]
        await engine.committed()
        running.take(len(tasks))
        told: list[list[str]] = []
        engine.listen(session, lambda _, batch: told.append([one.record.id for one in batch]))
        for task in tasks:
            engine.complete([(task.id, Effects(data={task.outputs[0]: b"value"}))])
        await engine.committed()
        assert told == [[task.outputs[0] for task in tasks]]


@in_loop
async def test_a_watcher_that_falls_behind_is_closed(tmp_path: Path) -> None:
    async with Running(tmp_path, watcher_limit=50) as running:
        engine = running.engine
        session = running.open_session()
        watcher = engine.watch(session)
        for _ in range(40):
            running.submit()
            await engine.committed()
        with pytest.raises(WatcherOverflowError, match="50 events"):
            await anext(watcher)
        again = engine.watch(session)
        running.submit()
        assert await anext(again)


@in_loop
async def test_what_tasks_do_is_told_to_those_who_watch_and_noted_for_nobody_else(
    tmp_path: Path,
) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        session = running.open_session()

        def run() -> set[EventKind]:
            """What is noted of a task from its submission to its end."""
            before = len(engine._journal._pending.events)
            task = running.submit()
            running.take()
            engine.complete([(task.id, Effects(data={task.outputs[0]: b"value"}))])
            noted = engine._journal._pending.events[before:]
            return {event.kind for events in noted for event in events}

        of_results = {EventKind.NEW_RESULT, EventKind.RESULT_STATUS_UPDATE}
        of_tasks = {EventKind.NEW_TASK, EventKind.TASK_STATUS_UPDATE, EventKind.RESULT_OWNER_UPDATE}
        assert run() <= of_results
        first, second = engine.watch(session), engine.watch("another session")
        assert run() >= of_tasks
        second.close()
        assert run() >= of_tasks
        first.close()
        assert run() <= of_results


@in_loop
async def test_watchers_end_when_the_engine_stops(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        watcher = running.engine.watch("session")
    assert [batch async for batch in watcher] == []


@in_loop
async def test_no_more_tasks_are_begun_while_much_waits_for_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "BEHIND", 5)
    async with Running(tmp_path) as running:
        running.open_session()
        tasks = [running.submit() for _ in range(5)]
        running.agent.woken.clear()
        assert running.take() == []
        await running.agent.woken.wait()
        assert running.take() == [task.id for task in tasks]


@in_loop
async def test_an_empty_change_waits_for_what_came_before(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        session = running.open_session()
        nothing = engine.state.cancel_tasks(engine.now(), [])
        await asyncio.wait_for(engine.apply(nothing), 30)
        assert (await engine.queries.sessions()).items[0].id == session
        await asyncio.wait_for(engine.apply(nothing), 30)


@in_loop
async def test_tasks_of_equal_options_share_them_whatever_command_they_came_in(
    tmp_path: Path,
) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        session = running.open_session()
        tasks = []
        for number in range(3):
            payload, output = f"{number}-payload", f"{number}-output"
            options = decode_options({"priority": 1 + number // 2, "max_retries": 5})
            engine.apply(
                engine.state.submit_with_data(
                    engine.now(),
                    session,
                    [NewResult(payload, "payload/"), NewResult(output, "output/")],
                    [NewTask(output, payload, (), (output,), options)],
                    [],
                )
            )
            tasks.append(engine.state.tasks[output])
        first, second, other = [task.options for task in tasks]
        assert first is second
        assert other is not first
        assert (other.priority, other.max_retries) == (2, 5)
        await engine.committed()
        connection = engine._connection
        rows = connection.execute("SELECT count(DISTINCT options_id) FROM tasks").fetchone()
        assert rows == (2,)


WAITING: dict[str, Callable[[Running], Coroutine[Any, Any, Any]]] = {
    "a reply": lambda running: running.engine.admission.promise(running.engine.committed()),
    "a session tidied": lambda running: running.engine.kept_data.tidy(running.session),
    "a session closed": lambda running: running.engine.sweeper.change(
        running.session,
        lambda: running.engine.state.close_session(running.engine.now(), running.session),
    ),
    "results deleted": lambda running: running.engine.sweeper.in_slices(
        ["unknown"],
        lambda ids: running.engine.state.delete_results(running.engine.now(), ids),
        urgent=True,
    ),
}


@pytest.mark.parametrize("what", WAITING)
@in_loop
async def test_who_waits_for_a_commit_no_more_leaves_it_to_the_others(
    tmp_path: Path, what: str
) -> None:
    """A call whose client has gone, a lease that runs out while the engine stops."""
    async with Running(tmp_path) as running:
        engine = running.engine
        running.open_session()
        await engine.committed()
        results = [NewResult(engine.new_id(), "pending")]
        changes = engine.state.create_results(engine.now(), running.session, results)
        shared = engine.apply(changes, urgent=False)
        waiting = asyncio.create_task(WAITING[what](running))
        await asyncio.sleep(0)  # it begins to wait
        assert not shared.done()
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        await asyncio.wait_for(shared, 20)
        running.open_session()
        await asyncio.wait_for(engine.committed(), 20)
