"""Connections cut, streams gone silent, processes killed: right values, nothing twice, no hang."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import grpc
import pytest
from armonik.protogen.client import events_service_pb2_grpc, sessions_service_pb2_grpc
from armonik.protogen.common import (
    events_common_pb2,
    result_status_pb2,
    session_status_pb2,
    sessions_common_pb2,
    sessions_fields_pb2,
    sort_direction_pb2,
)

from armoflow import Client, config, items, task
from armoflow.errors import (
    DataLostError,
    EngineError,
    EngineUnreachableError,
    RemoteTraceback,
)
from armoflow.protocol.standard import StandardTransport
from tests.integration.engines import STOCK, Up, alive, up
from tests.integration.gates import (
    Bell,
    Gate,
    Log,
    gated,
    note,
    noted,
    pass_gate,
    ring,
    wait_for_end,
)
from tests.integration.proxy import Proxy, proxy

STANDARD = ("--workers", "2", "--no-extensions", "--delete-payload")
BATCH = ("--workers", "2", "--delete-payload")


@task
def add(first: int, second: int) -> int:
    return first + second


@task
def fail(number: int, bell: str, gate: str) -> int:
    ring(bell, number)
    pass_gate(gate)
    raise ZeroDivisionError(f"item {number}")


@task
def copy(data: bytes) -> bytes:
    return bytes(data)


@task
def large(number: int) -> bytes:
    return bytes([number]) * 300_000


@pytest.fixture(scope="module")
def standard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Up, Proxy]]:
    with up(tmp_path_factory.mktemp("s"), *STANDARD) as engine, proxy(engine.endpoint) as between:
        yield engine, between


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Up, Proxy]]:
    with up(tmp_path_factory.mktemp("b"), *BATCH) as engine, proxy(engine.endpoint) as between:
        yield engine, between


class Scene:
    """An engine, a proxy before it, and what tasks wait for."""

    def __init__(self, engine: Up, between: Proxy, directory: Path) -> None:
        between.reset()
        self.is_batch = "--no-extensions" not in engine.arguments
        self.engine = engine
        self.proxy = between
        self.log = Log(directory / "log")
        self.gate = Gate(directory / "gate")
        self.bell = Bell(directory / "bell")

    def connect(self, **options: Any) -> Client:
        return Client(self.proxy.endpoint, workers=2, **options)

    def work(self) -> Any:
        """A graph of three stages, one task an item, whose runs are noted."""
        one = noted.with_options(batch_size=1)
        numbers = one.map(range(6), log=self.log.path)
        return numbers.map(add.with_options(batch_size=1), second=10).reduce(
            add.with_options(batch_size=1)
        )

    def check(self, client: Client) -> None:
        """The graph's value is right, and no task ran twice."""
        assert client.compute(self.work()) == sum(range(10, 16))
        assert self.log.counts() == dict.fromkeys("012345", 1)

    def check_more(self, client: Client) -> None:
        """Another graph on the same client."""
        assert client.compute(noted.map([100, 101], log=self.log.path)) == [100, 101]

    def gated(self, number: int = 7) -> Any:
        return gated(number, self.log.path, self.bell.path, self.gate.path)


