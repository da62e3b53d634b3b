"""What tasks share in a worker process."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from armoflow import Client, WorkerResource, task, worker_resource
from armoflow.errors import NoTaskError, OptionError, TaskError
from armoflow.resources import SESSIONS, Resources
from tests.faults.scripts import wait_for
from tests.integration.engines import EMBEDDED, STOCK, up


def recording(folder: Path) -> WorkerResource[Path]:
    """A resource that leaves a file when it is built, and one when it is closed."""

    @worker_resource
    def record() -> Iterator[Path]:
        built = folder / f"built-{os.getpid()}-{os.urandom(4).hex()}"
        built.touch()
        os.environ["RESOURCE"] = "here"
        thread = threading.Thread(target=threading.Event().wait, daemon=True)
        thread.start()
        yield built
        (folder / built.name.replace("built", "closed")).touch()

    return record


@task
def use(resource: WorkerResource[Path], number: int = 0) -> tuple[int, str]:
    return os.getpid(), resource().name


@task
def use_inside(resource: WorkerResource[Path]) -> Any:
    return use(resource)


@task(batch_size=4)
def use_in_a_batch(resource: WorkerResource[Path], number: int) -> tuple[int, str]:
    return os.getpid(), resource().name


@task
def variable() -> str | None:
    return os.environ.get("RESOURCE")


@worker_resource
def of_a_module() -> list[int]:
    return [os.getpid()]


@task
def grow() -> tuple[int, int]:
    of_a_module().append(0)
    return os.getpid(), len(of_a_module())


def names(folder: Path, kind: str) -> set[str]:
    return {path.name.removeprefix(kind) for path in folder.glob(f"{kind}*")}


def test_tasks_of_a_process_share_one_that_is_closed_at_its_end(
    client: Client, tmp_path: Path
) -> None:
    resource = recording(tmp_path)
    found = [client.compute(use(resource)), client.compute(use_inside(resource))]
    found += client.compute(use.map([resource] * 10, range(10)))
    found += client.compute(use_in_a_batch.map([resource] * 10, range(10)))
    found += [future.result() for future in [client.submit(use(resource)) for _ in range(10)]]
    assert (
        len(set(found)) == len({process for process, _ in found}) == len(names(tmp_path, "built"))
    )
    assert not names(tmp_path, "closed")


def test_it_is_closed_when_its_process_ends(tmp_path: Path) -> None:
    resource = recording(tmp_path)
    with Client(workers=2) as client:
        client.compute(use.map([resource] * 10, range(10)))
    wait_for(lambda: names(tmp_path, "closed") == names(tmp_path, "built"), "a resource stays open")


@pytest.mark.parametrize("arguments", [EMBEDDED, STOCK], ids=["embedded", "stock"])
def test_it_is_closed_when_its_worker_ends(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    resource = recording(tmp_path)
    (directory := tmp_path / "engine").mkdir()
    with up(directory, *arguments) as engine:
        with Client(engine.endpoint) as client:
            client.compute(use.map([resource] * 10, range(10)))
        assert not names(tmp_path, "closed")
    wait_for(lambda: names(tmp_path, "closed") == names(tmp_path, "built"), "a resource stays open")


def test_one_of_a_module_is_found_by_its_name(client: Client) -> None:
    grown = [client.compute(grow()) for _ in range(5)]
    for process in {process for process, _ in grown}:
        lengths = [length for other, length in grown if other == process]
        assert lengths == list(range(lengths[0], lengths[0] + len(lengths)))
    assert pickle.loads(pickle.dumps(of_a_module)) is of_a_module


def test_what_building_it_raises_fails_the_task_and_the_next_one_tries_again(
    client: Client, tmp_path: Path
) -> None:
    there = tmp_path / "there"

    @worker_resource
    def database() -> str:
        if not there.exists():
            raise ConnectionRefusedError("no database yet")
        return "connected"

    @task
    def ask() -> str:
        return database()

    with pytest.raises(ConnectionRefusedError, match="no database yet"):
        client.compute(ask())
    there.touch()
    assert client.compute(ask()) == "connected"


def test_what_it_changes_in_its_process_stays(tmp_path: Path) -> None:
    resource = recording(tmp_path)
    with Client(workers=1) as client:
        assert client.compute(variable()) is None
        client.compute(use(resource))
        assert client.compute(variable()) == "here"


def test_the_debug_mode_has_one_for_the_client(tmp_path: Path) -> None:
    resource = recording(tmp_path)
    before = os.environ.get("RESOURCE")
    with Client(local=True) as client:
        found = client.compute(use.map([resource] * 3, range(3)))
        assert len(set(found)) == len(names(tmp_path, "built")) == 1
        assert not names(tmp_path, "closed")
    assert len(names(tmp_path, "closed")) == 1 and before is None
    del os.environ["RESOURCE"]


def test_those_of_the_sessions_that_came_last_are_kept() -> None:
    closed = []

    @worker_resource
    def one() -> Iterator[list[str]]:
        value: list[str] = []
        yield value
        closed.append(value[0])

    resources = Resources()
    for number in range(SESSIONS + 1):
        resources.get(str(number), one).append(str(number))
    assert closed == ["0"]
    resources.close()
    assert closed == ["0", *(str(number) for number in range(SESSIONS, 0, -1))]


def test_one_that_cannot_be_closed_does_not_keep_others_open(
    caplog: pytest.LogCaptureFixture,
) -> None:
    closed = []

    @worker_resource
    def first() -> Iterator[int]:
        yield 1
        closed.append("first")

    @worker_resource
    def second() -> Iterator[int]:
        yield 2
        raise OSError("gone")

    resources = Resources()
    assert resources.get("session", first) + resources.get("session", second) == 3
    resources.close()
    assert closed == ["first"] and "second" in caplog.text and "gone" in caplog.text


def test_factories_make_one_for_each_that_they_close_over() -> None:
    def of(value: int) -> WorkerResource[int]:
        return worker_resource(lambda: value)

    resources = Resources()
    assert [resources.get("session", of(value)) for value in (1, 2, 1)] == [1, 2, 1]


SETTING = "first"


def _setting() -> str:
    return SETTING


def _copy(function: Any) -> Any:
    """A function as it comes to a process: by value, with the globals that it uses."""
    found = dict(function.__globals__)
    if "_setting" in function.__code__.co_names:
        found["_setting"] = _copy(_setting)
    return types.FunctionType(
        function.__code__, found, function.__name__, closure=function.__closure__
    )


def test_one_whose_code_or_globals_were_edited_is_built_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def read() -> str:
        return _setting()

    def ask() -> str:
        return resources.get("session", worker_resource(_copy(read)))

    resources = Resources()
    assert ask() is ask() == "first"
    monkeypatch.setitem(globals(), "SETTING", "second")
    assert ask() == "second"


SCRIPT = """
import functools, importlib
from pathlib import Path
import beside
from armoflow import Client, task, worker_resource

