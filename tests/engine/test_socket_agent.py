"""ArmoniK's own worker library under the socket agent, driven by ArmoniK's own client."""

from __future__ import annotations

import errno
import json
import logging
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from armonik.client import ArmoniKEvents, ArmoniKResults, ArmoniKSessions, ArmoniKTasks
from armonik.common import EventTypes, ResultStatus, Task, TaskDefinition, TaskStatus
from serving import PATIENCE, Serving, serve, task_options

from armoflow.engine.agents import seat
from armoflow.engine.agents.agent_service import Execution
from armoflow.engine.faults import StorageError
from tests.processes import own_children, with_descendants

WORKER = Path(__file__).parent / "workers" / "steps.py"
COMMAND = shlex.join([sys.executable, str(WORKER)])
FINAL = {
    TaskStatus.COMPLETED,
    TaskStatus.ERROR,
    TaskStatus.TIMEOUT,
    TaskStatus.CANCELLED,
    TaskStatus.RETRIED,
}


class Flow:
    """A session on a running server, with what a client does in it."""

    def __init__(self, serving: Serving, **options: Any) -> None:
        self.serving = serving
        self.sessions = ArmoniKSessions(serving.channel)
        self.results = ArmoniKResults(serving.channel)
        self.tasks = ArmoniKTasks(serving.channel)
        self.events = ArmoniKEvents(serving.channel)
        self.session = self.sessions.create_session(task_options(**options))

    def submit(
        self, *step: Any, inputs: list[str] | None = None, **options: Any
    ) -> tuple[str, str]:
        """Submit a task that does a step; returns its id and its output's."""
        payload = self.results.create_results({"payload": json.dumps(step).encode()}, self.session)
        output = self.results.create_results_metadata(["output"], self.session)["output"].result_id
        definition = TaskDefinition(
            payload["payload"].result_id,
            [output],
            inputs or [],
            task_options(**options) if options else None,
        )
        (task,) = self.tasks.submit_tasks(self.session, [definition])
        return task.id, output

    def value(self, output: str) -> bytes:
        """The data of a result, waited for."""
        self.events.wait_for_result_availability(output, self.session)
        return self.results.download_result_data(output, self.session)

    def store(self, data: bytes) -> str:
        return self.results.create_results({"data": data}, self.session)["data"].result_id

    def end(self, task_id: str, *, retried: bool = False) -> Any:
        """A task that has ended, waited for."""
        self.wait(task_id, FINAL)
        return self.tasks.get_task(task_id)

    def wait(self, task_id: str, statuses: set[TaskStatus]) -> None:
        """Wait until a task has one of these statuses."""

        def handle(session: str, kind: Any, event: Any) -> bool:
            return event.task_id == task_id and event.status in statuses

        self.events.get_events(
            self.session,
            [EventTypes.NEW_TASK, EventTypes.TASK_STATUS_UPDATE],
            [handle],
            Task.id == task_id,
        )

    def attempts(self, task_id: str) -> list[Any]:
        """All attempts of a task, the first one first."""
        _, found = self.tasks.list_tasks(
            Task.initial_task_id == task_id, sort_field=Task.created_at
        )
        return found


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serve(tmp_path_factory.mktemp("state"), workers=1, command=COMMAND) as running:
        yield running


@pytest.fixture
def flow(serving: Serving) -> Flow:
    return Flow(serving)


def test_the_whole_life_of_a_session(serving: Serving) -> None:
    """The client's diagram, step by step, with ArmoniK's own client."""
    sessions, results = ArmoniKSessions(serving.channel), ArmoniKResults(serving.channel)
    session = sessions.create_session(task_options())
    payload = results.create_results_metadata(["payload"], session)["payload"].result_id
    results.upload_result_data(payload, session, json.dumps(["large", 3]).encode())
    output = results.create_results_metadata(["output"], session)["output"].result_id
    ArmoniKTasks(serving.channel).submit_tasks(session, [TaskDefinition(payload, [output])])
    ArmoniKEvents(serving.channel).wait_for_result_availability(output, session)
    assert results.download_result_data(output, session) == bytes(3)
    sessions.close_session(session)
    sessions.purge_session(session)
    sessions.delete_session(session)
    with pytest.raises(grpc.RpcError):
        sessions.get_session(session)


def test_dependencies_lie_in_the_data_folder(flow: Flow) -> None:
    small, big = flow.store(b"small"), flow.store(b"x" * 200_000)
    _, output = flow.submit("upper", inputs=[small, big])
    assert flow.value(output) == b"SMALL " + b"X" * 200_000


