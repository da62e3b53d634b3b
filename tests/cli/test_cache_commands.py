"""What is kept of earlier runs, and why a script runs again, as commands tell it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.cli.test_commands import Commanded
from tests.cli.test_up import PATIENCE, started
from tests.integration.wheels import make_wheel

SCRIPT = """
import pathlib, sys, time
from armoflow import Client, task

FACTOR = 2

@task(cache=True)
def load(number):
    time.sleep(0.01)
    return FACTOR * number

@task(cache=True, version="1")
def total(numbers):
    return sum(numbers)

if __name__ == "__main__":
    print("begun")
    with Client() as client:
        print(client.compute(total(load.map(range(int(sys.argv[1]))))))
    print("ended")
"""


CHECKED = """
import pathlib, random, sys
from armoflow import Client, task
from helper import Point

@task(cache=True)
def moved(point, by):
    return {Point(point.number + by), "moved"}

@task(cache=True)
def noise(number):
    return random.random()

@task(cache=True)
def price(number):
    return number * int(pathlib.Path(sys.argv[0]).with_name("price").read_text())

@task(cache=True)
def zeros(count):
    return bytes(count)

@task
def unkept(number):
    return number + 1

@task(cache=True)
def length(data, number):
    return len(data) + number

if __name__ == "__main__":
    with Client() as client:
        large, by = zeros(200_000), client.put(2)  # held: what is kept has to find it
        client.compute(moved(Point(1), by), noise(1), price.map(range(1, 4)))
        client.compute(length(large, unkept(1)))
"""

NEEDS = """
import sys
from armoflow import Client, task

WHEEL = sys.argv[1]

@task(cache=True, requirements=[WHEEL])
def release(number):
    import armoflow_tested
    return armoflow_tested.__version__, number

@task(requirements=[WHEEL])
def refuses(number):
    import armoflow_tested
    raise ValueError(armoflow_tested.__version__)

if __name__ == "__main__":
    with Client() as client:
        client.compute(release(1))
        try:
            client.compute(refuses(1))
        except ValueError:
            pass
"""

WAITS = """
import os, pathlib, sys, time
from armoflow import Client, task

@task(cache=True)
def waits(folder):
    pid = pathlib.Path(folder, "pid")
    if pathlib.Path(folder, "again").exists():
        pathlib.Path(folder, "new").write_text(str(os.getpid()))
        pathlib.Path(folder, "new").replace(pid)
        time.sleep(3600)

if __name__ == "__main__":
    with Client() as client:
        client.compute(waits(sys.argv[1]))
"""

HELPER = """
class Point:
    def __init__(self, number):
        self.number = number
