"""Directories that go with their processes, and what is left behind swept away."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from armoflow.errors import EngineError
from armoflow.system import temporary
from armoflow.system.temporary import TemporaryDirectory, socket_directory
from tests.faults.scripts import PATIENCE, Place, line_of, wait_for


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_only_directories_without_processes_are_swept_away(root: Path) -> None:
    live = TemporaryDirectory(root)
    dead = TemporaryDirectory(root)
    (dead.path / "state").mkdir()
    (dead.path / "state" / "data").write_text("data")
    dead.release()
    outside = root / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    (root / "armoflow-link").symlink_to(outside)
    (root / "armoflow-file").touch()
    new = root / "armoflow-new"
    new.mkdir()
    old = root / "armoflow-old"
    old.mkdir()
    full = root / "armoflow-full"
    full.mkdir()
    (full / "file").touch()
    for path in (old, full):
        os.utime(path, (0, 0))
    temporary.sweep()
    assert not dead.path.exists() and not old.exists()
    assert live.path.exists() and new.exists() and full.exists()
    assert (outside / "kept").exists() and (root / "armoflow-file").exists()
    live.remove()
    assert not live.path.exists()


def test_directories_of_another_user_stay(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = TemporaryDirectory(root)
    dead.release()
    monkeypatch.setattr(os, "geteuid", lambda: dead.path.stat().st_uid + 1)
    temporary.sweep()
    assert dead.path.exists()


@pytest.mark.parametrize(
    ("broken", "code", "told"),
    [
        ("fcntl.flock", errno.ENOLCK, "files cannot be locked in {}: No locks available"),
        ("os.open", errno.ENOSPC, "no file can be made in {}: No space left on device"),
    ],
)
def test_a_place_without_locks_or_room_is_told(
    root: Path, monkeypatch: pytest.MonkeyPatch, broken: str, code: int, told: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(f"armoflow.system.temporary.{broken}", refuse)
        with pytest.raises(EngineError, match=re.escape(told.format(root)) + ".*TMPDIR"):
            TemporaryDirectory(root)
    assert not list(root.iterdir())


def test_making_and_sweeping_at_once(root: Path) -> None:
    code = """
import sys
from pathlib import Path
from armoflow.system import temporary
for _ in range(200):
    if sys.argv[2] == "sweep":
        temporary.sweep()
    else:
        made = temporary.TemporaryDirectory(Path(sys.argv[1]))
        (made.path / "data").write_text("data")
        assert (made.path / "data").read_text() == "data"
        made.remove()
"""
    kinds = ("sweep", "make", "sweep", "make")
    processes = [subprocess.Popen([sys.executable, "-c", code, str(root), kind]) for kind in kinds]
    assert [process.wait(PATIENCE) for process in processes] == [0, 0, 0, 0]
    temporary.sweep()
    assert not list(root.iterdir())


def test_what_a_power_cut_leaves_is_removed_by_the_next_start(tmp_path: Path) -> None:
    place = Place(tmp_path / "tmp")
    left = TemporaryDirectory(place.directory)
    (left.path / "state").mkdir()
    left.release()
    code = """
        import sys
        from armoflow import Client
        with Client(workers=1):
            print("ready", flush=True)
            sys.stdin.read()
    """
    with place.run(code, stdin=subprocess.PIPE) as process:
        line_of(process)
        wait_for(lambda: not left.path.exists(), "it is not swept away")
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
    place.wait_until_clean()


ARRIVING = """
    import os, sys
    from pathlib import Path
    from armoflow import Client, file, task

    @task
    def write(path: Path) -> object:
        path.write_text("made")
        return file(path)

    with Client(workers=1) as client:
        made = client.compute(write(Path(sys.argv[1])))
        print(made, flush=True)
        sys.stdin.read()
"""


def test_files_that_have_arrived_go_with_a_killed_client(tmp_path: Path) -> None:
    place = Place(tmp_path / "tmp")
    with place.run(ARRIVING, str(tmp_path / "other.txt"), stdin=subprocess.PIPE) as staying:
        other = Path(line_of(staying))
        with place.run(ARRIVING, str(tmp_path / "made.txt"), stdin=subprocess.PIPE) as process:
            arrived = Path(line_of(process))
            assert arrived.read_text() == "made" and place.directory in arrived.parents
            process.kill()
        wait_for(lambda: not arrived.exists(), "it is not swept away")
        assert other.exists()
        staying.communicate(timeout=PATIENCE)
        assert staying.returncode == 0
    place.wait_until_clean()


def test_what_cannot_be_removed_yet_is_swept_away_later(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = TemporaryDirectory(root)
    (dead.path / "state").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(temporary.shutil, "rmtree", lambda path, ignore_errors: None)
        dead.remove()
    assert dead.path.exists()
    temporary.sweep()
    assert not dead.path.exists()


def test_sockets_go_elsewhere_where_paths_are_long(root: Path) -> None:
    assert socket_directory(Path("/tmp"), "engine.sock") is None
    elsewhere = socket_directory(root / ("x" * 100), "engine.sock")
    assert elsewhere is not None
    assert elsewhere.path.stat().st_mode & 0o777 == 0o700
    elsewhere.remove()


UP = "from armoflow.cli.main import main; import sys; sys.exit(main())"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_an_engine_that_is_told_to_end_while_it_starts(tmp_path: Path, number: int) -> None:
    place = Place(tmp_path / "tmp")
    arguments = ("up", "--listen", f"unix:{place.directory}/s", "--state", str(tmp_path / "state"))
    for delay in (0.1, 0.3):
        with place.run(UP, *arguments, "--workers", "1") as process:
            time.sleep(delay)  # wherever it has come to: the end is the same
            process.send_signal(number)
            _, errors = process.communicate(timeout=PATIENCE)
            # Before it has begun to look after signals, it dies of them as any program does: of
            # Ctrl-C as Python itself starts, or makes a class, with another error and a 1.
            own = process.returncode == 1 and "KeyboardInterrupt" in errors
            assert own or process.returncode in (0, -number, 128 + number), errors
        place.wait_until_clean()


def test_a_second_signal_ends_an_engine_on_the_spot(tmp_path: Path) -> None:
    place = Place(tmp_path / "tmp")
    socket = place.directory / "s"
    arguments = ("up", "--listen", f"unix:{socket}", "--state", str(tmp_path / "state"))
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(1000)"
    worker = f"{sys.executable} -c '{stubborn}'"
    with place.run(UP, *arguments, "--workers", "1", "--worker", worker) as process:
        line_of(process)
        while process.poll() is None:
            process.terminate()
            time.sleep(0.05)  # the signals must not be taken for one
        assert process.returncode in (0, -signal.SIGTERM)
        place.wait_until_clean()