def test_a_delayed_payload_queues_the_task(flow: Flow) -> None:
    created = flow.results.create_results_metadata(["payload", "output"], flow.session)
    payload, output = created["payload"].result_id, created["output"].result_id
    (task,) = flow.tasks.submit_tasks(flow.session, [TaskDefinition(payload, [output])])
    assert flow.tasks.get_task(task.id).status == TaskStatus.PENDING
    flow.results.upload_result_data(payload, flow.session, b'["large", 2]')
    assert flow.value(output) == bytes(2)


def test_an_imported_payload_runs(flow: Flow) -> None:
    source = flow.results.create_results({"payload": b'["large", 5]'}, flow.session)["payload"]
    created = flow.results.create_results_metadata(["payload", "output"], flow.session)
    payload, output = created["payload"].result_id, created["output"].result_id
    flow.results.import_data(flow.session, [(payload, source.opaque_id)])
    flow.tasks.submit_tasks(flow.session, [TaskDefinition(payload, [output])])
    assert flow.value(output) == bytes(5)


@pytest.mark.parametrize("size", [0, 100, 3_000_000])
def test_outputs_of_every_size_come_back(flow: Flow, size: int) -> None:
    task_id, output = flow.submit("large", size)
    assert flow.value(output) == bytes(size)
    shown = flow.end(task_id)
    assert shown.status == TaskStatus.COMPLETED
    assert None not in (shown.acquired_at, shown.started_at, shown.ended_at)
    assert flow.results.get_result(output).size == size


def test_children_take_over_the_output(flow: Flow) -> None:
    task_id, output = flow.submit("expand")
    assert flow.value(output) == b"HANDED ON " + bytes(70_000)
    _, children = flow.tasks.list_tasks(Task.created_by == task_id, sort_field=Task.created_at)
    assert len(children) == 2
    assert {tuple(child.parent_task_ids) for child in children} == {(flow.session, task_id)}
    assert flow.results.get_result(output).owner_task_id == children[1].id
    assert flow.end(task_id).status == TaskStatus.COMPLETED


def test_children_come_in_a_stream_and_a_big_message_is_told_of(
    flow: Flow, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "armoflow.engine.agents.agent_service"):
        task_id, output = flow.submit("expand_in_a_stream", 5_000_000)
        assert flow.value(output) == bytes(3)
    assert flow.results.get_result(output).owner_task_id != task_id
    (message,) = [record.getMessage() for record in caplog.records if "bytes" in record.message]
    assert task_id in message
    assert "agents of ArmoniK take 4194304" in message


def test_a_worker_may_ask_for_any_data(flow: Flow) -> None:
    result_id = flow.store(b"asked for")
    _, output = flow.submit("resource", result_id)
    assert flow.value(output) == b"asked for"


def test_calls_that_the_agent_refuses(flow: Flow) -> None:
    _, output = flow.submit("misuse")
    assert json.loads(flow.value(output)) == [
        "INVALID_ARGUMENT",
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "UNKNOWN",
        "INVALID_ARGUMENT",
    ]


def test_an_error_that_the_worker_reports_is_final(flow: Flow) -> None:
    flow.sessions.pause_session(flow.session)
    task_id, output = flow.submit("fail")
    dependent, last = flow.submit("upper", inputs=[output])
    flow.sessions.resume_session(flow.session)
    shown = flow.end(task_id)
    assert shown.status == TaskStatus.ERROR
    assert shown.output.error == "it went wrong"
    assert flow.end(dependent).status == TaskStatus.ERROR
    assert "it went wrong" in flow.end(dependent).output.error
    assert flow.results.get_result(output).status == ResultStatus.ABORTED
    assert flow.results.get_result(last).status == ResultStatus.ABORTED
    assert len(flow.attempts(task_id)) == 1
    names = {result.name for result in flow.results.list_results()[1]}
    assert "never seen" not in names


def test_a_broken_call_is_retried_as_often_as_allowed(flow: Flow) -> None:
    task_id, output = flow.submit("crash", max_retries=2)
    with pytest.raises(RuntimeError, match="aborted"):
        flow.events.wait_for_result_availability(output, flow.session)
    first, second, third = flow.attempts(task_id)
    assert [first.status, second.status] == [TaskStatus.RETRIED] * 2
    assert third.status == TaskStatus.ERROR
    assert third.id == f"{task_id}###2"
    assert third.retry_of_ids == [task_id, second.id]
    assert flow.results.get_result(output).owner_task_id == third.id


