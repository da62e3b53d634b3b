"""Environments on a worker's disk: made once, whole or not at all, kept for those who use them."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from armoflow import config
from armoflow.errors import EngineError, RequirementsError
from armoflow.system.locks import FileLock
from armoflow.worker import installer as installers
from armoflow.worker import virtual_environments
from armoflow.worker.installer import Installer
from armoflow.worker.preparations import Preparations
from armoflow.worker.virtual_environments import Shelf, environments_root
from tests.integration.wheels import make_wheel

NAME = "armoflow_tested"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_wheel(tmp_path_factory.mktemp("wheels"), NAME)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "environments")


class Counting(Installer):
    """Counts."""

    count = 0

    def install(self, *arguments: object) -> None:
        self.count += 1
        super().install(*arguments)  # type: ignore[arg-type]


def get(shelf: Shelf, *requirements: str, installer: Installer | None = None) -> str:
    found, lock = shelf.get(requirements, installer or Installer(), threading.Event())
    lock.close()
    return found.python


def says(python: str, code: str) -> str:
    ended = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return ended.stdout.strip()


def test_what_is_installed_there_is_seen_first_then_what_the_worker_has(
    shelf: Shelf, tmp_path: Path
) -> None:
    own = make_wheel(tmp_path, "rich_click", "99.0")  # which the worker has, too
    python = get(shelf, own.as_uri())
    assert says(python, "import rich_click; print(rich_click.__version__)") == "99.0"
    assert says(python, "import networkx, sys; print(networkx.__file__)").startswith(sys.prefix)
    assert says(python, "import armoflow; print(armoflow.__name__)") == "armoflow"
    assert says(sys.executable, "import rich_click; print(rich_click.__version__)") != "99.0"


def test_many_who_ask_at_once_get_one_that_was_made_once(shelf: Shelf, wheel: Path) -> None:
    installer = Counting()
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: get(shelf, wheel.as_uri(), installer=installer), range(8)))
    assert len(found) == installer.count == 1
    get(shelf, wheel.as_uri(), installer=installer)
    assert installer.count == 1


def test_other_requirements_and_another_build_of_a_file_are_another_environment(
    shelf: Shelf, tmp_path: Path
) -> None:
    path = make_wheel(tmp_path, NAME, "1.0", "VALUE = 1")
    first = get(shelf, path.as_uri())
    make_wheel(tmp_path, NAME, "1.0", "VALUE = 2")
    second = get(shelf, path.as_uri())
    values = [says(one, f"import {NAME}; print({NAME}.VALUE)") for one in (first, second)]
    assert values == ["1", "2"]


def test_one_that_is_half_made_is_made_anew(shelf: Shelf, wheel: Path) -> None:
    python = Path(get(shelf, wheel.as_uri()))
    directory = python.parents[1]
    (directory / "armoflow-environment.json").unlink()
    next(directory.glob(f"lib/*/site-packages/{NAME}/__init__.py")).unlink()
    assert get(shelf, wheel.as_uri()) == str(python)
    assert says(str(python), f"import {NAME}; print({NAME}.__version__)") == "1.0"


MAKE = """
import sys, threading
from pathlib import Path
from armoflow.worker.installer import Installer
from armoflow.worker.virtual_environments import Shelf