@pytest.fixture
def on_standard(standard: tuple[Up, Proxy], tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(*standard, tmp_path)
    yield scene
    scene.bell.close()


@pytest.fixture
def on_batch(batch: tuple[Up, Proxy], tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(*batch, tmp_path)
    yield scene
    scene.bell.close()


@pytest.fixture(params=["standard", "batch"])
def scene(request: pytest.FixtureRequest) -> Scene:
    found: Scene = request.getfixturevalue(f"on_{request.param}")
    return found


def session_of(client: Client) -> str:
    """The id of a client's session."""
    session_id: str = client._backend._orchestrator.last_session  # type: ignore[attr-defined]
    return session_id


def channel_to(engine: Up) -> grpc.Channel:
    """A channel past the proxy."""
    return grpc.insecure_channel(engine.endpoint, [("grpc.default_authority", "localhost")])


def sessions_of(engine: Up) -> set[str]:
    """The sessions of an engine that have not ended."""
    field = sessions_fields_pb2.SessionField(
        session_raw_field=sessions_fields_pb2.SessionRawField(
            field=sessions_fields_pb2.SESSION_RAW_ENUM_FIELD_SESSION_ID
        )
    )
    request = sessions_common_pb2.ListSessionsRequest(
        page_size=1000,
        sort=sessions_common_pb2.ListSessionsRequest.Sort(
            field=field, direction=sort_direction_pb2.SORT_DIRECTION_ASC
        ),
    )
    with channel_to(engine) as channel:
        reply = sessions_service_pb2_grpc.SessionsStub(channel).ListSessions(request)
    ended = session_status_pb2.SESSION_STATUS_CLOSED, session_status_pb2.SESSION_STATUS_CANCELLED
    return {session.session_id for session in reply.sessions if session.status not in ended}


def wait_for_abort(engine: Up, client: Client) -> None:
    """Wait until a result of the client's session is aborted, past the proxy."""
    request = events_common_pb2.EventSubscriptionRequest(session_id=session_of(client))
    with channel_to(engine) as channel:
        for event in events_service_pb2_grpc.EventsStub(channel).GetEvents(request):
            statuses = (event.new_result.status, event.result_status_update.status)
            if result_status_pb2.RESULT_STATUS_ABORTED in statuses:
                return


# --- a connection is cut, before a call is carried out and after it ------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("method", "payloads"),
    [
        ("Versions/ListVersions", "auto"),
        ("Partitions/ListPartitions", "auto"),
        ("Results/GetServiceConfiguration", "auto"),
        ("Sessions/CreateSession", "auto"),
        ("Results/CreateResultsMetaData", "delayed"),
        ("Results/CreateResultsMetaData", "eager"),
        ("Results/CreateResults", "inline"),
        ("Tasks/SubmitTasks", "delayed"),
        ("Tasks/SubmitTasks", "inline"),
        ("Results/UploadResultData", "delayed"),
        ("Results/UploadResultData", "eager"),
        ("Events/GetEvents", "auto"),
        ("Results/DownloadResultData", "auto"),
        ("Results/DeleteResultsData", "auto"),
    ],
)
def test_a_standard_call_is_cut(on_standard: Scene, method: str, payloads: Any, when: str) -> None:
    on_standard.proxy.cut(method, when)
    with on_standard.connect(payloads=payloads) as client:
        on_standard.check(client)
        on_standard.proxy.wait_for_cuts()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_session_is_opened_once(on_standard: Scene, when: str) -> None:
    before = sessions_of(on_standard.engine)
    on_standard.proxy.cut("Sessions/CreateSession", when)
    with on_standard.connect() as client:
        on_standard.check(client)
        on_standard.proxy.wait_for_cuts()
        assert sessions_of(on_standard.engine) - before == {session_of(client)}
    assert sessions_of(on_standard.engine) == before


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", ["HELLO", "WATCH", "SUBMIT", "FETCH", "DELETE"])
def test_a_request_of_the_extension_is_cut(on_batch: Scene, kind: str, when: str) -> None:
    on_batch.proxy.cut(f"Connect/{kind}", when)
    with on_batch.connect() as client:
        assert "batch" in client.extensions
        on_batch.check(client)
        assert client.compute(large(3)) == bytes([3]) * 300_000
        on_batch.proxy.wait_for_cuts()


@pytest.mark.parametrize("when", ["before", "midway", "after"])
def test_a_large_upload_is_cut(on_standard: Scene, when: str) -> None:
    data = os.urandom(7 * config.MIB)
    on_standard.proxy.cut("Results/UploadResultData", when)
    with on_standard.connect() as client:
        assert client.compute(copy(data)) == data
        on_standard.proxy.wait_for_cuts()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_large_file_is_handed_over_and_the_connection_cut(on_batch: Scene, when: str) -> None:
    data = os.urandom(7 * config.MIB)
    with on_batch.connect() as client:
        assert client.compute(copy(b"")) == b""
        on_batch.proxy.cut("Connect/SUBMIT", when)
        stored = client.put(data)
        on_batch.proxy.wait_for_cuts()
        assert client.compute(copy(stored)) == data  # type: ignore[arg-type]
        assert client.compute(copy(data)) == data


@pytest.mark.parametrize("when", ["before", "midway", "after"])
def test_a_large_download_is_cut(on_standard: Scene, when: str) -> None:
    data = os.urandom(7 * config.MIB)
    on_standard.proxy.cut("Results/DownloadResultData", when)
    with on_standard.connect() as client:
        assert client.compute(copy(data)) == data
        on_standard.proxy.wait_for_cuts()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_list_call_is_cut_that_looks_for_what_was_missed(scene: Scene, when: str) -> None:
    question = "Connect/POLL" if scene.is_batch else "Results/ListResults"
    scene.proxy.cut(question, when)
    with scene.connect() as client:
        with scene.gate.closed():
            future = client.submit(scene.gated())
            scene.bell.hear()
            scene.proxy.cut_now()
            scene.proxy.wait_for_cuts(2)
        assert future.result() == 7
    assert scene.log.counts() == {"7": 1}


@pytest.mark.parametrize("when", ["before", "after"])
def test_cancelling_is_cut(scene: Scene, when: str) -> None:
    with scene.connect() as client, scene.gate.closed():
        waiting = [client.submit(scene.gated(number)) for number in range(2)]
        for _ in waiting:
            scene.bell.hear()
        scene.proxy.cut("Connect/CANCEL" if scene.is_batch else "Tasks/CancelTasks", when)
        assert all(future.cancel() for future in waiting)
        scene.proxy.wait_for_cuts()
        # The gate is closed still: this takes a worker that was freed.
        assert client.compute(noted(5, scene.log.path)) == 5


@pytest.mark.parametrize("when", ["before", "after"])
def test_asking_why_a_task_failed_is_cut(on_standard: Scene, when: str) -> None:
    on_standard.proxy.cut("Tasks/ListTasks", when)
    with on_standard.connect() as client:
        with pytest.raises(ZeroDivisionError, match="item 3"):
            client.compute(fail(3, on_standard.bell.path, on_standard.gate.path))
        on_standard.proxy.wait_for_cuts()


@pytest.mark.parametrize("when", ["before", "after"])
def test_ending_a_session_is_cut(scene: Scene, when: str) -> None:
    before = sessions_of(scene.engine)
    with scene.connect() as client:
        scene.check(client)
        assert len(sessions_of(scene.engine)) == len(before) + 1
        scene.proxy.cut("Sessions/CloseSession", when)
    scene.proxy.wait_for_cuts()
    assert sessions_of(scene.engine) == before


@pytest.mark.parametrize("when", ["before", "after"])
def test_cancelling_a_session_is_cut(scene: Scene, when: str) -> None:
    before = sessions_of(scene.engine)
    with scene.gate.closed():
        with scene.connect() as client:
            future = client.submit(scene.gated())
            scene.bell.hear()
            scene.proxy.cut("Sessions/CancelSession", when)
        scene.proxy.wait_for_cuts()
        with pytest.raises(CancelledError):
            future.result()
    assert sessions_of(scene.engine) == before


def test_connections_are_cut_again_and_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "BATCH_TASKS", 20)
    methods = ["Connect/SUBMIT"]
    if not scene.is_batch:
        methods = ["Tasks/SubmitTasks", "Results/CreateResultsMetaData", "Results/CreateResults"]
    for method in methods:
        scene.proxy.cut(method, "before", 3)
        scene.proxy.cut(method, "after", 3)
    with scene.connect() as client:
        one = noted.with_options(batch_size=1)
        numbers = one.map(range(200), log=scene.log.path)
        assert client.compute(numbers.reduce(add, fan_in=10)) == sum(range(200))
        scene.proxy.wait_for_cuts(6)
    assert set(scene.log.counts().values()) == {1}
    assert len(scene.log.counts()) == 200


