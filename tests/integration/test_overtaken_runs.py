"""A client of a named run that is stopped counts as gone; when it wakes it does not go on.

It may be stopped anywhere: while it plans, or when all that is left to do is to send what it has
planned, when that is on its way, or was taken and not answered.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from armoflow import Client, task
from armoflow.errors import NamedRunError
from armoflow.orchestrator.named import fence, session
from armoflow.orchestrator.named.manifest import Head
from armoflow.protocol.frames import Kind
from armoflow.protocol.stream import Stream
from tests.integration.engines import Up
from tests.integration.gates import Bell, Gate, Log, note, pass_gate, ring

ITEMS = 6
START = """
import sys
from tests.integration.test_overtaken_runs import main

main(*sys.argv[1:])
"""


class Slow:
    """Takes its time when it is pickled, once a gate is given."""

    def __init__(self, bell: str = "", gate: str = "") -> None:
        self.bell, self.gate = bell, gate

    def __armoflow_key__(self) -> str:
        return "slow"

    def __reduce__(self) -> object:
        if self.gate:
            ring(self.bell, "planning")
            pass_gate(self.gate)
        return Slow, ()


@task(batch_size=1)
def double(number: int, log: str) -> int:
    note(log, f"double-{number}")
    return 2 * number


@task
def total(numbers: list[int], slow: Slow, log: str) -> int:
    note(log, "total")
    return sum(numbers)


def graph(log: str, slow: Slow) -> object:
    """Its last task can be planned only when the gate is open."""
    return total(double.map(range(ITEMS), log=log), slow, log)


def stop_here() -> None:
    """Stop this process, before this thread does anything else."""
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


def stop_itself(when: str) -> None:
    """Stop this process when it has ``begun``; or at its first tasks: ``before`` they are sent, or
    ``after``; or ``cut``: after, and when it wakes it has to connect again and has heard nothing.
    """
    if when == "begun":
        begin = session.RunSession.begin

        async def begin_and_stop(self: session.RunSession, head: Head) -> int | None:
            epoch = await begin(self, head)
            stop_here()
            return epoch

        session.RunSession.begin = begin_and_stop  # type: ignore[method-assign]
        return
    request = Stream.request

    async def ask(self: Stream, kind: Kind, *arguments: Any) -> Any:
        if kind not in (Kind.SUBMIT, Kind.FENCED) or not arguments[-2]:
            return await request(self, kind, *arguments)
        Stream.request = request  # type: ignore[method-assign]
        if when == "before":
            stop_here()
            return await request(self, kind, *arguments)
        reply = asyncio.ensure_future(request(self, kind, *arguments))
        while not any(each.sent and each.kind is kind for each in self._requests.values()):
            await asyncio.sleep(0)
        stop_here()
        if when == "cut":
            assert self._wire is not None
            self._wire.end(asyncio.TimeoutError())
        return await reply

    Stream.request = ask  # type: ignore[method-assign]


def main(endpoint: str, name: str, log: str, bell: str, gate: str, when: str) -> None:
    """A client that is stopped while it plans, or as it submits."""
    from armoflow.orchestrator.named import recorder

    fence.TRUSTED = 0.25
    recorder.PULSE = 3600.0  # it asks when it submits
    if when:
        stop_itself(when)
    with Client(endpoint, workers=2) as client:
        future = client.submit(graph(log, Slow(bell, gate)), name=name)  # type: ignore[call-overload]
        try:
            print(future.result(), flush=True)
        except NamedRunError as error:
            print(error, flush=True)


class Sleeper:
    """Such a client, in a process of its own.

    Args:
        engine: Its engine.
        directory: Where its files go.
        when: When it is stopped; empty: while it plans.
    """

    def __init__(self, engine: Up, directory: Path, when: str = "") -> None:
        self.name = f"run-{uuid.uuid4().hex[:8]}"
        self.log = Log(directory / "log")
        self._bell = Bell(directory / "bell")
        self._gate = Gate(directory / "gate")
        files = ("", "") if when else (self._bell.path, self._gate.path)
        arguments = [engine.endpoint, self.name, self.log.path, *files, when]
        with self._gate.closed():
            self._process = subprocess.Popen(
                [sys.executable, "-c", START, *arguments],
                stdout=subprocess.PIPE,
                text=True,
            )
            if not when:
                assert self._bell.hear() == "planning"
                self._process.send_signal(signal.SIGSTOP)
            os.waitpid(self._process.pid, os.WUNTRACED)  # all its threads stand still

    def wake(self) -> str:
        """Let it go on; what it says in the end."""
        self._process.send_signal(signal.SIGCONT)
        return self._process.communicate(timeout=60)[0]

    def close(self) -> None:
        """End it."""
        self._bell.close()
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


@pytest.fixture
def sleeper(engine: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sleeper]:
    monkeypatch.setattr(session, "_PATIENCE", 0.5)
    started = Sleeper(engine, tmp_path)
    yield started
    started.close()


def test_who_was_attached_to_meanwhile_submits_nothing_more(
    client: Client, sleeper: Sleeper
) -> None:
    with pytest.raises(NamedRunError, match=r"not whole.*silent"):
        client.attach(sleeper.name).result()
    told = sleeper.wake()
    assert f"another client has taken over run '{sleeper.name}'" in told
    assert "total" not in sleeper.log.counts()
    assert client.submit(graph(sleeper.log.path, Slow()), name=sleeper.name).result() == 30  # type: ignore[call-overload]
    assert set(sleeper.log.counts().values()) == {1}, sleeper.log.counts()


def test_who_was_gone_on_for_meanwhile_submits_nothing_more(
    client: Client, sleeper: Sleeper
) -> None:
    value = client.submit(graph(sleeper.log.path, Slow()), name=sleeper.name)  # type: ignore[call-overload]
    assert value.result() == 30
    assert "another client has taken over" in sleeper.wake()
    assert len(sleeper.log.counts()) == ITEMS + 1
    assert set(sleeper.log.counts().values()) == {1}, sleeper.log.counts()


def test_who_was_stopped_and_not_missed_goes_on(client: Client, sleeper: Sleeper) -> None:
    assert sleeper.wake() == "30\n"
    assert client.attach(sleeper.name).result() == 30
    assert set(sleeper.log.counts().values()) == {1}, sleeper.log.counts()


@pytest.fixture(params=["begun", "before", "after", "cut"])
def submitter(
    request: pytest.FixtureRequest, engine: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Sleeper]:
    if request.param != "begun" and "--no-extensions" in engine.arguments:
        pytest.skip("standard calls cannot be fenced")
    monkeypatch.setattr(session, "_PATIENCE", 0.5)
    started = Sleeper(engine, tmp_path, request.param)
    yield started
    started.close()


def test_what_it_has_under_way_comes_too_late_where_another_has_gone_on(
    client: Client, submitter: Sleeper
) -> None:
    value = client.submit(graph(submitter.log.path, Slow()), name=submitter.name)  # type: ignore[call-overload]
    assert value.result() == 30
    told = submitter.wake()
    if told != "30\n":  # else all was on its way, and nothing was left to be done
        assert "another client has taken over" in told
    assert len(submitter.log.counts()) == ITEMS + 1
    assert set(submitter.log.counts().values()) == {1}, submitter.log.counts()
    assert client.attach(submitter.name).result() == 30


@pytest.mark.parametrize("submitter", ["begun", "before"], indirect=True)
def test_what_it_has_under_way_comes_too_late_where_another_has_attached(
    client: Client, submitter: Sleeper
) -> None:
    with pytest.raises(NamedRunError, match=r"not whole.*silent"):
        client.attach(submitter.name).result()
    assert "another client has taken over" in submitter.wake()
    assert not submitter.log.counts()
    assert client.submit(graph(submitter.log.path, Slow()), name=submitter.name).result() == 30  # type: ignore[call-overload]
    assert set(submitter.log.counts().values()) == {1}, submitter.log.counts()


KILLED = """
import os, signal, sys
from armoflow import Client
from armoflow.protocol.standard import StandardTransport
from tests.integration.test_overtaken_runs import Slow, graph

