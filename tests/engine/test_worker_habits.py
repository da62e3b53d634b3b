"""Workers as they come: slow to start, short-lived, several kinds, with a folder of their own."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import shlex
import sys
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from armonik.client import ArmoniKEvents, ArmoniKResults, ArmoniKSessions, ArmoniKTasks
from armonik.common import Task, TaskDefinition
from armonik.protogen.common.worker_common_pb2 import HealthCheckReply
from armonik.protogen.worker.worker_service_pb2_grpc import (
    WorkerServicer,
    add_WorkerServicer_to_server,
)
from engine_support import Running, in_loop
from serving import Serving, serve, task_options

from armoflow.config import INLINE_DATA_LIMIT
from armoflow.engine.address import Address
from armoflow.engine.agents import link, seat, worker_process
from armoflow.engine.agents.agent_service import Execution
from armoflow.engine.agents.link import WorkerLink
from armoflow.engine.agents.worker_process import OutputLog, WorkerProcess
from armoflow.engine.engine_options import EngineOptions
from armoflow.engine.server import Server, ServerOptions
from armoflow.engine.services.call_log import CallLog
from armoflow.errors import OptionError
from tests.conftest import SmallDisk
from tests.faults.scripts import wait_for

WORKER = Path(__file__).parent / "workers" / "leaves.py"
LARGE = 2 * INLINE_DATA_LIMIT


class Session:
    """Tasks of workers that tell their names."""

    def __init__(self, serving: Serving) -> None:
        self.results = ArmoniKResults(serving.channel)
        self.tasks = ArmoniKTasks(serving.channel)
        self.events = ArmoniKEvents(serving.channel)
        self.id = ArmoniKSessions(serving.channel).create_session(task_options(max_retries=1))

    def submit(self, *sizes: int) -> list[str]:
        """A task for each size of its output; returns these."""
        outputs = []
        for size in sizes:
            made = self.results.create_results({"payload": str(size).encode()}, self.id)
            output = self.results.create_results_metadata(["output"], self.id)["output"].result_id
            definition = TaskDefinition(made["payload"].result_id, [output])
            self.tasks.submit_tasks(self.id, [definition])
            outputs.append(output)
        return outputs

    def value(self, output: str) -> list[str]:
        self.events.wait_for_result_availability(output, self.id)
        data: bytes = self.results.download_result_data(output, self.id)
        return data.decode().rstrip().split(",")


def test_workers_that_are_slow_to_start_and_leave_after_each_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(link, "PATIENCE", 0.0)
    monkeypatch.setattr(link, "HEALTH_TIMEOUT", 0.2)
    monkeypatch.setattr(seat, "KILL_GRACE", 20.0)  # as long as one that leaves may take here
    mark, folder = tmp_path / "mark", tmp_path / "cache" / "shared"
    commands = [shlex.join([sys.executable, str(WORKER), name, str(mark)]) for name in "ab"]
    with (
        caplog.at_level(logging.WARNING),
        serve(
            tmp_path / "state", workers=2, commands={"default": commands}, data_folder=folder
        ) as serving,
    ):
        session = Session(serving)
        outputs = session.submit(0, LARGE, 0, 0)
        wait_for(lambda: "nobody there answers by gRPC" in caplog.text, "nothing is said")
        monkeypatch.setattr(link, "HEALTH_TIMEOUT", 20.0)
        mark.touch()
        told = [session.value(output) for output in outputs]
        assert {name for name, *_ in told} <= {"a", "b"}
        for _, place, *files in told:
            assert Path(place).parent.parent == folder
            assert len(files) == 1  # the payload, by its id
        _, tasks = session.tasks.list_tasks(Task.session_id == session.id)
        # None of them was lost, and tried again.
        assert len(tasks) == len(outputs), [one.output.error for one in tasks if one.output]
        for number, name in enumerate("ab"):
            log = (tmp_path / "state" / "agents" / f"default-{number}" / "worker.log").read_text()
            assert f"{name} begins" in log
            assert {line.split()[0] for line in log.splitlines() if "has a task" in line} <= {name}
    assert list(folder.iterdir()) == []


class Answers(WorkerServicer):
    """Says one after the other when it is asked for its health, and then that it serves."""

    def __init__(self, *answers: int | grpc.StatusCode) -> None:
        self._answers = [*answers]

    async def HealthCheck(self, request: object, context: Any) -> Any:
        answer = self._answers.pop(0) if self._answers else HealthCheckReply.SERVING
        if isinstance(answer, grpc.StatusCode):
            await context.abort(answer, "no")
        return HealthCheckReply(status=answer)


class Runs:
    """A process that runs for as long as it is asked."""

    name = "worker.py (7)"
    alive = True

    async def wait(self, limit: float) -> None:
        await asyncio.sleep(0)

    async def wait_for(self, other: asyncio.Future[Any]) -> None:
        await other


@in_loop
async def test_why_a_worker_is_not_ready_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(link, "PATIENCE", 0.0)
    target = f"unix:{tmp_path}/worker.sock"
    server = grpc.aio.server()
    answers = Answers(HealthCheckReply.NOT_SERVING, 7, grpc.StatusCode.PERMISSION_DENIED)
    add_WorkerServicer_to_server(answers, server)
    server.add_insecure_port(target)
    await server.start()
    worker = WorkerLink(cast(WorkerProcess, Runs()), target, CallLog())
    assert await worker.wait_until_ready()
    await server.stop(None)
    told = [record.getMessage() for record in caplog.records]
    assert [text.rpartition("its health, ")[2] for text in told] == [
        "it says that it is NOT_SERVING",
        "it says that it is 7",
        "it says PERMISSION_DENIED",
    ]
    assert told[0].startswith(f"worker.py (7) runs, but does not serve at {target}, for 0 s now")


@in_loop
async def test_a_folder_on_another_disk(tmp_path: Path, small_disk: SmallDisk) -> None:
    """What is laid there comes from the store by a copy, what is large goes there by one."""
    elsewhere = small_disk.root / "elsewhere"
    async with Running(tmp_path / "state") as running:
        running.open_session()
        task = running.submit(b"payload")
        record = running.engine.state.tasks[task.id]
        execution = Execution(running.engine, record, elsewhere)
        await execution.prepare()
        assert (execution.folder / task.payload_id).read_bytes() == b"payload"
        assert [path.name for path in elsewhere.iterdir()] == [execution.token]
        (execution.folder / task.outputs[0]).write_bytes(bytes(LARGE))
        execution.notified[task.outputs[0]] = None
        (staged,) = (await execution.collect()).staged_files()
        copied = Path(staged.path)
        assert copied.parent == running.engine.objects.staging and staged.size == LARGE
        assert copied.read_bytes() == bytes(LARGE)
        await execution.discard()
        assert not execution.folder.exists()
        assert not copied.exists()  # nobody took it over


@pytest.mark.parametrize("on_another_disk", [False, True], ids=["beside", "elsewhere"])
@in_loop
async def test_an_output_that_is_a_link_to_a_file_of_the_worker_is_copied(
    tmp_path: Path, small_disk: SmallDisk, on_another_disk: bool
) -> None:
    """The worker goes on using that: neither is its mode changed, nor is the result later."""
    elsewhere = small_disk.root / "elsewhere" if on_another_disk else None
    async with Running(tmp_path / "state") as running:
        engine = running.engine
        running.open_session()
        task = running.submit(b"payload")
        running.take()
        execution = Execution(engine, engine.state.tasks[task.id], elsewhere)
        await execution.prepare()
        own = execution.folder.parent / "own"
        own.write_bytes(b"1" * LARGE)
        mode = own.stat().st_mode
        os.link(own, execution.folder / task.outputs[0])
        execution.notified[task.outputs[0]] = None
        await execution.collect()
        engine.complete([(task.id, execution.effects)])
        await execution.discard()
        own.write_bytes(b"2" * LARGE)
        stored = await engine.objects.read(engine.state.results[task.outputs[0]].opaque_id)
        assert isinstance(stored, Path) and stored.read_bytes() == b"1" * LARGE
        assert stored.stat().st_mode & 0o777 == 0o400 and own.stat().st_mode == mode
        own.unlink()


def test_a_folder_that_cannot_be_used_is_told_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    options = ServerOptions(
        Address(host="127.0.0.1"),
        EngineOptions(tmp_path / "state"),
        workers={"default": 1},
        command="true",
        data_folders={"default": tmp_path / "file"},
    )
    with pytest.raises(OptionError, match=r"--data-folder .*/file cannot be used: File exists"):
        asyncio.run(Server(options).start())
    assert "cleanly" not in caplog.text


def test_a_log_that_cannot_be_begun_anew_is_written_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_process, "LOG_LIMIT", 100)
    log = OutputLog(tmp_path / "worker.log")
    log.write(b"1" * 90)
    with monkeypatch.context() as patched:
        patched.setattr(OutputLog, "_open", _refuse)
        for digit in b"23":
            log.write(bytes([digit]) * 90)
    log.write(b"4" * 90)
    log.write(b"5" * 90)
    assert log.tail() == "".join(digit * 90 for digit in "12345")
    log.close()
    older = (tmp_path / "worker.log.1").read_bytes()
    assert (older[:1], (tmp_path / "worker.log").read_bytes()) == (b"4", b"5" * 90)


def _refuse(_: OutputLog) -> None:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
