"""Large files on their way: no more than some pieces of them are in memory, wherever they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import armoflow
from armoflow import Client, FileCopy, task
from armoflow.content import FileContent, digest_of
from armoflow.errors import DataLostError, SerializationError
from benchmarks.files import MB, travel
from tests.integration.engines import EMBEDDED, STOCK, up

LARGE = os.urandom(3 << 20)


@task
def length(path: FileCopy) -> int:
    return len(Path(path).read_bytes())


@task
def total(data: bytes) -> int:
    return len(data)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="tells peaks of memory")
@pytest.mark.parametrize("options", [EMBEDDED, STOCK], ids=["embedded", "stock"])
def test_memory_does_not_grow_with_the_file(options: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "engine").mkdir()
    with (
        up(tmp_path / "engine", *options, "--workers", "1") as engine,
        Client(engine.endpoint, workers=1) as client,
    ):
        for grown in travel(client, tmp_path, 110):
            assert max(grown.values()) < 75 * MB, grown


def test_a_file_that_changes_while_it_is_sent_fails_its_task(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data.bin"
    path.write_bytes(LARGE)
    read = FileContent.__getitem__

    def change(content: FileContent, piece: slice) -> bytes:
        path.write_bytes(LARGE + b"more")
        return read(content, piece)

    monkeypatch.setattr(FileContent, "__getitem__", change)
    with pytest.raises(SerializationError, match=r"data\.bin cannot be sent: it has changed"):
        client.compute(length(armoflow.file(path)))
    monkeypatch.undo()
    assert client.compute(length(armoflow.file(path))) == len(LARGE) + 4


def test_a_file_that_is_gone_before_it_is_sent_fails_its_task(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data.bin"
    path.write_bytes(LARGE)
    read = FileContent.__getitem__

    def remove(content: FileContent, piece: slice) -> bytes:
        path.unlink(missing_ok=True)
        return read(content, piece)

    monkeypatch.setattr(FileContent, "__getitem__", remove)
    future = client.submit(length(armoflow.file(path)))
    with pytest.raises(SerializationError, match="No such file or directory; a file must stay"):
        future.result()


@pytest.mark.parametrize("retries", [0, 2])
def test_what_arrives_as_something_else_fails_the_attempt(
    client: Client, monkeypatch: pytest.MonkeyPatch, retries: int
) -> None:
    wrong = digest_of(b"something else")
    monkeypatch.setattr("armoflow.orchestrator.shared_data.digest_of", lambda _: wrong)
    with pytest.raises(DataLostError, match="is not what was sent: its SHA-256") as caught:
        client.compute(total.options(retries=retries, backoff=0)(LARGE))
    cause: Any = caught.value.__cause__
    assert cause.attempts == retries + 1


def test_so_does_a_file(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data.bin"
    path.write_bytes(LARGE)
    read = FileContent.__getitem__

    def replace(content: FileContent, piece: slice) -> bytes:
        return b"\0" * len(read(content, piece))

    monkeypatch.setattr(FileContent, "__getitem__", replace)
    with pytest.raises(DataLostError, match="is not what was sent: its SHA-256"):
        client.compute(length(armoflow.file(path)))
