"""The standard services, given requests that any program could send."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from armonik.client import ArmoniKResults, ArmoniKSessions, ArmoniKTasks
from armonik.common import TaskDefinition
from armonik.protogen.client import (
    applications_service_pb2_grpc as applications,
)
from armonik.protogen.client import events_service_pb2_grpc as events
from armonik.protogen.client import partitions_service_pb2_grpc as partitions
from armonik.protogen.client import results_service_pb2_grpc as results
from armonik.protogen.client import sessions_service_pb2_grpc as sessions
from armonik.protogen.client import tasks_service_pb2_grpc as tasks
from armonik.protogen.common import (
    applications_common_pb2,
    events_common_pb2,
    partitions_common_pb2,
    results_common_pb2,
    sessions_common_pb2,
    tasks_common_pb2,
)
from fuzzing import NASTY, assert_healthy, assert_listed, fuzzed
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import given
from hypothesis import strategies as st
from serving import Serving, serve, task_options

CALLS = [
    (sessions.SessionsStub, sessions_common_pb2, {"CreateSession": "CreateSessionRequest"}),
    (tasks.TasksStub, tasks_common_pb2, {}),
    (results.ResultsStub, results_common_pb2, {}),
    (applications.ApplicationsStub, applications_common_pb2, {}),
    (partitions.PartitionsStub, partitions_common_pb2, {}),
]
METHODS = [
    (stub, method, getattr(module, f"{method}Request"))
    for stub, module, _ in CALLS
    for method in vars(stub(grpc.insecure_channel("unix:/nowhere")))
    if hasattr(module, f"{method}Request")
    and method not in {"UploadResultData", "DownloadResultData", "WatchResults"}
]
INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: [0, 1, -1, 2, 2**31 - 1, -(2**31)],
    FieldDescriptor.CPPTYPE_INT64: [0, 1, -1, 60, 2**63 - 1, -(2**63), 2**53 + 1],
    FieldDescriptor.CPPTYPE_UINT32: [0, 1, 2**32 - 1],
    FieldDescriptor.CPPTYPE_UINT64: [0, 1, 2**64 - 1],
    FieldDescriptor.CPPTYPE_ENUM: [0, 1, 2, 3, 4, 5, 6, 7, 99, -1],
}
DEPTH = 6


def fill(draw: Any, message: Any, known: list[str], depth: int = 0) -> Any:
    """Set some of a message's fields, to what exists, to extremes, to nonsense."""
    for field in message.DESCRIPTOR.fields:
        if depth > DEPTH or draw(st.integers(0, 9)) < (2 if depth < 2 else 3):
            continue
        if field.message_type and field.message_type.GetOptions().map_entry:
            for _ in range(draw(st.integers(0, 2))):
                getattr(message, field.name)[draw(texts(known))] = draw(texts(known))
        elif field.is_repeated:
            entries = getattr(message, field.name)
            for _ in range(draw(st.integers(0, 3))):
                if field.message_type:
                    fill(draw, entries.add(), known, depth + 1)
                else:
                    entries.append(draw(scalar(field, known)))
        elif field.message_type:
            part = getattr(message, field.name)
            part.SetInParent()
            fill(draw, part, known, depth + 1)
        else:
            setattr(message, field.name, draw(scalar(field, known)))
    return message


def texts(known: list[str]) -> st.SearchStrategy[str]:
    return st.sampled_from(known) | st.sampled_from(NASTY)


def scalar(field: Any, known: list[str]) -> st.SearchStrategy[Any]:
    if field.cpp_type in INTEGERS:
        return st.sampled_from(INTEGERS[field.cpp_type])
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.sampled_from([b"", b"data", b"\0" * 8, b"\x01" * 8, b"\xff" * 9, b"x" * 100_000])
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return texts(known)
    return st.sampled_from([0.0, 1.5, float("nan"), float("inf"), 1e300])


