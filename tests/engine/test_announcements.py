"""Completions with very many children: in parts for everybody else, whole for whoever looks."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from armonik.client import ArmoniKResults, ArmoniKSessions
from armonik.protogen.client.tasks_service_pb2_grpc import TasksStub
from armonik.protogen.common import tasks_common_pb2
from engine_support import Running, in_loop
from serving import serve, task_options

from armoflow.agent.effects import ChildTask, CreatedResult, Effects
from armoflow.engine import parts, submissions
from armoflow.engine.checking import check_state
from armoflow.engine.core import Engine
from armoflow.engine.engine_options import EngineOptions
from armoflow.engine.faults import StorageError
from armoflow.engine.records import (
    NewResult,
    NewTask,
    ResultStatus,
    SessionStatus,
    StateError,
    TaskStatus,
)

CHILDREN = 40
READY = (TaskStatus.SUBMITTED, TaskStatus.DISPATCHED)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is taken in in parts begins with few, and the parts are small."""
    monkeypatch.setattr(parts, "MANY", 20)
    monkeypatch.setattr(parts, "PART", 10)
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
        assert check_state(copy).problems == []
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
async def test_a_kill_while_children_are_taken_back_leaves_none(tmp_path: Path) -> None:
    copies: list[Path] = []
    async with Running(tmp_path / "state") as running:
        engine = running.engine
        task = await begin(running)
        done = engine.complete([(task.id, many_children(running, task))])
        await in_parts(running, 15)
        write = engine._journal._rows.write

        def write_and_copy(connection: sqlite3.Connection, batch: Any) -> None:
            write(connection, batch)
            copies.append(tmp_path / f"copy-{len(copies)}")
            shutil.copytree(tmp_path / "state", copies[-1])

        engine._journal._rows.write = write_and_copy  # type: ignore[method-assign]
        engine.apply(engine.state.cancel_tasks(engine.now(), [task.id]))
        await done
        engine._journal._rows.write = write  # type: ignore[method-assign]
    assert len(copies) > 2
    for copy in copies:
        assert check_state(copy).problems == []
        async with Running(copy) as running:
            assert running.take() == []
            state = running.engine.state
            assert not any(one.depth > 1 for one in state.tasks.values())
            assert not any(one.created_by == task.id for one in state.results.values())


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


# --- what clients submit --------------------------------------------------------------------------


def many_tasks(running: Running, count: int = CHILDREN) -> list[NewTask]:
    """Tasks of a client, with one payload; the second half needs what the first half makes."""
    engine, new_id = running.engine, running.engine.new_id
    payload = new_id()
    outputs = [new_id() for _ in range(count)]
    results = [NewResult(payload, "payload", stored=engine.objects.put(b"code"))]
    results += [NewResult(output, "output") for output in outputs]
    engine.apply(engine.state.create_results(engine.now(), running.session, results))
    half = count // 2
    return [
        NewTask(new_id(), payload, outputs[number - half : number - half + 1], (output,))
        if number >= half
        else NewTask(new_id(), payload, (), (output,))
        for number, output in enumerate(outputs)
    ]


