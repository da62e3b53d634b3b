"""The standard services, called with ArmoniK's own client and its raw stubs."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from armonik.client import (
    ArmoniKEvents,
    ArmoniKHealthChecks,
    ArmoniKPartitions,
    ArmoniKResults,
    ArmoniKSessions,
    ArmoniKTasks,
    ArmoniKVersions,
)
from armonik.common import (
    Partition,
    Result,
    ResultStatus,
    Session,
    SessionStatus,
    Task,
    TaskDefinition,
    TaskStatus,
)
from armonik.protogen.client.applications_service_pb2_grpc import ApplicationsStub
from armonik.protogen.client.auth_service_pb2_grpc import AuthenticationStub
from armonik.protogen.client.events_service_pb2_grpc import EventsStub
from armonik.protogen.client.results_service_pb2_grpc import ResultsStub
from armonik.protogen.client.sessions_service_pb2_grpc import SessionsStub
from armonik.protogen.client.tasks_service_pb2_grpc import TasksStub
from armonik.protogen.common import (
    applications_common_pb2,
    auth_common_pb2,
    events_common_pb2,
    objects_pb2,
    results_common_pb2,
    results_fields_pb2,
    results_filters_pb2,
    sessions_common_pb2,
    tasks_common_pb2,
)
from serving import PATIENCE, Serving, serve, task_options

from armoflow.engine.services import common

Code = grpc.StatusCode


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serve(tmp_path_factory.mktemp("state")) as running:
        yield running


@pytest.fixture
def session(serving: Serving) -> str:
    return ArmoniKSessions(serving.channel).create_session(task_options(), ["default", "other"])


def refused(call: Callable[[], Any]) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code()


def submit(
    serving: Serving, session: str, *, payload: bytes | None = b"payload"
) -> tuple[Any, Any]:
    """Submit a task with one output; returns the task and its output."""
    results = ArmoniKResults(serving.channel)
    created = results.create_results_metadata(["payload", "output"], session)
    if payload is not None:
        results.upload_result_data(created["payload"].result_id, session, payload)
    (task,) = ArmoniKTasks(serving.channel).submit_tasks(
        session,
        [TaskDefinition(created["payload"].result_id, [created["output"].result_id])],
    )
    return task, created["output"]


# --- sessions -----------------------------------------------------------------------------------


def test_a_new_session_is_running_and_shows_its_options(serving: Serving) -> None:
    sessions = ArmoniKSessions(serving.channel)
    options = task_options(priority=3, options={"key": "value"})
    shown = sessions.get_session(sessions.create_session(options))
    assert shown.status == SessionStatus.RUNNING
    assert shown.client_submission and shown.worker_submission
    assert shown.partition_ids == ["default"]
    assert shown.options.priority == 3
    assert shown.options.options == {"key": "value"}
    assert shown.options.partition_id == "default"
    assert shown.created_at is not None and shown.closed_at is None


@pytest.mark.parametrize(
    "options",
    [
        None,
        objects_pb2.TaskOptions(max_retries=1, priority=1),
        objects_pb2.TaskOptions(max_duration={"seconds": 1}, max_retries=0, priority=1),
        objects_pb2.TaskOptions(max_duration={"seconds": 1}, max_retries=1, priority=0),
        objects_pb2.TaskOptions(max_duration={"seconds": 1}, max_retries=1, priority=100),
    ],
)
def test_a_session_needs_sound_default_options(serving: Serving, options: Any) -> None:
    request = sessions_common_pb2.CreateSessionRequest(default_task_option=options)
    stub = SessionsStub(serving.channel)
    assert refused(lambda: stub.CreateSession(request)) is Code.INVALID_ARGUMENT


def test_a_session_with_an_unknown_partition_is_not_found(serving: Serving) -> None:
    sessions = ArmoniKSessions(serving.channel)
    assert refused(lambda: sessions.create_session(task_options(), ["none"])) is Code.NOT_FOUND


@pytest.mark.parametrize("call", ["get", "cancel", "pause", "resume", "close", "purge"])
def test_calls_on_an_unknown_session_are_not_found(serving: Serving, call: str) -> None:
    method = getattr(ArmoniKSessions(serving.channel), f"{call}_session")
    assert refused(lambda: method("none")) is Code.NOT_FOUND


def test_deleting_an_unknown_session_is_fine(serving: Serving) -> None:
    shown = ArmoniKSessions(serving.channel).delete_session("none")
    assert shown.session_id == "none"
    assert shown.status == SessionStatus.DELETED


def test_the_life_of_a_session(serving: Serving, session: str) -> None:
    sessions = ArmoniKSessions(serving.channel)
    assert sessions.pause_session(session).status == SessionStatus.PAUSED
    assert refused(lambda: sessions.pause_session(session)) is Code.FAILED_PRECONDITION
    assert sessions.resume_session(session).status == SessionStatus.RUNNING
    assert refused(lambda: sessions.purge_session(session)) is Code.FAILED_PRECONDITION
    stopped = sessions.stop_submission_session(session, client=True, worker=False)
    assert not stopped.client_submission and stopped.worker_submission
    closed = sessions.close_session(session)
    assert closed.status == SessionStatus.CLOSED
    assert closed.closed_at is not None and closed.duration is not None
    assert sessions.purge_session(session).status == SessionStatus.PURGED
    assert sessions.delete_session(session).status == SessionStatus.DELETED
    assert refused(lambda: sessions.get_session(session)) is Code.NOT_FOUND


def test_sessions_are_listed_by_status_and_partition(serving: Serving, session: str) -> None:
    sessions = ArmoniKSessions(serving.channel)
    sessions.pause_session(session)
    paused = (Session.status == SessionStatus.PAUSED) & Session.partition_ids.contains("other")
    total, found = sessions.list_sessions(paused)
    assert total == len(found)
    assert session in {one.session_id for one in found}
    assert sessions.list_sessions(Session.session_id == "none")[0] == 0


# --- results ------------------------------------------------------------------------------------


def test_results_are_created_in_order_without_data(serving: Serving, session: str) -> None:
    stub = ResultsStub(serving.channel)
    request = results_common_pb2.CreateResultsMetaDataRequest(
        session_id=session, results=[{"name": "b"}, {"name": "a"}, {"name": "b"}]
    )
    shown = stub.CreateResultsMetaData(request).results
    assert [result.name for result in shown] == ["b", "a", "b"]
    assert {result.status for result in shown} == {ResultStatus.CREATED}
    assert {result.owner_task_id for result in shown} == {""}


@pytest.mark.parametrize("size", [0, 1, 5_000_000])
def test_data_comes_back_as_it_was_uploaded(serving: Serving, session: str, size: int) -> None:
    results = ArmoniKResults(serving.channel)
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    result_id = results.create_results_metadata(["data"], session)["data"].result_id
    results.upload_result_data(result_id, session, data)
    shown = results.get_result(result_id)
    assert shown.status == ResultStatus.COMPLETED
    assert shown.size == len(data)
    assert results.download_result_data(result_id, session) == data


def test_results_are_created_with_their_data(serving: Serving, session: str) -> None:
    results = ArmoniKResults(serving.channel)
    shown = results.create_results({"small": b"1", "large": bytes(2_000_000)}, session)
    assert shown["small"].owner_task_id == session
    assert shown["large"].size == 2_000_000
    assert shown["small"].completed_at == shown["small"].created_at
    assert results.download_result_data(shown["large"].result_id, session) == bytes(2_000_000)


def test_an_upload_is_repeatable_but_not_changeable(serving: Serving, session: str) -> None:
    results = ArmoniKResults(serving.channel)
    for size in (10, 200_000):
        result_id = results.create_results_metadata(["data"], session)["data"].result_id
        results.upload_result_data(result_id, session, bytes(size))
        results.upload_result_data(result_id, session, bytes(size))
        other = bytes(size - 1) + b"x"
        code = refused(lambda i=result_id, o=other: results.upload_result_data(i, session, o))
        assert code is Code.FAILED_PRECONDITION
        assert results.download_result_data(result_id, session) == bytes(size)


def test_bad_uploads_are_refused(serving: Serving, session: str) -> None:
    stub = ResultsStub(serving.channel)
    message = results_common_pb2.UploadResultDataRequest
    assert refused(lambda: stub.UploadResultData(iter([]))) is Code.FAILED_PRECONDITION
    chunk = message(data_chunk=b"1")
    assert refused(lambda: stub.UploadResultData(iter([chunk]))) is Code.INVALID_ARGUMENT
    for session_id in (session, "none"):
        first = message(id={"session_id": session_id, "result_id": "none"})
        assert refused(lambda f=first: stub.UploadResultData(iter([f, chunk]))) is Code.NOT_FOUND


def test_an_upload_that_is_broken_off_completes_nothing(serving: Serving, session: str) -> None:
    stub = ResultsStub(serving.channel)
    results = ArmoniKResults(serving.channel)
    message = results_common_pb2.UploadResultDataRequest
    for _ in range(20):
        result_id = results.create_results_metadata(["data"], session)["data"].result_id
        sent, stop = threading.Event(), threading.Event()

        def chunks(
            key: str = result_id, sent: threading.Event = sent, stop: threading.Event = stop
        ) -> Iterator[Any]:
            yield message(id={"session_id": session, "result_id": key})
            yield message(data_chunk=b"only half of it")
            sent.set()
            stop.wait(PATIENCE)

        call = stub.UploadResultData.future(chunks())
        assert sent.wait(PATIENCE)
        call.cancel()
        stop.set()
        assert results.get_result(result_id).status == ResultStatus.CREATED


def test_there_is_nothing_to_download_without_data(serving: Serving, session: str) -> None:
    results = ArmoniKResults(serving.channel)
    created = results.create_results_metadata(["data"], session)["data"].result_id
    for result_id in (created, "none"):
        code = refused(lambda i=result_id: results.download_result_data(i, session))
        assert code is Code.NOT_FOUND


def test_deleted_data_is_gone_unless_it_is_manual(serving: Serving, session: str) -> None:
    results = ArmoniKResults(serving.channel)
    stub = ResultsStub(serving.channel)
    request = results_common_pb2.CreateResultsRequest(
        session_id=session,
        results=[
            {"name": "plain", "data": b"1"},
            {"name": "manual", "data": b"2", "manual_deletion": True},
        ],
    )
    plain, manual = (result.result_id for result in stub.CreateResults(request).results)
    results.delete_result_data([plain, manual, "none"], session)
    shown = results.get_result(plain)
    assert shown.status == ResultStatus.DELETED
    assert shown.opaque_id == b"" and shown.size == 1
    assert refused(lambda: results.download_result_data(plain, session)) is Code.NOT_FOUND
    assert results.download_result_data(manual, session) == b"2"


def test_data_is_imported_by_its_opaque_id(serving: Serving, session: str) -> None:
    results = ArmoniKResults(serving.channel)
    source = results.create_results({"source": bytes(100_000)}, session)["source"]
    target = results.create_results_metadata(["target"], session)["target"].result_id
    shown = results.import_data(session, [(target, source.opaque_id)])[target]
    assert shown.status == ResultStatus.COMPLETED and shown.size == 100_000
    assert results.download_result_data(target, session) == bytes(100_000)


def test_bad_imports_are_refused_and_change_nothing(serving: Serving, session: str) -> None:
    results = ArmoniKResults(serving.channel)
    source = results.create_results({"source": b"1"}, session)["source"]
    target = results.create_results_metadata(["target"], session)["target"].result_id

    def refusal(session_id: str, *pairs: tuple[str, bytes]) -> grpc.StatusCode:
        return refused(lambda: results.import_data(session_id, pairs))

    assert results.import_data("none", []) == {}
    assert refusal("none", (target, source.opaque_id)) is Code.NOT_FOUND
    assert refusal(session, ("none", source.opaque_id)) is Code.NOT_FOUND
    assert refusal(session, (target, b"none")) is Code.NOT_FOUND
    completed = (source.result_id, source.opaque_id)
    assert refusal(session, completed) is Code.FAILED_PRECONDITION
    twice = (target, source.opaque_id)
    assert refusal(session, twice, twice) is Code.INVALID_ARGUMENT
    assert results.get_result(target).status == ResultStatus.CREATED


def test_owners_are_told_by_result_id(serving: Serving, session: str) -> None:
    task, output = submit(serving, session)
    owners = ArmoniKResults(serving.channel).get_owner_task_id([output.result_id, "none"], session)
    assert owners == {output.result_id: task.id}


def test_watch_results_is_not_served(serving: Serving) -> None:
    stub = ResultsStub(serving.channel)
    assert refused(lambda: next(stub.WatchResults(iter([])))) is Code.UNIMPLEMENTED


def test_the_chunk_size_is_two_mebibytes(serving: Serving) -> None:
    assert ArmoniKResults(serving.channel).get_service_config() == 2 * 1024 * 1024


# --- tasks --------------------------------------------------------------------------------------


def test_a_task_is_pending_until_its_payload_is_uploaded(serving: Serving, session: str) -> None:
    tasks, results = ArmoniKTasks(serving.channel), ArmoniKResults(serving.channel)
    task, _ = submit(serving, session, payload=None)
    assert tasks.get_task(task.id).status == TaskStatus.PENDING
    results.upload_result_data(task.payload_id, session, b"payload")
    shown = tasks.get_task(task.id)
    assert shown.status == TaskStatus.SUBMITTED
    assert shown.submitted_at is not None


def test_a_submitted_task_shows_what_it_was_submitted_with(serving: Serving, session: str) -> None:
    task, output = submit(serving, session)
    shown = ArmoniKTasks(serving.channel).get_task(task.id)
    assert shown.payload_id == task.payload_id
    assert shown.expected_output_ids == [output.result_id]
    assert shown.parent_task_ids == [session]
    assert shown.initial_task_id == task.id
    assert shown.options.max_duration == timedelta(seconds=60)
    owner = ArmoniKResults(serving.channel).get_result(output.result_id).owner_task_id
    assert owner == task.id


def test_bad_submissions_are_refused(serving: Serving, session: str) -> None:
    tasks, results = ArmoniKTasks(serving.channel), ArmoniKResults(serving.channel)
    stub = TasksStub(serving.channel)
    payload = results.create_results({"payload": b""}, session)["payload"].result_id
    output = results.create_results_metadata(["output"], session)["output"].result_id

    def refusal(session_id: str = session, **task: Any) -> grpc.StatusCode:
        definition = TaskDefinition(
            **({"payload_id": payload, "expected_output_ids": [output]} | task)
        )
        return refused(lambda: tasks.submit_tasks(session_id, [definition]))

    empty = tasks_common_pb2.SubmitTasksRequest(session_id=session)
    assert refused(lambda: stub.SubmitTasks(empty)) is Code.INVALID_ARGUMENT
    assert refusal("none") is Code.NOT_FOUND
    assert refusal(payload_id="none") is Code.NOT_FOUND
    assert refusal(data_dependencies=["none"]) is Code.NOT_FOUND
    assert refusal(options=task_options(priority=50)) is Code.INVALID_ARGUMENT
    assert refusal(options=task_options(partition_id="none")) is Code.INVALID_ARGUMENT
    results.delete_result_data([payload], session)
    assert refusal() is Code.FAILED_PRECONDITION
    ArmoniKSessions(serving.channel).stop_submission_session(session, client=True, worker=False)
    assert refusal() is Code.FAILED_PRECONDITION
    assert tasks.list_tasks(Task.session_id == session)[0] == 0


def test_tasks_are_listed_filtered_and_counted(serving: Serving, session: str) -> None:
    tasks = ArmoniKTasks(serving.channel)
    ids = [submit(serving, session)[0].id for _ in range(3)]
    waiting, _ = submit(serving, session, payload=None)
    mine = Task.session_id == session
    total, page = tasks.list_tasks(mine, page=1, page_size=2, sort_field=Task.created_at)
    assert (total, [task.id for task in page]) == (4, [ids[2], waiting.id])
    total, found = tasks.list_tasks(mine & (Task.status == TaskStatus.PENDING), detailed=False)
    assert (total, [task.id for task in found]) == (1, [waiting.id])
    assert tasks.count_tasks_by_status(mine) == {TaskStatus.SUBMITTED: 3, TaskStatus.PENDING: 1}
    assert tasks.list_tasks(mine, page_size=0) == (4, [])


def test_tasks_are_filtered_by_an_option_of_the_user(serving: Serving) -> None:
    session = ArmoniKSessions(serving.channel).create_session(task_options(options={"colour": "x"}))
    task, _ = submit(serving, session)
    total, found = ArmoniKTasks(serving.channel).list_tasks(Task.options["colour"] == "x")
    assert (total, [one.id for one in found]) == (1, [task.id])


def test_cancelled_tasks_abort_their_outputs(serving: Serving, session: str) -> None:
    tasks = ArmoniKTasks(serving.channel)
    task, output = submit(serving, session)
    request = tasks_common_pb2.CancelTasksRequest(task_ids=[task.id, "none"])
    shown = TasksStub(serving.channel).CancelTasks(request).tasks
    assert [one.id for one in shown] == [task.id]
    assert tasks.get_task(task.id).status == TaskStatus.CANCELLED
    assert (
        ArmoniKResults(serving.channel).get_result(output.result_id).status == ResultStatus.ABORTED
    )
    assert tasks.get_result_ids([task.id, "none"]) == {task.id: [output.result_id]}


# --- lists --------------------------------------------------------------------------------------


def _list_results(serving: Serving, **fields: Any) -> Any:
    request = results_common_pb2.ListResultsRequest(page_size=10, **fields)
    return ResultsStub(serving.channel).ListResults(request)


def test_a_list_without_filters_and_sort_is_sorted_by_id(serving: Serving, session: str) -> None:
    ArmoniKResults(serving.channel).create_results_metadata(["a", "b"], session)
    ids = [result.result_id for result in _list_results(serving).results]
    assert ids == sorted(ids) and len(ids) >= 2


@pytest.mark.parametrize("page", [{"page": -1}, {"page": 0, "page_size": -1}])
def test_impossible_pages_are_refused(serving: Serving, page: dict[str, int]) -> None:
    request = results_common_pb2.ListResultsRequest(**page)
    stub = ResultsStub(serving.channel)
    assert refused(lambda: stub.ListResults(request)) is Code.INVALID_ARGUMENT


def test_a_filter_must_fit_its_field(serving: Serving) -> None:
    field = {"result_raw_field": {"field": results_fields_pb2.RESULT_RAW_ENUM_FIELD_NAME}}
    for condition in (
        {"field": field},
        {"field": field, "filter_number": {"value": 1}},
        {"filter_string": {"value": "x"}},
    ):
        filters = results_filters_pb2.Filters(**{"or": [{"and": [condition]}]})
        code = refused(lambda f=filters: _list_results(serving, filters=f))
        assert code is Code.INVALID_ARGUMENT


def test_strings_are_compared_literally(serving: Serving, session: str) -> None:
    results = ArmoniKResults(serving.channel)
    results.create_results_metadata(["50% done", "50 done", "Done", "done*"], session)

    def names(condition: Any) -> set[str]:
        _, found = results.list_results((Result.session_id == session) & condition)
        return {result.name for result in found}

    assert names(Result.name.contains("%")) == {"50% done"}
    assert names(Result.name.contains("one*")) == {"done*"}
    assert names(Result.name.startswith("D")) == {"Done"}
    assert names(Result.name.endswith("done")) == {"50% done", "50 done"}
    assert names(Result.name != "Done") == {"50% done", "50 done", "done*"}


def test_applications_are_those_of_the_tasks(serving: Serving) -> None:
    session = ArmoniKSessions(serving.channel).create_session(
        task_options(application_name="application-of-this-test", application_version="2")
    )
    submit(serving, session)
    submit(serving, session)
    request = applications_common_pb2.ListApplicationsRequest(page_size=100)
    reply = ApplicationsStub(serving.channel).ListApplications(request)
    versions = {one.name: one.version for one in reply.applications}
    assert versions["application-of-this-test"] == "2"
    assert reply.total == len(reply.applications)


# --- what the engine is -------------------------------------------------------------------------


def test_partitions_are_listed(serving: Serving) -> None:
    partitions = ArmoniKPartitions(serving.channel)
    total, found = partitions.list_partitions(Partition.id == "other")
    assert (total, [one.id for one in found]) == (1, ["other"])
    assert partitions.get_partition("default").id == "default"
    assert refused(lambda: partitions.get_partition("none")) is Code.NOT_FOUND


def test_versions_say_which_generation_the_engine_is_of(serving: Serving) -> None:
    versions = ArmoniKVersions(serving.channel).list_versions()
    assert versions["core"].endswith("-armoflow.batch")
    assert versions["api"]


def test_the_engine_is_healthy(serving: Serving) -> None:
    health = ArmoniKHealthChecks(serving.channel).check_health()
    assert set(health) == {"database", "object", "queue"}


def test_everybody_is_anonymous_and_may_do_everything(serving: Serving) -> None:
    stub = AuthenticationStub(serving.channel)
    user = stub.GetCurrentUser(auth_common_pb2.GetCurrentUserRequest()).user
    assert user.username == "Anonymous"
    assert "Tasks:SubmitTasks" in user.permissions


# --- events -------------------------------------------------------------------------------------


class Stream:
    """A GetEvents call that is read step by step."""

    def __init__(self, serving: Serving, session: str, *kinds: int, **filters: Any) -> None:
        request = events_common_pb2.EventSubscriptionRequest(
            session_id=session, returned_events=kinds, **filters
        )
        self.call = EventsStub(serving.channel).GetEvents(request, timeout=PATIENCE)
        self.call.initial_metadata()

    def read(self, count: int) -> list[Any]:
        return [next(self.call) for _ in range(count)]


def test_a_stream_begins_with_what_exists(serving: Serving, session: str) -> None:
    task, output = submit(serving, session)
    stream = Stream(serving, session)
    seen = stream.read(3)
    assert seen[0].new_task.task_id == task.id
    assert seen[0].new_task.status == TaskStatus.SUBMITTED
    assert seen[0].new_task.expected_output_keys == [output.result_id]
    results = {one.new_result.result_id: one.new_result for one in seen[1:]}
    assert results[task.payload_id].status == ResultStatus.COMPLETED
    assert results[output.result_id].owner_id == task.id


def test_a_stream_goes_on_with_what_happens(serving: Serving, session: str) -> None:
    kinds = events_common_pb2
    stream = Stream(
        serving,
        session,
        kinds.EVENTS_ENUM_RESULT_STATUS_UPDATE,
        kinds.EVENTS_ENUM_RESULT_OWNER_UPDATE,
    )
    task, output = submit(serving, session)
    completed, owned = stream.read(2)
    assert completed.result_status_update.result_id == task.payload_id
    assert completed.result_status_update.status == ResultStatus.COMPLETED
    assert owned.result_owner_update.result_id == output.result_id
    assert owned.result_owner_update.current_owner_id == task.id


def test_a_stream_of_many_ids_tells_of_these_only(serving: Serving, session: str) -> None:
    results = ArmoniKResults(serving.channel)
    names = [f"result {number}" for number in range(2000)]
    created = results.create_results_metadata(names, session, batch_size=2000)
    chosen = [created[name].result_id for name in names[::2]]
    field = {"result_raw_field": {"field": results_fields_pb2.RESULT_RAW_ENUM_FIELD_RESULT_ID}}
    conditions = [
        {"and": [{"field": field, "filter_string": {"value": result_id}}]} for result_id in chosen
    ]
    kinds = events_common_pb2
    stream = Stream(
        serving,
        session,
        kinds.EVENTS_ENUM_NEW_RESULT,
        kinds.EVENTS_ENUM_RESULT_STATUS_UPDATE,
        results_filters=results_filters_pb2.Filters(**{"or": conditions}),
    )
    assert {one.new_result.result_id for one in stream.read(1000)} == set(chosen)
    for name in names[:4]:
        results.upload_result_data(created[name].result_id, session, b"")
    assert [one.result_status_update.result_id for one in stream.read(2)] == chosen[:2]


def test_nothing_is_missed_between_snapshot_and_stream(serving: Serving, session: str) -> None:
    results, events = ArmoniKResults(serving.channel), ArmoniKEvents(serving.channel)
    ids = [
        result.result_id
        for result in results.create_results_metadata(
            [f"result {number}" for number in range(50)], session
        ).values()
    ]

    def upload() -> None:
        for result_id in ids:
            results.upload_result_data(result_id, session, b"data")

    uploading = threading.Thread(target=upload)
    uploading.start()
    events.wait_for_result_availability(ids, session, bucket_size=7, parallelism=4)
    uploading.join()


def test_a_stream_of_an_unknown_session_stays_open_and_silent(serving: Serving) -> None:
    stream = Stream(serving, "none")
    assert stream.call.is_active()
    stream.call.cancel()


def test_streams_end_with_unavailable_when_the_server_stops(tmp_path: Path) -> None:
    with serve(tmp_path / "state") as serving:
        session = ArmoniKSessions(serving.channel).create_session(task_options())
        stream = Stream(serving, session)
        serving.run(serving.server.stop())
        with pytest.raises(grpc.RpcError) as caught:
            stream.read(1)
        assert caught.value.code() is Code.UNAVAILABLE


# --- the server ---------------------------------------------------------------------------------


def test_calls_are_counted_and_logged_in_order(tmp_path: Path) -> None:
    log = tmp_path / "calls.jsonl"
    with serve(tmp_path / "state", log_calls=log) as serving:
        session = ArmoniKSessions(serving.channel).create_session(task_options())
        submit(serving, session)
        assert serving.server.calls.counts["Tasks/SubmitTasks"] == 1
        assert serving.server.calls.counts["Sessions/CreateSession"] == 1
    import json

    methods = [json.loads(line)["method"] for line in log.read_text().splitlines()]
    assert methods == [
        "Sessions/CreateSession",
        "Results/CreateResultsMetaData",
        "Results/GetServiceConfiguration",
        "Results/UploadResultData",
        "Tasks/SubmitTasks",
    ]


def test_what_was_acknowledged_is_there_after_a_restart(tmp_path: Path) -> None:
    with serve(tmp_path / "state") as serving:
        session = ArmoniKSessions(serving.channel).create_session(task_options())
        task, output = submit(serving, session)
    with serve(tmp_path / "state") as serving:
        assert ArmoniKTasks(serving.channel).get_task(task.id).status == TaskStatus.SUBMITTED
        results = ArmoniKResults(serving.channel)
        assert results.get_result(output.result_id).owner_task_id == task.id
        assert results.download_result_data(task.payload_id, session) == b"payload"


def test_other_data_for_a_result_is_refused_and_no_file_stays_open(
    serving: Serving, session: str
) -> None:
    results = ArmoniKResults(serving.channel)
    (result_id,) = (
        made.result_id for made in results.create_results_metadata(["x"], session).values()
    )
    data = bytes(3_000_000)
    results.upload_result_data(result_id, session, data)
    with pytest.raises(grpc.RpcError, match="completed with other data"):
        results.upload_result_data(result_id, session, b"1" + data[1:])
    folder = str(serving.server.engine.objects.staging.parent)
    held = [os.path.realpath(entry) for entry in Path("/proc/self/fd").iterdir()]
    objects = [path for path in held if path.startswith(folder) and ".db" not in path]
    assert [path for path in objects if not path.endswith("lock")] == []
    assert results.download_result_data(result_id, session) == data


def test_strict_mode_repeats_the_defects_of_the_reference(tmp_path: Path) -> None:
    with serve(tmp_path / "state", strict=True) as serving:
        sessions, results = ArmoniKSessions(serving.channel), ArmoniKResults(serving.channel)
        session = sessions.create_session(task_options())
        task, output = submit(serving, session)
        assert results.get_owner_task_id([output.result_id], session) == {"output": task.id}
        results.upload_result_data(task.payload_id, session, b"other data")
        assert results.download_result_data(task.payload_id, session) == b"other data"
        empty = results_common_pb2.ListResultsRequest()
        stub = ResultsStub(serving.channel)
        assert refused(lambda: stub.ListResults(empty)) is Code.INVALID_ARGUMENT


def test_a_large_request_is_accepted(serving: Serving, session: str) -> None:
    results = ArmoniKResults(serving.channel)
    shown = results.create_results({"large": bytes(20_000_000)}, session)["large"]
    assert shown.size == 20_000_000


def test_dates_come_back_as_they_were(serving: Serving, session: str) -> None:
    before = time.time()
    shown = ArmoniKSessions(serving.channel).get_session(session)
    assert abs(shown.created_at.timestamp() - before) < PATIENCE


def test_long_pages_are_shown_whole_and_in_order(
    serving: Serving, session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "SHOWN_AT_ONCE", 2)
    pairs = [submit(serving, session) for _ in range(5)]
    tasks, results = ArmoniKTasks(serving.channel), ArmoniKResults(serving.channel)
    mine, ids = Task.session_id == session, [task.id for task, _ in pairs]
    for detailed in (False, True):
        total, page = tasks.list_tasks(mine, sort_field=Task.created_at, detailed=detailed)
        assert (total, [task.id for task in page]) == (5, ids)
    total, shown = results.list_results(Result.session_id == session)
    assert total == len(shown) == 10
    assert {output.result_id for _, output in pairs} < {result.result_id for result in shown}
    sessions = ArmoniKSessions(serving.channel)
    total, listed = sessions.list_sessions()
    assert total == len({session.session_id for session in listed})
    request = tasks_common_pb2.CancelTasksRequest(task_ids=ids)
    assert [task.id for task in TasksStub(serving.channel).CancelTasks(request).tasks] == ids


def test_others_have_their_turn_while_a_long_page_is_shown() -> None:
    turns: list[str] = []

    async def take_turns() -> None:
        while True:
            turns.append("|")
            await asyncio.sleep(0)

    async def show() -> None:
        other = asyncio.create_task(take_turns())
        service = common.Service(cast("Any", None))
        shown: list[int] = []
        await service._show(shown, range(250), lambda number: turns.append("x") or number)
        assert shown == list(range(250))
        other.cancel()

    asyncio.run(show())
    assert [len(run) for run in "".join(turns).split("|") if run] == [100, 100, 50]
