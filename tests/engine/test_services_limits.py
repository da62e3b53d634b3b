"""What the standard services refuse, show again, and survive."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from armonik.client import ArmoniKResults, ArmoniKSessions
from armonik.protogen.client.applications_service_pb2_grpc import ApplicationsStub
from armonik.protogen.client.results_service_pb2_grpc import ResultsStub
from armonik.protogen.client.sessions_service_pb2_grpc import SessionsStub
from armonik.protogen.client.tasks_service_pb2_grpc import TasksStub
from armonik.protogen.common import (
    applications_common_pb2,
    results_common_pb2,
    sessions_common_pb2,
    tasks_common_pb2,
)
from serving import PATIENCE, Serving, serve, task_options

from armoflow.engine.services import results as results_service

Code = grpc.StatusCode
LONGEST = 315_576_000_000


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serve(tmp_path_factory.mktemp("state")) as running:
        yield running


@pytest.fixture
def session(serving: Serving) -> str:
    return ArmoniKSessions(serving.channel).create_session(task_options())


def refused(call: Callable[[], Any]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def creation(seconds: int = 60, **options: Any) -> Any:
    request = sessions_common_pb2.CreateSessionRequest()
    request.default_task_option.max_duration.seconds = seconds
    request.default_task_option.priority = request.default_task_option.max_retries = 1
    for key, value in options.pop("options", {}).items():
        request.default_task_option.options[key] = value
    for name, value in options.items():
        setattr(request.default_task_option, name, value)
    return request


def test_however_many_calls_come_at_once_all_are_answered(serving: Serving, session: str) -> None:
    """GRPC drops some, other clients' too, where a thousand wait to be begun."""
    stub = SessionsStub(serving.channel)
    request = sessions_common_pb2.GetSessionRequest(session_id=session)
    own = (("grpc.use_local_subchannel_pool", 1),)
    busy = threading.Event()
    with grpc.insecure_channel(serving.target, own) as connection:
        other = SessionsStub(connection)
        other.GetSession(request)
        serving._loop.call_soon_threadsafe(busy.wait, PATIENCE)
        calls = [stub.GetSession.future(request) for _ in range(4_000)]
        calls += [other.GetSession.future(request) for _ in range(4_000)]
        busy.set()
        assert {call.result().session.session_id for call in calls} == {session}


@pytest.mark.parametrize(
    "changes",
    [
        {"seconds": 2**63 - 1},
        {"seconds": LONGEST + 1},
        {"application_name": "x" * 20_000},
        {"options": {"key": "x" * 300_000}},
        {"options": {str(number): "" for number in range(1001)}},
    ],
    ids=str,
)
def test_options_that_could_not_be_shown_are_refused(
    serving: Serving, changes: dict[str, Any]
) -> None:
    error = refused(lambda: SessionsStub(serving.channel).CreateSession(creation(**changes)))
    assert error.code() is Code.INVALID_ARGUMENT
    assert "task_options" in error.details()


def test_the_longest_duration_is_shown_again(tmp_path: Path) -> None:
    """It is what Protocol Buffers can express: a second more could never be listed."""
    strange = {"a\0\n": "\u2028", "": "\U0001f600"}
    for start in range(2):
        with serve(tmp_path / "state") as serving:
            stub = SessionsStub(serving.channel)
            if not start:
                stub.CreateSession(creation(LONGEST, engine_type="\0\n", options=strange))
            request = sessions_common_pb2.ListSessionsRequest(page_size=10)
            (shown,) = stub.ListSessions(request).sessions
            assert shown.options.max_duration.seconds == LONGEST
            assert dict(shown.options.options) == strange


def test_a_long_refusal_still_reaches_its_caller(serving: Serving) -> None:
    """The status travels in a header of 8 KiB: the text must fit, percent-encoded."""
    for name in ("x" * 100_000, "\U0001f600" * 50_000, "\n" * 50_000):
        request = sessions_common_pb2.GetSessionRequest(session_id=name)
        error = refused(lambda: SessionsStub(serving.channel).GetSession(request))  # noqa: B023
        assert error.code() is Code.NOT_FOUND
        assert "more characters" in error.details()


def test_names_have_a_limit(serving: Serving, session: str) -> None:
    results = ArmoniKResults(serving.channel)
    long = "x" * 20_000
    for call in (
        lambda: results.create_results_metadata([long], session),
        lambda: results.create_results({long: b"data"}, session),
    ):
        error = refused(call)
        assert error.code() is Code.INVALID_ARGUMENT
        assert error.details().startswith("results[0]")
    shown = results.create_results_metadata(["\0\n\u2028"], session)
    assert list(shown) == ["\0\n\u2028"]


