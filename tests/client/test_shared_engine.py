"""The engine of a state directory: clients share it, and what it knows outlives them."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from armoflow import Client, task
from armoflow.client import shared_engine
from armoflow.client.shared_engine import SharedEngine
from armoflow.engine import presence
from armoflow.engine.presence import Presence
from armoflow.errors import EngineError, OptionError
from armoflow.system.meeting import (
    connect,
    listen,
    meeting,
    meeting_place,
    shared_endpoint,
    sweep_meeting_places,
)
from tests.integration.engines import Up, alive

PATIENCE = 60.0


@task(cache=True, ignore=["place"])
def double(number: int, place: Path) -> int:
    place.joinpath(f"{number}-{time.monotonic_ns()}").touch()
    return 2 * number


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait until something is so; only so long that a broken test ends."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def engine_of(client: Client) -> SharedEngine:
    """The engine behind a client."""
    engine: SharedEngine = client._backend._engine  # type: ignore[attr-defined]
    return engine


def program(text: str, *arguments: object, stdin: int | None = None) -> subprocess.Popen[str]:
    """Python that runs beside this."""
    command = [sys.executable, "-c", textwrap.dedent(text), *map(str, arguments)]
    return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    directory = tmp_path / "ran"
    directory.mkdir()
    return directory


JOINER = """
    import sys
    from armoflow import Client
    with Client(state=sys.argv[1]) as client:
        print(client._backend._engine.pid, flush=True)