# --- streams that go silent -----------------------------------------------------------------------


def test_an_event_stream_that_goes_silent(
    on_standard: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "SILENCE_BEFORE_RESYNC", 0.2)
    monkeypatch.setattr(StandardTransport, "looks", ())  # only silence makes it ask
    with on_standard.connect() as client:
        with on_standard.gate.closed():
            future = client.submit(on_standard.gated())
            on_standard.bell.hear()
            on_standard.proxy.wait_for("Events/GetEvents")
            on_standard.proxy.silence("Events/GetEvents")
        assert future.result() == 7
        on_standard.proxy.wait_for("Events/GetEvents", 2)
        on_standard.check_more(client)


def test_an_extension_stream_that_goes_silent(
    on_batch: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "SILENCE_BEFORE_RESYNC", 0.2)
    monkeypatch.setattr(config, "SILENCE_BEFORE_RECONNECT", 1.0)
    with on_batch.connect() as client:
        with on_batch.gate.closed():
            future = client.submit(on_batch.gated())
            on_batch.bell.hear()
            on_batch.proxy.silence("Extension/Connect")
        assert future.result() == 7
        on_batch.proxy.wait_for("Extension/Connect", 2)
        on_batch.check_more(client)


# --- failures while a graph is being submitted ----------------------------------------------------


