"""Commands on sessions with much in them: in slices, others' calls in between, through restarts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from armonik.protogen.common import results_common_pb2
from engine_support import Running, in_loop

from armoflow.agent.effects import Effects
from armoflow.engine import core, sweeper
from armoflow.engine.core import Engine
from armoflow.engine.engine_options import EngineOptions
from armoflow.engine.records import (
    NewResult,
    ResultStatus,
    SessionStatus,
    StateError,
    TaskStatus,
)
from armoflow.engine.services import results as results_service
from armoflow.engine.services.results import ResultsService

TASKS = 60
SLICE = 7


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "FIRST", SLICE)
    monkeypatch.setattr(sweeper, "SLICE", SLICE)
    monkeypatch.setattr(sweeper, "ROWS", SLICE)


def change(running: Running, command: str, session: str) -> asyncio.Future[None]:
    engine = running.engine
    run = getattr(engine.state, f"{command}_session")
    return asyncio.ensure_future(engine.sweeper.change(session, lambda: run(engine.now(), session)))


async def statuses(engine: Engine) -> dict[TaskStatus, int]:
    await engine.committed()
    return await engine.queries.count_tasks()


@pytest.mark.parametrize("known", ["all", "the beginning", "nothing"])
@in_loop
async def test_rows_are_looked_for_where_those_of_the_session_are(
    tmp_path: Path, known: str
) -> None:
    """Of sessions one after the other each is removed without going over the others' rows."""
    sessions = []
    async with Running(tmp_path) as running:
        for _ in range(5):
            sessions.append(running.open_session())
            for _ in range(TASKS):
                running.submit()
            await asyncio.sleep(0.002)  # the clock goes on
    async with Running(tmp_path) as running:
        engine = running.engine
        for _ in range(5):
            sessions.append(running.open_session())
            for _ in range(TASKS):
                running.submit()
            await asyncio.sleep(0.002)
        gone = sessions[2 if known == "the beginning" else 7]
        record = engine.state.sessions[gone]
        if known == "nothing":
            engine.creation_order.holds = False
        ended = change(running, "delete", gone)
        while gone in engine.state.sessions:
            await asyncio.sleep(0)
        begin, end = await engine.sweeper._find_ends("tasks", record)
        spans = {
            "all": (7 * TASKS, 8 * TASKS),
            "the beginning": (2 * TASKS, sweeper._LAST - 1),  # its end is not journalled
            "nothing": (-1, sweeper._LAST),
        }
        assert (begin, end) == spans[known]
        await ended
        connection = engine._connection
        for table in ("tasks", "results"):
            found = dict(connection.execute(f"SELECT session_id, count(*) FROM {table} GROUP BY 1"))
            expected = TASKS if table == "tasks" else 2 * TASKS
            assert found == {one: expected for one in sessions if one != gone}


@in_loop
async def test_removing_what_never_was_looks_for_no_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Running(tmp_path) as running:
        monkeypatch.setattr(running.engine.sweeper, "_remove", None)
        await change(running, "delete", "nothing")


@pytest.mark.parametrize("command", ["pause", "close", "cancel", "delete"])
@in_loop
async def test_others_have_their_turn_between_slices(tmp_path: Path, command: str) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        big = running.open_session()
        tasks = [running.submit() for _ in range(TASKS)]
        other = running.open_session()
        ending = change(running, command, big)
        while not engine.state.is_sweeping(big):
            await asyncio.sleep(0)
        running.session = other
        single = running.submit()
        assert running.take() == [single.id]  # and nothing of the other session
        await engine.complete([(single.id, Effects(data={single.outputs[0]: b"value"}))])
        assert engine.state.is_sweeping(big)
        assert not ending.done()
        await ending
        assert not engine.state.unfinished
        assert not running.take()
        found = await statuses(engine)
        left = {"pause": TaskStatus.PAUSED, "close": TaskStatus.CANCELLED}
        left["cancel"] = TaskStatus.CANCELLED
        assert found.pop(TaskStatus.COMPLETED) == 1
        assert found == ({} if command == "delete" else {left[command]: len(tasks)})


@in_loop
async def test_very_many_results_take_stored_data_in_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results_service, "SLICE", SLICE)
    async with Running(tmp_path) as running:
        engine = running.engine
        session = running.open_session()
        ids = [engine.new_id() for _ in range(40)]
        new = [NewResult(result_id, "import") for result_id in ids]
        data = engine.objects.put(b"data")
        await engine.apply(engine.state.create_results(engine.now(), session, new))
        request = results_common_pb2.ImportResultsDataRequest(session_id=session)
        for result_id in [*ids, "unknown"]:
            request.results.add(result_id=result_id, opaque_id=data.opaque_id)
        service = ResultsService(engine)
        with pytest.raises(StateError, match="unknown"):
            await service.ImportResultsData(request, None)
        assert {engine.state.results[key].status for key in ids} == {ResultStatus.CREATED}

        del request.results[-1]
        rows: list[int] = []
        engine._journal.on_begun = lambda batch: rows.append(len(batch.results))
        importing = asyncio.ensure_future(service.ImportResultsData(request, None))
        while not rows:
            await asyncio.sleep(0)
        session = running.open_session()  # others have their turn
        await engine.committed()
        assert not importing.done()
        reply = await importing
        assert [(one.result_id, one.status) for one in reply.results] == [
            (result_id, ResultStatus.COMPLETED) for result_id in ids
        ]
        assert max(rows) <= 2 * SLICE
        assert sum(rows) == 40


