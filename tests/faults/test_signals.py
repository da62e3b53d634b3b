"""TERM, HUP and Ctrl-C: what a client has under way is ended, then its process."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from armonik.client import ArmoniKSessions
from armonik.common import Session, SessionStatus

from tests.faults.scripts import PATIENCE, Place, line_of, wait_for
from tests.integration.engines import EMBEDDED, STOCK, Up, up

WAITS = """
    import os, signal, sys, time
    from armoflow import Client, task

    {before}
    client = Client(*sys.argv[1:], workers=1)
    client.put(bytes(1_000_000))
    future = client.submit(task(lambda: time.sleep(1000))())
    print("started", flush=True)
    {wait}
"""
SLEEP = "time.sleep(1000)"


def sessions_under_way(engine: Up) -> list[Session]:
    """The sessions of an engine that were neither cancelled nor closed."""
    options = [("grpc.default_authority", "localhost")]
    with grpc.insecure_channel(engine.endpoint, options) as channel:
        _, sessions = ArmoniKSessions(channel).list_sessions()
    ended = (SessionStatus.CANCELLED, SessionStatus.CLOSED)
    return [session for session in sessions if session.status not in ended]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "tmp")


@pytest.mark.parametrize(
    ("number", "wait"),
    [
        (signal.SIGTERM, SLEEP),
        (signal.SIGHUP, "future.result()"),
        (signal.SIGTERM, "client.gather([future])"),
    ],
)
def test_the_process_dies_of_it(place: Place, number: signal.Signals, wait: str) -> None:
    with place.run(WAITS.format(before="", wait=wait)) as process:
        line_of(process)
        process.send_signal(number)
        assert process.wait(PATIENCE) == -number
        place.wait_until_clean()


@pytest.fixture(scope="module", params=[EMBEDDED, STOCK], ids=["embedded", "stock"])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("engine"), *request.param) as started:
        yield started


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_sessions_on_a_shared_engine_are_ended(
    place: Place, engine: Up, number: signal.Signals
) -> None:
    with place.run(WAITS.format(before="", wait=SLEEP), engine.endpoint) as process:
        line_of(process)
        assert len(sessions_under_way(engine)) == 1
        process.send_signal(number)
        assert process.wait(PATIENCE) == -number
        assert not sessions_under_way(engine)


def test_a_handler_of_the_programs_own_stays(place: Place) -> None:
    before = "signal.signal(signal.SIGTERM, lambda *_: (print('mine', flush=True), os._exit(3)))"
    with place.run(WAITS.format(before=before, wait=SLEEP)) as process:
        line_of(process)
        process.terminate()
        assert process.wait(PATIENCE) == 3
        assert line_of(process) == "mine"
        place.wait_until_clean()


def test_an_ignored_hup_stays_ignored(place: Place) -> None:
    before = "signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    wait = "print(sys.stdin.readline(), future.running(), flush=True); " + SLEEP
    script = WAITS.format(before=before, wait=wait)
    with place.run(script, stdin=subprocess.PIPE) as process:
        line_of(process)
        process.send_signal(signal.SIGHUP)
        assert process.stdin is not None
        process.stdin.write("still here\n")
        process.stdin.flush()
        assert line_of(process) == "still here"
        process.terminate()
        assert process.wait(PATIENCE) == -signal.SIGTERM
        place.wait_until_clean()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_interrupts_nothing_is_seen(place: Place, number: signal.Signals) -> None:
    """One that another thread got, or that came just before the main thread slept."""
    before = """
    import threading
    other = threading.Thread(target=lambda: time.sleep(1000), daemon=True)
    other.start()
    """
    wait = f"""
    threading.Timer(0.2, lambda: signal.pthread_kill(other.ident, {number:d})).start()
    time.sleep(1000)
    """
    with place.run(WAITS.format(before=before, wait=wait)) as process:
        line_of(process)
        assert process.wait(PATIENCE) == -number
        place.wait_until_clean()


def test_handlers_go_with_the_last_client(place: Place) -> None:
    code = """
        import signal, threading
        from armoflow import Client

        def handlers():
            return [signal.getsignal(n) is signal.SIG_DFL for n in (signal.SIGTERM, signal.SIGHUP)]

        with Client(local=True):
            print(handlers())
        thread = threading.Thread(target=lambda: Client(workers=1).close())
        thread.start()
        thread.join()
        print(handlers())
        with Client(workers=1):
            with Client(workers=1):
                print(handlers())
            print(handlers())
        print(handlers())
        with Client(workers=1):
            own = lambda *_: None
            signal.signal(signal.SIGTERM, own)
        print(signal.getsignal(signal.SIGTERM) is own)
    """
    with place.run(code) as process:
        output, errors = process.communicate(timeout=PATIENCE)
    both, none = "[True, True]", "[False, False]"
    assert output.splitlines() == [both, both, none, none, both, "True"], errors
    place.wait_until_clean()


def test_a_forked_process_dies_of_its_own_signal_only(place: Place) -> None:
    code = """
        import os, signal, time
        from armoflow import Client, task

        client = Client(workers=1)
        child = os.fork()
        if not child:
            time.sleep(1000)
        os.kill(child, signal.SIGTERM)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        print(client.compute(task(lambda: "here")()))
    """
    with place.run(code) as process:
        output, errors = process.communicate(timeout=PATIENCE)
    assert output.split() == [str(-signal.SIGTERM), "here"], errors
    place.wait_until_clean()


def test_an_engine_does_not_outlive_its_client_in_forked_processes(place: Place) -> None:
    code = """
        import os, signal, time
        from armoflow import Client

        client = Client(workers=1)
        child = os.fork()
        if not child:
            time.sleep(1000)
        print(child, flush=True)
        time.sleep(1000)
    """
    with place.run(code, stderr=subprocess.DEVNULL) as process:
        child = int(line_of(process))
        process.kill()
        try:
            wait_for(
                lambda: [line.split()[0] for line in place.left()] == [str(child)],
                lambda: f"left: {place.left()}",
            )
        finally:
            os.kill(child, signal.SIGKILL)


PHASES = {
    "start": ("", "0"),
    "compute": ("ready", "client.compute(task(lambda: time.sleep(1000))())"),
    "result": ("ready", "client.submit(task(lambda: time.sleep(1000))()).result()"),
    "gather": ("ready", "client.gather(client.map(lambda n: time.sleep(1000), range(4)))"),
    "as_completed": (
        "ready",
        "list(client.as_completed([client.submit(task(lambda: time.sleep(1000))())]))",
    ),
    "close": ("ready", "client.close(); time.sleep(1000)"),
}
INTERRUPTED = """
    print("begun", flush=True)
    import sys, time
    try:
        from armoflow import Client, task
        client = Client(workers=1)
        print("ready", flush=True)
        {use}
        while True:  # what comes just before a sleep is seen after it
            time.sleep(0.2)
    except (KeyboardInterrupt, RuntimeError) as error:
        # Before 3.12 Python wraps one that comes while a class is made.
        own = error.__cause__ if isinstance(error, RuntimeError) else error
        if not isinstance(own, KeyboardInterrupt):
            raise
        print("interrupted", flush=True)
        raise own