def test_an_upstream_task_fails_while_later_batches_are_submitted(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "BATCH_TASKS", 5)
    failed = threading.Event()

    def numbers() -> Iterator[int]:
        yield from range(10)
        failed.wait()
        yield from range(10, 40)

    first = fail(0, scene.bell.path, scene.gate.path)
    one = add.with_options(batch_size=1)
    rest = one.map(numbers(), second=first)
    with scene.connect() as client:
        with scene.gate.closed():
            futures = client._submit([first, rest.reduce(one), scene.work()])
            scene.bell.hear()
        assert isinstance(futures[0].exception(), ZeroDivisionError)
        failed.set()
        error = futures[1].exception()
        assert isinstance(error, ZeroDivisionError)
        assert isinstance(error.__cause__, RemoteTraceback)
        assert error.__cause__.path[0] == "fail"
        assert futures[2].result() == sum(range(10, 16))


def test_a_refused_batch_is_submitted_without_what_cannot_run(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client does not know yet that a result was aborted, and submits tasks that need it."""
    monkeypatch.setattr(config, "BATCH_TASKS", 7)
    failed = threading.Event()

    def numbers() -> Iterator[int]:
        yield 0
        failed.wait()
        yield from range(1, 20)

    first = fail(0, scene.bell.path, scene.gate.path)
    one = add.with_options(batch_size=1)
    source = items(numbers())
    doomed = one.map(one.map(source, second=first), second=1)
    spared = noted.with_options(batch_size=1).map(source, log=scene.log.path).map(one, second=1)
    events = "Connect/CHANGES" if scene.is_batch else "Events/GetEvents"
    with scene.connect() as client:
        with scene.gate.closed():
            futures = client._submit([first, one.map(doomed, spared), spared])
            pairs = futures[1]
            scene.bell.hear()
            if not scene.is_batch:
                scene.proxy.wait_for_answer("Results/ListResults")
            scene.proxy.hold(events)
        # On a machine so busy that it looks for itself in the meantime, the client does know.
        wait_for_abort(scene.engine, client)
        failed.set()
        scene.proxy.wait_for("Connect/SUBMIT" if scene.is_batch else "Tasks/SubmitTasks", 3)
        scene.proxy.release(events)
        assert isinstance(pairs.exception(), ZeroDivisionError)
        found = client.gather(pairs, return_exceptions=True)
        assert [type(error) for error in found] == [ZeroDivisionError] * 20
        assert futures[2].result() == list(range(1, 21))
    assert scene.log.counts() == {str(number): 1 for number in range(20)}


# --- processes that are killed --------------------------------------------------------------------


@task
def where(bell: str, gate: str) -> int:
    """Says in which process it runs, and waits."""
    ring(bell, os.getpid())
    pass_gate(gate)
    return os.getpid()


@task
def die_once(number: int, log: str) -> int:
    """The process of item 3 is killed, the first time."""
    first = f" {number} " not in f" {Path(log).read_text()}"
    note(log, number)
    if number == 3 and first:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@task(batch_size=1)
def end_worker_once(number: int, log: str) -> int:
    """The parent of item 2's process is killed, the first time."""
    first = f" {number} " not in f" {Path(log).read_text()}"
    note(log, number)
    if number == 2 and first:
        os.kill(os.getppid(), signal.SIGKILL)
        signal.pause()
    return number


class Waits:
    """What tasks of a test wait for and tell."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.log = Log(directory / "log")
        self.gate = Gate(directory / "gate")
        self.bell = Bell(directory / "bell")

    def work(self) -> Any:
        """Four items that wait at the gate, and a sum of others that need them."""
        one = gated.with_options(batch_size=1)
        waiting = one.map(range(4), log=self.log.path, bell=self.bell.path, gate=self.gate.path)
        later = noted.with_options(batch_size=1).map(range(10, 30), log=self.log.path)
        return add(waiting.reduce(add), later.reduce(add))

    def check(self, value: int, interrupted: set[str]) -> None:
        """The value is right, and only what was running ran twice."""
        assert value == sum(range(4)) + sum(range(10, 30))
        counts = self.log.counts()
        assert set(counts) == {str(number) for number in (*range(4), *range(10, 30))}
        assert {number for number, count in counts.items() if count > 1} <= interrupted


@pytest.fixture
def waits(tmp_path: Path) -> Iterator[Waits]:
    made = Waits(tmp_path / "tasks")
    yield made
    made.bell.close()


@pytest.mark.parametrize("arguments", [STANDARD, BATCH, STOCK], ids=["standard", "batch", "stock"])
def test_an_engine_is_killed_and_started_again(
    waits: Waits, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    with up(tmp_path, *arguments) as engine, Client(engine.endpoint, workers=2) as client:
        with waits.gate.closed():
            future = client.submit(waits.work())
            running = {waits.bell.hear(), waits.bell.hear()}
            engine.kill()
            engine.start()
            # The children went with the engine: others wait at the gate.
            for _ in running:
                waits.bell.hear()
        waits.check(future.result(), running)
        assert client.compute(noted(100, waits.log.path)) == 100


def test_an_engine_is_killed_while_a_graph_is_submitted(
    waits: Waits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "BATCH_TASKS", 10)
    restarted = threading.Event()

    def numbers() -> Iterator[int]:
        yield from range(40)
        restarted.wait()
        yield from range(40, 80)

    one = noted.with_options(batch_size=1)
    with up(tmp_path, *BATCH) as engine, Client(engine.endpoint, workers=2) as client:
        with waits.gate.closed():
            source = items(numbers())
            gates = where(waits.bell.path, waits.gate.path)
            futures = client._submit([gates, one.map(source, log=waits.log.path).reduce(add)])
            waits.bell.hear()
            engine.kill()
            restarted.set()
            engine.start()
        assert futures[1].result() == sum(range(80))
        assert len(waits.log.counts()) == 80


@pytest.mark.parametrize("extensions", [False, True], ids=["standard", "batch"])
def test_a_private_engine_is_killed(waits: Waits, extensions: bool) -> None:
    with Client(workers=2, extensions=extensions) as client:
        with waits.gate.closed():
            future = client.submit(waits.work())
            running = {waits.bell.hear(), waits.bell.hear()}
            os.kill(engine_of(client), signal.SIGKILL)
            for _ in running:
                waits.bell.hear()
        waits.check(future.result(), running)


def test_a_private_engine_is_killed_once_too_often(waits: Waits) -> None:
    with Client(workers=2) as client, waits.gate.closed():
        future = client.submit(waits.work())
        for _ in range(2):
            waits.bell.hear()
            waits.bell.hear()
            os.kill(engine_of(client), signal.SIGKILL)
        with pytest.raises(EngineError, match="died"):
            future.result()
        with pytest.raises(EngineError, match="died"):
            client.compute(noted(1, waits.log.path))


@pytest.mark.parametrize("arguments", [BATCH, STOCK], ids=["batch", "stock"])
def test_a_child_is_killed_in_the_middle_of_a_batch(
    waits: Waits, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    packed = die_once.with_options(batch_size=10)
    with up(tmp_path, *arguments) as engine, Client(engine.endpoint, workers=2) as client:
        numbers = client.compute(packed.map(range(10), log=waits.log.path))
    assert numbers == list(range(10))
    assert waits.log.counts() == {str(number): 2 if number == 3 else 1 for number in range(10)}


def test_a_worker_is_killed_in_the_middle_of_a_task(waits: Waits, tmp_path: Path) -> None:
    """The process that speaks to the agent, not its child: the engine runs the task again."""
    with up(tmp_path, *STOCK) as engine, Client(engine.endpoint, workers=2) as client:
        numbers = client.compute(end_worker_once.map(range(4), log=waits.log.path))
        assert numbers == list(range(4))
    assert waits.log.counts()["2"] == 2


@pytest.mark.parametrize("arguments", [STANDARD, BATCH], ids=["standard", "batch"])
def test_an_engine_that_does_not_come_back(
    waits: Waits,
    tmp_path: Path,
    arguments: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Every door says what is the matter and what to do, in words; leaving it raises nothing."""
    monkeypatch.setattr(config, "SILENCE_BEFORE_RESYNC", 0.2)
    monkeypatch.setattr(config, "ENGINE_PATIENCE", 1.0)
    with up(tmp_path, *arguments) as engine, Client(engine.endpoint, workers=2) as client:
        with waits.gate.closed():
            future = client.submit(waits.work())
            waits.bell.hear()
            engine.kill()
        gone = rf"s: the engine at {engine.endpoint} is gone: .* start it again with `armoflow up "
        for use in (
            future.result,
            lambda: client.compute(noted(1, waits.log.path)),
            lambda: client.submit(noted, 1, waits.log.path).result(),
            lambda: client.gather(client.map(noted, [1], log=waits.log.path)),
            lambda: client.put([1]),
        ):
            with pytest.raises(EngineUnreachableError, match=gone):
                use()
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [text for text in told if "could not be ended" in text and "is gone" in text]


@pytest.mark.parametrize("arguments", [STANDARD, BATCH], ids=["standard", "batch"])
def test_an_engine_that_comes_back_without_its_state(
    waits: Waits, tmp_path: Path, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "SILENCE_BEFORE_RESYNC", 0.2)
    with up(tmp_path, *arguments) as engine, Client(engine.endpoint, workers=2) as client:
        with waits.gate.closed():
            future = client.submit(waits.work())
            waits.bell.hear()
            engine.kill()
            shutil.rmtree(tmp_path / "state")
            engine.start()
            # Which of them depends on how far the submission had come.
            lost = (DataLostError, EngineError)
            with pytest.raises(lost, match=r"is gone|session .* does not exist"):
                future.result()
        with pytest.raises(EngineError, match="session"):
            client.compute(noted(1, waits.log.path))


def test_the_children_of_a_killed_engine_end(waits: Waits, tmp_path: Path) -> None:
    with up(tmp_path, *BATCH) as engine, Client(engine.endpoint, workers=2) as client:
        with waits.gate.closed():
            future = client.submit(where(waits.bell.path, waits.gate.path))
            child = int(waits.bell.hear())
            engine.kill()
            assert wait_for_end(child)
            engine.start()
        assert future.result() != child


SCRIPT = """
import sys
from armoflow import Client
from tests.integration.test_faults import engine_of, where
if __name__ == "__main__":
    with Client(workers=2) as client:
        print(engine_of(client), flush=True)
        client.compute([where(sys.argv[1], sys.argv[2]), where(sys.argv[1], sys.argv[2])])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_script_is_ended(waits: Waits, tmp_path: Path, number: int) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(script), waits.bell.path, waits.gate.path]
    with (
        waits.gate.closed(),
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process,
    ):
        assert process.stdout is not None
        engine = int(process.stdout.readline())
        children = [int(waits.bell.hear()), int(waits.bell.hear())]
        assert all(map(alive, (engine, *children)))
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
        if number == signal.SIGINT:
            assert b"KeyboardInterrupt" in errors
            assert not any(map(alive, (engine, *children)))
        assert all(map(wait_for_end, (engine, *children)))


def engine_of(client: Client) -> int:
    """The process of a client's private engine."""
    pid: int = client._backend._engine.pid  # type: ignore[attr-defined]
    return pid


# --- calls that are refused -----------------------------------------------------------------------


def test_runs_go_on_where_nothing_may_be_cancelled_or_deleted(
    on_standard: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    for method in ("Tasks/CancelTasks", "Results/DeleteResultsData"):
        on_standard.proxy.refuse(method)
    with caplog.at_level(logging.WARNING), on_standard.connect() as client:
        with on_standard.gate.closed():
            held = client.submit(on_standard.gated(7))
            assert on_standard.bell.hear() == "7"
            running = client.submit(on_standard.gated(8))
            assert on_standard.bell.hear() == "8"
            queued = client.submit(on_standard.gated(9))
            on_standard.proxy.wait_for_answer("Tasks/SubmitTasks", 3)
            for count, future in enumerate((queued, running), 1):
                assert future.cancel()
                on_standard.proxy.wait_for("Tasks/CancelTasks", count)
        assert held.result(60) == 7
        assert client.compute(on_standard.work()) == sum(range(10, 16))
        on_standard.proxy.wait_for("Results/DeleteResultsData")
        assert client.compute(on_standard.work()) == sum(range(10, 16))
        on_standard.proxy.wait_for("Results/DeleteResultsData", 2)
    told = [record.getMessage() for record in caplog.records if "not for you" in record.message]
    assert len([text for text in told if text.startswith("what nobody wants any more")]) == 1
    assert len([text for text in told if text.startswith("results that nobody needs")]) == 1


def test_runs_go_on_where_nothing_may_be_listed(
    on_standard: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """Events tell of what has ended: to list it is needed only where one was missed."""
    for method in ("Results/ListResults", "Tasks/ListTasks"):
        on_standard.proxy.refuse(method)
    with caplog.at_level(logging.WARNING), on_standard.connect() as client:
        with on_standard.gate.closed():
            held = client.submit(on_standard.gated(7))
            on_standard.bell.hear()
            on_standard.proxy.wait_for("Results/ListResults", len(config.LOOKS))
        assert held.result(60) == 7
        assert client.compute(on_standard.work()) == sum(range(10, 16))
    told = [record.getMessage() for record in caplog.records if "not for you" in record.message]
    assert len([text for text in told if text.startswith("what ended without an event")]) == 1


def test_what_may_neither_be_watched_nor_listed_is_not_waited_for(on_standard: Scene) -> None:
    for method in ("Results/ListResults", "Events/GetEvents"):
        on_standard.proxy.refuse(method)
    with (
        on_standard.gate.closed(),
        on_standard.connect() as client,
        pytest.raises(EngineError, match="neither by events nor by lists"),
    ):
        client.compute(on_standard.gated(7))


def test_what_the_user_s_block_raises_comes_out_of_it(on_standard: Scene) -> None:
    for name in ("Cancel", "Close", "Purge", "Delete"):
        on_standard.proxy.refuse(f"Sessions/{name}Session")
    with (
        on_standard.gate.closed(),
        pytest.raises(KeyError, match="mine"),
        on_standard.connect() as client,
    ):
        client.submit(on_standard.gated(7))
        on_standard.bell.hear()
        raise KeyError("mine")
