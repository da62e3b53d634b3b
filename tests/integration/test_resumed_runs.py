"""Named runs that failed, run again without their script: what failed, and what hangs on it."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from armoflow import Client, config, items, task
from armoflow.cli.endpoint import settings_of
from armoflow.errors import DataLostError, NamedRunError, OptionError
from armoflow.orchestrator.named import copies as copies_of_payloads
from armoflow.protocol.frames import RUN_LABEL
from armoflow.protocol.inspection import Inspection
from tests.faults.scripts import wait_for
from tests.integration.engines import Up
from tests.integration.gates import Gate, Log, note, pass_gate
from tests.integration.looking import Looking


@task
def fragile(number: int, log: str, broken: str) -> int:
    """Fails where there is a file of its number."""
    note(log, f"fragile-{number}")
    if Path(f"{broken}.{number}").exists():
        raise ValueError(f"{number} is broken")
    return number


@task
def double(number: int, log: str) -> int:
    note(log, f"double-{number}")
    return 2 * number


@task
def total(numbers: list[int], log: str) -> int:
    note(log, "total")
    return sum(numbers)


@task
def add(first: int, second: int) -> int:
    return first + second


@task(outputs=2)
def halves(number: int, log: str, broken: str) -> tuple[int, int]:
    note(log, f"halves-{number}")
    if Path(f"{broken}.{number}").exists():
        raise ValueError(f"{number} is broken")
    return number // 2, number - number // 2


@task
def is_even(number: int, log: str, broken: str) -> bool:
    note(log, f"is_even-{number}")
    if Path(f"{broken}.{number}").exists():
        raise ValueError(f"{number} is broken")
    return number % 2 == 0


@task
def returning(number: int, log: str, broken: str) -> Any:
    """Returns a graph, one of whose calls fails."""
    return double(fragile(number, log, broken), log)


@task
def gated(number: int, log: str, gate: str) -> int:
    note(log, "gated")
    pass_gate(gate)
    return number


class Machine:
    """What tasks note, and which of them are broken."""

    def __init__(self, directory: Path) -> None:
        self.log = Log(directory / "log")
        self.broken = directory / "broken"
        self.arguments = {"log": self.log.path, "broken": str(self.broken)}

    def breaks(self, *numbers: int) -> None:
        """These fail from here on."""
        for number in numbers:
            Path(f"{self.broken}.{number}").touch()

    def mend(self, *numbers: int) -> None:
        """These do not any more."""
        for number in numbers:
            Path(f"{self.broken}.{number}").unlink()

    def ran_twice(self) -> set[str]:
        """What ran more than once; nothing ran more than twice."""
        counts: Counter[str] = self.log.counts()
        assert not counts or max(counts.values()) <= 2
        return {name for name, count in counts.items() if count == 2}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def name() -> str:
    return f"run-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def other(engine: Up) -> Iterator[Client]:
    with Client(engine.endpoint, workers=2) as connected:
        yield connected


def tried(machine: Machine, count: int) -> bool:
    """Whether so many items of the map have begun."""
    return sum(name.startswith("fragile") for name in machine.log.counts()) == count


def tasks_of(engine: Up, *, but: Collection[str]) -> list[Any]:
    """The tasks of all sessions, but of those that were there before."""
    looking = Looking(engine)
    return [
        one
        for session in looking.sessions()
        if session not in but
        for one in looking.tasks(session)
    ]


@pytest.mark.parametrize("batch", [1, 5, 10])
def test_only_what_failed_and_what_hangs_on_it_runs_again(
    client: Client,
    other: Client,
    name: str,
    machine: Machine,
    engine: Up,
    batch: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = fragile.with_options(batch_size=batch).map(range(10), **machine.arguments)
    doubled = double.with_options(batch_size=batch).map(source, log=machine.log.path)
    graph = total(doubled, machine.log.path)
    machine.breaks(2, 3, 7)
    others = set(Looking(engine).sessions())
    with pytest.raises(ValueError, match="is broken"):
        client.submit(graph, name=name).result()
    wait_for(lambda: tried(machine, 10), "not all have begun")
    machine.mend(2, 3, 7)
    before = len(tasks_of(engine, but=others))
    assert other.resume(name).result() == 90
    # Of each batch with failures the items that failed share a task, and one copies.
    again = {1: 3 + 3, 5: 2 * 2 + 2 * 2, 10: 2 + 2}[batch] + 1
    assert len(tasks_of(engine, but=others)) - before == again
    assert "cannot be run again" not in caplog.text
    assert client.submit(graph, name=name).result() == 90
    assert client.attach(name).result() == 90
    assert machine.ran_twice() == {"fragile-2", "fragile-3", "fragile-7"}


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda machine: fragile(2, **machine.arguments), 2),
        (lambda machine: fragile.map(range(5), **machine.arguments), [0, 1, 2, 3, 4]),
        (lambda machine: fragile.map(range(5), **machine.arguments).reduce(add), 10),
        (lambda machine: fragile.map(range(5), **machine.arguments).fold(add), 10),
        (lambda machine: halves.map(range(5), **machine.arguments)[1], [0, 1, 1, 2, 2]),
        (lambda machine: halves(2, **machine.arguments)[1], 1),
        (lambda machine: fragile.map(["ab", 2, 3 + 1j], **machine.arguments), ["ab", 2, 3 + 1j]),
        (lambda machine: items(range(5)).filter(is_even, **machine.arguments), [0, 2, 4]),
    ],
)
def test_whatever_kind_of_graph_it_is(
    client: Client, other: Client, name: str, machine: Machine, build: Any, expected: Any
) -> None:
    graph = build(machine)
    machine.breaks(2)
    with pytest.raises(ValueError, match="2 is broken"):
        client.submit(graph, name=name).result()
    machine.mend(2)
    assert other.resume(name).result() == expected
    assert len(machine.ran_twice()) == 1  # the one that failed


def test_a_task_that_returned_a_graph_runs_again_with_it(
    client: Client, other: Client, name: str, machine: Machine
) -> None:
    graph = returning(2, **machine.arguments)
    machine.breaks(2)
    with pytest.raises(ValueError, match="2 is broken"):
        client.submit(graph, name=name).result()
    machine.mend(2)
    assert other.resume(name).result() == 4  # the task itself ended well: its payload may be gone


def test_what_was_not_submitted_for_a_failure_runs_then(
    client: Client,
    other: Client,
    name: str,
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(config, "BATCH_TASKS", 1)
    graph = fragile(1, **machine.arguments)
    for number in range(1, 7):
        graph = add(graph, double(number, machine.log.path))
    machine.breaks(1)
    with pytest.raises(ValueError, match="1 is broken"):
        client.submit(graph, name=name).result()
    with pytest.raises(ValueError, match="1 is broken"):
        other.attach(name).result()
    machine.mend(1)
    assert other.resume(name).result() == 43
    assert client.submit(graph, name=name).result() == 43
    assert machine.ran_twice() == {"fragile-1"}


def test_of_several_that_resume_it_one_does(engine: Up, name: str, machine: Machine) -> None:
    source = fragile.with_options(batch_size=1).map(range(6), **machine.arguments)
    graph = total(source, machine.log.path)
    machine.breaks(2)
    with Client(engine.endpoint) as first, pytest.raises(ValueError, match="2 is broken"):
        first.submit(graph, name=name).result()
    machine.mend(2)

    def resume(client: Client) -> int:
        return int(client.resume(name).result())

    with ExitStack() as clients, ThreadPoolExecutor(4) as threads:
        several = [clients.enter_context(Client(engine.endpoint)) for _ in range(4)]
        assert list(threads.map(resume, several)) == [15] * 4
    assert machine.ran_twice() == {"fragile-2"}


def test_of_several_that_begin_it_one_does(engine: Up, name: str, machine: Machine) -> None:
    graph = total(double.map(range(6), log=machine.log.path), machine.log.path)

    def begin(client: Client) -> int:
        return int(client.submit(graph, name=name).result())

    with ExitStack() as clients, ThreadPoolExecutor(4) as threads:
        several = [clients.enter_context(Client(engine.endpoint)) for _ in range(4)]
        assert list(threads.map(begin, several)) == [30] * 4
    assert machine.ran_twice() == set()


def test_what_was_paused_goes_on(
    client: Client, name: str, machine: Machine, engine: Up, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    with gate.closed():
        future = client.submit(
            double(gated(3, machine.log.path, gate.path), machine.log.path), name=name
        )
        wait_for(lambda: machine.log.counts()["gated"], "it has not begun")
        with Inspection(settings_of(engine.endpoint, {})) as inspection:
            (session,) = inspection.labelled_sessions(RUN_LABEL, name)
            inspection.pause(str(session.session_id))
    assert client.resume(name).result() == 6
    assert future.result() == 6


def test_what_fails_again_is_run_again_again(
    client: Client, other: Client, name: str, machine: Machine
) -> None:
    source = fragile.with_options(batch_size=4).map(range(8), **machine.arguments)
    graph = total(source, machine.log.path)
    machine.breaks(1, 6)
    with pytest.raises(ValueError, match="is broken"):
        client.submit(graph, name=name).result()
    machine.mend(1)
    with pytest.raises(ValueError, match="6 is broken"):
        other.resume(name).result()
    machine.mend(6)
    assert client.resume(name).result() == 28
    assert {key: count for key, count in machine.log.counts().items() if count > 1} == {
        "fragile-1": 2,
        "fragile-6": 3,
    }


def test_an_engine_that_keeps_no_payloads_has_copies_of_them(
    start_engine: Callable[..., str], name: str, machine: Machine
) -> None:
    """Also one with the batch extension that was told to delete them, and a second time."""
    graph = total([returning(number, **machine.arguments) for number in (1, 6)], machine.log.path)
    machine.breaks(1, 6)
    with Client(start_engine("--delete-payload"), workers=2) as client:
        with pytest.raises(ValueError, match="is broken"):
            client.submit(graph, name=name).result()
        machine.mend(1)
        with pytest.raises(ValueError, match="6 is broken"):
            client.resume(name).result()
        machine.mend(6)
        assert client.resume(name).result() == 14


def test_copies_that_are_gone_need_the_script(
    start_engine: Callable[..., str], name: str, machine: Machine
) -> None:
    graph = returning(1, **machine.arguments)
    machine.breaks(1)
    endpoint = start_engine("--delete-payload")
    with Client(endpoint, workers=2) as client:
        with pytest.raises(ValueError, match="is broken"):
            client.submit(graph, name=name).result()
        with Inspection(settings_of(endpoint, {})) as inspection:
            (session,) = inspection.labelled_sessions(RUN_LABEL, name)
        backend = client._backend
        transport = backend._orchestrator.transport
        parts = transport.shared.parts(session.session_id, copies_of_payloads.PREFIX)
        copies = [copy.result_id for copy in backend._loop.call(parts)]
        backend._loop.call(transport.delete(session.session_id, copies))
        machine.mend(1)
        with pytest.raises(DataLostError, match="nor the copy of it"):
            client.resume(name).result()
        assert client.submit(graph, name=name).result() == 2


def test_what_has_not_failed_is_joined(client: Client, name: str, machine: Machine) -> None:
    assert client.submit(double(4, machine.log.path), name=name).result() == 8
    assert client.resume(name).result() == 8
    assert machine.log.counts() == {"double-4": 1}
    with pytest.raises(NamedRunError, match="is not there"):
        client.resume("nobody-knows")


def test_in_the_debug_mode_there_is_nothing_to_resume() -> None:
    with Client(local=True) as client, pytest.raises(OptionError, match="needs an engine"):
        client.resume("debug")


def test_what_still_runs_of_a_run_that_has_failed_is_waited_for(
    client: Client, machine: Machine, name: str, tmp_path: Path
) -> None:
    """Else its end would be the old failure: what hangs on it has not been given up yet."""
    gate = Gate(tmp_path / "gate")
    machine.breaks(1)
    graph = total(
        [fragile(1, **machine.arguments), gated(5, machine.log.path, gate.path)], machine.log.path
    )
    with ThreadPoolExecutor() as pool:
        with gate.closed():
            first = client.submit(graph, name=name)
            wait_for(lambda: machine.log.counts()["gated"], "it has not begun")
            with pytest.raises(ValueError, match="1 is broken"):
                first.result(60)
            machine.mend(1)
            resuming = pool.submit(client.resume, name)
        assert resuming.result(60).result(60) == 6
    assert machine.ran_twice() == {"fragile-1"}
