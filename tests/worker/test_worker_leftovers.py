"""Task folders of killed agents are removed; nobody else's ever is."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

import pytest

from armoflow.worker.leftovers import sweep_leftovers

NOW = 1_700_000_000.0


class Pod:
    """A directory as agent and worker of a pod share it."""

    def __init__(self, path: Path, below: str = "") -> None:
        self.path = path
        self.shared = path / below
        self.shared.mkdir(exist_ok=True)
        self._stack = ExitStack()
        self.agent, self.worker = self.socket("agent"), self.socket("worker")

    def socket(self, name: str) -> Path:
        path = self.path / f"{name}.sock"
        self._stack.enter_context(socket.socket(socket.AF_UNIX)).bind(str(path))
        os.utime(path, (NOW, NOW))
        return path

    def folder(self, age: float, name: str = "") -> Path:
        path = self.shared / (name or str(uuid.uuid4()))
        path.mkdir()
        (path / "payload").write_bytes(b"data")
        os.utime(path, (NOW - age, NOW - age))
        return path

    def sweep(self, task: Path) -> None:
        sweep_leftovers(task, self.agent, self.worker)

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(params=["", "shared"])
def pod(request: pytest.FixtureRequest, short_path: Path) -> Iterator[Pod]:
    place = short_path / "pod"  # others' sockets are not beside it
    place.mkdir()
    pod = Pod(place, request.param)
    yield pod
    pod.close()


def test_folders_older_than_the_agent_go(pod: Pod) -> None:
    task, left, also = pod.folder(-5), pod.folder(100), pod.folder(2)
    prefetched, other = pod.folder(-6), pod.folder(100, "logs")
    link = pod.shared / str(uuid.uuid4())
    link.symlink_to(other)
    pod.sweep(task)
    assert not left.exists() and not also.exists()
    assert task.exists() and prefetched.exists() and other.exists() and link.exists()


def test_a_clock_that_was_set_proves_nothing(pod: Pod) -> None:
    task, left = pod.folder(5), pod.folder(100)
    pod.sweep(task)
    assert left.exists()


def test_the_folders_of_other_agents_are_theirs(pod: Pod) -> None:
    task, theirs = pod.folder(-5), pod.folder(100)
    pod.socket("another")
    pod.sweep(task)
    assert theirs.exists()


def test_an_agent_elsewhere_proves_nothing(pod: Pod, tmp_path: Path) -> None:
    task, left = pod.folder(-5), pod.folder(100)
    sweep_leftovers(task, tmp_path / "agent.sock", pod.worker)
    sweep_leftovers(task, None, None)
    pod.agent.unlink()
    pod.sweep(task)
    assert left.exists()


def test_what_goes_while_it_is_looked_for_is_no_obstacle(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others end at any time, and take their sockets and folders with them."""
    task, left = pod.folder(-5), pod.folder(100)
    names = [str(uuid.uuid4()), "a.sock"]
    iterate = Path.iterdir

    def list_gone(place: Path) -> Iterator[Path]:
        return chain((place / name for name in names), iterate(place))

    monkeypatch.setattr(Path, "iterdir", list_gone)
    pod.sweep(task)
    assert not left.exists()
