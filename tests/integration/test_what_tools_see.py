"""What ArmoniK's tools see of armoflow's tasks: names, ids, pods."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from armonik.client import ArmoniKResults, ArmoniKTasks
from armonik.common import Result, Task

from armoflow import Client, task
from armoflow.protocol.channel import open_blocking_channel
from armoflow.protocol.settings import ConnectionSettings
from tests.integration.engines import Up, up


@task(batch_size=1)
def meet(mine: Path, other: Path) -> str:
    """Ends when both have begun: in two workers."""
    mine.touch()
    while not other.exists():
        time.sleep(0.001)
    return mine.name


@task
def child(text: str) -> str:
    return text * 1_000


@task(keep=True)
def kept(text: str) -> str:
    return text


@task
def parent(text: str) -> Any:
    return kept(child(text))


class Tools:
    """armonik's own client.

    Args:
        engine: The engine.
    """

    def __init__(self, engine: Up) -> None:
        self._channel = open_blocking_channel(ConnectionSettings(engine.endpoint), None)
        self._tasks = ArmoniKTasks(self._channel)
        self._results = ArmoniKResults(self._channel)

    def tasks(self, filter: Any = None) -> list[Task]:
        """All tasks that match."""
        return self._tasks.list_tasks(filter, page_size=1_000, sort_field=Task.created_at)[1]

    def results(self) -> list[Result]:
        """All results."""
        return self._results.list_results(None, page_size=1_000, sort_field=Result.created_at)[1]

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()


@pytest.fixture(scope="module", params=[(), ("--no-extensions",)], ids=["extension", "standard"])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("engine"), "--workers", "2", *request.param) as started:
        yield started


@pytest.fixture(scope="module")
def tools(engine: Up) -> Iterator[Tools]:
    opened = Tools(engine)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def client(engine: Up) -> Iterator[Client]:
    with Client(engine.endpoint) as connected:
        yield connected


def test_each_worker_is_a_pod(client: Client, tools: Tools, tmp_path: Path) -> None:
    paths = tmp_path / "one", tmp_path / "two"
    assert client.compute([meet(*paths), meet(*reversed(paths))]) == ["one", "two"]
    ran = tools.tasks()
    assert {(task.owner_pod_id, task.pod_hostname) for task in ran} == {
        ("127.1.0.1", "default-0"),
        ("127.1.0.2", "default-1"),
    }
    (one,) = tools.tasks(Task.pod_hostname == "default-0")
    assert one.pod_hostname == "default-0"
    assert tools.tasks(Task.owner_pod_id == "127.1.0.1")[0].id == one.id


def test_results_have_names_that_say_what_they_are(client: Client, tools: Tools) -> None:
    before = {result.result_id for result in tools.results()}
    big = client.put(bytes(100_000))
    assert client.compute(parent("x")) == "x" * 1_000
    names = {result.name for result in tools.results() if result.result_id not in before}
    assert {name.partition("/")[0] for name in names} <= {
        *("output", "output.wanted", "output.kept", "child", "child.kept", "payload", "shared")
    }
    assert "payload/parent" in names and "shared/put" in names
    assert names & {"output/parent", "output.wanted/parent"}
    del big


def test_no_task_has_the_id_of_a_result(client: Client, tools: Tools) -> None:
    client.compute([child("a"), parent("b")])
    assert not {task.id for task in tools.tasks()} & {
        result.result_id for result in tools.results()
    }