def test_names_of_very_many_results_are_checked_some_at_a_time(
    serving: Serving, session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All before one of them is created; it is said which is wrong."""
    monkeypatch.setattr(results_service, "CHECKED_AT_ONCE", 2)
    before = len(serving.server.engine.state.results)
    names = [f"name {number}" for number in range(5)]
    results = ArmoniKResults(serving.channel)
    error = refused(lambda: results.create_results_metadata([*names, "x" * 20_000], session))
    assert error.details().startswith("results[4:][1] is 'xxx")
    assert len(serving.server.engine.state.results) == before
    assert list(results.create_results_metadata(names, session)) == names


def test_results_are_found_by_their_opaque_id(serving: Serving, session: str) -> None:
    results = ArmoniKResults(serving.channel)
    created = results.create_results({"one": b"1", "two": b"2"}, session)
    assert created["one"].opaque_id is not None
    for text in (created["one"].opaque_id.hex(), created["one"].opaque_id.hex().upper()):
        request = results_common_pb2.ListResultsRequest(page_size=10)
        condition = getattr(getattr(request.filters, "or").add(), "and").add()
        condition.field.result_raw_field.field = 10  # OPAQUE_ID
        condition.filter_string.value = text
        reply = ResultsStub(serving.channel).ListResults(request)
        assert [result.name for result in reply.results] == ["one"]


def test_many_conditions_are_answered_or_refused(serving: Serving) -> None:
    stub = TasksStub(serving.channel)

    def listing(alternatives: int, conditions: int, operator: int) -> Any:
        request = tasks_common_pb2.ListTasksRequest(page_size=1)
        for _ in range(alternatives):
            both = getattr(getattr(request.filters, "or").add(), "and")
            for number in range(conditions):
                condition = both.add()
                condition.field.task_option_generic_field.field = "key"
                condition.filter_string.value = str(number)
                condition.filter_string.operator = operator
        return stub.ListTasks(request)

    assert listing(1, 3000, 0).total == 0  # deeper than SQLite goes, if written one by one
    assert listing(3000, 1, 2).total == 0
    for size in ((1, 10_000, 5), (16_001, 1, 0)):
        assert refused(lambda: listing(*size)).code() is Code.INVALID_ARGUMENT  # noqa: B023


def test_applications_are_sorted_by_anything(serving: Serving) -> None:
    request = applications_common_pb2.ListApplicationsRequest(page_size=10)
    for _ in range(3000):
        request.sort.fields.add().application_field.field = 1
    assert ApplicationsStub(serving.channel).ListApplications(request).total == 0
    assert refused(
        lambda: ArmoniKResults(serving.channel).create_results_metadata(["a"], "../x")
    ).code() in {Code.INVALID_ARGUMENT, Code.NOT_FOUND}


MANY = 600_000

SUBMIT = "/armonik.api.grpc.v1.tasks.Tasks/SubmitTasks"
LIST = "/armonik.api.grpc.v1.results.Results/ListResults"
CANCEL = "/armonik.api.grpc.v1.tasks.Tasks/CancelTasks"
CREATE = "/armonik.api.grpc.v1.results.Results/CreateResults"


def field(number: int, content: bytes) -> bytes:
    """A field as Protocol Buffers write it."""
    length = len(content).to_bytes(4, "little")
    value = int.from_bytes(length, "little")
    written = bytes((value >> shift & 0x7F) | 0x80 for shift in (0, 7, 14)) + bytes([value >> 21])
    return bytes([number << 3 | 2]) + written + content


@pytest.mark.parametrize(
    ("method", "message", "told"),
    [
        (SUBMIT, b"\x1a\x00" * 200_000, "200,000 entries: at most 100,000 are taken"),
        (SUBMIT, b"\x1a\x00" * MANY, "lists of up to 500,000 entries: say it in several calls"),
        (CREATE, b"\x0a\x00" * MANY, "lists of up to 500,000 entries"),
        (LIST, field(3, b"\x0a\x00" * MANY), "filter: more than 16000 conditions"),
        (CANCEL, b"\x0a\x01a" * 3 * MANY, "lists of up to 500,000 entries"),
        (CANCEL, field(1, b"a" * 9_000_000), "messages of up to 8,388,608 bytes"),
        (CANCEL, b"\x0a\x05a", "Tasks/CancelTasks: no such message"),
    ],
    ids=range(7),
)
def test_a_message_of_very_many_parts_is_refused_before_it_is_gone_through(
    serving: Serving, method: str, message: bytes, told: str
) -> None:
    """Others would wait for that, and the engine could run out of memory."""
    error = refused(lambda: serving.channel.unary_unary(method)(message, timeout=60))
    assert error.code() in {Code.INVALID_ARGUMENT, Code.RESOURCE_EXHAUSTED, Code.UNKNOWN}
    assert told in error.details()


def test_very_many_results_are_created_by_one_call(serving: Serving, session: str) -> None:
    """In slices, and shown in the order of the request."""
    count = 2_500
    stub, one = ResultsStub(serving.channel), results_common_pb2.CreateResultsRequest.ResultCreate
    meta = results_common_pb2.CreateResultsMetaDataRequest.ResultCreate
    names = [f"result {number}" for number in range(count)]
    request = results_common_pb2.CreateResultsMetaDataRequest(
        session_id=session, results=[meta(name=name) for name in names]
    )
    created = stub.CreateResultsMetaData(request).results
    assert [result.name for result in created] == names
    assert len({result.result_id for result in created}) == count
    with_data = results_common_pb2.CreateResultsRequest(
        session_id=session,
        results=[one(name=name, data=name.encode()) for name in names],
    )
    created = stub.CreateResults(with_data).results
    assert [result.name for result in created] == names
    assert [result.size for result in created] == [len(name) for name in names]
    last = ArmoniKResults(serving.channel).download_result_data(created[-1].result_id, session)
    assert last == names[-1].encode()