"""


@pytest.mark.parametrize("phase", PHASES)
def test_ctrl_c_counts_at_any_moment(place: Place, phase: str) -> None:
    begin, use = PHASES[phase]
    moment = random.Random(phase).uniform(0, 0.01 if begin else 0.5)
    with place.run(INTERRUPTED.format(use=use)) as process:
        assert line_of(process) == "begun"
        if begin:
            assert line_of(process) == begin
        time.sleep(moment)
        process.send_signal(signal.SIGINT)
        try:
            output, errors = process.communicate(timeout=PATIENCE / 3)
        except subprocess.TimeoutExpired as late:
            # Python itself loses one that comes in a callback of a garbage or an import lock.
            assert b"Exception ignored in" in (late.stderr or b""), late.stderr
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=PATIENCE)
        assert output.split()[-1] == "interrupted", errors
        # Python forgets that it was interrupted where any thread runs a source text meanwhile, as
        # the import of a module with a named tuple does: then it ends with 1.
        assert process.returncode in (-signal.SIGINT, 1), errors
        place.wait_until_clean()


def test_ctrl_c_of_a_terminal_ends_a_group(place: Place) -> None:
    script = WAITS.format(before="", wait=SLEEP)
    with place.run(script, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        line_of(process)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(PATIENCE) == -signal.SIGINT
    place.wait_until_clean()


CONNECTING = """
    import sys
    from armoflow import Client
    try:
        Client(sys.argv[1], connect_timeout=600)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    sys.stdin.read()
"""


def test_ctrl_c_while_a_client_connects_hangs_up(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with place.run(CONNECTING, endpoint, stdin=subprocess.PIPE) as process:
            connection, _ = silent.accept()
            with connection:
                connection.settimeout(PATIENCE)
                assert connection.recv(4096)
                process.send_signal(signal.SIGINT)
                assert line_of(process) == "interrupted"
                while connection.recv(4096):  # to its end, while the process lives
                    pass
            process.communicate(timeout=PATIENCE)
            assert process.returncode == 0