wait = ["sh", "-c", "echo $$ > {0}.part && mv {0}.part {0}; exec sleep 100", "{{python}}"]
Shelf(Path({1!r})).get(({2!r},), Installer(wait), threading.Event())
"""


def test_who_is_killed_while_making_one_leaves_none(
    shelf: Shelf, wheel: Path, tmp_path: Path
) -> None:
    """The installer that it leaves behind has the lock, until it is gone, too."""
    begun = tmp_path / "begun"
    code = MAKE.format(begun, str(shelf.root), wheel.as_uri())
    process = subprocess.Popen([sys.executable, "-c", code])
    while not begun.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(get, shelf, wheel.as_uri())
        assert not asked.done()
        os.kill(int(begun.read_text()), signal.SIGKILL)
        python = asked.result(60)
    assert says(python, f"import {NAME}; print({NAME}.__version__)") == "1.0"


def test_who_waits_for_a_lock_whose_file_is_removed_has_that_of_the_new_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "lock"
    with FileLock(path) as waits:
        with FileLock(path) as first:
            assert first.try_acquire()
            assert not waits.try_acquire()
            first.remove()
        assert waits.try_acquire()
        with FileLock(path) as last:
            assert not last.try_acquire(shared=True)


def test_what_cannot_be_had_leaves_nothing(shelf: Shelf, tmp_path: Path) -> None:
    missing = (tmp_path / "nobody-1.0-py3-none-any.whl").as_uri()
    with pytest.raises(RequirementsError, match=r"(?s)^file:.*cannot be installed on .*: uv ended"):
        get(shelf, missing)
    assert shelf.kept() == []


@pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="needs pip")
def test_without_uv_it_is_pip(
    shelf: Shelf, wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installers, "_find_uv", lambda: None)
    python = get(shelf, wheel.as_uri())
    assert says(python, f"import {NAME}; print({NAME}.__version__)") == "1.0"
    with pytest.raises(RequirementsError, match=r"(?s): pip ended with status 1; its last lines:"):
        get(shelf, (tmp_path / "nobody-1.0-py3-none-any.whl").as_uri())


def test_without_both_it_says_what_to_install(
    shelf: Shelf, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installers, "_find", lambda: None)
    with pytest.raises(RequirementsError, match=r"neither uv nor pip .*pip install 'armoflow\[uv"):
        get(shelf, wheel.as_uri())


def test_what_armoflow_needs_is_not_taken_from_it(shelf: Shelf, tmp_path: Path) -> None:
    old = make_wheel(tmp_path, "msgpack", "0.1")
    with pytest.raises(RequirementsError, match=r"(?s)msgpack>=1.0.8"):
        get(shelf, old.as_uri())


def test_one_in_which_armoflow_cannot_run_is_refused(shelf: Shelf, tmp_path: Path) -> None:
    broken = make_wheel(tmp_path, "msgpack", "99.0", "raise ImportError('it is broken')")
    with pytest.raises(RequirementsError, match=r"(?s)armoflow cannot run beside .*it is broken"):
        get(shelf, broken.as_uri())
    assert shelf.kept() == []


def test_an_installer_is_ended_with_its_worker(shelf: Shelf, wheel: Path, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    installer = Installer(["sh", "-c", f"touch {begun}; exec sleep 100", "{python}"])
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(get, shelf, wheel.as_uri(), installer=installer)
        while not begun.exists() and not asked.done():
            time.sleep(0.01)
        installer.stop()
        with pytest.raises(RequirementsError, match="ended with status -9"):
            asked.result(60)
    with pytest.raises(RequirementsError, match="the worker is ending"):
        get(shelf, wheel.as_uri(), installer=installer)


def test_one_that_takes_too_long_is_ended(
    shelf: Shelf, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "INSTALL_SECONDS", 0.1)
    with pytest.raises(RequirementsError, match=r"it was ended after 0\.1 s"):
        get(shelf, wheel.as_uri(), installer=Installer(["sh", "-c", "sleep 100", "{python}"]))


def old(shelf: Shelf, seconds: float) -> None:
    for one in shelf.kept():
        marker = one.directory / "armoflow-environment.json"
        os.utime(marker, (time.time() - seconds,) * 2)


def test_those_that_nobody_has_used_for_long_go_but_not_those_in_use(
    shelf: Shelf, tmp_path: Path
) -> None:
    wheels = [make_wheel(tmp_path, f"{NAME}_{number}") for number in range(3)]
    found, lock = shelf.get((wheels[0].as_uri(),), Installer(), threading.Event())
    unused = get(shelf, wheels[1].as_uri())
    old(shelf, config.ENVIRONMENTS_AGE + 10)
    newest = get(shelf, wheels[2].as_uri())
    assert [Path(one).exists() for one in (found.python, unused, newest)] == [True, False, True]
    shelf.sweep(limit=0)
    assert Path(found.python).exists()
    lock.close()
    shelf.sweep(limit=0)
    assert [one.directory for one in shelf.kept()] == [Path(newest).parents[1]]


def test_what_is_told_of_them(shelf: Shelf, wheel: Path) -> None:
    get(shelf, wheel.as_uri())
    (kept,) = shelf.kept()
    assert kept.requirements == [wheel.as_uri()]
    assert kept.python == sys.version.split()[0]
    assert kept.size > 0
    (kept.directory / "armoflow-environment.json").write_text(json.dumps({"odd": 1}))
    assert shelf.kept() == []


def no_place() -> str:
    raise EngineError("there is none")


def test_where_they_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(environments_root()) == os.environ["ARMOFLOW_ENVIRONMENTS"]
    monkeypatch.delenv("ARMOFLOW_ENVIRONMENTS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert environments_root() == tmp_path / "cache" / "armoflow" / "environments"
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(virtual_environments, "temporary_root", lambda: str(tmp_path))
    assert environments_root() == tmp_path / f"armoflow-environments-{os.getuid()}"
    monkeypatch.setattr(virtual_environments, "temporary_root", no_place)
    assert environments_root(tmp_path / "own") == tmp_path / "own" / "environments"


def test_a_place_that_would_be_another_one_in_each_process_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARMOFLOW_ENVIRONMENTS", "kept")
    with pytest.raises(RequirementsError, match=f"=kept is no whole path, .* as {tmp_path}/kept"):
        environments_root()
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path, wheel: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RequirementsError, match=r"can be made in .*/file/x: .*ARMOFLOW_ENVIRONM"):
        get(Shelf(tmp_path / "file" / "x"), wheel.as_uri())


def test_one_that_cannot_be_removed_does_not_harm_another(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "ENVIRONMENTS_AGE", 0.0)
    first = make_wheel(tmp_path, f"{NAME}_first").as_uri()
    python = Path(get(shelf, first))
    old(shelf, 100)
    lock = python.parents[1].with_suffix(".making")
    lock.unlink()
    lock.mkdir()  # as another user's, which cannot be opened
    assert Path(get(shelf, make_wheel(tmp_path, f"{NAME}_second").as_uri())).exists()
    assert python.exists()


@pytest.mark.parametrize("text", ["{}", "{} ; python_version > '3'"])
def test_another_build_is_noticed_however_its_file_is_named(
    tmp_path: Path, text: str, shelf: Shelf
) -> None:
    folder = tmp_path / "an@odd one"
    requirement = text.format(f"{NAME} @ {make_wheel(folder, NAME).as_uri()}")
    first = get(shelf, requirement)
    make_wheel(folder, NAME, "1.0", "VALUE = 2")
    assert get(shelf, requirement) != first


def test_several_installers_run_at_once_and_all_are_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARMOFLOW_ENVIRONMENTS", str(tmp_path / "environments"))
    begun = [tmp_path / "a", tmp_path / "b"]
    wait = f'for name; do :; done; touch "{tmp_path}/$name"; exec sleep 100'

    async def stop_both() -> list[str]:
        preparations = Preparations(tmp_path, Installer(["sh", "-c", wait]))
        asked = [asyncio.create_task(preparations.get((path.name,))) for path in begun]
        while not all(path.exists() for path in begun):
            await asyncio.sleep(0.01)
        await preparations.stop()
        return [(await one).refused for one in asked]

    assert all("ended with status -9" in refused for refused in asyncio.run(stop_both()))


def test_many_who_wait_for_installers_do_not_hold_up_what_else_needs_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARMOFLOW_ENVIRONMENTS", str(tmp_path / "environments"))

    async def work_beside() -> set[str]:
        preparations = Preparations(tmp_path, Installer(["sleep", "100"]))
        asked = [asyncio.create_task(preparations.get((f"a{n}",))) for n in range(40)]
        await asyncio.sleep(0)
        assert await asyncio.to_thread(len, "found") == 5
        await preparations.stop()
        return {(await one).refused[-20:] for one in asked}

    assert "the worker is ending" in asyncio.run(work_beside())


def test_what_was_installed_from_a_file_stays_when_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARMOFLOW_ENVIRONMENTS", str(tmp_path / "environments"))
    path = make_wheel(tmp_path, NAME)
    needed = (path.as_uri(),)

    async def use_twice() -> None:
        preparations = Preparations(tmp_path)
        found = await preparations.get(needed)
        path.unlink()
        assert await preparations.get(needed) is found
        make_wheel(tmp_path, NAME, "1.0", "VALUE = 2")
        assert preparations.lacks(needed)
        await preparations.stop()

    asyncio.run(use_twice())


def test_installers_that_begin_at_once_know_how_this_python_was_built(shelf: Shelf) -> None:
    code = """
import sys, sysconfig, threading
from pathlib import Path
from armoflow.worker.installer import Installer, _find
from armoflow.worker.virtual_environments import Shelf

class Finding(Installer):
    def install(self, *_):
        _find()
    check = install

def ask(name):
    shelf.get((name,), Finding(), threading.Event())[1].close()

sys.setswitchinterval(1e-5)
for number in range(25):
    sysconfig._CONFIG_VARS, sysconfig._CONFIG_VARS_INITIALIZED = None, False
    for name in [name for name in sys.modules if name.startswith("_sysconfigdata")]:
        del sys.modules[name]
    shelf = Shelf(Path(sys.argv[1], str(number)))
    threads = [threading.Thread(target=ask, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""
    command = [sys.executable, "-c", code, str(shelf.root)]
    assert subprocess.run(command, stderr=subprocess.PIPE, text=True, check=True).stderr == ""
