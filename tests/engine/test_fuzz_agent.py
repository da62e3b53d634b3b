"""The agent service, given what a worker may ask and what it may leave in its data folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from armonik.protogen.common import agent_common_pb2
from engine_support import Running
from fuzzing import assert_healthy, assert_listed, fuzzed, in_a_loop
from hypothesis import given
from hypothesis import strategies as st
from test_fuzz_services import fill

from armoflow.engine.agents.agent_service import AgentService, Execution
from armoflow.engine.records import StateError
from armoflow.errors import MalformedError

REQUESTS = {
    "CreateResultsMetaData": agent_common_pb2.CreateResultsMetaDataRequest,
    "CreateResults": agent_common_pb2.CreateResultsRequest,
    "NotifyResultData": agent_common_pb2.NotifyResultDataRequest,
    "SubmitTasks": agent_common_pb2.SubmitTasksRequest,
    "GetResourceData": agent_common_pb2.DataRequest,
}
KINDS = ["file", "large", "link", "dangling", "loop", "pipe", "directory", "device", "nothing"]


def leave(path: Path, kind: str) -> None:
    """Put something into the place of a file, unless something is there."""
    if os.path.lexists(path):
        return
    if kind == "file":
        path.write_bytes(b"data")
    elif kind == "large":
        path.write_bytes(bytes(200_000))
    elif kind == "link":
        path.symlink_to("/etc/hostname")
    elif kind == "dangling":
        path.symlink_to("/nowhere/at/all")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")


@pytest.mark.parametrize("strict", [False, True], ids=["", "strict"])
def test_fuzz_the_agent_service(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], strict: bool
) -> None:
    counts = {"examples": 0, "calls": 0, "refused": 0, "unreadable": 0, "completed": 0}

    async def example(running: Running, data: Any) -> None:
        engine = running.engine
        task = running.submit()
        assert task.id in running.take()
        record = engine.state.tasks[task.id]
        service, execution = AgentService(engine), Execution(engine, record)
        await execution.prepare()
        service.execution = execution
        known = [running.session, task.outputs[0], task.outputs[0], task.payload_id, "default"]
        leave(execution.folder / task.outputs[0], data.draw(st.sampled_from(KINDS)))
        leave(execution.folder / "extra", data.draw(st.sampled_from(KINDS)))
        try:
            for _ in range(data.draw(st.integers(0, 4))):
                name = data.draw(st.sampled_from(sorted(REQUESTS)))
                request = fill(data.draw, REQUESTS[name](), [*known, "extra"])
                request.communication_token = execution.token
                counts["calls"] += 1
                try:
                    await getattr(service, name)(request, None)
                except (StateError, MalformedError, OSError):
                    counts["refused"] += 1
            try:
                effects = await execution.collect()
            except OSError as error:
                counts["unreadable"] += 1
                await engine.fail(task.id, str(error))
            else:
                await engine.complete([(task.id, effects)])
                counts["completed"] += 1
        finally:
            await execution.discard()
        await engine.committed()
        counts["examples"] += 1
        for opaque_id in list(engine.objects._files):
            path = engine.objects._path(opaque_id)
            assert path.is_file() and not path.is_symlink()
        assert not list(Path(engine.objects.staging).iterdir())
        await assert_healthy(engine)
        running.take()

    def work(wait: Callable[[Any], Any]) -> None:
        running = Running(tmp_path, strict=strict)
        wait(running.__aenter__())
        running.open_session()

        @fuzzed(60)
        @given(st.data())
        def run(data: st.DataObject) -> None:
            wait(example(running, data))

        run()
        wait(running.__aexit__())
        again = Running(tmp_path, strict=strict)
        wait(again.__aenter__())
        wait(assert_listed(again.engine))
        wait(assert_healthy(again.engine))
        wait(again.__aexit__())

    in_a_loop(work)
    with capsys.disabled():
        print(f"\nfuzz, agent service{' (strict)' * strict}: {counts}; healthy after each")