"""


def test_clients_share_it_and_it_ends_after_the_last(state: Path) -> None:
    with Client(state=state, workers=1) as first:
        pid = engine_of(first).pid
        with Client(state=str(state)) as second:
            assert engine_of(second).pid == pid
            assert program(JOINER, state).communicate()[0] == f"{pid}\n"
        assert first.compute(task(os.getpid)()) and alive(pid)
        assert state.stat().st_mode & 0o777 == 0o700
    wait_for(lambda: not alive(pid), "the engine is left")


def test_who_comes_later_has_the_workers_that_there_are(
    state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Client(state=state, workers=1), Client(state=state, workers=2) as second:
        assert second.workers == 1
    assert "has workers=1, as its first client asked for, not 2" in caplog.text


def test_those_that_start_at_once_share_it(state: Path) -> None:
    programs = [program(JOINER, state) for _ in range(3)]
    with Client(state=state, workers=1) as client:
        assert client.compute(task(abs)(-1)) == 1
        assert all(started.communicate()[0].strip().isdecimal() for started in programs)


def test_what_was_computed_outlives_it(state: Path, ran: Path) -> None:
    for _ in range(2):
        with Client(state=state, workers=1) as client:
            assert client.compute(double.map(range(10), place=ran)) == list(range(0, 20, 2))
            pid = engine_of(client).pid
        wait_for(lambda pid=pid: not alive(pid), "the engine is left")  # type: ignore[misc]
    assert len(list(ran.iterdir())) == 10
    assert state.joinpath("cache.sqlite").is_file()


def test_a_variable_names_it(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARMOFLOW_STATE", str(state))
    with Client(workers=1) as client:
        assert engine_of(client).state == state
    assert f"the engine's state is {state} (ARMOFLOW_STATE)" in capsys.readouterr().err
    with Client(local=True) as client:
        assert client.compute(task(abs)(-1)) == 1
    monkeypatch.setenv("ARMOFLOW_ENDPOINT", "http://engine:5001")
    with pytest.raises(OptionError, match=r"ARMOFLOW_ENDPOINT .*ARMOFLOW_STATE.* unset one"):
        Client()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"state": 5}, "state must be the name of a directory, not 5"),
        ({"state": ""}, "state must be the name of a directory, not ''"),
        ({"state": "\0"}, "state must be the name of a directory, not '\\\\x00'"),
        ({"state": __file__}, "state must name a directory, not .*, which is a file"),
        ({"state": "s", "endpoint": "http://x:1"}, "leave out endpoint='http://x:1', or state"),
        ({"cache_limit": "much"}, "cache_limit must be a number of bytes, .* not 'much'"),
        ({"cache_limit": -1}, "cache_limit must be a number of bytes"),
        ({"state": "s", "local": True}, "leave out state, or local"),
        ({"state": "s", "target_name": "x"}, "target_name is for an engine at an endpoint"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Client(**arguments)  # type: ignore[arg-type]


def test_another_python_or_armoflow_is_refused_and_both_are_named(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(state=state, workers=1) as client:
        here = shared_engine.interpreter_identity()
        for name in here:
            other = {**here, name: "another"}
            monkeypatch.setattr(shared_engine, "interpreter_identity", lambda other=other: other)
            with pytest.raises(EngineError) as caught:
                Client(state=state)
            assert f"is that of {name} {here[name]}, and this is {name} another" in str(
                caught.value
            )
        monkeypatch.undo()
        assert client.compute(task(abs)(-1)) == 1


def test_a_file_system_without_locks_is_refused(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    for flock in (none, lambda descriptor, operation: None):
        monkeypatch.setattr(fcntl, "flock", flock)
        with pytest.raises(EngineError, match=f"file system of {state} has no locks"):
            Client(state=state)


@pytest.fixture
def standing(state: Path) -> Iterator[Up]:
    """An engine that stays, at the place where clients of its state directory look for one."""
    engine = Up(state.parent, "--workers", "1", "--listen", shared_endpoint(state))
    yield engine
    engine.stop()


def test_an_engine_that_stays_is_joined(standing: Up, state: Path, ran: Path) -> None:
    for number in range(2):
        with Client(state=state) as client, Client(shared_endpoint(state)) as other:
            assert engine_of(client).pid == standing.process.pid
            assert client.compute(double(number, ran)) == other.compute(double(number, ran))
    assert standing.process.poll() is None


def test_clients_go_on_when_an_engine_that_stays_is_killed(
    standing: Up, state: Path, ran: Path
) -> None:
    with Client(state=state, workers=1) as client:
        assert client.compute(double(1, ran)) == 2
        standing.kill()
        assert client.compute(double(2, ran)) == 4
        pid = engine_of(client).pid
        assert pid != standing.process.pid
    wait_for(lambda: not alive(pid), "the engine is left")


def test_another_python_or_armoflow_does_not_join_an_engine_that_stays(
    standing: Up, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = shared_engine.interpreter_identity()
    name = next(iter(here))
    other = {**here, name: "another"}
    monkeypatch.setattr(shared_engine, "interpreter_identity", lambda: other)
    with pytest.raises(EngineError, match=f"{standing.process.pid}.* and this is {name} another"):
        Client(state=state)


def test_an_engine_that_listens_elsewhere_is_named(tmp_path: Path) -> None:
    engine = Up(tmp_path, "--workers", "1")
    try:
        told = rf"in use by an engine \(process {engine.process.pid}\) that listens at "
        with pytest.raises(EngineError, match=f"{told}{engine.endpoint}: Client\\('"):
            Client(state=tmp_path / "state")
    finally:
        engine.stop()


def test_a_second_engine_of_a_directory_is_refused(state: Path) -> None:
    with Client(state=state, workers=1) as client:
        with pytest.raises(AssertionError, match="is in use by another engine"):
            Up(state.parent, "--workers", "1", "--listen", f"unix:{state.parent}/s")
        assert client.compute(task(abs)(-1)) == 1
        with Client(state=state) as other:
            assert engine_of(other).pid == engine_of(client).pid


def test_a_long_name_does(tmp_path: Path) -> None:
    state = tmp_path / ("long" * 30)
    place = meeting_place(state)
    with Client(state=state, workers=1) as client:
        assert client.compute(task(abs)(-1)) == 1
        assert place.parent == Path("/tmp") and place.stat().st_mode & 0o777 == 0o700
        with Client(state=state) as other:
            pid = engine_of(other).pid
            assert engine_of(client).pid == pid
    wait_for(lambda: not alive(pid), "the engine is left")
    assert not place.exists()


@pytest.mark.parametrize("kind", ["open to others", "a link"])
def test_a_meeting_place_that_others_could_have_made_is_refused(tmp_path: Path, kind: str) -> None:
    """Its name can be known beforehand: who answers there would be sent code, and send some."""
    state = tmp_path / ("long" * 30)
    place = meeting_place(state)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    try:
        if kind == "a link":
            place.symlink_to(elsewhere)
        else:
            place.mkdir()
            place.chmod(0o777)
        with pytest.raises(
            EngineError, match=rf"{place}, .* is not a directory of this user alone"
        ):
            Client(state=state)
        with pytest.raises(EngineError, match="choose a shorter path for the state"):
            shared_endpoint(state)
        assert not [*elsewhere.iterdir()]
    finally:
        place.unlink() if place.is_symlink() else place.rmdir()


def test_sockets_of_a_killed_engine_are_swept_away(tmp_path: Path) -> None:
    state = tmp_path / ("long" * 30)
    started = program(JOINER + "        sys.stdin.read()", state, stdin=subprocess.PIPE)
    assert started.stdout is not None
    pid = int(started.stdout.readline())
    place = meeting_place(state)
    sweep_meeting_places()
    assert place.exists(), "the engine lives"
    started.kill()  # before it, lest it starts another one
    started.communicate()
    os.kill(pid, signal.SIGKILL)

    def swept() -> bool:
        sweep_meeting_places()
        return not place.exists()

    wait_for(swept, "it is left")


def test_sockets_go_with_the_state_directory(tmp_path: Path) -> None:
    state = tmp_path / ("long" * 30)
    state.mkdir()
    with meeting(state) as place:
        pass
    state.joinpath("starting").unlink()
    state.rmdir()
    sweep_meeting_places()
    assert not place.exists()


KILLED = """
    import sys, time
    from pathlib import Path
    from armoflow import Client, task

    @task(batch_size=1, cache=True)
    def hold(number: int, place: Path) -> int:
        place.joinpath(f"{number}.started").touch()
        while number and not place.joinpath("go").exists():
            time.sleep(0.005)
        place.joinpath(f"{number}.ended").touch()
        return number

    client = Client(state=sys.argv[1], workers=2)
    if sys.argv[3] == "first":
        futures = client.map(hold, range(2), [Path(sys.argv[2])] * 2)
        futures[0].result()
        print(client._backend._engine.pid, flush=True)
        time.sleep(1000)
    print(client._backend._engine.pid, flush=True)
    client.close()