@in_loop
async def test_a_clients_tasks_run_as_those_of_a_small_submission(tmp_path: Path) -> None:
    async with Running(tmp_path, delete_payload=True) as running:
        engine = running.engine
        running.open_session()
        before = running.submit()
        tasks = many_tasks(running)
        rows = []
        engine._journal.on_begun = lambda batch: rows.append(len(batch.tasks))
        await engine.submissions.submit(running.session, None, tasks)
        after = running.submit()
        await settled(running)
        await engine.committed()
        assert sum(count > 0 for count in rows) > CHILDREN // 10
        taken = []
        while some := running.take(7):
            taken += some
            owned = [(one, engine.state.tasks[one].outputs[0]) for one in some]
            engine.complete([(one, Effects(data={output: b"done"})) for one, output in owned])
            await engine.committed()
        first = [one.id for one in tasks[: CHILDREN // 2]]
        assert taken[: len(first) + 1] == [before.id, *first]
        assert {*taken} == {before.id, after.id, *(one.id for one in tasks)}
        outputs = await engine.read_results([one.outputs[0] for one in tasks])
        assert {one.status for one in outputs.values()} == {ResultStatus.COMPLETED}
        assert tasks[0].payload_id not in engine.state.results  # deleted with the last of them


@in_loop
async def test_of_a_submission_a_kill_leaves_all_or_nothing(tmp_path: Path) -> None:
    copies: list[Path] = []
    async with Running(tmp_path / "state") as running:
        engine = running.engine
        running.open_session()
        await engine.submissions.submit(running.session, None, many_tasks(running))
        tasks = many_tasks(running)
        await engine.committed()
        write = engine._journal._rows.write

        def write_and_copy(connection: sqlite3.Connection, batch: Any) -> None:
            write(connection, batch)
            copies.append(tmp_path / f"copy-{len(copies)}")
            shutil.copytree(tmp_path / "state", copies[-1])

        engine._journal._rows.write = write_and_copy  # type: ignore[method-assign]
        await engine.submissions.submit(running.session, None, tasks)
        await settled(running)
        engine._journal._rows.write = write  # type: ignore[method-assign]
    seen = set()
    for copy in copies:
        async with Running(copy) as running:
            state = running.engine.state
            there = [one for one in tasks if one.id in state.tasks]
            assert len(there) in (0, CHILDREN)
            owners = [state.results[one.outputs[0]].owner_task_id for one in tasks]
            assert owners == ([one.id for one in tasks] if there else [""] * CHILDREN)
            ready = {task.id for task in state.tasks.values() if task.status in READY}
            assert len(ready) == CHILDREN // 2 * (2 if there else 1)
            assert {*running.take()} == ready
            seen.add(bool(there))
    assert seen == {True, False} and len(copies) > 3


@in_loop
async def test_data_of_very_many_outputs_is_stored_in_parts(tmp_path: Path) -> None:
    """Others have their turn between these; all outputs are there at once, or none after a kill."""
    copies: list[Path] = []
    stored: list[int] = []
    async with Running(tmp_path / "state") as running:
        engine = running.engine
        running.open_session()
        new_id = engine.new_id
        task = NewTask(new_id(), new_id(), (), tuple(new_id() for _ in range(CHILDREN)))
        results = [NewResult(key, "output") for key in task.outputs]
        results.append(NewResult(task.payload_id, "payload", stored=engine.objects.put(b"code")))
        engine.apply(engine.state.create_results(engine.now(), running.session, results))
        engine.apply(engine.state.submit_tasks(engine.now(), running.session, None, [task]))
        assert running.take() == [task.id]
        await engine.committed()
        write = engine._journal._rows.write

        def write_and_copy(connection: sqlite3.Connection, batch: Any) -> None:
            stored.append(len(batch.data))
            write(connection, batch)
            copies.append(tmp_path / f"copy-{len(copies)}")
            shutil.copytree(tmp_path / "state", copies[-1])

        engine._journal._rows.write = write_and_copy  # type: ignore[method-assign]
        await engine.complete([(task.id, Effects(data=dict.fromkeys(task.outputs, b"v")))])
        await engine.committed()
        engine._journal._rows.write = write  # type: ignore[method-assign]
    assert max(stored) <= 10 and sum(stored) == CHILDREN
    seen = set()
    for copy in copies:
        async with Running(copy) as running:
            engine = running.engine
            statuses = {engine.state.results[key].status for key in task.outputs}
            (status,) = statuses
            completed = status is ResultStatus.COMPLETED
            assert bool(running.take()) == (not completed)  # else it is run again
        with contextlib.closing(sqlite3.connect(copy / "journal.db")) as connection:
            (data,) = connection.execute("SELECT count(*) FROM objects").fetchone()
        assert data == (CHILDREN + 1 if completed else 1)
        seen.add(completed)
    assert seen == {True, False}


@in_loop
async def test_few_tasks_that_name_very_many_results_are_taken_in_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "LINKS", 10)
    async with Running(tmp_path) as running:
        engine = running.engine
        running.open_session()
        inputs = [NewResult(engine.new_id(), "input") for _ in range(9)]
        engine.apply(engine.state.create_results(engine.now(), running.session, inputs))
        named = tuple(one.id for one in inputs)
        tasks = [one._replace(dependencies=named) for one in many_tasks(running, 6)]
        assert submissions.is_large(tasks) and not submissions.is_large(tasks[:2])
        announced: list[int] = []
        announce = engine.state.announce_client_part

        def watched(now: float, session: str, options: Any, part: Sequence[NewTask]) -> Any:
            announced.append(len(part))
            return announce(now, session, options, part)

        monkeypatch.setattr(engine.state, "announce_client_part", watched)
        await engine.submissions.submit(running.session, None, tasks)
        await settled(running)
        assert announced == [1] * 6  # ten each
        assert {engine.state.tasks[one.id].remaining for one in tasks} == {9}


@pytest.mark.parametrize("what", ["an input", "an output twice", "a session that ends"])
@in_loop
async def test_a_submission_that_is_refused_leaves_nothing(tmp_path: Path, what: str) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        running.open_session()
        tasks = many_tasks(running)
        outputs = [one.outputs[0] for one in tasks]
        if what == "an input":
            tasks[-1] = tasks[-1]._replace(dependencies=("nothing",))
        elif what == "an output twice":
            tasks[-1] = tasks[-1]._replace(outputs=tasks[0].outputs)
        submitting = asyncio.ensure_future(engine.submissions.submit(running.session, None, tasks))
        if what == "a session that ends":
            while not any(one.status is TaskStatus.CREATING for one in engine.state.tasks.values()):
                await asyncio.sleep(0)
            engine.apply(engine.state.stop_submission(engine.now(), running.session, True, False))
        with pytest.raises(StateError) as caught:
            await submitting
        expected = {"an input": "nothing", "an output twice": "named twice"}
        assert expected.get(what, "takes no more tasks") in str(caught.value)
        await engine.committed()
        assert running.take() == []
        assert {engine.state.results[output].owner_task_id for output in outputs} == {""}
        if what != "a session that ends":
            # Corrected, it is taken.
            again = many_tasks(running)
            await engine.submissions.submit(running.session, None, again)
            await settled(running)
            assert len(running.take()) == CHILDREN // 2


@in_loop
async def test_a_submission_that_fails_in_the_middle_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        running.open_session()
        tasks = many_tasks(running)
        announce, calls = engine.state.announce_client_part, list[object]()

        def fail_at_the_third(*arguments: Any) -> Any:
            calls.append(arguments)
            if len(calls) == 3:
                raise RuntimeError("a mistake")
            return announce(*arguments)

        monkeypatch.setattr(engine.state, "announce_client_part", fail_at_the_third)
        with pytest.raises(RuntimeError, match="a mistake"):
            await engine.submissions.submit(running.session, None, tasks)
        await engine.committed()
        assert running.take() == []
        left = [engine.state.tasks[one.id] for one in tasks if one.id in engine.state.tasks]
        assert TaskStatus.CREATING not in {task.status for task in left}
        assert {engine.state.results[one.outputs[0]].owner_task_id for one in tasks} == {""}
        await engine.submissions.submit(running.session, None, tasks)
        await settled(running)
        assert len(running.take()) == CHILDREN // 2


def test_a_call_submits_any_number_of_tasks(tmp_path: Path) -> None:
    """Through the services: all are shown, and run."""
    count = 60
    with serve(tmp_path / "state", workers=0) as serving:
        session = ArmoniKSessions(serving.channel).create_session(task_options())
        results = ArmoniKResults(serving.channel)
        names = [f"output {number}" for number in range(count)]
        outputs = results.create_results_metadata(names, session)
        payload = results.create_results({"payload": b"code"}, session)["payload"]
        request = tasks_common_pb2.SubmitTasksRequest(session_id=session)
        for name in names:
            request.task_creations.add(
                payload_id=payload.result_id, expected_output_keys=[outputs[name].result_id]
            )
        stub = TasksStub(serving.channel)
        infos = stub.SubmitTasks(request).task_infos
        assert [one.expected_output_ids[0] for one in infos] == [
            outputs[name].result_id for name in names
        ]
        with pytest.raises(grpc.RpcError, match="to be produced by"):
            stub.SubmitTasks(request)
        listed = stub.ListTasks(tasks_common_pb2.ListTasksRequest(page_size=100))
        assert {one.id for one in listed.tasks} == {one.task_id for one in infos}
