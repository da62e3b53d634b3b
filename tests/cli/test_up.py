"""``armoflow up`` and the private engine, as processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import cast

import grpc
import pytest
from armonik.client import (
    ArmoniKPartitions,
    ArmoniKResults,
    ArmoniKSessions,
    ArmoniKTasks,
    ArmoniKVersions,
)
from armonik.common import TaskDefinition, TaskOptions

from armoflow import Client, task
from armoflow.cli import dashboard_command
from armoflow.cli.main import main
from armoflow.cli.up import default_state, make_parser
from armoflow.engine.address import parse_address
from armoflow.engine.command_line import server_options
from armoflow.engine.engine_options import EngineOptions
from armoflow.engine.scheduler import Agent
from armoflow.engine.server import Server, ServerOptions
from armoflow.errors import OptionError
from armoflow.protocol.grpc_setup import GRPC_SETTINGS
from armoflow.system.temporary import TemporaryDirectory
from tests.faults.scripts import wait_for
from tests.processes import running

PATIENCE = 60


@contextmanager
def started(
    *arguments: str, module: str = "armoflow.cli.main", fds: tuple[int, ...] = ()
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """An engine process, and the address that it says it is ready at."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=fds,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("ready: "), process.communicate(timeout=PATIENCE)[1]
        yield process, line.removeprefix("ready: ").strip()
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)


def up(tmp_path: Path, *arguments: str, listen: str = "127.0.0.1:0") -> tuple[str, ...]:
    state = ("--state", str(tmp_path / "state"))
    return ("up", "--listen", listen, *state, "--workers", "0", *arguments)


