"""Values that are written to files of the user's, by every kind of client."""

from __future__ import annotations

import os
import stat
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

import armoflow
from armoflow import Client, FileCopy, FolderCopy, task
from armoflow.errors import GraphError, OptionError, SerializationError

LARGE = os.urandom(3 << 20)


@task
def file_of(content: bytes, name: str) -> FileCopy:
    path = Path(tempfile.mkdtemp()) / name
    path.write_bytes(content)
    path.chmod(0o755)
    return armoflow.file(path)


@task
def folder_of(content: bytes) -> FolderCopy:
    root = Path(tempfile.mkdtemp()) / "made"
    (root / "deep" / "empty").mkdir(parents=True)
    (root / "deep" / "large").write_bytes(content)
    (root / "small ä").write_text("small")
    (root / "run").write_text("#!/bin/sh")
    (root / "run").chmod(0o755)
    return armoflow.folder(root)


@task
def same(value: Any) -> Any:
    return value


@task
def fails() -> bytes:
    raise KeyError("no such luck")


@pytest.mark.parametrize("content", [b"", b"small", LARGE])
def test_bytes_are_written_as_they_are(anywhere: Client, tmp_path: Path, content: bytes) -> None:
    target = tmp_path / "out.bin"
    target.write_text("what was there")
    assert anywhere.submit(same(content)).download(target) == target
    assert target.read_bytes() == content
    assert list(tmp_path.glob(".*")) == []


def test_text_and_bytearrays_too(anywhere: Client, tmp_path: Path) -> None:
    future = anywhere.submit(same("grün"))
    assert future.download(tmp_path / "text").read_text(encoding="utf-8") == "grün"
    future = anywhere.submit(same(bytearray(LARGE)))
    assert future.download(tmp_path / "bytes").read_bytes() == LARGE
    assert future.result() == LARGE


@pytest.mark.parametrize("content", [b"small", LARGE])
def test_a_returned_file_under_another_name_or_its_own(
    anywhere: Client, tmp_path: Path, content: bytes
) -> None:
    future = anywhere.submit(file_of(content, "its own"))
    new = future.download(tmp_path / "other")
    (tmp_path / "into").mkdir()
    own = future.download(str(tmp_path / "into"))
    assert own == tmp_path / "into" / "its own"
    for found in (new, own):
        assert found.read_bytes() == content
        assert found.stat().st_mode & stat.S_IXUSR
        assert found.stat().st_mode & stat.S_IWUSR


def test_a_returned_folder(anywhere: Client, tmp_path: Path) -> None:
    future = anywhere.submit(folder_of(LARGE))
    target = future.download(tmp_path / "there")
    found = sorted(str(path.relative_to(target)) for path in target.rglob("*"))
    assert found == ["deep", "deep/empty", "deep/large", "run", "small ä"]
    assert (target / "deep" / "large").read_bytes() == LARGE
    assert (target / "run").stat().st_mode & stat.S_IXUSR
    with pytest.raises(FileExistsError, match="is there already"):
        future.download(target)


def test_items_of_a_map_one_by_one(anywhere: Client, tmp_path: Path) -> None:
    for number, future in enumerate(anywhere.map(same, [LARGE, b"two", LARGE[:99]])):
        future.download(tmp_path / str(number))
    assert [(tmp_path / str(n)).read_bytes() for n in range(3)] == [LARGE, b"two", LARGE[:99]]


def test_what_has_no_form_as_a_file(anywhere: Client, tmp_path: Path) -> None:
    future = anywhere.submit(same({"a": 1}))
    with pytest.raises(SerializationError, match=r"same is of type dict, which has no form"):
        future.download(tmp_path / "out")
    with pytest.raises(GraphError, match=r"is a collection: client\.map"):
        anywhere.submit(same.map([b"1", b"2"])).download(tmp_path / "out")
    with pytest.raises(IsADirectoryError, match="has no name of its own"):
        anywhere.submit(same(b"1")).download(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_the_task_raised_is_raised_and_what_was_there_stays(
    anywhere: Client, tmp_path: Path
) -> None:
    target = tmp_path / "out"
    target.write_text("before")
    with pytest.raises(KeyError, match="no such luck"):
        anywhere.submit(fails()).download(target)
    assert target.read_text() == "before"


def test_it_waits_no_longer_than_it_may(client: Client, tmp_path: Path) -> None:
    future = client.submit(task(time.sleep)(60))
    with pytest.raises(TimeoutError):
        future.download(tmp_path / "out", timeout=0.01)
    future.cancel()


@pytest.mark.parametrize("value", [b"1", "file"])
def test_a_folder_that_is_not_there_is_told(
    anywhere: Client, tmp_path: Path, value: bytes | str
) -> None:
    future = anywhere.submit(file_of(b"1", "x") if value == "file" else same(value))
    for target in (tmp_path / "nowhere" / "out", f"{tmp_path}/nowhere/"):
        with pytest.raises(FileNotFoundError, match=r"the folder /.*/nowhere is not there; make"):
            future.download(target)
    (tmp_path / "file").write_text("before")
    for target in (tmp_path / "file" / "out", f"{tmp_path}/file/"):
        with pytest.raises(NotADirectoryError, match="/file is no folder; make it first"):
            future.download(target)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_is_made_under_a_path_with_a_slash(anywhere: Client, tmp_path: Path) -> None:
    target = anywhere.submit(folder_of(b"1")).download(f"{tmp_path}/new/")
    assert (target / "deep" / "large").read_bytes() == b"1"
    with pytest.raises(FileNotFoundError, match=r"the folder /.*/nowhere is not there; make"):
        anywhere.submit(folder_of(b"1")).download(tmp_path / "nowhere" / "new")


@pytest.mark.parametrize("path", [None, "", 3, b"out", "o\0ut"])
def test_what_is_no_path_is_refused_before_anything_is_waited_for(path: Any) -> None:
    with (
        Client(local=True) as client,
        pytest.raises(OptionError, match="path must be the name of a file to write, or of a"),
    ):
        client.submit(same(b"1")).download(path)


@pytest.mark.parametrize("timeout", ["x", float("nan"), True, -1])
def test_what_is_no_timeout_is_refused(tmp_path: Path, timeout: Any) -> None:
    with (
        Client(local=True) as client,
        pytest.raises(OptionError, match="timeout must be a number of seconds, 0 or more, or"),
    ):
        client.submit(same(b"1")).download(tmp_path / "out", timeout=timeout)
    assert list(tmp_path.iterdir()) == []
