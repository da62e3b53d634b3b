"""The engine that a client starts for itself: it comes, is watched, and goes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import armoflow
from armoflow import Client, config, task
from armoflow.client import private_engine
from armoflow.client.loop import shared_loop
from armoflow.client.private_engine import PrivateEngine
from armoflow.errors import EngineError, OptionError
from armoflow.placement import OFFERS_VARIABLE
from tests.conftest import SmallDisk
from tests.integration.engines import alive

PATIENCE = 60.0


@task
def inc(number: int) -> int:
    return number + 1


@task(batch_size=1)
def hold(place: Path, number: int) -> int:
    place.joinpath(f"{number}.started").touch()
    while not place.joinpath("go").exists():
        time.sleep(0.005)
    return number


def wait_for(condition: Callable[[], Any], what: str) -> None:
    """Wait until something is so; only so long that a broken test ends."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def engine_of(client: Client) -> PrivateEngine:
    """The engine behind a client."""
    engine: PrivateEngine = client._backend._engine  # type: ignore[attr-defined]
    return engine


async def under_way() -> set[asyncio.Task[Any]]:
    """What the clients' loop is at, but for this."""
    return asyncio.all_tasks() - {asyncio.current_task()}


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(workers=2) as started:
        yield started


def test_it_ends_with_its_client() -> None:
    with Client(workers=1) as client:
        engine = engine_of(client)
        pid, directory = engine.pid, Path(engine.endpoint.removeprefix("unix:")).parent
        worker = client.compute(task(os.getpid)())
        assert alive(pid) and directory.is_dir()
        assert directory.stat().st_mode & 0o777 == 0o700
    for process in (pid, worker):
        wait_for(lambda process=process: not alive(process), "a process is left")  # type: ignore[misc]
    assert not directory.exists()


def test_a_client_that_cannot_begin_leaves_no_engine_and_no_connection(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    before = shared_loop().call(under_way())
    with pytest.raises(OptionError, match="names 'big', which this engine does not have"):
        Client(workers=1, partitions={"big": {"cpus": 64}})
    assert shared_loop().call(under_way()) <= before
    wait_for(lambda: not list(tmp_path.iterdir()), "the engine's directory is left")


def test_a_file_of_partitions_that_is_none_is_refused_before_an_engine_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def start(*_: Any) -> PrivateEngine:
        raise AssertionError("an engine was started")

    file = tmp_path / "partitions.yaml"
    file.write_text("[1")
    monkeypatch.setenv(OFFERS_VARIABLE, str(file))
    monkeypatch.setattr("armoflow.client.engine_backend.PrivateEngine", start)
    with pytest.raises(OptionError, match="is not YAML"):
        Client(workers=1)


def test_tasks_run_where_the_script_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tmp_path.joinpath("data.txt").write_text("here")
    monkeypatch.chdir(tmp_path)
    with Client(workers=1) as client:
        assert client.compute(task(lambda: Path("data.txt").read_text())()) == "here"


@pytest.mark.timeout(50)  # less than a call may take
def test_one_that_stands_still_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "END_PATIENCE", 0.1)
    monkeypatch.setattr(private_engine, "STOP_TIMEOUT", 0.3)
    with Client(workers=1) as client:
        assert client.compute(inc(1)) == 2
        pid = engine_of(client)._process.pid
        os.kill(pid, signal.SIGSTOP)
    assert not alive(pid)


def test_it_is_started_again_once(client: Client, tmp_path: Path) -> None:
    engine = engine_of(client)
    futures = client.map(hold, [tmp_path] * 4, range(4))
    wait_for(lambda: list(tmp_path.glob("*.started")), "nothing starts")
    first = engine.pid
    os.kill(first, signal.SIGKILL)
    tmp_path.joinpath("go").touch()
    assert client.gather(futures) == [0, 1, 2, 3]
    assert engine.pid != first
    assert client.compute(inc.map(range(10))) == list(range(1, 11))


def test_who_waits_is_told_when_it_dies_again(client: Client, tmp_path: Path) -> None:
    engine = engine_of(client)
    first = engine.pid
    os.kill(first, signal.SIGKILL)
    assert client.compute(inc(1)) == 2
    waiting = client.submit(inc(hold(tmp_path, 0)))
    os.kill(engine.pid, signal.SIGKILL)
    error = waiting.exception(timeout=PATIENCE)
    assert isinstance(error, EngineError)
    assert "the engine on this machine died (-9)" in str(error)
    with pytest.raises(EngineError, match="died"):
        client.compute(inc(1))
    with pytest.raises(EngineError, match="died"):
        client.put(1)


