"""Odd places and states to start in."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from armoflow.engine.address import parse_address
from armoflow.protocol.settings import grpc_target
from armoflow.system.grants import granted, processors
from tests.faults.scripts import PATIENCE, Place, line_of
from tests.integration.engines import STOCK, WORKER, up

CODE = """
    import sys
    from armoflow import Client, task
    with Client(*sys.argv[1:], workers=1) as client:
        data = client.put(bytes(300_000))
        answer = client.compute(task(lambda data: len(data))(data))
    with open({answer!r}, "w", encoding="utf-8") as file:
        file.write(str(answer))
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "tmp")


def check(place: Place, tmp_path: Path, *arguments: str, **options: object) -> None:
    """A client starts, computes and ends, and nothing is left."""
    answer = tmp_path / "answer"
    with place.run(CODE.format(answer=str(answer)), *arguments, **options) as process:
        _, errors = process.communicate(timeout=PATIENCE)
    assert answer.exists(), errors
    assert answer.read_text() == "300000"
    place.wait_until_clean()


NAMES = ("x" * 120, "-rf/~/two words, 50% of #1?/a%20b\nx'y\"z ünï→ $HOME")


@pytest.mark.parametrize("name", NAMES, ids=["long", "odd"])
def test_odd_temporary_directories(tmp_path: Path, name: str) -> None:
    directory = tmp_path / name
    directory.mkdir(parents=True)
    check(Place(directory), tmp_path)


@pytest.mark.parametrize("encoding", ["ascii", "utf-16"])
def test_standard_streams_in_odd_encodings(tmp_path: Path, encoding: str) -> None:
    """What an engine tells its client is no text of the user's."""
    directory = tmp_path / "ünï→"
    directory.mkdir()
    place = Place(directory)
    check(place, tmp_path, env={**place.environment, "PYTHONIOENCODING": encoding}, text=False)


def test_a_temporary_directory_that_is_named_oddly(place: Place, tmp_path: Path) -> None:
    """By a link, from where the process is, with a slash at its end."""
    (tmp_path / "link").symlink_to(place.directory)
    check(place, tmp_path, env={**place.environment, "TMPDIR": "link/"}, cwd=tmp_path)


@pytest.mark.parametrize("name", ["TMPDIR", "TEMP", "TMP"])
def test_a_missing_temporary_directory_is_named(place: Place, tmp_path: Path, name: str) -> None:
    environment = {key: value for key, value in place.environment.items() if key != "TMPDIR"}
    missing = str(tmp_path / "missing")
    with place.run(CODE.format(answer=""), env={**environment, name: missing}) as process:
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert f"EngineError: temporary files cannot be kept in '{missing}'" in errors
    assert f"the variable {name} names" in errors


def test_workers_and_engines_at_an_odd_place(tmp_path: Path) -> None:
    directory = tmp_path / "50% of #1?" / ("x" * 120)
    directory.mkdir(parents=True)
    with up(directory, *STOCK) as engine:
        check(Place(tmp_path / "tmp"), tmp_path, engine.endpoint)


def test_odd_names_of_sockets(tmp_path: Path) -> None:
    directory = tmp_path / "50% of #1?"
    directory.mkdir()
    with Place(tmp_path / "tmp").run(
        "from armoflow.cli.main import main; main()",
        *("up", "--listen", f"unix:{directory}/s", "--state", str(directory / "state")),
        *("--workers", "1"),
    ) as process:
        url = line_of(process).removeprefix("ready: ")
        assert url == f"unix:{directory}/s"
        check(Place(tmp_path / "other"), tmp_path, url)
        process.send_signal(signal.SIGHUP)
        assert process.wait(PATIENCE) == 0
        assert not (directory / "s").exists()


@pytest.mark.parametrize("closed", ["1>&-", "0<&- 1>&- 2>&-"])
def test_closed_standard_streams(place: Place, tmp_path: Path, closed: str) -> None:
    check(place, tmp_path, before=f"exec {closed}", stdout=None, stderr=None)


def test_standard_streams_that_are_none(place: Place, tmp_path: Path) -> None:
    code = "import sys; sys.stdin = sys.stdout = sys.stderr = None\n"
    answer = tmp_path / "answer"
    script = code + CODE.replace("\n    ", "\n").format(answer=str(answer))
    with place.run(script) as process:
        process.communicate(timeout=PATIENCE)
    assert answer.read_text() == "300000"


PROXIES: dict[str, str | None] = dict.fromkeys(
    ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy", "HTTP_PROXY", "no_proxy"),
    "http://127.0.0.1:9",
)