def run(*arguments: str) -> tuple[int, str]:
    """A command that ends by itself: its exit code and its errors."""
    done = subprocess.run(
        [sys.executable, "-m", "armoflow.cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(("number", "form"), [(signal.SIGTERM, "text"), (signal.SIGINT, "json")])
def test_up_serves_until_it_is_told_to_stop(tmp_path: Path, number: int, form: str) -> None:
    partitions = ("--partition", "cpu", "--partition", "gpu=0")
    with started(*up(tmp_path, *partitions, "--log-format", form)) as (process, url):
        assert url.startswith("http://127.0.0.1:")
        with grpc.insecure_channel(url.removeprefix("http://")) as channel:
            _, partitions = ArmoniKPartitions(channel).list_partitions()
            assert {one.id: one.pod_max for one in partitions} == {"cpu": 0, "gpu": 0}
        process.send_signal(number)
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
        assert "Partitions/ListPartitions was called 1 times" in errors
        if form == "json":
            told = [json.loads(line) for line in errors.splitlines()]
            assert all(line["@t"] and line["SourceContext"].startswith("armoflow") for line in told)


def test_up_serves_a_dashboard_as_long_as_it_is_there(tmp_path: Path) -> None:
    with started(*up(tmp_path, "--dashboard", "127.0.0.1:0")) as (process, _):
        assert process.stdout is not None
        link = process.stdout.readline().removeprefix("dashboard: ")
        where, _, token = link.strip().partition("/#")
        request = urllib.request.Request(f"{where}/api/overview")
        request.add_header("Authorization", f"Bearer {token}")
        with urllib.request.urlopen(request, timeout=PATIENCE) as events:
            assert "This machine" in events.readline().decode()
        process.terminate()
        assert process.wait(PATIENCE) == 0
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(where, timeout=PATIENCE)


def test_a_dashboard_that_is_not_installed_is_told_before_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dashboard_command, "find_spec", lambda name: None)
    assert main(["up", "--dashboard"]) == 2
    assert "pip install 'armoflow[dashboard]'" in capsys.readouterr().err


def test_up_serves_on_a_unix_socket_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    with started(*up(tmp_path, listen=f"unix:{path}")) as (process, url):
        assert url == f"unix:{path}"
        assert path.stat().st_mode & 0o077 == 0
        with grpc.insecure_channel(url) as channel:
            assert ArmoniKVersions(channel).list_versions()["core"]
        code, errors = run(*up(tmp_path / "second", listen=f"unix:{path}"))
        assert code == 2 and "another server does" in errors
        process.kill()
    with started(*up(tmp_path, listen=f"unix:{path}")) as (
        _,
        url,
    ):  # the dead one's socket is there
        assert url == f"unix:{path}"


def test_a_port_in_use_is_an_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        json_log = ("--log-format", "json")
        code, errors = run(*up(tmp_path, *json_log, listen=f"127.0.0.1:{port}"))
    assert code == 2
    told = json.loads(errors.splitlines()[-1])
    assert told["@l"] == "Fatal"
    assert f"cannot listen at http://127.0.0.1:{port}" in told["@m"]


def test_a_state_directory_in_use_is_an_error(tmp_path: Path) -> None:
    with started(*up(tmp_path)):
        code, errors = run(*up(tmp_path))
    assert code == 2
    assert "armoflow: error: " in errors and str(tmp_path) in errors


def test_devices_of_workers_follow_the_table_of_partitions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def options(*arguments: str) -> ServerOptions:
        command = ["--state", str(tmp_path), "--env", "CUDA_VISIBLE_DEVICES=4,5,7", *arguments]
        return server_options(make_parser().parse_args(command))

    two = ("--partition", "gpu=2", "--partition", "cpu=3", "--worker", "gpu=worker")
    found = options(*two)
    assert found.devices == {"gpu": (("4",), ("5",))}
    assert (found.engine.devices, found.engine.own_devices) == (("7",), frozenset({"gpu"}))
    assert options("--partition", "gpu=1", "--worker", "worker").devices == {
        "gpu": (("4", "5", "7"),)
    }
    assert options("--partition", "gpu=4", "--worker", "worker").devices["gpu"][3] == ()
    assert "1 of the 4 workers of partition gpu see no graphics processor" in caplog.text
    assert options("--partition", "gpu=4").devices == {}
    table = tmp_path / "table.yaml"
    monkeypatch.setenv("ARMOFLOW_PARTITIONS", str(table))
    table.write_text("gpu: {gpus: 1}\ncpu: {cpus: 2}")
    assert options(*two, "--worker", "cpu=worker").devices == {
        "gpu": (("4",), ("5",)),
        "cpu": ((), (), ()),
    }
    table.write_text("gpu: {gpus: 2}")
    with pytest.raises(OptionError, match=r"gpu=2 want 4 gpus, as the table .* has 3: start fewer"):
        options(*two)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--listen", "0.0.0.0:5001"), "refusing to listen at 0.0.0.0:5001"),
        (("--listen", "192.168.1.1:5001"), "refusing to listen"),
        (("--listen", "5001"), "write host:port or unix:/path"),
        (("--listen", "unix:/" + "x" * 100), "too long"),
        (("--partition", "a", "--partition", "a"), "given twice"),
        (("--partition", "a=b"), "write NAME or NAME=WORKERS"),
        (("--worker", "a", "--worker", "b=c"), "for all partitions, 'a' and 'b=c'"),
        (("--worker", "python 'w.py"), "cannot be split"),
        (("--worker", "default=", "--worker", "default=a"), "not both"),
        (("--data-folder", "/a", "--data-folder", "/b"), "second one for all partitions"),
        (("--data-folder", "default=/a", "--data-folder", "default=/b"), "partition 'default'"),
        (("--web", "unix:/x"), "browsers have no Unix sockets"),
        (("--web", "0.0.0.0:1"), "refusing to listen"),
        (("--web-origin", "http://x"), "give both"),
        (("--web", "127.0.0.1:0", "--web-origin", "localhost"), "is no origin"),
        (("--grace", "-1"), "'-1' is no time"),
        (("--grace", "soon"), "'soon' is no time: write a number of seconds"),
        (("--listen", "unix:"), "'unix:' is no address to listen at: write unix:/path"),
        (("--state", ""), "'' is no path: write one, or leave the option out"),
        (("--backup", ""), "'' is no path"),
        (("--log-calls", ""), "'' is no path"),
        (("--data-folder", ""), "--data-folder '' names no directory"),
        (("--data-folder", "default="), "--data-folder 'default=' names no directory"),
        (("--log-calls", "/no/such/file"), "--log-calls /no/such/file cannot be written"),
        (("--metrics-port", "x"), "'x' is no port: write a whole number from 0 to 65535"),
        (("--metrics-port", "65536"), "'65536' is no port"),
        (("--metrics-host", "::1"), "where --metrics-port PORT is: give both"),
        (("--max-priority", "0"), "'0' is no priority: write a whole number of at least 1"),
        (("--workers", "-1"), "'-1' is no number of workers: write a whole number of at least 0"),
        (("--partition", "x" * 300), "is no name of a partition"),
        (("--partition", "a\nb=1"), "'a\\nb' is no name of a partition"),
        (("--partition", "a b:2"), "--partition 'a b:2' is no name of a partition: write letters"),
        (("--partition", ".."), "'..' is no name of a partition"),
        (("--partition", "a/b"), "'a/b' is no name of a partition"),
        (("--dashboard", "5080"), "'5080' is no address to listen at"),
        (("--dashboard", "0.0.0.0:5080"), "refusing to listen at '0.0.0.0:5080'"),
        (("--workers", "1000000"), "cannot have 1000000 workers: write at most 4096"),
        (("--client-lease", "0"), "'0' is no span of time: write 90 (seconds), 30min, 12h"),
        (("--client-lease", "soon"), "'soon' is no span of time"),
        (("--retention", "1 fortnight"), "'1 fortnight' is no span of time"),
        (("--retention", "inf"), "or none"),
        (("--env", "NOT_SET_ANYWHERE"), "--env NOT_SET_ANYWHERE is not set here"),
    ],
)
def test_bad_arguments_are_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    try:
        code = main([*up(tmp_path), *arguments])
    except SystemExit as refused:  # by the parser
        code = refused.code  # type: ignore[assignment]
    assert code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