def test_an_engine_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(EngineError, match="did not start"):
        Client(workers=1)
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(OSError, match="/no/such/python"):
        Client(workers=1)


def test_stopping_while_it_is_started_again(caplog: pytest.LogCaptureFixture) -> None:
    client = Client(workers=1)
    engine = engine_of(client)
    os.kill(engine.pid, signal.SIGKILL)
    wait_for(lambda: "starting it again" in caplog.text, "nobody sees that it died")
    client.close()
    wait_for(lambda: not alive(engine.pid), "the second engine is left")


SCRIPT = """
    import os, sys, time
    from armoflow import Client, task

    @task
    def wait():
        print(os.getpid(), flush=True)
        time.sleep(1000)

    if __name__ == "__main__":
        client = Client(workers=1)
        pid = client.compute(task(os.getpid)())
        print(pid, client._backend._engine.pid, flush=True)
        future = client.submit(wait())
        {end}
"""


@pytest.mark.parametrize(
    "end",
    ["sys.exit(0)", "raise ValueError", "os.kill(os.getpid(), 9)", "os._exit(1)"],
)
def test_a_script_that_ends_leaves_nothing(tmp_path: Path, end: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT.format(end=end)))
    root = str(Path(armoflow.__file__).parents[1])
    ended = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    pids = [int(word) for word in ended.stdout.split()]
    assert len(pids) == 2, ended.stderr
    for pid in pids:
        wait_for(lambda pid=pid: not alive(pid), f"process {pid} is left")  # type: ignore[misc]


def test_a_forked_process_leaves_the_client_alone(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, sys
            from armoflow import Client, task
            from armoflow.errors import ClientClosedError

            @task
            def inc(number):
                return number + 1

            if __name__ == "__main__":
                client = Client(workers=1)
                print(client.compute(inc(1)), flush=True)
                if os.fork() == 0:
                    for use in (lambda: client.compute(inc(1)), lambda: Client(workers=1)):
                        try:
                            use()
                        except ClientClosedError as error:
                            print("refused", "spawn" in str(error), flush=True)
                    with Client(local=True) as own:
                        print(own.compute(inc(2)), flush=True)
                    client.close()
                    sys.exit(0)
                os.wait()
                print(client.compute(inc(3)), flush=True)
            """
        )
    )
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", str(script)],
        env={**os.environ, "PYTHONPATH": str(Path(armoflow.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.stdout.splitlines() == ["2", "refused True", "refused True", "3", "4"], (
        ended.stderr
    )
    assert ended.returncode == 0


def test_the_default_client(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import os
            import armoflow
            from armoflow import task

            @task
            def inc(number):
                return number + 1

            if __name__ == "__main__":
                one, two = inc(1).compute(), armoflow.compute(inc(2), inc.map([1, 2]))
                print(one, two, inc.map(range(3)).compute(), task(os.getppid)().compute())
            """
        )
    )
    ended = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(Path(armoflow.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    text, _, pid = ended.stdout.strip().rpartition(" ")
    assert text == "2 (3, [2, 3]) [1, 2, 3]"
    wait_for(lambda: not alive(int(pid)), "the engine is left")


@pytest.mark.parametrize("what", ["bytes", "files"])
def test_an_error_for_want_of_room_begins_with_its_cause(
    small_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setenv("TMPDIR", str(small_disk.root))
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk.root))  # found while it had room
    small_disk.fill() if what == "bytes" else small_disk.take_all_inodes()
    with pytest.raises(EngineError) as caught:
        Client(workers=1)
    first = str(caught.value).splitlines()[0]
    assert str(small_disk.root) in first
    assert "TMPDIR" in first
    assert "no space left" in first.lower() or "full" in first
    small_disk.make_room()
    with Client(workers=1) as client:
        assert client.compute(inc(1)) == 2


def test_an_engine_that_cannot_go_on_says_why_first() -> None:
    with Client(workers=1) as client:
        assert client.compute(inc(1)) == 2
        journal = engine_of(client)._directory.path / "state" / "journal.db"
        journal.rename(journal.with_name("elsewhere.db"))
        journal.mkdir()
        os.kill(engine_of(client).pid, signal.SIGKILL)
        with pytest.raises(EngineError) as caught:
            while True:
                client.compute(inc(1))
        first = str(caught.value).splitlines()[0]
        assert f"cannot write {journal}: is a directory" in first
