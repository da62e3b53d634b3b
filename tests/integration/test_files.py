"""Files that travel, by every door."""

from __future__ import annotations

import gc
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

import armoflow
from armoflow import Client, FileCopy, FolderCopy, task
from armoflow.codec.pickling import dumps, loads
from armoflow.errors import MemoryLimitError, SerializationError, WorkerDiedError
from armoflow.files import _folder_arrives
from tests.faults.scripts import wait_for

LARGE = os.urandom(300_000)


@task
def held(path: FileCopy) -> tuple[str, str, bytes]:
    return str(path), path.name, Path(path).read_bytes()


@task
def there(path: str) -> bool:
    return Path(path).exists()


@task
def names(root: FolderCopy) -> list[str]:
    return sorted(str(path.relative_to(root.path)) for path in root.path.rglob("*"))


@task
def lasts(paths: list[FileCopy], folder: FolderCopy, seen: str, end: str) -> None:
    told = Path(f"{seen}.new")
    told.write_text("\n".join(map(str, [*paths, folder])))
    told.rename(seen)
    if end == "crash":
        os.abort()
    taken = bytearray(300 << 20) if end == "memory" else b""
    time.sleep(60 + len(taken))


@task
def written(content: bytes) -> FileCopy:
    with tempfile.NamedTemporaryFile(delete=False) as made:
        made.write(content)
    return armoflow.file(made.name)


@task
def both(path: FileCopy) -> Any:
    return [held(path), held(armoflow.file(path))]


@task
def passed(path: FileCopy) -> FileCopy:
    return armoflow.file(path)


def make(root: Path) -> list[FileCopy]:
    contents = {"small.txt": b"small", "empty.txt": b"", "large.bin": LARGE}
    for name, content in contents.items():
        (root / name).write_bytes(content)
    return [armoflow.file(root / name) for name in contents]


def test_a_map_over_files_gets_copies_of_them(client: Client, tmp_path: Path) -> None:
    found = client.compute(held.map(make(tmp_path)))
    assert [content for _, _, content in found] == [b"small", b"", LARGE]
    assert [name for _, name, _ in found] == ["small.txt", "empty.txt", "large.bin"]
    assert all(Path(path).parent != tmp_path for path, _, _ in found)


def test_copies_are_removed_after_their_task(client: Client, tmp_path: Path) -> None:
    path, _, _ = client.compute(held(make(tmp_path)[2]))
    assert client.compute(there(path)) is False


