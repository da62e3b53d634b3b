"""A client that shares no code with ours: JavaScript, from a description of the API alone.

It goes through the flows of an ArmoniK client over gRPC from Node, and over gRPC-Web from Node and
from a page in a browser; the engines are processes as a user starts them.
"""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from armoflow.protocol.permissions import methods
from tests.dashboard.browser import CHROMIUM, browse, site
from tests.processes import running

PROGRAMS = Path(__file__).with_name("javascript")
WORKER = Path(__file__).parents[1] / "engine" / "workers" / "steps.py"
NODE = shutil.which("node")
PATIENCE = 120.0

WITH_NODE = pytest.mark.skipif(NODE is None, reason="Node is not installed")
WITH_CHROMIUM = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

ENGINES = {"default": (), "strict": ("--strict", "--no-extensions")}

WAYS = [
    pytest.param(("default", "node-grpc"), marks=WITH_NODE, id="default-node-grpc"),
    pytest.param(("strict", "node-grpc"), marks=WITH_NODE, id="strict-node-grpc"),
    pytest.param(("default", "node-grpc-web"), marks=WITH_NODE, id="default-node-grpc-web"),
    pytest.param(("strict", "browser-grpc-web"), marks=WITH_CHROMIUM, id="strict-browser-grpc-web"),
]
"""To which engine, and how."""


class Served(NamedTuple):
    """Where an engine is, and the page that may call it."""

    grpc: str
    web: str
    page: str


def described() -> list[dict[str, Any]]:
    """The files that describe the API, those that others need first."""
    found: dict[str, dict[str, Any]] = {}

    def add(file: Any) -> None:
        if file.name in found:
            return
        for needed in file.dependencies:
            add(needed)
        message = FileDescriptorProto.FromString(file.serialized_pb)
        found[file.name] = json_format.MessageToDict(message)

    for method, _ in methods():
        add(method.containing_service.file)
    return list(found.values())


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The programs with the description, and where a browser finds them."""
    directory = tmp_path_factory.mktemp("pages") / "javascript"
    shutil.copytree(PROGRAMS, directory)
    (directory / "files.json").write_text(json.dumps(described()))
    with site(directory) as origin:
        yield directory, origin


@contextlib.contextmanager
def serving(kind: str, directory: Path, origin: str) -> Iterator[Served]:
    """An engine that pages of an origin may call."""
    command = [
        *(sys.executable, "-m", "armoflow.cli.main", "up", "--state", str(directory / kind)),
        *("--listen", "127.0.0.1:0", "--web", "127.0.0.1:0", "--web-origin", origin),
        *("--worker", f"{sys.executable} {WORKER}", "--partition", "default=2"),
        *("--log-level", "warning", *ENGINES[kind]),
    ]
    with running(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline().partition(": ") for _ in range(2)]
            told = {name: url.strip() for name, _, url in lines}
            yield Served(told["ready"], told["web"], f"{origin}/page.html")
        finally:
            process.terminate()
            process.wait(timeout=60)


@pytest.fixture(scope="module")
def serve(
    tmp_path_factory: pytest.TempPathFactory, pages: tuple[Path, str]
) -> Iterator[Callable[[str], Served]]:
    """Gives the engine of a kind, which is started once."""
    state = tmp_path_factory.mktemp("states")
    with contextlib.ExitStack() as stack:
        yield functools.cache(lambda kind: stack.enter_context(serving(kind, state, pages[1])))


@pytest.fixture(scope="module", params=WAYS)
def seen(
    request: pytest.FixtureRequest, pages: tuple[Path, str], serve: Callable[[str], Served]
) -> dict[str, Any]:
    """What the flows have seen, by their names."""
    kind, how = request.param
    served = serve(kind)
    if how == "browser-grpc-web":
        return json.loads(browse(f"{served.page}#{served.web}"))  # type: ignore[no-any-return]
    transport = how.removeprefix("node-")
    url = served.grpc if transport == "grpc" else served.web
    done = subprocess.run(
        [str(NODE), "main.mjs", "files.json", transport, url],
        cwd=pages[0],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def a_session_from_its_beginning_to_its_end(flow: dict[str, Any]) -> None:
    assert (flow["settled"], flow["ofTask"]) == ("RESULT_STATUS_COMPLETED", "TASK_STATUS_COMPLETED")
    assert flow["value"] == "GRüßE, " * 20_000  # the worker knows bytes only
    assert flow["parents"] == 1  # the session
    options = flow["options"]
    assert (options["maxDuration"], options["maxRetries"]) == ({"seconds": 300, "nanos": 0}, 2)
    # After each of close, purge and delete: the codes of reading the session and the output.
    assert flow["told"] == [0, 0, "RESULT_STATUS_DELETED", 0, 5, 5, 5]


def payloads_that_come_with_their_metadata(flow: dict[str, Any]) -> None:
    assert flow["before"] == ["RESULT_STATUS_COMPLETED", "RESULT_STATUS_CREATED"]
    assert flow["settled"] == "RESULT_STATUS_COMPLETED"
    assert flow["owner"]
    assert flow["value"] == "STORED"


def a_payload_that_is_uploaded_after_its_task(flow: dict[str, Any]) -> None:
    assert flow["waiting"] == "TASK_STATUS_PENDING"
    assert flow["settled"] == "RESULT_STATUS_COMPLETED"
    assert flow["value"] == "LATE"


def data_of_a_session_that_has_ended(flow: dict[str, Any]) -> None:
    assert flow["settled"] == "RESULT_STATUS_COMPLETED"
    assert flow["value"] == "OLD"
    assert flow["unknown"] == 5


def a_task_that_hands_its_output_on_and_one_that_fails(flow: dict[str, Any]) -> None:
    assert flow["settled"] == "RESULT_STATUS_COMPLETED"
    assert flow["length"] == len("HANDED ON") + 1 + 70_000
    assert flow["isChild"]
    assert flow["aborted"] == "RESULT_STATUS_ABORTED"
    failure = flow["failure"]
    assert (failure["status"], failure["success"]) == ("TASK_STATUS_ERROR", False)
    assert "it went wrong" in failure["error"]
    assert flow["counts"] == {"TASK_STATUS_COMPLETED": 3, "TASK_STATUS_ERROR": 1}


FLOWS = {
    "client": a_session_from_its_beginning_to_its_end,
    "payloadAndMetadata": payloads_that_come_with_their_metadata,
    "delayedPayload": a_payload_that_is_uploaded_after_its_task,
    "importing": data_of_a_session_that_has_ended,
    "agentAndWorker": a_task_that_hands_its_output_on_and_one_that_fails,
}


def test_the_flows_of_a_client(seen: dict[str, Any]) -> None:
    """One test of all: what has gone through them has done so once."""
    assert seen.keys() == FLOWS.keys()
    for name, check in FLOWS.items():
        assert "failed" not in seen[name], (name, seen[name]["failed"])
        check(seen[name])