def test_a_fault_of_the_disk_that_passes_costs_no_attempt(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = [OSError(errno.ENOSPC, "no space left on device") for _ in range(3)]
    prepare = Execution.prepare

    async def meet_faults(self: Execution) -> None:
        if faults:
            raise StorageError(faults.pop(), "/disk")
        await prepare(self)

    monkeypatch.setattr(Execution, "prepare", meet_faults)
    result_id = flow.store(b"asked for")
    task_id, output = flow.submit("resource", result_id, max_retries=1)
    assert flow.value(output) == b"asked for"
    assert flow.end(task_id).status == TaskStatus.COMPLETED
    assert not faults


def test_a_fault_of_the_disk_that_stays_ends_the_task_once(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read_only(self: Execution) -> None:
        raise StorageError(OSError(errno.EROFS, "Read-only file system"), "/disk")

    with monkeypatch.context() as patch:
        patch.setattr(Execution, "prepare", read_only)
        patch.setattr(seat, "PATIENCE", 0.1)
        task_id, _ = flow.submit("large", 1, max_retries=2)
        shown = flow.end(task_id)
    assert shown.status == TaskStatus.ERROR
    assert "cannot write /disk: read-only file system; make it writable" in shown.output.error
    assert len(flow.attempts(task_id)) == 1
    _, after = flow.submit("large", 1)
    assert flow.value(after) == bytes(1)


def test_a_worker_that_is_killed_is_replaced_and_its_task_retried(
    flow: Flow, tmp_path: Path
) -> None:
    task_id, output = flow.submit("die_once", str(tmp_path / "marker"))
    assert flow.value(output) == bytes(1)
    lost, done = flow.attempts(task_id)
    assert lost.status == TaskStatus.RETRIED
    assert "SIGKILL" in lost.output.error and "about to die" in lost.output.error
    assert done.status == TaskStatus.COMPLETED


def test_a_task_past_its_duration_times_out(flow: Flow, tmp_path: Path) -> None:
    started = tmp_path / "started"
    task_id, output = flow.submit(
        "wait", str(started), PATIENCE, max_duration=timedelta(seconds=0.5)
    )
    shown = flow.end(task_id)
    assert shown.status == TaskStatus.TIMEOUT
    assert "max_duration" in shown.output.error
    assert flow.results.get_result(output).status == ResultStatus.ABORTED
    _, after = flow.submit("large", 1)  # the worker was stuck in the task, and is replaced
    assert flow.value(after) == bytes(1)


def test_a_cancelled_task_is_interrupted(flow: Flow, tmp_path: Path) -> None:
    task_id, output = flow.submit("wait", str(tmp_path / "started"), PATIENCE)
    flow.wait(task_id, {TaskStatus.PROCESSING})
    flow.tasks.cancel_tasks([task_id])
    assert flow.end(task_id).status == TaskStatus.CANCELLED
    assert flow.results.get_result(output).status == ResultStatus.ABORTED
    _, after = flow.submit("large", 1)
    assert flow.value(after) == bytes(1)


@pytest.mark.parametrize("call", ["cancel_session", "delete_session"])
def test_what_a_session_runs_ends_with_it(flow: Flow, tmp_path: Path, call: str) -> None:
    task_id, _ = flow.submit("wait", str(tmp_path / "started"), PATIENCE)
    flow.wait(task_id, {TaskStatus.PROCESSING})
    getattr(flow.sessions, call)(flow.session)
    after = Flow(flow.serving)
    _, output = after.submit("large", 1)
    assert after.value(output) == bytes(1)


def test_a_missing_output_is_an_error(flow: Flow) -> None:
    task_id, output = flow.submit("nothing")
    assert flow.end(task_id).status == TaskStatus.ERROR
    assert flow.results.get_result(output).status == ResultStatus.ABORTED


def test_data_folders_are_removed(flow: Flow) -> None:
    for step in (("large", 100_000), ("fail",), ("crash",)):
        task_id, _ = flow.submit(*step, max_retries=-1)
        flow.end(task_id)
    _, output = flow.submit("large", 1)  # the seat is done with the others
    flow.value(output)

    async def leftovers() -> list[Path]:
        return list(flow.serving.server.engine.objects.staging.glob("*-*-*-*-*"))

    assert len(flow.serving.run(leftovers())) <= 1


def test_calls_between_agent_and_worker_come_in_order(tmp_path: Path) -> None:
    log = tmp_path / "calls.jsonl"
    with serve(tmp_path / "state", workers=1, command=COMMAND, log_calls=log) as serving:
        flow = Flow(serving)
        _, output = flow.submit("expand")
        flow.value(output)
    methods = [json.loads(line)["method"] for line in log.read_text().splitlines()]
    start = methods.index("Worker/Process")
    between = methods[start : methods.index("Worker/Process", start + 1)]
    inside = [name for name in between if name.startswith(("Agent/", "Worker/P"))]
    assert inside == [
        "Worker/Process",
        "Agent/CreateResults",
        "Agent/CreateResults",
        "Agent/CreateResultsMetaData",
        "Agent/NotifyResultData",
        "Agent/SubmitTasks",
    ]


def test_several_workers_run_many_tasks(tmp_path: Path) -> None:
    with serve(tmp_path / "state", workers=2, command=COMMAND) as serving:
        flow = Flow(serving)
        outputs = [flow.submit("large", size)[1] for size in range(30)]
        assert [len(flow.value(output)) for output in outputs] == list(range(30))


def test_a_stop_gives_back_what_runs_and_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("armoflow.engine.agents.seat.STOP_GRACE", 0.1)
    marker = tmp_path / "marker"
    before = own_children()
    with serve(tmp_path / "state", workers=1, command=COMMAND) as serving:
        flow = Flow(serving)
        task_id, _ = flow.submit("wait", str(marker), PATIENCE)
        flow.wait(task_id, {TaskStatus.PROCESSING})
        started = with_descendants(own_children() - before)
    assert not [process for process in started if process.is_running()]
    with serve(tmp_path / "state") as serving:
        shown = ArmoniKTasks(serving.channel).get_task(task_id)
        assert shown.status == TaskStatus.SUBMITTED
        assert shown.retry_of_ids == []


def test_a_worker_that_never_starts_is_reported_with_its_output(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("armoflow.engine.agents.seat.FIRST_DELAY", 0.01)
    reported = threading.Event()
    wait = reported.wait

    def notice(record: Any) -> bool:
        if record.levelname == "ERROR":
            reported.set()
        return True

    command = shlex.join([sys.executable, "-c", "import sys; sys.exit('no such model')"])
    caplog.handler.addFilter(notice)
    with serve(tmp_path / "state", workers=1, command=command):
        assert wait(PATIENCE)
    caplog.handler.removeFilter(notice)
    error = next(record for record in caplog.records if record.levelname == "ERROR")
    assert "no such model" in error.getMessage()
    assert "exited with code 1" in error.getMessage()


def test_a_command_that_does_not_exist_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("armoflow.engine.agents.seat.FIRST_DELAY", 0.01)
    reported = threading.Event()

    def notice(record: Any) -> bool:
        if "cannot be started" in record.getMessage():
            reported.set()
        return True

    caplog.handler.addFilter(notice)
    with serve(tmp_path / "state", workers=1, command="/no/such/program"):
        assert reported.wait(PATIENCE)
    caplog.handler.removeFilter(notice)


def test_long_state_paths_get_short_sockets(tmp_path: Path) -> None:
    state = tmp_path / ("long" * 20) / "state"
    with serve(state, workers=1, command=COMMAND) as serving:
        flow = Flow(serving)
        _, output = flow.submit("large", 4)
        assert flow.value(output) == bytes(4)


def test_workers_end_when_the_engine_is_killed(tmp_path: Path) -> None:
    import subprocess

    arguments = [
        *(sys.executable, "-m", "armoflow.engine", "--listen", f"unix:{tmp_path}/e.sock"),
        *("--state", str(tmp_path / "state"), "--workers", "1", "--worker", COMMAND),
    ]
    engine = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert engine.stdout is not None
    assert engine.stdout.readline().startswith("ready: ")
    channel = grpc.insecure_channel(f"unix:{tmp_path}/e.sock")
    grpc.channel_ready_future(channel).result(PATIENCE)
    flow = Flow.__new__(Flow)
    serving = Serving.__new__(Serving)
    serving.channel = channel
    Flow.__init__(flow, serving)
    _, output = flow.submit("large", 1)
    flow.value(output)
    children = psutil.Process(engine.pid).children(recursive=True)
    assert len(children) >= 2  # the worker and the guardian
    os.kill(engine.pid, signal.SIGKILL)
    engine.wait()
    engine.stdout.close()
    channel.close()
    _, alive = psutil.wait_procs(children, timeout=PATIENCE)
    assert not alive