@pytest.mark.parametrize("end", ["timeout", "memory", "crash", "cancel"])
def test_copies_are_removed_of_processes_that_were_killed(
    client: Client, tmp_path: Path, end: str
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    path, _, large = make(root)
    seen = tmp_path / "seen"
    ended = {
        "timeout": lasts.options(timeout=0.5),
        "memory": lasts.options(memory="64 MiB"),
        "crash": lasts.options(crash_retries=0),
        "cancel": lasts,
    }[end]
    future = client.submit(ended([path, large], armoflow.folder(root), str(seen), end))
    wait_for(seen.exists, "the task does not begin")
    if end == "cancel":
        future.cancel()
    else:
        with pytest.raises((TimeoutError, MemoryLimitError, WorkerDiedError)):
            future.result()
    places = seen.read_text().splitlines()
    assert len(places) == 3
    wait_for(lambda: not any(map(os.path.exists, places)), "copies are left")


@pytest.mark.parametrize("content", [b"", b"few", LARGE])
def test_a_task_returns_a_file(client: Client, tmp_path: Path, content: bytes) -> None:
    found = client.compute(written(content))
    assert found.save(tmp_path / "saved").read_bytes() == content
    assert client.compute(held(written(content)))[2] == content
    assert client.compute(passed(written(content))).path.read_bytes() == content


def test_a_returned_graph_takes_files(client: Client, tmp_path: Path) -> None:
    found = client.compute(both(make(tmp_path)[2]))
    assert [content for _, _, content in found] == [LARGE, LARGE]


def test_a_folder_travels_with_all_that_is_in_it(client: Client, tmp_path: Path) -> None:
    root = tmp_path / "data"
    (root / "deep" / "empty").mkdir(parents=True)
    (root / "deep" / "large.bin").write_bytes(LARGE)
    (tmp_path / "elsewhere").write_text("linked")
    (root / "link").symlink_to(tmp_path / "elsewhere")
    expected = ["deep", "deep/empty", "deep/large.bin", "link"]
    assert client.compute(names(armoflow.folder(root))) == expected


def test_in_local_mode_it_is_the_path(tmp_path: Path) -> None:
    with Client(local=True) as client:
        assert client.compute(held(make(tmp_path)[0]))[0] == str(tmp_path / "small.txt")


def test_a_copy_is_read_only_and_goes_with_its_last_reference(tmp_path: Path) -> None:
    copied = loads(dumps(make(tmp_path)[2]))
    where = copied.path
    assert where.read_bytes() == LARGE
    assert not where.stat().st_mode & 0o222
    del copied
    gc.collect()
    assert where.read_bytes() == LARGE  # the path is a reference, too
    folder = Path(where.parent)
    del where
    gc.collect()
    assert not folder.exists()


@pytest.mark.parametrize("part", ["..", ".", "", "a/b", "/etc", "a\0"])
def test_names_that_lead_elsewhere_are_refused(part: str) -> None:
    with pytest.raises(SerializationError, match="no name of a file that arrives"):
        _folder_arrives("data", [(("deep", part), b"")])


def test_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "around").symlink_to(tmp_path)
    with pytest.raises(SerializationError, match="neither a file nor a folder"):
        dumps(armoflow.folder(tmp_path / "data"))


def test_what_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"armoflow.file\(.*there is no file"):
        armoflow.file(tmp_path / "nowhere")
    with pytest.raises(NotADirectoryError, match=r"armoflow.folder\(.*there is no folder"):
        armoflow.folder(tmp_path / "nowhere")


def test_what_is_no_file_or_no_path_is_said(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError, match="but a pipe, socket or device"):
        armoflow.file(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError, match=r"armoflow.file\(\) takes a path, and '' is empty"):
        armoflow.file("")
    with pytest.raises(NotADirectoryError, match=r"armoflow.folder\(\) .* '' is empty"):
        armoflow.folder("")


def test_what_is_asked_of_a_path_is_told(tmp_path: Path) -> None:
    """A copy is not a Path itself: which one it is differs from process to process."""
    (tmp_path / "table").touch()
    copies: list[Any] = [armoflow.file(tmp_path / "table"), armoflow.folder(tmp_path)]
    for copy in copies:
        for name in ("read_text", "iterdir", "suffix"):
            with pytest.raises(AttributeError, match=rf"write \.path\.{name}"):
                getattr(copy, name)
        assert not hasattr(copy, "strange")
        with pytest.raises(TypeError, match=r"write \.path / 'x'"):
            copy / "x"


