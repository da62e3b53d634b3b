"""Workers that are reached over TCP, because they know nothing else or because they are told to."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Literal

import pytest
from armonik.client import ArmoniKEvents, ArmoniKResults, ArmoniKSessions, ArmoniKTasks
from armonik.common import TaskDefinition
from serving import Serving, serve, task_options

from armoflow.engine.agents.channels import tcp_channels

WORKER = Path(__file__).parent / "workers" / "tcp_only.py"
COMMAND = shlex.join([sys.executable, str(WORKER)])


def run_step(serving: Serving, *step: object) -> bytes:
    session = ArmoniKSessions(serving.channel).create_session(task_options())
    results = ArmoniKResults(serving.channel)
    payload = results.create_results({"payload": json.dumps(step).encode()}, session)["payload"]
    output = results.create_results_metadata(["output"], session)["output"].result_id
    ArmoniKTasks(serving.channel).submit_tasks(
        session, [TaskDefinition(payload.result_id, [output])]
    )
    ArmoniKEvents(serving.channel).wait_for_result_availability(output, session)
    data: bytes = results.download_result_data(output, session)
    return data


@pytest.mark.parametrize("channel", ["auto", "tcp"])
def test_a_worker_that_knows_tcp_only_is_served(
    tmp_path: Path, channel: Literal["auto", "tcp"]
) -> None:
    with serve(tmp_path / "state", workers=1, command=COMMAND, channel=channel) as serving:
        assert run_step(serving, "large", 3) == bytes(3)


def test_children_are_submitted_over_tcp(tmp_path: Path) -> None:
    with serve(tmp_path / "state", workers=1, command=COMMAND, channel="tcp") as serving:
        assert run_step(serving, "expand").startswith(b"HANDED ON")


def test_the_ports_of_a_worker_and_its_agent_differ() -> None:
    channels = tcp_channels()
    environment = channels.environment()
    assert channels.worker != channels.agent
    assert environment["ComputePlane__WorkerChannel__SocketType"] == "tcp"
    assert environment["ComputePlane__AgentChannel__Address"] == f"http://{channels.agent}"