@in_loop
async def test_purge_takes_all_data_and_delete_all_rows(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        session = running.open_session()
        for _ in range(TASKS):
            running.submit()
        for command in ("close", "purge"):
            await change(running, command, session)
        results = (await engine.queries.results(page_size=1000)).items
        assert len(results) == 2 * TASKS
        assert {result.status for result in results} == {ResultStatus.DELETED}
        assert not engine.state.results
        await change(running, "delete", session)
        for query in (engine.queries.sessions, engine.queries.tasks, engine.queries.results):
            assert (await query()).total == 0
        assert not engine.state.sessions
        assert not engine.state._members


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("pause", TaskStatus.PAUSED),
        ("close", TaskStatus.CANCELLED),
        ("cancel", TaskStatus.CANCELLED),
    ],
)
@in_loop
async def test_a_restart_goes_on_with_what_was_begun(
    tmp_path: Path, command: str, status: TaskStatus
) -> None:
    async with Running(tmp_path) as running:
        session = running.open_session()
        for _ in range(TASKS):
            running.submit()
        ending = change(running, command, session)
        while not running.engine.state.is_sweeping(session):
            await asyncio.sleep(0)
        ending.cancel()
    async with Running(tmp_path) as running:
        assert not running.take()
        assert await statuses(running.engine) == {status: TASKS}
        assert not running.engine.state.sessions[session].sweeping


@in_loop
async def test_a_restart_finishes_a_deletion(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        session = running.open_session()
        for _ in range(TASKS):
            running.submit()
        ending = change(running, "delete", session)
        while not running.engine.state.is_sweeping(session):
            await asyncio.sleep(0)
        ending.cancel()
    engine = Engine(EngineOptions(tmp_path))
    await engine.start()
    try:
        for query in (engine.queries.sessions, engine.queries.tasks, engine.queries.results):
            assert (await query()).total == 0
    finally:
        await engine.stop()


@in_loop
async def test_a_failure_reaches_many_dependents_in_slices(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        running.open_session()
        root = running.submit()
        fan = [running.submit(dependencies=root.outputs) for _ in range(TASKS)]  # type: ignore[arg-type]
        chain = [fan[0]]
        for _ in range(TASKS):
            chain.append(running.submit(dependencies=chain[-1].outputs))  # type: ignore[arg-type]
        assert running.take() == [root.id]
        engine.fail(root.id, "the root's own words")
        assert engine.state.unfinished
        while engine.state.unfinished:
            await asyncio.sleep(0.001)
        assert await statuses(engine) == {TaskStatus.ERROR: 2 * TASKS + 1}
        last = await engine.read_task(chain[-1].id)
        assert last is not None
        assert "the root's own words" in last.error


@pytest.mark.parametrize("ends", ["", "close", "restart"])
@in_loop
async def test_a_result_reaches_many_dependents_in_slices(tmp_path: Path, ends: str) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        session = running.open_session()
        root = running.submit()
        for _ in range(TASKS):
            running.submit(dependencies=root.outputs)  # type: ignore[arg-type]
        few = running.submit()
        assert running.take() == [root.id, few.id]
        after = running.submit(dependencies=few.outputs)  # type: ignore[arg-type]
        for task in (root, few):
            engine.complete([(task.id, Effects(data={task.outputs[0]: b"value"}))])
        ready = running.take(1000)
        assert len(ready) == SLICE + 1
        assert after.id in ready  # where few wait, nobody waits for a slice
        assert engine.state.unfinished
        if ends == "close":
            await change(running, "close", session)
        while ends != "restart" and engine.state.unfinished:
            await asyncio.sleep(0)
        found = await statuses(engine)
        assert found[TaskStatus.COMPLETED] == 2
        if ends == "close":
            assert found[TaskStatus.CANCELLED] == TASKS - SLICE
        elif not ends:
            assert len(ready) + len(running.take(1000)) == TASKS + 1
    if ends == "restart":
        async with Running(tmp_path) as running:
            assert len(running.take(1000)) == TASKS + 1
            assert not running.engine.state.unfinished


@in_loop
async def test_commands_on_one_session_come_one_after_the_other(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        session = running.open_session()
        for _ in range(TASKS):
            running.submit()
        await asyncio.gather(
            change(running, "pause", session),
            change(running, "resume", session),
            change(running, "close", session),
            change(running, "purge", session),
        )
        assert running.engine.state.sessions[session].status is SessionStatus.PURGED
        assert await statuses(running.engine) == {TaskStatus.CANCELLED: TASKS}


@in_loop
async def test_many_ids_are_cancelled_in_slices(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        running.open_session()
        ids = [running.submit().id for _ in range(TASKS)]
        sizes = []

        def cancel(part: object) -> object:
            sizes.append(len(part))  # type: ignore[arg-type]
            return engine.state.cancel_tasks(engine.now(), part)  # type: ignore[arg-type]

        await engine.sweeper.in_slices(ids, cancel, urgent=True)  # type: ignore[arg-type]
        assert max(sizes) == SLICE
        assert await statuses(engine) == {TaskStatus.CANCELLED: TASKS}


@in_loop
async def test_slices_are_as_large_as_the_machine_is_quick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "FIRST", 1_000)
    monkeypatch.setattr(sweeper, "SLICE", 1_000)
    async with Running(tmp_path) as running:
        state, adapt = running.engine.state, running.engine.sweeper.adapt
        adapt(1.25 * sweeper.HOLD)
        assert state.slice_size == 800
        adapt(100.0)  # something else held it up: halved, no more
        assert state.slice_size == 400
        adapt(0.0)
        assert state.slice_size == 500
        adapt(0.0, 1.25 * sweeper.COMMIT)  # others wait for its transaction, too
        assert 399 <= state.slice_size <= 400
        for _ in range(10):
            adapt(100.0)
        assert state.slice_size == sweeper.LEAST
        for _ in range(20):
            adapt(0.0)
        assert state.slice_size == 1_000
