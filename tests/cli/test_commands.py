"""The commands that look at an engine and act on it, as processes."""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import rich_click
from armonik.client import ArmoniKSessions
from armonik.common import TaskOptions
from armonik.common.channel import create_channel

from armoflow.cli.main import COMMANDS, commands, flow, load_command
from armoflow.errors import RequirementsError
from armoflow.worker.installer import Installer
from armoflow.worker.virtual_environments import Shelf
from tests.cli.here import run_here
from tests.cli.test_up import PATIENCE, started
from tests.faults.scripts import wait_for
from tests.integration.wheels import make_wheel
from tests.processes import running

SCRIPT = """
import os, signal, sys
from armoflow import Client, task

@task
def good(x):
    return x + 1

@task
def bad(x):
    print("about to fail")
    raise ValueError(f"no {x}")

@task(batch_size=6)
def even(x):
    print("looking at", x)
    if x % 2:
        raise ValueError(f"odd {x}")
    return x

@task(max_retries=1)
def long(begun):
    import pathlib, time
    print("it has begun", flush=True)
    pathlib.Path(begun).touch()
    time.sleep(600)

client = Client()
print(client.compute(good(1)), flush=True)
print(client.submit(bad(good(2))).exception(), flush=True)
items = client.submit(even.map(range(6)))
print(items.exception(), flush=True)
if len(sys.argv) > 1:
    future = client.submit(long(sys.argv[1]))
    sys.stdin.read(1)
os.kill(os.getpid(), signal.SIGKILL)
"""


class Commanded:
    """An engine, and the commands that are given to it."""

    def __init__(self, url: str, metrics: str = "", *, keeps_output: bool = True) -> None:
        self.url = url
        self.metrics = metrics
        self.keeps_output = keeps_output
        self.environment = {**os.environ, "ARMOFLOW_ENDPOINT": url, "COLUMNS": "200"}

    def process(self, *arguments: str, code: int = 0) -> str:
        """What a command prints; its errors, where it is to fail."""
        done = subprocess.run(
            [sys.executable, "-m", "armoflow", *arguments],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            env=self.environment,
        )
        return self._told(done, code)

    def run(self, *arguments: str, code: int = 0) -> str:
        """The same in this process, which costs less; most commands are a process once."""
        variables = {name: self.environment[name] for name in ("ARMOFLOW_ENDPOINT", "COLUMNS")}
        return self._told(run_here(arguments, variables), code)

    def _told(self, done: subprocess.CompletedProcess[str], code: int) -> str:
        assert done.returncode == code, (done.args, done.stdout, done.stderr)
        return done.stderr if code == 2 or (code and not done.stdout) else done.stdout

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that is left to run."""
        command = [sys.executable, "-m", "armoflow", *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=self.environment)

    def json(self, *arguments: str, code: int = 0) -> Any:
        """What it prints as JSON."""
        return json.loads(self.run(*arguments, "--json", code=code))

    def sessions(self) -> list[dict[str, Any]]:
        """The engine's sessions, newest first."""
        found: list[dict[str, Any]] = self.json("ps")["sessions"]
        return found

    def leave_session(self, tmp_path: Path, begun: Path | None = None) -> dict[str, Any]:
        """A session whose client was killed with kill -9."""
        script = tmp_path / "script.py"
        script.write_text(SCRIPT)
        with running(
            [sys.executable, script, *([] if begun is None else [begun])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self.environment,
        ) as process:
            assert process.stdout is not None and process.stdin is not None
            said = [process.stdout.readline() for _ in range(3)]
            assert said == ["2\n", "no 3\n", "odd 1\n"]
            if begun is not None:  # else it is gone by now
                wait_for(begun.exists, "the long task does not begin")
                process.stdin.write("x")
                process.stdin.close()
        assert process.returncode == -signal.SIGKILL
        return self.sessions()[0]


@pytest.fixture(scope="module", params=[(), ("--strict", "--no-extensions")], ids=["own", "stock"])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Commanded]:
    state = str(tmp_path_factory.mktemp("state"))
    up = ("up", "--listen", "127.0.0.1:0", "--state", state, "--workers", "1")
    more = ("--partition", "default", "--partition", "empty=0", "--metrics-port", "0")
    with started(*up, *more, *request.param) as (process, url):
        assert process.stdout is not None
        metrics = process.stdout.readline().removeprefix("metrics: ").strip()
        yield Commanded(url, metrics, keeps_output=not request.param)


