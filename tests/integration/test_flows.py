"""The five flows of ArmoniK's calls, on the wire: which calls are made, in which order."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import pytest
from armonik.protogen.client import events_service_pb2_grpc, results_service_pb2_grpc
from armonik.protogen.common import (
    events_common_pb2,
    results_common_pb2,
    task_status_pb2,
)

from armoflow import Client, task
from armoflow.client.loop import shared_loop
from armoflow.codec.envelope import unpack_envelope
from armoflow.codec.payload import Pickled
from armoflow.codec.pickling import loads
from armoflow.errors import EngineError
from armoflow.orchestrator.codebook import CodeBook
from armoflow.orchestrator.planned import PlannedTask
from armoflow.orchestrator.planning.plan_settings import PlanSettings
from armoflow.orchestrator.planning.planner import Planner
from armoflow.protocol.connect import connect
from armoflow.protocol.messages import list_results
from armoflow.protocol.result_handle import ResultState
from armoflow.protocol.settings import ConnectionSettings
from armoflow.protocol.submission import WireOptions
from armoflow.protocol.transport import Transport
from tests.integration.engines import WORKER, Up, up
from tests.integration.proxy import Proxy, proxy

add = task(operator.add)
"""A task without code of its own: nothing goes up but its payload."""

CONNECTING = [
    "Versions/ListVersions",
    "Partitions/ListPartitions",
    "Results/GetServiceConfiguration",
]

HOUSEKEEPING = ("Results/ListResults", "Results/DeleteResultsData", "Tasks/ListTasks")
"""What the client asks and deletes beside the flow: when, depends on how quick the engine is."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("engine"), "--workers", "1", "--no-extensions") as started:
        yield started


@pytest.fixture(scope="module")
def between(engine: Up) -> Iterator[Proxy]:
    with proxy(engine.endpoint) as started:
        yield started


class Record:
    """The calls that an engine got since this was made."""

    def __init__(self, engine: Up) -> None:
        self._engine = engine
        self._start = len(engine.called())

    def calls(self, *left_out: str) -> list[str]:
        """In order, without those that are left out."""
        return [name for name in self._engine.called()[self._start :] if name not in left_out]


def test_lifecycle(engine: Up) -> None:
    """21.1: the payload's data goes up before the task is submitted."""
    record = Record(engine)
    with Client(engine.endpoint, payloads="eager") as client:
        assert client.compute(add(1, 2)) == 3
    calls = record.calls(*HOUSEKEEPING)
    assert sorted(calls[:3]) == sorted(CONNECTING)
    assert calls[3:] == [
        "Sessions/CreateSession",
        "Results/CreateResultsMetaData",  # the payload and the output
        "Results/UploadResultData",
        "Tasks/SubmitTasks",
        "Events/GetEvents",
        "Results/DownloadResultData",
        "Sessions/CloseSession",
        "Tasks/ListTasksDetailed",  # those that failed, whose inputs stay
    ]


def test_payload_with_data(engine: Up) -> None:
    """21.2: the payload's data goes up with its metadata."""
    record = Record(engine)
    with Client(engine.endpoint, payloads="inline") as client:
        assert client.compute(add(1, 2)) == 3
    opened, *created, submitted = record.calls(*HOUSEKEEPING)[3:7]
    assert opened == "Sessions/CreateSession"
    assert sorted(created) == ["Results/CreateResults", "Results/CreateResultsMetaData"]
    assert submitted == "Tasks/SubmitTasks"


def test_delayed_upload(engine: Up, between: Proxy) -> None:
    """21.3: the task is pending until its payload's data is there, then it is queued."""
    between.reset()
    between.delay("Results/UploadResultData")
    record = Record(engine)
    with Client(between.endpoint, payloads="delayed") as client:
        future = client.submit(add(1, 2))
        between.wait_for("Results/UploadResultData")
        with channel_to(engine) as channel:
            statuses = task_statuses(channel, session_of(client))
            assert next(statuses) == task_status_pb2.TASK_STATUS_PENDING
            assert "Results/UploadResultData" not in record.calls()
            between.release("Results/UploadResultData")
            assert next(statuses) == task_status_pb2.TASK_STATUS_SUBMITTED
            assert task_status_pb2.TASK_STATUS_COMPLETED in statuses
        assert future.result() == 3
    assert record.calls(*HOUSEKEEPING, "Events/GetEvents")[3:7] == [
        "Sessions/CreateSession",
        "Results/CreateResultsMetaData",  # the payload and the output
        "Tasks/SubmitTasks",
        "Results/UploadResultData",
    ]