SETTING = "first"

@functools.lru_cache
def connect():
    return f"connected to {SETTING}"

@worker_resource
def connection():
    return [connect()]

@worker_resource
def table():
    return connection() + ["table"]

@task
def use():
    return table(), id(table())

@task
def use_too():
    return table(), id(table())

@task
def ask_beside():
    return beside.told()

if __name__ == "__main__":
    with Client(workers=1) as client:
        first, second = client.compute(use()), client.compute(use_too())
        assert first == second, "it is shared"
        print(*first[0])
        SETTING = "second"
        print(*client.compute(use())[0])
        importlib.reload(beside)
        assert client.compute(ask_beside()) == ["beside, first"]
        Path(beside.__file__).write_text(Path(beside.__file__).read_text().replace("first", "2nd"))
        importlib.reload(beside)
        assert client.compute(ask_beside()) == ["beside, 2nd"]
"""


BESIDE = """
from armoflow import worker_resource

def tell():
    return "beside, first"

@worker_resource
def told():
    return [tell()]
"""


def test_of_a_script_it_is_what_the_script_says_now(tmp_path: Path) -> None:
    tmp_path.joinpath("beside.py").write_text(BESIDE)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines() == ["connected to first table", "connected to second table"]


def test_one_of_an_address_that_another_had_is_another() -> None:
    def of(value: int) -> WorkerResource[int]:
        lock = threading.Lock()  # so it is of this copy only
        return worker_resource(lambda: value if lock else 0)

    resources = Resources()
    assert [resources.get("session", of(value)) for value in range(50)] == [*range(50)]


def test_bad_ones_are_refused() -> None:
    with pytest.raises(OptionError, match="takes url: give them default values"):
        worker_resource(lambda url: url)  # type: ignore[arg-type]

    async def connect() -> None: ...

    with pytest.raises(OptionError, match="'connect' is asynchronous: write a plain function"):
        worker_resource(connect)
    with pytest.raises(OptionError, match="before a function, not 3"):
        worker_resource(3)  # type: ignore[call-overload]
    with pytest.raises(NoTaskError):
        of_a_module()

    @worker_resource
    def nothing() -> Iterator[int]:
        yield from ()

    with pytest.raises(TaskError, match="yields nothing"):
        Resources().get("session", nothing)
