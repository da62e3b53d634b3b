"""Named runs of clients that are killed: on engines with a lease, and of a directory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from armonik.common import SessionStatus

from armoflow import Client
from armoflow.errors import NamedRunError
from tests.integration.engines import up
from tests.integration.gates import Bell, Gate, Log, wait_for_end
from tests.integration.looking import Looking
from tests.processes import running

LEASED = ("--workers", "3", "--client-lease", "1")

SCRIPT = """
import sys, time
from armoflow import Client, task
from tests.integration.gates import gated
from tests.integration.test_named_engines import graph

kind, where, log, bell, gate = sys.argv[1:]
with Client(**{kind: where}, workers=3) as client:
    if kind == "endpoint":
        other = client.submit(time.sleep, 1000)
    future = client.submit(graph(log, bell, gate), name="nightly")
    client._backend._named.lay_out()
    print("ready", flush=True)
    time.sleep(1000)
"""


def graph(log: str, bell: str, gate: str) -> object:
    """Two tasks that wait at a gate, and their sum."""
    from armoflow import task
    from tests.integration.gates import gated

    one = gated.with_options(batch_size=1).map([1, 2], log=log, bell=bell, gate=gate)
    return one.reduce(task(name="add")(int.__add__))


class Parts:
    """What the graph is made with."""

    def __init__(self, directory: Path) -> None:
        self.log = Log(directory / "ran")
        self.bell = Bell(directory / "bell")
        self.gate = Gate(directory / "gate")

    @property
    def arguments(self) -> tuple[str, str, str]:
        """The same, for another process."""
        return self.log.path, self.bell.path, self.gate.path


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    made = Parts(tmp_path)
    yield made
    made.bell.close()


@contextmanager
def script(parts: Parts, kind: str, where: object) -> Iterator[subprocess.Popen[str]]:
    """A client in a process of its own that has begun the run, and its tasks are at the gate."""
    command = [sys.executable, "-c", SCRIPT, kind, str(where), *parts.arguments]
    with running(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            assert {parts.bell.hear(), parts.bell.hear()} == {"1", "2"}
            yield process
        finally:
            process.kill()


def test_no_lease_ends_a_run(tmp_path: Path, parts: Parts) -> None:
    with up(tmp_path, *LEASED) as engine:
        look = Looking(engine)
        with parts.gate.closed():
            with script(parts, "endpoint", engine.endpoint):
                (plain, run) = look.sessions()
            look.until(lambda: look.sessions()[plain] == SessionStatus.CANCELLED)
            assert look.sessions()[run] == SessionStatus.RUNNING
        with Client(engine.endpoint, workers=3) as client:
            assert client.attach("nightly").result() == 3
    assert parts.log.counts() == {"1": 1, "2": 1}


def test_the_engine_of_a_directory_lives_as_long_as_a_run_of_it(
    tmp_path: Path, parts: Parts
) -> None:
    state = tmp_path / "state"
    with parts.gate.closed():
        with script(parts, "state", state):
            pass
        with Client(state=state) as client:
            future = client.attach("nightly")
            assert not future.done()
            client.detach()
        with Client(state=state) as client:
            future = client.submit(graph(*parts.arguments), name="nightly")  # type: ignore[call-overload]
            assert not future.done()
            client.detach()
    with Client(state=state) as client:
        pid: int = client._backend._engine.pid  # type: ignore[attr-defined]
        assert client.attach("nightly").result() == 3
    assert wait_for_end(pid), "nobody needs it any more"
    with Client(state=state) as client:
        assert client.attach("nightly").result() == 3, "its values stay for a day"
        with pytest.raises(NamedRunError, match="is not there"):
            client.attach("weekly")
    assert parts.log.counts() == {"1": 1, "2": 1}