"""


def test_a_killed_client_leaves_what_the_next_one_opens(state: Path, ran: Path) -> None:
    killed = program(KILLED, state, ran, "first")
    assert killed.stdout is not None
    pid = int(killed.stdout.readline())
    wait_for(ran.joinpath("1.started").exists, "the second task does not start")
    killed.kill()
    killed.communicate()
    assert program(KILLED, state, ran, "second").communicate()[0] == f"{pid}\n"
    assert alive(pid), "a task of the killed client runs still"
    ran.joinpath("go").touch()
    wait_for(lambda: not alive(pid), "the engine is left")
    assert ran.joinpath("1.ended").exists()
    with Client(state=state) as client:
        assert engine_of(client).pid != pid
        assert client.compute(double(1, ran)) == 2


def test_it_goes_on_after_it_was_killed(state: Path, ran: Path) -> None:
    with Client(state=state, workers=1) as client, Client(state=state) as other:
        assert client.compute(double(1, ran)) == 2
        first = engine_of(client).pid
        os.kill(first, signal.SIGKILL)
        assert client.compute(double(2, ran)) == 4
        assert other.compute(double.map([1, 2], place=ran)) == [2, 4]
        wait_for(
            lambda: engine_of(client).pid == engine_of(other).pid != first, "they do not share it"
        )
        os.kill(engine_of(client).pid, signal.SIGKILL)
        with pytest.raises(EngineError, match=r"\(state .*\) died"):
            client.compute(double(3, ran))
    assert len(list(ran.iterdir())) == 2


FORKING = """
    import os, signal, sys, time
    from armoflow import Client
    from tests.integration.engines import alive

    with Client(state=sys.argv[1], workers=1) as client:
        engine = client._backend._engine.pid
        child = os.fork()
        if not child:
            signal.alarm(60)
            signal.pause()
    while alive(engine):
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    print("ended", flush=True)
"""


def test_who_cannot_start_it_again_leaves_nothing_of_others_closed(
    state: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "not any more", str(state))

    with Client(state=state, workers=1) as client:
        engine = engine_of(client)
        assert client.compute(task(abs)(-1)) == 1
        monkeypatch.setattr("armoflow.client.shared_engine.meeting", refuse)
        os.kill(engine.pid, signal.SIGKILL)
        with pytest.raises(EngineError, match="not any more"):
            client.compute(task(time.sleep)(60))
        with tmp_path.joinpath("mine").open("w") as mine:  # its descriptor may be the engine's old
            client.close()
            mine.write("mine")


def test_a_forked_process_does_not_keep_it(state: Path) -> None:
    assert program(FORKING, state).communicate(timeout=PATIENCE)[0] == "ended\n"


def test_who_comes_while_no_file_can_be_opened_is_taken_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(presence, "LOOK_AGAIN", 0.01)

    class Short(socket.socket):
        """A socket whose first connections find no descriptor."""

        refusals = 3

        def accept(self) -> tuple[socket.socket, Any]:
            if Short.refusals:
                Short.refusals -= 1
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return super().accept()

    async def scenario() -> None:
        with meeting(tmp_path) as place:
            listening = listen(place)
            with monkeypatch.context() as patched:
                patched.setattr(socket, "socket", Short)
                present = Presence(listening.detach(), stays=True)
            present.begin({"endpoint": "here"}, lambda: False, lambda: None)
            client = connect(place)
        assert client is not None
        client.setblocking(False)
        greeting = await asyncio.get_running_loop().sock_recv(client, 1000)
        assert b"here" in greeting
        client.close()
        present.close()

    asyncio.run(asyncio.wait_for(scenario(), 30))
    told = [record.message for record in caplog.records]
    assert told == ["clients wait, for their connections cannot be taken: [Errno 24] " + MANY] * 3


MANY = os.strerror(errno.EMFILE)
