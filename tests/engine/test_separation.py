"""What separates sessions and tasks: each changes its own."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from armonik.client import ArmoniKResults, ArmoniKSessions
from armonik.protogen.client.results_service_pb2_grpc import ResultsStub
from armonik.protogen.common import results_common_pb2
from engine_support import Running, in_loop
from serving import Serving, serve, task_options

from armoflow.agent.effects import ChildTask, CreatedResult, Effects
from armoflow.engine.records import NewResult, NewTask, ResultStatus, StateError, TaskStatus

# --- tasks ----------------------------------------------------------------------------------------


def create(running: Running, name: str = "result") -> str:
    engine = running.engine
    result_id = engine.new_id()
    new = [NewResult(result_id, name)]
    engine.apply(engine.state.create_results(engine.now(), running.session, new))
    return result_id


@in_loop
async def test_a_task_completes_its_own_results_only(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        running.open_session()
        other_session = running.submit()
        elsewhere = create(running)
        running.open_session()
        free, neighbour = create(running), running.submit()
        tasks = [running.submit() for _ in range(4)]
        running.take()
        targets = (neighbour.outputs[0], other_session.outputs[0], elsewhere, free)
        engine.complete(
            [
                (task.id, Effects(data={task.outputs[0]: b"own", target: b"foreign"}))
                for task, target in zip(tasks, targets, strict=True)
            ]
        )
        for task, target in zip(tasks, targets, strict=True):
            record = await engine.read_task(task.id)
            assert record is not None and record.status is TaskStatus.ERROR
            assert f"may not complete result {target}" in record.error
            assert engine.state.results[target].status is ResultStatus.CREATED


@in_loop
async def test_a_task_completes_what_it_created(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        running.open_session()
        task = running.submit()
        running.take()
        own, output = engine.new_id(), engine.new_id()
        child = ChildTask("~1", [own], [task.outputs[0], output])
        effects = Effects(
            created=[CreatedResult(own, "own"), CreatedResult(output, "a child's")],
            data={own: b"1", "~1": b"payload"},
            children=[child],
        )
        engine.complete([(task.id, effects)])
        assert engine.state.results[own].status is ResultStatus.COMPLETED
        (ready,) = running.take()
        engine.complete([(ready, Effects(data={task.outputs[0]: b"2", output: b"3"}))])
        assert engine.state.results[task.outputs[0]].status is ResultStatus.COMPLETED
        assert engine.state.results[output].status is ResultStatus.COMPLETED


@in_loop
async def test_strict_engines_compare_nothing(tmp_path: Path) -> None:
    async with Running(tmp_path, strict=True) as running:
        engine = running.engine
        running.open_session()
        elsewhere = create(running)
        running.open_session()
        task = running.submit()
        running.take()
        engine.complete([(task.id, Effects(data={task.outputs[0]: b"1", elsewhere: b"2"}))])
        assert engine.state.results[elsewhere].status is ResultStatus.COMPLETED


@pytest.mark.parametrize("strict", [False, True])
@in_loop
async def test_a_tasks_outputs_are_of_its_session(tmp_path: Path, strict: bool) -> None:
    async with Running(tmp_path, strict=strict) as running:
        engine, state = running.engine, running.engine.state
        running.open_session()
        elsewhere = create(running)
        running.open_session()
        payload = create(running)
        task = NewTask(engine.new_id(), payload, (), (elsewhere,))
        if strict:
            engine.apply(state.submit_tasks(engine.now(), running.session, None, [task]))
            return
        with pytest.raises(StateError, match="does not exist in session") as caught:
            state.submit_tasks(engine.now(), running.session, None, [task])
        assert caught.value.code == "NOT_FOUND"
        # A child cannot be given it either.
        parent = running.submit()
        running.take()
        child = ChildTask(payload, [], [parent.outputs[0], elsewhere])
        engine.complete([(parent.id, Effects(children=[child]))])
        assert state.results[elsewhere].owner_task_id == ""


# --- commands of clients --------------------------------------------------------------------------


@in_loop
async def test_what_is_submitted_is_of_the_session(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine, state = running.engine, running.engine.state
        running.open_session()
        elsewhere, other = create(running), running.submit()
        await engine.committed()
        session = running.open_session()
        stored = engine.objects.put(b"data")
        for refused in (
            lambda: state.complete_results(engine.now(), session, [(elsewhere, stored)]),
            lambda: state.import_results(engine.now(), session, [(elsewhere, stored)]),
            lambda: state.submit_with_data(engine.now(), session, [], [], [(elsewhere, stored)]),
        ):
            with pytest.raises(StateError, match="does not exist in session") as caught:
                refused()
            assert caught.value.code == "NOT_FOUND"
        # An id that is another session's is not one's own of an earlier try.
        with pytest.raises(StateError, match="exists already"):
            state.submit_with_data(
                engine.now(), session, [NewResult(elsewhere, "mine")], [], [(elsewhere, stored)]
            )
        assert state.results[elsewhere].status is ResultStatus.CREATED
        changes = state.delete_results(engine.now(), [other.payload_id], session)
        assert not changes.results
        assert state.results[other.payload_id].status is ResultStatus.COMPLETED


@pytest.mark.parametrize("strict", [False, True])
def test_calls_check_the_session_that_they_name(tmp_path: Path, strict: bool) -> None:
    with serve(tmp_path / "state", strict=strict) as serving:
        sessions, results = ArmoniKSessions(serving.channel), ArmoniKResults(serving.channel)
        one, two = [sessions.create_session(task_options(), ["default"]) for _ in range(2)]
        made = results.create_results({"full": b"data"}, one)
        full = made["full"].result_id
        empty = results.create_results_metadata(["empty"], one)["empty"].result_id
        code = None if strict else grpc.StatusCode.NOT_FOUND
        assert code_of(lambda: results.download_result_data(full, two)) == code
        assert results.download_result_data(full, one) == b"data"
        assert download(serving, full, "") == b"data"  # names none
        assert code_of(lambda: results.upload_result_data(empty, two, b"other")) == code
        results.delete_result_data([full], two)
        status = serving.server.engine.state.results.get(full)
        assert (status is None or status.status is ResultStatus.DELETED) == strict
        if not strict:
            results.upload_result_data(empty, one, b"mine")
            assert results.download_result_data(empty, one) == b"mine"
            results.delete_result_data([full], one)
            assert code_of(lambda: results.download_result_data(full, one)) == code


def code_of(call: object) -> grpc.StatusCode | None:
    try:
        call()  # type: ignore[operator]
    except grpc.RpcError as error:
        return error.code()
    return None


def download(serving: Serving, result_id: str, session_id: str) -> bytes:
    request = results_common_pb2.DownloadResultDataRequest(
        session_id=session_id, result_id=result_id
    )
    replies = ResultsStub(serving.channel).DownloadResultData(request)
    return b"".join(reply.data_chunk for reply in replies)
