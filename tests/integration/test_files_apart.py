"""Files where workers see nothing of what the client sees, neither its disk nor its packages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import armoflow
from armoflow import Client, FileCopy
from tests.integration.apart import Apart
from tests.integration.file_tasks import content, joined, listed, sees, spread

LARGE = os.urandom(3 << 20)


@pytest.fixture(scope="module")
def far(cluster_apart: Apart) -> Iterator[Client]:
    with Client(cluster_apart.endpoint) as connected:
        yield connected


@pytest.fixture
def files(tmp_path: Path) -> list[FileCopy]:
    found = []
    for number, held in enumerate((b"", b"small", LARGE, LARGE)):
        path = tmp_path / f"{number} ä.bin"
        path.write_bytes(held)
        found.append(armoflow.file(path))
    return found


def test_a_map_over_files_of_which_workers_see_none(far: Client, files: list[FileCopy]) -> None:
    assert far.compute(sees.map([str(file) for file in files])) == [False] * 4
    assert far.compute(content.map(files)) == [b"", b"small", LARGE, LARGE]


def test_a_folder(far: Client, files: list[FileCopy], tmp_path: Path) -> None:
    sizes = {file.name: file.nbytes for file in files}
    assert far.compute(listed(armoflow.folder(tmp_path))) == sizes


def test_what_a_task_or_its_graph_returns_comes_here(
    far: Client, files: list[FileCopy], tmp_path: Path
) -> None:
    future = far.submit(joined(files))
    target = future.download(tmp_path / "here.bin")
    assert target.read_bytes() == b"small" + LARGE + LARGE
    assert far.compute(spread(files[2])).path.read_bytes() == LARGE + LARGE
    assert far.compute(content(joined(files[:2]))) == b"small"


def test_what_was_put_under_a_name(far: Client, files: list[FileCopy], tmp_path: Path) -> None:
    name = str(tmp_path)
    far.put(files[2], name=name)
    assert far.compute(content(far.refer(name))) == LARGE
    assert far.get(name).path.read_bytes() == LARGE
    far.forget(name)