@pytest.mark.parametrize("strict", [False, True], ids=["", "strict"])
def test_fuzz_the_standard_services(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], strict: bool
) -> None:
    counts = {"examples": 0, "accepted": 0}
    codes: dict[str, int] = {}
    allowed = {"INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "ALREADY_EXISTS"}
    if strict:
        allowed.add("UNKNOWN")  # what ArmoniK.Core answers to some of these

    with serve(tmp_path / "state", strict=strict) as serving:
        known = some_ids(serving)

        @fuzzed(150)
        @given(st.data())
        def run(data: st.DataObject) -> None:
            stub, method, request = data.draw(st.sampled_from(METHODS))
            message = fill(data.draw, request(), known)
            counts["examples"] += 1
            try:
                getattr(stub(serving.channel), method)(message, timeout=60)
                counts["accepted"] += 1
            except grpc.RpcError as error:
                code = error.code().name
                assert code in allowed, f"{method}: {error.details()}"
                codes[code] = codes.get(code, 0) + 1
            serving.run(assert_healthy(serving.server.engine))

        run()
    with serve(tmp_path / "state", strict=strict) as serving:
        serving.run(assert_listed(serving.server.engine))
        serving.run(assert_healthy(serving.server.engine))
    with capsys.disabled():
        print(f"\nfuzz, standard services{' (strict)' * strict}: {counts}, {codes}; healthy after")


STREAMED = (
    ("UploadResultData", results_common_pb2.UploadResultDataRequest),
    ("DownloadResultData", results_common_pb2.DownloadResultDataRequest),
    ("WatchResults", results_common_pb2.WatchResultRequest),
    ("GetEvents", events_common_pb2.EventSubscriptionRequest),
)


@st.composite
def uploads(draw: Any, known: list[str]) -> list[Any]:
    """Messages of an upload, in any order."""
    session, target = known[0], draw(st.sampled_from(known))
    message = results_common_pb2.UploadResultDataRequest
    begin = message(id={"session_id": session, "result_id": target})
    chunk = st.sampled_from([b"", b"x", b"aflw", bytes(100_000)])
    return draw(
        st.lists(
            st.just(begin)
            | st.just(message())
            | st.builds(lambda data: message(data_chunk=data), chunk)
            | st.builds(
                lambda text: message(id={"session_id": session, "result_id": text}), texts(known)
            ),
            max_size=5,
        )
    )


@pytest.mark.parametrize("strict", [False, True], ids=["", "strict"])
def test_fuzz_the_streams_of_the_standard_services(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], strict: bool
) -> None:
    """Uploads in any order, downloads, events: what is refused leaves no file behind."""
    counts = {"examples": 0, "accepted": 0}
    codes: dict[str, int] = {}
    allowed = {"INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "UNIMPLEMENTED"}
    if strict:
        allowed |= {"UNKNOWN"}

    with serve(tmp_path / "state", strict=strict) as serving:
        known = some_ids(serving)
        stubs = {"GetEvents": events.EventsStub(serving.channel)}
        other = results.ResultsStub(serving.channel)

        @fuzzed(60)
        @given(st.data())
        def run(data: st.DataObject) -> None:
            name, message = data.draw(st.sampled_from(STREAMED))
            call = getattr(stubs.get(name, other), name)
            counts["examples"] += 1
            try:
                if name == "UploadResultData":
                    call(iter(data.draw(uploads(known))), timeout=60)
                else:
                    request = fill(data.draw, message(), known)
                    replies = call(
                        iter([request]) if name == "WatchResults" else request, timeout=60
                    )
                    if name == "GetEvents":
                        replies.initial_metadata()  # it is served: it does not end by itself
                        replies.cancel()
                    else:
                        list(replies)
                counts["accepted"] += 1
            except grpc.RpcError as error:
                code = error.code().name
                assert code in allowed, f"{name}: {error.details()}"
                codes[code] = codes.get(code, 0) + 1
            engine = serving.server.engine
            serving.run(assert_healthy(engine))
            assert not list(Path(engine.objects.staging).iterdir())

        run()
    with serve(tmp_path / "state", strict=strict) as serving:
        serving.run(assert_listed(serving.server.engine))
    with capsys.disabled():
        print(
            f"\nfuzz, streams of services{' (strict)' * strict}: {counts}, {codes}; healthy after"
        )


def some_ids(serving: Serving) -> list[str]:
    """What exists: a session, a task, its payload and its output; a partition."""
    session = ArmoniKSessions(serving.channel).create_session(task_options())
    created = ArmoniKResults(serving.channel).create_results_metadata(["a", "b", "c"], session)
    ids = [result.result_id for result in created.values()]
    (task,) = ArmoniKTasks(serving.channel).submit_tasks(
        session, [TaskDefinition(ids[0], [ids[1]])]
    )
    return [session, session, session, *ids, task.id, "default", "default", "other"]