call = StandardTransport.call

async def call_or_die(self, method, request, what, **repeating):
    if what == "submitting tasks":
        os.kill(os.getpid(), signal.SIGKILL)
    return await call(self, method, request, what, **repeating)

StandardTransport.call = call_or_die
with Client(sys.argv[1], workers=2) as client:
    client.submit(graph(sys.argv[3], Slow()), name=sys.argv[2]).result()
"""


def test_of_those_who_attach_in_one_moment_one_submits_what_was_laid_out(
    client: Client, engine: Up, tmp_path: Path
) -> None:
    if "--no-extensions" not in engine.arguments:
        pytest.skip("what is laid out is submitted in one step")
    name, log = f"run-{uuid.uuid4().hex[:8]}", Log(tmp_path / "log")
    command = [sys.executable, "-c", KILLED, engine.endpoint, name, log.path]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL

    def attach(client: Client) -> object:
        try:
            return client.attach(name).result()
        except NamedRunError as error:
            return "is not whole" in str(error)

    with Client(engine.endpoint) as first, Client(engine.endpoint) as second:
        with ThreadPoolExecutor(3) as pool:
            found = list(pool.map(attach, [first, second, client]))
        assert all(value in (30, True) for value in found), found
    assert client.submit(graph(log.path, Slow()), name=name).result() == 30  # type: ignore[call-overload]
    assert set(log.counts().values()) == {1}, log.counts()


@task(batch_size=1)
def hard(number: int, slow: Slow, log: str) -> int:
    note(log, f"hard-{number}")
    return number


def test_what_was_on_its_way_when_a_graph_was_replaced_counts(
    client: Client, engine: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who plans the other graph submits for as long as it may take itself for the planner."""
    name, log = f"run-{uuid.uuid4().hex[:8]}", Log(tmp_path / "log")
    bell, gate = Bell(tmp_path / "bell"), Gate(tmp_path / "gate")
    monkeypatch.setattr(fence, "TRUSTED", 2.0)
    settle = session.RunSession.settle_submissions
    replaced = threading.Event()

    async def settle_and_tell(self: session.RunSession) -> None:
        replaced.set()
        await settle(self)

    monkeypatch.setattr(session.RunSession, "settle_submissions", settle_and_tell)

    def items(slow: Slow) -> Any:
        return hard.map(range(ITEMS), slow=slow, log=log.path)

    def begin() -> None:
        with Client(engine.endpoint) as first:
            first.submit(items(Slow(bell.path, gate.path)), name=name).exception()

    def replace() -> object:
        sums: Any = total(items(Slow()), Slow(), log.path)
        return client.submit(sums, name=name, replace=True).result()

    with ThreadPoolExecutor(2) as pool:
        with gate.closed():
            pool.submit(begin)
            assert bell.hear() == "planning"
            value = pool.submit(replace)
            assert replaced.wait(60)
        assert value.result() == sum(range(ITEMS))
    bell.close()
    assert set(log.counts().values()) == {1}, log.counts()