def test_keys_are_of_name_and_content(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for root in (one, other):
        root.mkdir()
        (root / "data.bin").write_bytes(LARGE)
    key = armoflow.file(one / "data.bin").__armoflow_key__()
    assert armoflow.file(other / "data.bin").__armoflow_key__() == key
    (other / "data.bin").write_bytes(b"other")
    assert armoflow.file(other / "data.bin").__armoflow_key__() != key


def test_what_was_put_is_read_once_for_many_calls(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    mapped = armoflow.files.mapped  # type: ignore[attr-defined]
    monkeypatch.setattr("armoflow.files.mapped", lambda at: (read.append(at), mapped(at))[1])
    data: Any = client.put(make(tmp_path)[2])
    assert [found[2] for found in client.compute([held(data), held(data)])] == [LARGE, LARGE]
    assert client.compute(held(data))[2] == LARGE
    assert len(read) == 1


def test_a_file_and_a_folder_are_not_taken_for_each_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("it")
    with pytest.raises(FileNotFoundError, match=r"but a folder: write armoflow\.folder"):
        armoflow.file(tmp_path)
    with pytest.raises(NotADirectoryError, match=r"but a file: write armoflow\.file"):
        armoflow.folder(path)


@task
def spoiled(path: FileCopy) -> int:
    Path(path).chmod(0o600)
    with Path(path).open("ab") as opened:
        opened.write(b"more")
    Path(path).rename(Path(path).with_name("moved"))
    return len(Path(path).with_name("moved").read_bytes())


@task
def numbered(number: int, path: FileCopy) -> int:
    return number + len(Path(path).read_bytes())


def test_each_call_has_a_file_of_its_own(client: Client, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(b"0" * (2 << 20))
    data = armoflow.file(tmp_path / "data.bin")
    expected = [(2 << 20) + 4] * 6
    assert client.compute(spoiled.with_options(batch_size=3).map([data] * 6)) == expected
    assert client.compute([spoiled(data) for _ in range(6)]) == expected
    assert (tmp_path / "data.bin").stat().st_size == 2 << 20


@task
def same_path(number: int, path: Path) -> FileCopy:
    path.write_bytes(bytes([number]) * (3_000_000 - number))
    return armoflow.file(path)


def test_files_that_are_written_over_are_what_they_were_when_they_were_returned(
    client: Client, tmp_path: Path
) -> None:
    same = same_path.with_options(batch_size=4).map(range(4), path=tmp_path / "same")
    found = client.compute(same)
    contents = [bytes([number]) * (3_000_000 - number) for number in range(4)]
    assert [one.path.read_bytes() for one in found] == contents


def test_a_file_that_is_written_over_travels_as_it_is_whatever_its_times_say(
    client: Client, tmp_path: Path
) -> None:
    data = make(tmp_path)[2]
    before = data.path.stat()
    assert client.compute(held(data))[2] == LARGE
    for content in (LARGE[::-1], LARGE, bytes(len(LARGE))):
        data.path.write_bytes(content)
        os.utime(data.path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert client.compute(held(data))[2] == content
    held_call = held(data)
    data.path.chmod(0o600)
    os.link(data.path, tmp_path / "another name")
    assert client.compute(held_call)[2] == content


def test_a_path_of_what_arrived_holds_it(client: Client, tmp_path: Path) -> None:
    assert client.compute(passed(make(tmp_path)[2])).path.read_bytes() == LARGE
    path = client.compute(passed(make(tmp_path)[0])).path
    gc.collect()
    assert path.read_bytes() == b"small"
    assert type(path / "x") is type(path.parent) or not hasattr(path.parent, "owner")
    assert type(loads(dumps(path))) is type(Path())


def test_what_is_gone_or_no_path_is_told(client: Client, tmp_path: Path) -> None:
    for size in (10, 3 << 20):
        (tmp_path / "gone").write_bytes(b"0" * size)
        gone = armoflow.file(tmp_path / "gone")
        (tmp_path / "gone").unlink()
        with pytest.raises(FileNotFoundError, match="is gone: it must stay until the tasks"):
            client.compute(held(gone))
    wrong: Any = 3
    with pytest.raises(TypeError, match=r"armoflow.file\(\) takes a path, not int 3"):
        armoflow.file(wrong)
    with pytest.raises(TypeError, match=r"armoflow.folder\(\) takes a path, not NoneType"):
        armoflow.folder(None)  # type: ignore[arg-type]


def test_a_folder_has_a_name_whatever_it_was_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data" / "in").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "data" / "in")
    assert armoflow.folder(".").name == "in"
    assert armoflow.folder("..").name == armoflow.folder("../../data").name == "data"
    with pytest.raises(NotADirectoryError, match="/ is too much"):
        armoflow.folder("/")