OWN = pytest.mark.parametrize("engine", [()], ids=["own"], indirect=True)
"""The others see that standard calls do; each process of a command takes a second."""


@pytest.fixture(scope="module")
def left(engine: Commanded, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A session whose client was killed."""
    return engine.leave_session(tmp_path_factory.mktemp("left"))


def test_what_a_killed_client_leaves_can_be_looked_at(
    engine: Commanded, left: dict[str, Any]
) -> None:
    assert (left["status"], left["application"]) == ("running", "script")
    assert left["tasks"]["failed"] == 1 and left["tasks"]["done"] >= 1
    assert left["id"] in engine.run("ps")

    session = engine.json("show", left["id"])
    assert session["kind"] == "session"
    both_ends = f"{left['id'][:8]}..{left['id'][-4:]}"
    assert engine.json("show", both_ends)["id"] == left["id"]
    (failure,) = session["failures"]
    assert failure["tasks"] == 1 and "ValueError: no 3" in failure["error"]
    assert "ValueError: no 3" in engine.run("show", left["id"])

    task = engine.json("show", failure["first"])
    assert (task["kind"], task["status"], task["session"]) == ("task", "error", left["id"])
    assert (task["name"], task["application"]) == ("bad", "script")
    assert 'raise ValueError(f"no {x}")' in task["traceback"]
    assert 'raise ValueError(f"no {x}")' in engine.run("show", failure["first"])

    result = engine.json("show", next(iter(task["inputs"]), task["payload"]))
    assert result["kind"] in ("result", "task") and result["session"] == left["id"]


HOSTILE = "\x1b[31mred\x1b]0;title\x07\x9b1m\u202e\r\n[bold]gone"
"""What a terminal, or what writes there, would take for an order."""


@OWN
def test_texts_of_others_do_nothing_in_a_terminal(engine: Commanded) -> None:
    options = TaskOptions(
        max_duration=timedelta(minutes=1),
        priority=1,
        max_retries=1,
        partition_id="default",
        application_name=HOSTILE,
        options={HOSTILE: HOSTILE},
    )
    with create_channel(engine.url) as channel:
        session = ArmoniKSessions(channel).create_session(options, ["default"])

    shown = [engine.run("ps"), engine.run("top", "--once"), engine.run("show", session)]
    for text in shown:
        assert "[31mred" in text and "[bold]gone" in text
        assert not set(text) & set("\x1b\x07\x9b\u202e\r")
    assert engine.json("show", session)["application"] == HOSTILE
    engine.run("purge", "--cancel", session)


def test_failed_items_of_tasks_that_ended_well_are_counted_and_named(
    engine: Commanded, left: dict[str, Any]
) -> None:
    session = engine.json("show", left["id"])
    assert session["failed items"] == 3
    (pack,) = session["tasks with failed items"]
    assert (pack["items"], pack["names"]) == (6, ["even[1]", "even[3]", "even[5]"])
    assert "3 of 6 items failed: even[1], even[3], even[5]" in engine.run("show", left["id"])

    task = engine.json("show", pack["task"])
    assert (task["status"], task["items"]) == ("completed", {"ran": 6, "failed": 3})
    assert [item["name"] for item in task["failed items"]] == ["even[1]", "even[3]", "even[5]"]
    assert "ValueError: odd 5" in task["failed items"][2]["error"]
    assert "even[5] failed: ValueError: odd 5" in engine.run("show", pack["task"])


def test_a_task_is_run_again_with_what_it_was_given(
    engine: Commanded, left: dict[str, Any], tmp_path: Path
) -> None:
    session = engine.json("show", left["id"])
    failed = session["failures"][0]["first"]
    (pack,) = session["tasks with failed items"]
    told = engine.process("replay", failed, "--yes", code=1)
    assert "about to fail" in told and "bad failed: ValueError: no 3 in task 'bad'" in told
    assert 'raise ValueError(f"no {x}")' in told and "armoflow/" not in told

    folder = tmp_path / "saved"
    assert engine.json("replay", pack["task"], "--save", str(folder))["output"] == str(folder)
    again = json.loads(
        engine.process("replay", str(folder), "--json", code=1).partition("looking at 5\n")[2]
    )
    assert [item["value"] for item in again["items"]] == ["0", None, "2", None, "4", None]
    assert "ValueError: odd 5" in again["items"][5]["error"]
    # ArmoniK's TaskReRunner reads the same: the request of a worker, data by the ids of results.
    request = json.loads((folder / "task.json").read_text())
    assert request["taskId"] == pack["task"] and request["sessionId"] == left["id"]
    assert (folder / request["payloadId"]).is_file()


def test_a_task_is_not_run_again_unasked_where_it_may_be_anothers(
    engine: Commanded, left: dict[str, Any]
) -> None:
    failed = engine.json("show", left["id"])["failures"][0]["first"]
    told = engine.process("replay", failed, code=2)
    assert "its code with your rights" in told and "--yes" in told
    assert "is a session" in engine.run("replay", left["id"], code=1)
    assert "--save is for a task" in engine.run("replay", ".", "--save", "x", code=2)
    assert "--data is for a task" in engine.run("replay", failed, "--data", ".", code=2)


def test_what_tasks_wrote_is_kept_by_an_engine_of_armoflows_own(
    engine: Commanded, left: dict[str, Any]
) -> None:
    failed = engine.json("show", left["id"])["failures"][0]["first"]
    assert "last output:\n  about to fail\n" in engine.run("show", failed)
    if not engine.keeps_output:
        told = engine.run("logs", left["id"], code=1)
        assert f"sessionId = {left['id']}" in told and "standard output" in told
        return
    told = engine.run("logs", left["id"][:13])
    assert re.findall(r"^[\d:]{8} (.*)$", told, re.M) == [
        "bad | about to fail",
        *(f"even[{number}] | looking at {number}" for number in range(6)),
    ]
    lines = engine.run("logs", left["id"], "--task", "even[3]", "--json").splitlines()
    (line,) = map(json.loads, lines)
    assert (line["name"], line["text"], line["level"]) == ("even[3]", "looking at 3", 20)
    assert len(engine.run("logs", left["id"], "--task", "even").splitlines()) == 6
    assert engine.run("logs", failed).endswith("bad | about to fail\n")


def test_sessions_are_cancelled_and_purged(engine: Commanded, tmp_path: Path) -> None:
    left = engine.leave_session(tmp_path, tmp_path / "begun")
    assert left["tasks"]["running"] + left["tasks"]["queued"] == 1
    beginning = left["id"][: len(left["id"]) - 2]  # what comes before tells it from no other kind
    assert "has 1 tasks that have not ended" in engine.run("purge", left["id"], code=2)
    with engine.start("logs", "--follow", left["id"]) as following:
        assert engine.json("cancel", left["id"]) == {"cancelled": [left["id"]]}
        told = following.communicate(timeout=PATIENCE)[0]  # it ends with the session
    assert following.returncode == (0 if engine.keeps_output else 1)
    assert ("it has begun" in told) == engine.keeps_output
    wait_for(lambda: not engine.sessions()[0]["tasks"]["running"], "a cancelled task runs on")
    assert engine.sessions()[0]["status"] == "cancelled"
    assert "or --ended" in engine.run("purge", code=2)
    assert engine.json("purge", "--ended") == {"purged": [left["id"]]}
    assert left["id"] not in [session["id"] for session in engine.sessions()]
    assert "no session, task or result" in engine.run("show", beginning + "zz", code=1)


@OWN
def test_a_session_is_purged_by_its_id(engine: Commanded, tmp_path: Path) -> None:
    left = engine.leave_session(tmp_path)
    assert f"purged session {left['id']}" in engine.process("purge", left["id"])
    assert left["id"] not in [session["id"] for session in engine.sessions()]


@OWN
def test_sessions_are_paused_and_resumed(engine: Commanded, left: dict[str, Any]) -> None:
    assert engine.json("pause", left["id"]) == {"paused": [left["id"]]}
    assert engine.json("show", left["id"])["status"] == "paused"
    assert "paused" in engine.process("pause", left["id"], code=2)
    assert engine.process("resume", left["id"]) == f"resumed session {left['id']}\n"
    assert engine.json("show", left["id"])["status"] == "running"


@OWN
def test_a_timeline_has_every_task(engine: Commanded, left: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    assert str(file) in engine.process("timeline", left["id"], "-o", str(file))
    nowhere = str(tmp_path / "missing" / "trace.json")
    assert "cannot be written" in engine.run("timeline", left["id"], "-o", nowhere, code=2)
    events = json.loads(file.read_text())["traceEvents"]
    ran = [event for event in events if event["ph"] == "X"]
    tasks = left["tasks"]
    assert len(ran) == tasks["done"] + tasks["failed"]
    assert {"bad", "good"} <= {event["name"] for event in ran}
    assert all(event["dur"] >= 0 and event["args"]["queued"] >= 0 for event in ran)
    assert {event["pid"] for event in ran} <= {e["pid"] for e in events if e["ph"] == "M"}


@OWN
def test_a_session_is_drawn(engine: Commanded, left: dict[str, Any], tmp_path: Path) -> None:
    page, picture = tmp_path / "run.html", tmp_path / "graph.dot"
    tasks = left["tasks"]["done"] + left["tasks"]["failed"]
    assert engine.process("report", left["id"], "-o", str(page)) == f"{tasks} tasks in {page}\n"
    text = page.read_text("utf-8")
    assert "raise ValueError(f&quot;no {x}&quot;)" in text and left["id"] in text
    assert "1 failed" in re.sub(r"<[^>]*>", "", text)
    assert str(picture) in engine.process("graph", left["id"], "-o", str(picture))
    assert re.findall(r'label="(\w+)', picture.read_text()) == ["good", "bad", "even"]
    assert "use .svg" in engine.run("graph", left["id"], "-o", str(tmp_path / "g.jpg"), code=2)


@OWN
def test_prometheus_is_served(engine: Commanded) -> None:
    with urllib.request.urlopen(engine.metrics) as reply:
        text = reply.read().decode()
    assert 'armoflow_tasks{partition="empty",state="queued"} 0.0' in text


@OWN
def test_top_shows_partitions_and_sessions(engine: Commanded, left: dict[str, Any]) -> None:
    seen = engine.json("top")
    assert set(seen["partitions"]) == {"default", "empty"}
    assert left["id"] in [session["id"] for session in seen["sessions"]]
    assert "PARTITION" in engine.process("top", "--once")


def test_the_dashboard_shows_sessions_to_who_has_its_link(
    engine: Commanded, left: dict[str, Any]
) -> None:
    command = [sys.executable, "-m", "armoflow", "dashboard", "--listen", "127.0.0.1:0"]
    with running(command, stdout=subprocess.PIPE, text=True, env=engine.environment) as process:
        assert process.stdout is not None
        link = process.stdout.readline().removeprefix("dashboard: ").strip()
        where, _, token = link.partition("/#")

        def ask(path: str, **headers: str) -> Any:
            request = urllib.request.Request(where + path, headers=headers)
            return urllib.request.urlopen(request, timeout=PATIENCE)

        try:
            with ask("/") as page:
                assert b"armoflow" in page.read()
            with pytest.raises(urllib.error.HTTPError, match="401"):
                ask("/api/overview")
            for path, shown in (
                ("/api/overview", left["id"]),
                (f"/api/sessions/{left['id']}", "ValueError: no 3"),
            ):
                with ask(path, Authorization=f"Bearer {token}") as events:
                    while shown not in (line := events.readline().decode()):
                        assert line
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130


def test_the_doctor_finds_a_sound_engine(engine: Commanded) -> None:
    told = engine.json("doctor")
    verdicts = {finding["what"]: finding["verdict"] for finding in told["findings"]}
    assert told["ok"]
    assert verdicts.pop("partition empty") == "warning"
    assert set(verdicts.values()) == {"ok"}
    assert {"connection", "clock", "a task", "worker", "versions"} <= verdicts.keys()


@OWN
def test_the_doctor_finds_what_is_wrong(engine: Commanded) -> None:
    told = engine.process("doctor", "--partition", "empty", "--timeout", "1", code=1)
    assert "no worker ran it within 1 s" in told and "are there pods in the partition" in told
    assert "choose one of" in engine.run("doctor", "--partition", "gpu", code=1)


def test_the_doctor_finds_that_nobody_listens(tmp_path: Path) -> None:
    nobody = Commanded(f"unix:{tmp_path}/nobody.sock")
    told = nobody.json("doctor", code=1)
    last = told["findings"][-1]
    assert (last["what"], last["verdict"]) == ("connection", "failed")
    assert not told["ok"] and "armoflow up" in last["told"]
    assert "armoflow: error: no ArmoniK answers" in nobody.process("ps", code=2)


def test_ids_may_be_short_and_must_be_clear(engine: Commanded, left: dict[str, Any]) -> None:
    assert "at least 4 characters" in engine.process("show", "ab", code=1)
    task = engine.json("show", left["id"])["failures"][0]["first"]
    assert "and not a session" in engine.run("pause", task, code=1)
    assert json.loads(engine.process("cancel", task, "--json")) == {"cancelled": [task]}


def test_a_script_runs_with_its_arguments_and_exit_code(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\nprint(sys.argv[1:], os.environ['ARMOFLOW_ENDPOINT'])\nsys.exit(7)\n"
    )
    here = Commanded("http://nowhere:1")
    arguments = ("run", "--endpoint", "http://there:2", str(script), "--json", "-x")
    assert here.process(*arguments, code=7) == "['--json', '-x'] http://there:2\n"
    assert "does not exist" in here.run("run", "missing.py", code=2)


def test_the_configuration_says_where_each_value_is_from(tmp_path: Path) -> None:
    told = json.loads(Commanded("http://there:2").process("config", "show", "--json"))
    rows = {row["name"]: row for row in told}
    assert rows["endpoint"] == {
        "name": "endpoint",
        "value": "http://there:2",
        "from": "ARMOFLOW_ENDPOINT",
    }
    assert rows["ARMOFLOW_GRACE"] == {"name": "ARMOFLOW_GRACE", "value": "20", "from": "default"}


def test_shells_complete_commands_and_options() -> None:
    here = Commanded("")
    assert "_ARMOFLOW_COMPLETE" in here.process("completion", "bash")
    for words, expected in (
        ("armoflow p", {"ps", "pause", "purge"}),
        ("armoflow up --st", {"--st"}),
    ):
        environment = {
            **here.environment,
            "_ARMOFLOW_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        done = subprocess.run(
            [sys.executable, "-m", "armoflow"],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
            env=environment,
        )
        found = {line.partition(",")[2] for line in done.stdout.splitlines()}
        assert all(any(one.startswith(each) for one in found) for each in expected), found


def test_armoniks_own_command_line_takes_them() -> None:
    (point,) = importlib.metadata.entry_points(group="armonik.cli.extensions", name="flow")
    group = point.load()
    assert isinstance(group, rich_click.Group)
    assert flow.name == point.name  # what it lists is what is typed
    context = rich_click.Context(group)
    assert all(group.get_command(context, name) for name in COMMANDS)


def test_every_command_is_listed_with_what_it_says_itself_that_it_does() -> None:
    context = rich_click.Context(commands)
    for name in COMMANDS:
        listed, command = commands.get_command(context, name), load_command(name)
        first = inspect.cleandoc(command.help or "").partition("\n\n")[0].replace("\n", " ")
        assert listed is not None and listed.help == (command.short_help or first), name


def test_the_page_lists_the_commands_that_there_are() -> None:
    table = (Path(__file__).parents[2] / "docs/cli.md").read_text().partition("\nAll but")[0]
    cells = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| `")]
    names = [re.findall(r"[a-z]+", words)[0] for cell in cells for words in cell.split("`, `")]
    assert set(names) == set(COMMANDS)


def test_unknown_commands_and_options_are_refused() -> None:
    here = Commanded("")
    assert "No such command 'pss'. Write armoflow ps" in here.run("pss", code=2)
    assert "Write armoflow cancel ID" in here.run("kill", "1229ddaa", code=2)
    assert "No such option" in here.run("run", "--detached", "script.py", code=2)
    assert "No such option" in here.run("ps", "--al", code=2)
    assert here.process("--version").startswith("armoflow ")


def test_environments_are_listed_and_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARMOFLOW_ENVIRONMENTS", str(tmp_path))
    wheel = make_wheel(tmp_path / "wheels", "armoflow_tested").as_uri()
    found, lock = Shelf(tmp_path).get((wheel,), Installer(), threading.Event())
    here = Commanded("")
    (row,) = json.loads(here.run("environments", "ls", "--json"))
    assert row["directory"] == found.directory and row["requirements"] == [wheel]
    assert "REQUIREMENTS" in here.run("environments", "ls")
    assert "0 removed, 0 B freed; 1 in use" in here.run("environments", "clear", code=1)
    lock.close()
    missing = (tmp_path / "nobody-1.0-py3-none-any.whl").as_uri()
    with pytest.raises(RequirementsError):
        Shelf(tmp_path).get((missing,), Installer(), threading.Event())
    assert json.loads(here.run("environments", "clear", "--json"))["in use"] == []
    assert [left.name for left in tmp_path.iterdir()] == ["wheels"]
    assert json.loads(here.run("environments", "ls", "--json")) == []
    (tmp_path / "file").touch()
    monkeypatch.setenv("ARMOFLOW_ENVIRONMENTS", str(tmp_path / "file"))
    for command in ("ls", "clear"):
        told = here.run("environments", command, code=2)
        assert "ARMOFLOW_ENVIRONMENTS must name a directory" in told