def test_import_of_existing_data(engine: Up) -> None:
    """21.4: a task whose payload is data that another session left in the engine."""

    async def flow() -> list[str]:
        transport = await connect(
            ConnectionSettings(engine.endpoint), payloads="delayed", extensions=True, timeout=10.0
        )
        options = WireOptions(60.0)
        old = await transport.create_session(options, [])
        planned = plan(add(1, 2))
        opaque_id = store_to_keep(engine, old, b"".join(planned.pack()))
        await transport.end_session(old)

        record = Record(engine)
        session = await transport.create_session(options, [])
        (planned.payload_id,) = await transport.import_data(session, [("payload", opaque_id)])
        planned.stored = True
        await transport.submit(session, [planned], lambda: None)
        (output,) = planned.outputs
        await completed(transport, session, output.id)
        (data,) = await transport.fetch(session, [output.id])
        (slot,) = unpack_envelope(data)
        assert loads(Pickled(slot.data, slot.buffers)) == 3
        calls = record.calls(*HOUSEKEEPING)
        await transport.end_session(session)
        await transport.close()
        return calls

    assert shared_loop().call(flow())[:4] == [
        "Sessions/CreateSession",
        "Results/CreateResultsMetaData",
        "Results/ImportResultsData",
        "Results/CreateResultsMetaData",
    ]


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_import_is_cut(engine: Up, between: Proxy, when: str) -> None:
    between.reset()
    between.cut("Results/ImportResultsData", when)

    async def flow() -> None:
        settings = ConnectionSettings(between.endpoint)
        transport = await connect(settings, payloads="auto", extensions=True, timeout=10.0)
        session = await transport.create_session(WireOptions(60.0), [])
        first = store_to_keep(engine, session, b"one")
        second = store_to_keep(engine, session, b"two")
        # Stock engines refuse a call that names an object twice.
        items = [("a", first), ("b", second), ("c", first)]
        ids = await transport.import_data(session, items)
        assert await transport.fetch(session, ids) == [b"one", b"two", b"one"]
        with pytest.raises(EngineError) as refusal:
            await transport.import_data(session, [("lost", b"no such object")])
        assert refusal.value.code == "NOT_FOUND"
        await transport.end_session(session)
        await transport.close()

    shared_loop().call(flow())
    between.wait_for_cuts()


@task(outputs=2)
def halves(number: int) -> tuple[Any, Any]:
    """Its first output is its own, its second that of a child, which needs another child."""
    return b"own", add(add(number, 1), 1)


def test_agent_and_worker(tmp_path: Any) -> None:
    """21.5: what a worker asks of its agent while it runs a task."""
    arguments = ("--workers", "1", "--no-extensions", "--worker", WORKER)
    with up(tmp_path, *arguments) as engine:
        with Client(engine.endpoint, fuse=False) as client:
            own, children = halves(1)
            assert client.compute(own, children) == (b"own", 3)
        calls = [
            name
            for name in engine.called()
            if name.startswith(("Agent/", "Worker/")) and name != "Worker/HealthCheck"
        ]
    ends = [number for number, name in enumerate(calls) if name == "Worker/Process"]
    parent, *others = (calls[a:b] for a, b in itertools.pairwise([*ends, len(calls)]))
    assert [name for name, _ in itertools.groupby(parent)] == [
        "Worker/Process",
        "Agent/CreateResults",  # the payloads of the children
        "Agent/CreateResultsMetaData",
        "Agent/NotifyResultData",  # the parent's own output
        "Agent/SubmitTasks",
    ]
    # Two children, and the one that puts their value into the parent's output.
    assert others == [["Worker/Process", "Agent/NotifyResultData"]] * 3


# --- helpers --------------------------------------------------------------------------------------


def session_of(client: Client) -> str:
    session_id: str = client._backend._orchestrator.last_session  # type: ignore[attr-defined]
    return session_id


def channel_to(engine: Up) -> grpc.Channel:
    return grpc.insecure_channel(engine.endpoint, [("grpc.default_authority", "localhost")])


def task_statuses(channel: grpc.Channel, session_id: str) -> Iterator[int]:
    """The statuses of a session's only task, from now on, as Events tells them."""
    request = events_common_pb2.EventSubscriptionRequest(session_id=session_id)
    for event in events_service_pb2_grpc.EventsStub(channel).GetEvents(request, timeout=30):
        status = event.new_task.status or event.task_status_update.status
        if status:
            yield status


def store_to_keep(engine: Up, session_id: str, data: bytes) -> bytes:
    """Store data that outlives its session; returns its opaque id."""
    request = results_common_pb2.CreateResultsRequest(session_id=session_id)
    request.results.add(name="kept", data=data, manual_deletion=True)
    with channel_to(engine) as channel:
        stub = results_service_pb2_grpc.ResultsStub(channel)
        result_id = stub.CreateResults(request).results[0].result_id
        listed = stub.ListResults(list_results([result_id]))
    opaque_id: bytes = listed.results[0].opaque_id
    return opaque_id


def plan(value: Any) -> PlannedTask:
    """The only task of a value's plan."""

    class Target:
        def __init__(self) -> None:
            self.value = value

        def place(self, column: Sequence[Any], whole: bool) -> None: ...
        def seal(self) -> None: ...
        def fail(self, error: Exception) -> None:
            raise error

    (planned,) = Planner(CodeBook(), PlanSettings()).plan([Target()])
    assert isinstance(planned, PlannedTask)
    return planned


async def completed(transport: Transport, session_id: str, result_id: str) -> None:
    """Wait for a result by the session's events."""
    async for changes in transport.watch(session_id):
        found = changes or await transport.poll(session_id, [result_id])
        if any(c.result_id == result_id and c.state is ResultState.COMPLETED for c in found):
            return