def test_partitions_have_workers_of_their_own(tmp_path: Path) -> None:
    partitions = ("--partition", "a=3", "--partition", "b", "--partition", "c=2")
    workers = ("--worker", "w x=1", "--worker", "a=one 'two words'", "--worker", "a=other")
    folders = ("--data-folder", "/cache/shared", "--data-folder", "a=/a=b")
    arguments = [*up(tmp_path)[1:], *partitions, *workers, "--worker", "b=", *folders]
    options = server_options(make_parser().parse_args(arguments))
    assert options.command == "w x=1"
    assert options.commands == {"a": ["one 'two words'", "other"], "b": [""]}
    shared = Path("/cache/shared")
    assert options.data_folders == {"a": Path("/a=b"), "b": shared, "c": shared}
    server = Server(options)
    try:
        agents = {
            name: server._make_agent(name, options.workers[name], tmp_path) for name in ("a", "c")
        }
    finally:
        server.calls.close()
    started = {name: [seat._arguments for seat in agent._seats] for name, agent in agents.items()}
    own = ["one", "two words"]
    assert started == {"a": [own, ["other"], own], "c": [["w", "x=1"]] * 2}


RECOVERING = """
import sys
from pathlib import Path
from armoflow.engine import core
from armoflow.cli.main import main

def load(*_, **__):
    print("recovers", flush=True)
    while True:
        pass

core.loading.load = load
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_up_ends_at_once_while_it_recovers_a_long_state(tmp_path: Path, number: int) -> None:
    command = [sys.executable, "-c", RECOVERING, *up(tmp_path)]
    with running(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"recovers\n"
        process.send_signal(number)
        try:
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
        assert process.stderr.read() == b""
    with started(*up(tmp_path)):
        pass  # it is recovered by the next one


def test_running_tasks_end_before_the_engine_does(tmp_path: Path) -> None:
    async def stop_while_one_runs() -> None:
        engine = EngineOptions(tmp_path / "state")
        server = Server(ServerOptions(parse_address("127.0.0.1:0"), engine, grace=PATIENCE))
        await server.start()
        scheduler = server.engine.scheduler
        scheduler.running["task"] = cast("Agent", None)
        stopping = asyncio.create_task(server.stop())
        while scheduler._idle is None:
            await asyncio.sleep(0)
        assert not stopping.done()
        scheduler.forget(["task"])
        await stopping

    asyncio.run(stop_while_one_runs())


def test_what_is_submitted_during_the_grace_is_kept_for_the_next_start(tmp_path: Path) -> None:
    def submit(target: str) -> None:
        with grpc.insecure_channel(target) as channel:
            session = ArmoniKSessions(channel).create_session(
                TaskOptions(max_duration=timedelta(hours=1), priority=1, max_retries=1)
            )
            results = ArmoniKResults(channel)
            (payload,) = results.create_results({"payload": b"x"}, session).values()
            (output,) = results.create_results_metadata(["output"], session).values()
            definition = TaskDefinition(payload.result_id, [output.result_id])
            ArmoniKTasks(channel).submit_tasks(session, [definition])

    def server(grace: float) -> Server:
        engine = EngineOptions(tmp_path / "state")
        return Server(ServerOptions(parse_address("127.0.0.1:0"), engine, grace=grace))

    async def submit_while_one_ends() -> None:
        first, second = server(PATIENCE), server(0)
        await first.start()
        scheduler = first.engine.scheduler
        scheduler.running["task"] = cast("Agent", None)
        stopping = asyncio.create_task(first.stop())
        while scheduler._idle is None:
            await asyncio.sleep(0)
        await asyncio.to_thread(submit, first.address.target)
        scheduler.forget(["task"])
        await stopping
        await second.start()
        assert second.engine.scheduler.queued("default") == 1
        await second.stop()

    asyncio.run(submit_while_one_ends())


def test_the_state_has_a_default_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert default_state() == Path("/somewhere/armoflow")
    monkeypatch.delenv("XDG_STATE_HOME")
    assert default_state() == Path.home() / ".local/state/armoflow"


@pytest.mark.parametrize("worker", ["", f"{sys.executable} -m armoflow.cli.main worker"])
def test_workers_of_an_engine_get_a_chosen_environment_and_their_output_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worker: str
) -> None:
    monkeypatch.setenv("ENGINE_SECRET", "secret")
    monkeypatch.setenv("REGION", "eu")
    arguments = up(tmp_path, "--env", "REGION", "--env", "MODE=a b", "--worker", worker)
    with started(*arguments, "--workers", "1") as (_, url), Client(url) as client:
        found = client.compute(task(variables)())
        wait_for(lambda: '"text": "looked"' in kept_output(tmp_path), "it does not keep output")
    assert "ENGINE_SECRET" not in found
    assert found["REGION"] == "eu" and found["MODE"] == "a b"
    assert found["PATH"] == os.environ["PATH"]
    assert not any(name.startswith("ComputePlane") for name in found)


def test_workers_of_a_private_engine_get_the_scripts_own_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SCRIPT_SECRET", "secret")
    with Client(workers=1) as client:
        found = client.compute(task(variables)())
    assert found["SCRIPT_SECRET"] == "secret"
    assert GRPC_SETTINGS.items().isdisjoint(found.items())


def kept_output(tmp_path: Path) -> str:
    return "".join(path.read_text() for path in tmp_path.glob("state/output/*.jsonl"))


def variables() -> dict[str, str]:
    print("looked")
    return dict(os.environ)


def test_a_private_engine_ends_with_its_parent(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    directory = TemporaryDirectory(Path("/tmp"))
    place = directory.path
    arguments = (
        *("--listen", f"unix:{place}/e.sock", "--state", str(place / "state"), "--workers", "0"),
        *("--alive-fd", str(reading), "--temporary", str(place)),
    )
    fds = (reading, directory.lock)
    with started(*arguments, module="armoflow.engine", fds=fds) as (process, _):
        os.close(reading)
        directory.release()
        assert (place / "state").exists()
        os.close(writing)
        assert process.wait(PATIENCE) == 0
        wait_for(lambda: not place.exists(), "its directory is left")