VARIABLES: dict[str, dict[str, str | None]] = {
    "nothing set, no UTF-8": {
        **dict.fromkeys(("HOME", "USER", "LOGNAME", "PATH")),
        **{"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    },
    "proxies, warnings, development": {
        **PROXIES,
        **{"PYTHONWARNINGS": "error", "PYTHONDEVMODE": "1"},
    },
    "odd proxies, missing home, safe path, optimized": {
        **{"http_proxy": "::nonsense::", "grpc_proxy": "1", "no_proxy": "*,,"},
        **{"HOME": "/nonexistent", "PYTHONSAFEPATH": "1", "PYTHONOPTIMIZE": "2"},
    },
    "C, texts of no said encoding": {
        **{"LC_ALL": "C", "LANG": "C"},
        **{"PYTHONWARNDEFAULTENCODING": "1", "PYTHONWARNINGS": "error::EncodingWarning"},
    },
}
"""What has to do with each other is apart; where all of a line are set, each is met."""


@pytest.mark.parametrize("kind", VARIABLES)
def test_odd_variables(place: Place, tmp_path: Path, kind: str) -> None:
    changed = {**place.environment, **VARIABLES[kind]}
    environment = {name: value for name, value in changed.items() if value is not None}
    check(place, tmp_path, env=environment)


def test_signals_that_the_client_holds_back_end_its_engine(place: Place) -> None:
    code = """
        import signal
        from armoflow import Client, task
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        with Client(workers=1) as client:
            assert client.compute(task(lambda: 1)()) == 1
    """
    with place.run(code) as process:
        _, errors = process.communicate(timeout=PATIENCE)
    assert "did not stop" not in errors
    place.wait_until_clean()


def test_few_descriptors(place: Place, tmp_path: Path) -> None:
    check(place, tmp_path, before="ulimit -n 64")


def test_a_working_directory_with_names_of_the_standard_library(
    place: Place, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("random", "queue", "logging", "socket", "armoflow", "msgpack"):
        (elsewhere / f"{name}.py").write_text("raise RuntimeError('not this one')")
    check(place, tmp_path, cwd=elsewhere, env={**place.environment, "PYTHONSAFEPATH": "1"})


def test_a_working_directory_that_is_gone(place: Place, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    check(place, tmp_path, before=f"cd {shlex.quote(str(gone))} && rmdir ../gone")


def test_an_interpreter_that_is_isolated(place: Place, tmp_path: Path) -> None:
    answer = tmp_path / "answer"
    root = place.environment["PYTHONPATH"]
    script = f"import sys; sys.path.append({root!r})\n" + CODE.replace("\n    ", "\n")
    ended = subprocess.run(
        [sys.executable, "-I", "-c", script.format(answer=str(answer))],
        env={**place.environment, "PYTHONPATH": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert answer.exists(), ended.stderr
    place.wait_until_clean()


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_loopback_addresses_behind_proxies(tmp_path: Path, host: str) -> None:
    place = Place(tmp_path / "tmp")
    place.environment.update(PROXIES, no_proxy="")  # type: ignore[arg-type]
    with place.run(
        "from armoflow.cli.main import main; main()",
        *("up", "--listen", f"{host}:0", "--state", str(tmp_path / "state"), "--workers", "1"),
        *("--worker", WORKER, "--worker-channel", "tcp"),
    ) as process:
        url = line_of(process).removeprefix("ready: ")
        assert url.startswith(f"http://{host}:")
        other = Place(tmp_path / "other")
        check(other, tmp_path, url, env={**other.environment, "http_proxy": "http://127.0.0.1:9"})
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_up_without_a_home_names_the_option(place: Place) -> None:
    environment = {name: value for name, value in place.environment.items() if "HOME" not in name}
    code = """
        import os, pwd, sys
        def unknown(uid):
            raise KeyError(uid)
        pwd.getpwuid = unknown
        from armoflow.cli.main import main
        sys.exit(main())
    """
    with place.run(code, "up", env=environment) as process:
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert "--state DIRECTORY" in errors


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "50000 100000"}, 1),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "100000 100000"}, 1),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/cpu.max": "150000 100000"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000"}, None),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/x\n0::/\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "100000",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
            },
            1,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            None,
        ),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "what"}, None),
    ],
)
def test_processors(tmp_path: Path, files: dict[str, str], expected: int | None) -> None:
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    visible = len(os.sched_getaffinity(0))
    assert processors(tmp_path) == (expected or visible)
    assert granted(tmp_path) == (expected if visible > 1 else None)


def test_targets_are_escaped() -> None:
    path = "/tmp/50% of #1?/ü"
    assert parse_address(f"unix:{path}").target == grpc_target(f"unix:{path}")
    assert grpc_target("unix:///tmp/x") == grpc_target("unix:/tmp/x") == "unix:/tmp/x"


UNREADABLE = os.fsdecode(b"d\xff\xfe")
"""The name of a directory that is no UTF-8."""


def test_a_script_and_its_modules_in_a_directory_that_is_no_utf_8(
    place: Place, tmp_path: Path
) -> None:
    directory = tmp_path / UNREADABLE
    directory.mkdir()
    (directory / "beside.py").write_text("def double(x):\n    return 2 * x\n")
    script = directory / "script.py"
    script.write_text(
        textwrap.dedent("""
            import os
            import beside
            from armoflow import Client, task

            @task(cache=True)
            def double(x):
                return beside.double(x)

            @task
            def twice(x):
                return double(double(x))

            @task
            def fail():
                raise ValueError(beside.__file__)

            if __name__ == "__main__":
                with Client(workers=1) as client:
                    print(client.compute(twice(3)))
                    error = client.submit(fail()).exception()
                    print(os.fsencode(str(error)) == os.fsencode(beside.__file__))
        """)
    )
    run = subprocess.run(
        [sys.executable, script], env=place.environment, capture_output=True, text=True, check=False
    )
    assert run.stdout.split() == ["12", "True"], run.stderr
    place.wait_until_clean()


def test_a_temporary_directory_that_is_no_utf_8_is_named(place: Place, tmp_path: Path) -> None:
    directory = tmp_path / UNREADABLE
    directory.mkdir()
    environment = {**place.environment, "TMPDIR": str(directory)}
    with place.run(CODE.format(answer=""), env=environment) as process:
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    last = errors.splitlines()[-1]
    assert "EngineError: temporary files cannot be kept in" in last and "UTF-8" in last
    assert "the variable TMPDIR" in last


NO_THREADS = """
import sys, threading
def start(self): raise RuntimeError("can't start new thread")
threading.Thread.start = start
from armoflow.engine.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def test_an_engine_that_may_start_no_thread_says_what_is_in_the_way(tmp_path: Path) -> None:
    command = [sys.executable, "-c", NO_THREADS, "--listen", "unix:s", "--state", "state"]
    ended = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    assert "no thread can be started" in ended.stderr and "ulimit -u" in ended.stderr
    assert "Traceback" not in ended.stderr
