"""``armoflow runs``, ``attach``, ``resume`` and ``run --detach``, and other commands of runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from armoflow import Client, task
from armoflow.client.client_environment import DETACH_VARIABLE
from tests.cli.here import run_here
from tests.integration.engines import ARMOFLOW, EMBEDDED, STOCK, Up, up
from tests.integration.gates import Gate, Log

SCRIPT = """
import os, sys
from armoflow import Client, task

@task
def load(number: int, log: str, gate: str) -> int:
    import fcntl
    with open(log, "a") as file:
        file.write(f"load-{number} ")
    with open(gate, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
    if number == 2 and not os.path.exists(gate + ".mended"):
        raise ValueError("broken")
    return number

@task
def total(numbers: list[int], log: str) -> int:
    with open(log, "a") as file:
        file.write("total ")
    return sum(numbers)

name, log, gate = sys.argv[1:]
items = load.with_options(batch_size=1).map(range(4), log=log, gate=gate)
with Client() as client:
    print(client.submit(total(items, log), name=name).result())
"""


DETACHED = {DETACH_VARIABLE: "1"}
"""What ``armoflow run --detach`` tells a script."""


class Runs:
    """An engine, a script, and commands for them."""

    def __init__(self, engine: Up, directory: Path) -> None:
        self.script = directory / "nightly.py"
        self.script.write_text(SCRIPT)
        self.log = Log(directory / "log")
        self.gate = Gate(directory / "gate")
        self._cwd = directory

        self._variables = {
            "ARMOFLOW_ENDPOINT": engine.endpoint,
            "ARMOFLOW_CACHE": str(engine.directory / "cache"),
        }

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command that runs none of the user's code."""
        return run_here(arguments, self._variables, self._cwd)

    def process(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command as a process."""
        return self._run(*ARMOFLOW, *arguments)

    def begin(self, name: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """The script, as ``armoflow run`` becomes it."""
        return self._run(sys.executable, *self.arguments(name), **variables)

    def _run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={**os.environ, **self._variables, **variables},
            cwd=self._cwd,
        )

    def arguments(self, name: str) -> list[str]:
        """What the script takes."""
        return [str(self.script), name, self.log.path, self.gate.path]

    def mend(self) -> None:
        """Let what was broken go well."""
        Path(f"{self.gate.path}.mended").touch()


@pytest.fixture(scope="module", params=["embedded", "stock"])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Up]:
    arguments = EMBEDDED if request.param == "embedded" else STOCK
    with up(tmp_path_factory.mktemp("runs"), *arguments) as started:
        yield started


OWN = pytest.mark.parametrize("engine", ["embedded"], indirect=True)
"""These commands ask by the calls that every ArmoniK serves, whatever the engine."""


@pytest.fixture
def runs(engine: Up, tmp_path: Path) -> Runs:
    return Runs(engine, tmp_path)


def listed(runs: Runs, name: str) -> dict[str, object]:
    """What ``armoflow runs`` says of a run."""
    told = runs("runs", "--json")
    assert told.returncode == 0, told.stderr
    (run,) = (run for run in json.loads(told.stdout)["runs"] if run["name"] == name)
    return dict(run)


def test_a_script_is_left_and_attached_to(runs: Runs) -> None:
    runs.mend()
    with runs.gate.closed():
        left = runs.process("run", "--detach", *runs.arguments("detached"))
        assert left.returncode == 0 and "armoflow attach detached" in left.stderr
        run = listed(runs, "detached")
        assert (run["state"], run["planned"], run["asked"]) == ("running", True, "total")
        assert run["open"] == 5
    attached = runs.process("attach", "detached")
    assert (attached.stdout, attached.returncode) == ("6\n", 0), attached.stderr
    assert json.loads(runs("attach", "detached", "--json").stdout)["value"] == "6"
    run = listed(runs, "detached")
    assert (run["state"], run["done"], run["open"], run["failed"]) == ("done", 5, 0, 0)
    assert "detached" in runs.process("runs").stdout


def test_a_run_that_failed_is_resumed_with_its_script(runs: Runs) -> None:
    assert runs.begin("mended").returncode == 1
    failed = runs("attach", "mended")
    assert (failed.stderr, failed.returncode) == ("ValueError: broken\n", 1)
    run = listed(runs, "mended")
    assert (run["state"], run["failures"]) == ("failed", ["load[2]", "total"])
    runs.mend()
    resumed = runs.process("resume", "mended", *runs.arguments("mended"))
    assert resumed.stdout == "6\n", resumed.stderr
    counts = runs.log.counts()
    assert counts.pop("load-2") == 2 and set(counts.values()) == {1}


def test_a_run_that_failed_is_resumed_without_its_script(runs: Runs) -> None:
    assert runs.begin("again").returncode == 1
    runs.mend()
    with runs.gate.closed():
        told = runs("resume", "again", "--json")
        run = json.loads(told.stdout)["run"]
        assert (run["state"], run["open"], run["failed"]) == ("running", 2, 0), told.stderr
    assert runs("attach", "again").stdout == "6\n"
    run = listed(runs, "again")
    assert (run["state"], run["done"], run["open"], run["failed"]) == ("done", 5, 0, 0)
    counts = runs.log.counts()
    assert counts.pop("load-2") == 2 and set(counts.values()) == {1}


@OWN
def test_several_runs_are_resumed_at_once(runs: Runs) -> None:
    names = ("one of two", "two of two")
    for name in names:
        assert runs.begin(name).returncode == 1
    runs.mend()
    told = runs("resume", *names)
    assert [line.partition(":")[0] for line in told.stdout.splitlines()] == [
        f"run {name}" for name in names
    ], told.stderr
    assert [runs("attach", name).stdout for name in names] == ["6\n", "6\n"]


@OWN
def test_a_script_that_is_not_there_is_said_to_be_none(runs: Runs) -> None:
    told = runs("resume", "any", "/nowhere/script.py")
    assert told.returncode == 2
    assert "there is no script '/nowhere/script.py'" in told.stderr


def test_an_option_that_resume_has_not_is_no_run(runs: Runs) -> None:
    told = runs("resume", "any", "--detach")
    assert told.returncode == 2 and "--detach" in told.stderr
    assert "an empty text is no id, and no name of a run" in runs("resume", "").stderr


@OWN
def test_resume_says_where_a_run_is(runs: Runs) -> None:
    runs.mend()
    assert runs.begin("told").stdout == "6\n"
    told = runs("resume", "told")
    assert told.stdout == "run told: done, 5 done, 0 to come\n", told.stderr


@OWN
def test_of_a_run_that_was_purged_it_is_said_what_it_was(runs: Runs) -> None:
    runs.mend()
    assert runs.begin("purged").stdout == "6\n"
    assert runs("purge", "--cancel", str(listed(runs, "purged")["session"])).returncode == 0
    run = listed(runs, "purged")
    assert (run["state"], run["asked"]) == ("gone", "total")
    for command in ("attach", "resume"):
        told = runs(command, "purged")
        assert told.returncode == 1
        assert "is not there any more (begun" in told.stderr
        assert "done when seen last" in told.stderr
    begun = runs.process("resume", "purged", *runs.arguments("purged"))
    assert begun.returncode == 1 and "armoflow run" in begun.stderr
    assert runs.begin("purged").stdout == "6\n"
    assert listed(runs, "purged")["state"] == "done"


def test_a_run_that_somebody_has_ended_has_not_failed(
    runs: Runs, engine: Up, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARMOFLOW_CACHE", str(engine.directory / "cache"))
    with runs.gate.closed():
        assert runs.begin("stopped", **DETACHED).returncode == 0
        with Client(engine.endpoint) as client:
            future = client.attach("stopped")
            assert runs("purge", "--cancel", "stopped").returncode == 0
            assert future.exception(60) is not None
    told = runs("attach", "stopped").stderr
    assert "ended by somebody when seen last" in told and "failed" not in told


def test_a_run_is_cancelled_by_its_name(runs: Runs) -> None:
    with runs.gate.closed():
        assert runs.begin("unwanted", **DETACHED).returncode == 0
        session = listed(runs, "unwanted")["session"]
        told = runs("cancel", "unwanted")
        assert (told.stdout, told.returncode) == (f"cancelled session {session}\n", 0), told.stderr
        assert listed(runs, "unwanted")["state"] == "ended"
        again = runs("cancel", "unwanted")
        assert again.returncode == 1
        assert "run 'unwanted' was cancelled, or has ended" in again.stderr


def test_a_run_is_paused_and_goes_on_by_its_name(runs: Runs) -> None:
    runs.mend()
    with runs.gate.closed():
        assert runs.begin("paused", **DETACHED).returncode == 0
        session = listed(runs, "paused")["session"]
        assert runs("pause", "paused").stdout == f"paused session {session}\n"
        assert json.loads(runs("show", "paused", "--json").stdout)["status"] == "paused"
    told = runs("resume", "paused")
    assert told.returncode == 0 and told.stdout.startswith("run paused: "), told.stderr
    assert runs("attach", "paused").stdout == "6\n"
    assert set(runs.log.counts().values()) == {1}


@OWN
def test_a_run_is_looked_at_by_its_name(runs: Runs, tmp_path: Path) -> None:
    runs.mend()
    assert runs.begin("looked-at").stdout == "6\n"
    session = listed(runs, "looked-at")["session"]
    shown = json.loads(runs("show", "looked-at", "--json").stdout)
    assert (shown["id"], shown["run"], shown["tasks"]["done"]) == (session, "looked-at", 5)
    for command, name in [("report", "a.html"), ("timeline", "a.json"), ("graph", "a.svg")]:
        written = runs(command, "looked-at", "-o", str(tmp_path / name), "--json")
        assert json.loads(written.stdout)["session"] == session, written.stderr
    logs = runs("logs", "looked-at")
    assert logs.returncode == 0 or "this engine does not keep" in logs.stderr


@OWN
def test_a_purge_by_name_takes_all_that_the_run_has_had(runs: Runs) -> None:
    runs.mend()
    for _ in range(2):
        assert runs.begin("twice").stdout == "6\n"
        sessions = json.loads(runs("cancel", "twice", "--json").stdout)["cancelled"]
    shown = runs("show", "twice", "--json")
    assert json.loads(shown.stdout)["id"] == sessions[0]  # the last one
    purged = json.loads(runs("purge", "twice", "--json").stdout)["purged"]
    assert len(purged) == 2 and sessions[0] in purged
    assert "is not there any more" in runs("purge", "twice").stderr


@OWN
@pytest.mark.parametrize("command", ["attach", "cancel", "resume", "pause"])
def test_a_name_that_nobody_knows_is_told(runs: Runs, command: str) -> None:
    told = runs(command, "nobody-knows")
    assert told.returncode == 1 and "nobody-knows" in told.stderr


def test_the_engine_of_a_state_directory_is_asked(tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    with Client(state=tmp_path / "state", workers=1) as client:
        assert client.submit(task(abs)(-3), name="shared").result() == 3
        done = run_here(["runs", "--json"], {"ARMOFLOW_STATE": state})
        other = {"ARMOFLOW_ENDPOINT": "http://127.0.0.1:1"}
        said = run_here(["runs", "--json", "--state", state], other)
        both = run_here(["runs", "--state", state, "--endpoint", "unix:/none"], {})
    for listing in (done, said):
        assert [run["name"] for run in json.loads(listing.stdout)["runs"]] == ["shared"]
    assert both.returncode == 2 and "leave out --endpoint unix:/none, or --state" in both.stderr