"""


@pytest.fixture(scope="module", params=[(), ("--strict", "--no-extensions")], ids=["own", "stock"])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Commanded]:
    state = str(tmp_path_factory.mktemp("state"))
    up = ("up", "--listen", "127.0.0.1:0", "--state", state, "--workers", "1")
    with started(*up, *request.param) as (_, url):
        yield Commanded(url)


OWN = pytest.mark.parametrize("engine", [()], ids=["own"], indirect=True)
"""What is told is of the index, or by the same calls."""


@pytest.fixture
def kept(
    engine: Commanded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Commanded, Path]:
    """An engine, and a script that has run there with its values kept."""
    engine.environment["ARMOFLOW_CACHE"] = str(tmp_path / "cache")
    monkeypatch.setenv("ARMOFLOW_CACHE", str(tmp_path / "cache"))
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    assert run(engine, script, "6") == "begun\n30\nended\n"
    return engine, script


def run(engine: Commanded, script: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, script, *arguments],
        check=False,  # what it says would not be told
        env=engine.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_a_script_would_run_is_explained_and_nothing_of_it_runs(
    kept: tuple[Commanded, Path],
) -> None:
    engine, script = kept
    assert engine.run("explain", str(script), "6") == ("total: 1 hit\nload: 6 not needed\n")
    (told,) = json.loads(engine.run("explain", "--json", str(script), "8"))
    tasks = {found["task"]: found for found in told["tasks"]}
    assert (tasks["load"]["hits"], tasks["load"]["misses"]) == (6, 2)
    assert tasks["load"]["reasons"][0]["text"] == "such as 6 is new"
    script.write_text(SCRIPT.replace("FACTOR = 2", "FACTOR = 3"))
    assert "  code global __main__:FACTOR: 2 -> 3 (6 calls)" in engine.run(
        "explain", str(script), "6"
    )
    script.write_text(SCRIPT.replace("client.compute(", "str("))
    assert "asked for no graph" in engine.run("explain", str(script), "6", code=2)


@OWN
def test_what_a_script_would_take_is_estimated(kept: tuple[Commanded, Path]) -> None:
    engine, script = kept
    (told,) = json.loads(engine.run("plan", "--json", str(script), "8"))
    assert told["tasks"][0]["task"] == "load"
    assert 0.01 <= told["tasks"][0]["seconds_each"] < 1
    assert told["cached_share"] == 6 / 9


@OWN
def test_what_is_kept_is_listed_and_shown(kept: tuple[Commanded, Path]) -> None:
    engine, _ = kept
    listed = engine.process("cache", "ls")
    assert listed.splitlines()[0].split()[:4] == ["TASK", "VERSION", "VALUES", "RESULTS"]
    told = engine.json("cache", "ls")
    assert {found["task"]: found["values"] for found in told["tasks"]} == {"load": 6, "total": 1}
    shown = engine.process("cache", "show", "load")
    assert "__main__:load" in shown and "call" in shown
    (only,) = engine.json("cache", "show", "total@1")["results"]
    assert only["keys"][0]["arguments"] == {"numbers": "what 'load' gives"}
    assert "nothing of 'train'" in engine.run("cache", "show", "train", code=1)


def test_what_is_removed_is_computed_again(kept: tuple[Commanded, Path]) -> None:
    engine, script = kept
    numbers = [
        str(found["number"])
        for name in ("load", "total")
        for found in engine.json("cache", "show", name)["results"]
    ]
    told = json.loads(engine.run("cache", "rm", *numbers, "--json"))
    assert (told["removed"], told["values"]) == (len(numbers), 7)
    assert engine.json("cache", "ls")["tasks"] == []
    assert "no result 1" in engine.run("cache", "rm", "1", code=1)
    assert run(engine, script, "6") == "begun\n30\nended\n"
    assert engine.run("cache", "invalidate", "total@1").startswith("1 value in 1 result")
    explained = engine.run("explain", str(script), "6")
    assert "total: 1 miss\n  removed: it was removed, by armoflow cache rm" in explained
    assert "load: 6 hits" in explained


def test_what_is_kept_is_computed_again_and_compared(
    engine: Commanded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.environment["ARMOFLOW_CACHE"] = str(tmp_path / "cache")
    monkeypatch.setenv("ARMOFLOW_CACHE", str(tmp_path / "cache"))
    script, price = tmp_path / "script.py", tmp_path / "price"
    price.write_text("3")
    script.write_text(CHECKED.replace("sys.argv[0]", repr(str(script))))
    (tmp_path / "helper.py").write_text(HELPER)
    run(engine, script)
    script.unlink()  # what is computed again is what was kept
    (tmp_path / "helper.py").unlink()
    assert (
        engine.run("cache", "verify", "length")
        == "length: 1 of 1 result as kept, 1 value compared\n"
    )
    price.write_text("4")
    told = json.loads(engine.run("cache", "verify", "--json", code=1))
    verdicts = {(found["task"], found["verdict"]) for found in told["results"]}
    assert verdicts == {
        *(("moved", "same"), ("zeros", "same"), ("length", "same")),
        *(("noise", "nondeterministic"), ("price", "wrong")),
    }
    price.unlink()
    told = engine.run("cache", "verify", "price", "--sample", "1", code=1)
    assert "failed: FileNotFoundError" in told
    engine.run("cache", "invalidate", "zeros")
    told = engine.run("cache", "verify", "length")
    assert "cannot be computed again: the engine has its inputs no more" in told
    assert "nothing of 'train'" in engine.run("cache", "verify", "train", code=1)


@OWN
def test_what_needs_packages_is_computed_again_where_it_has_them(
    engine: Commanded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cache", "environments"):
        variable = f"ARMOFLOW_{name.upper()}"
        monkeypatch.setenv(variable, str(tmp_path / name))
        monkeypatch.setitem(engine.environment, variable, str(tmp_path / name))
    script = tmp_path / "script.py"
    script.write_text(NEEDS)
    wheel = make_wheel(tmp_path / "wheels", "armoflow_tested", "1.5")
    run(engine, script, wheel.as_uri())
    failed = engine.sessions()[0]
    (failure,) = engine.json("show", failed["id"])["failures"]
    told = engine.process("replay", failure["first"], "--yes", code=1)
    assert "refuses failed: ValueError: 1.5" in told
    same = "release: 1 of 1 result as kept, 1 value compared\n"
    assert engine.run("cache", "verify") == same
    wheel.unlink()
    shutil.rmtree(tmp_path / "environments")
    told = engine.run("cache", "verify")
    assert f"cannot be computed again: it needs {wheel.as_uri()}: " in told
    told = engine.process("replay", failure["first"], "--yes", code=2)
    assert f"the task needs {wheel.as_uri()}: " in told and "-m armoflow.replay" in told


@OWN
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_told_to_end_leaves_no_process_and_no_folder(
    engine: Commanded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setitem(engine.environment, "ARMOFLOW_CACHE", str(tmp_path / "cache"))
    script, temporary = tmp_path / "script.py", tmp_path / "temporary"
    temporary.mkdir()
    script.write_text(WAITS)
    run(engine, script, str(tmp_path))
    (tmp_path / "again").touch()
    monkeypatch.setitem(engine.environment, "TMPDIR", str(temporary))
    verifying = engine.start("cache", "verify")
    while not (tmp_path / "pid").exists():
        assert verifying.poll() is None
        time.sleep(0.05)
    child = psutil.Process(int((tmp_path / "pid").read_text()))
    verifying.send_signal(number)
    assert verifying.wait(PATIENCE) == 128 + number
    assert not child.is_running()
    assert list(temporary.iterdir()) == []


@OWN
def test_the_index_goes_to_other_machines(
    kept: tuple[Commanded, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, script = kept
    copy = tmp_path / "copy"
    told = json.loads(engine.run("cache", "export", "-o", str(copy), "--json"))
    assert told["values"] == 7 and Path(told["output"]).parent == copy
    monkeypatch.setenv("ARMOFLOW_CACHE", str(tmp_path / "nothing"))
    assert "nothing is kept" in engine.run("cache", "show", "load", code=1)
    assert engine.json("cache", "ls")["tasks"] == []
    monkeypatch.setenv("ARMOFLOW_CACHE", str(copy))
    assert engine.run("explain", str(script), "6").startswith("total: 1 hit")


def test_the_cache_of_a_state_directory_is_told_by_its_name(tmp_path: Path) -> None:
    here = Commanded("")
    state = tmp_path / "state"
    here.environment["ARMOFLOW_STATE"] = str(state)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    assert run(here, script, "3") == "begun\n6\nended\n"
    del here.environment["ARMOFLOW_STATE"]
    told = here.json("cache", "ls", "--state", str(state))
    assert {found["task"]: found["values"] for found in told["tasks"]} == {"load": 3, "total": 1}
    assert "3 values" in here.run("cache", "invalidate", "load", "--state", str(state))
    left = here.json("cache", "ls", "--state", str(state))["tasks"]
    assert [found["task"] for found in left] == ["total"]
