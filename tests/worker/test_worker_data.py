"""Data that a worker keeps between tasks: fetched when it is missed, checked when it comes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from armoflow.content import copy_new, digest_of, digest_of_pieces
from armoflow.errors import DataLostError
from armoflow.worker import data
from armoflow.worker.data import DataSource, FetchedData

RIGHT, WRONG = b"right" * 300_000, b"wrong" * 300_000


class Agent:
    """Hands over one content after the other, in messages or as files that it removes again."""

    def __init__(self, directory: Path, *contents: bytes, files: bool) -> None:
        self._directory = directory
        self._contents = list(contents)
        self._files = files
        self.asked = 0

    def fetch(self, result_id: str) -> DataSource:
        self.asked += 1
        content = self._contents.pop(0)
        if not self._files:
            return content
        path = self._directory / f"{result_id}-{self.asked}"
        path.write_bytes(content)
        return [str(path), len(content)]


@pytest.fixture(params=[False, True], ids=["message", "file"])
def files(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_it_is_fetched_and_checked_once(
    tmp_path: Path, files: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, checked = Agent(tmp_path, RIGHT, files=files), []

    def check(pieces: Iterable[bytes]) -> bytes:
        checked.append(1)
        return digest_of_pieces(pieces)

    monkeypatch.setattr(data, "digest_of_pieces", check)
    monkeypatch.setattr(data, "digest_of", lambda content: check([content]))
    kept = FetchedData(agent.fetch, 10_000_000)
    for _ in range(3):
        assert bytes(kept.read("result", digest_of(RIGHT))) == RIGHT
    kept.write_file("result", digest_of(RIGHT), str(tmp_path / "copy"))
    kept.write_file("result", digest_of(RIGHT), str(tmp_path / "again"), executable=True)
    for name, mode in (("copy", 0o400), ("again", 0o500)):
        assert (tmp_path / name).read_bytes() == RIGHT
        assert (tmp_path / name).stat().st_mode & 0o777 == mode
    assert (agent.asked, len(checked)) == (1, 1)


@pytest.mark.parametrize("ends_after", [0, 1000, None])
def test_a_copy_is_whole_whatever_the_system_can_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends_after: int | None
) -> None:
    def copy_some(source: int, target: int, *_: int) -> int:
        if not ends_after:
            raise OSError(errno.EXDEV, "not between these two")
        if os.fstat(target).st_size:
            return 0
        return os.write(target, os.pread(source, ends_after, 0))

    if ends_after is not None:
        monkeypatch.setattr(os, "copy_file_range", copy_some, raising=False)
    (tmp_path / "source").write_bytes(RIGHT)
    file = os.open(tmp_path / "source", os.O_RDONLY)
    copy_new(file, str(tmp_path / "copy"), executable=False)
    os.close(file)
    assert (tmp_path / "copy").read_bytes() == RIGHT


def test_what_is_wrong_is_fetched_once_more(tmp_path: Path, files: bool) -> None:
    agent = Agent(tmp_path, WRONG, RIGHT, WRONG, RIGHT, files=files)
    kept = FetchedData(agent.fetch, 10_000_000)
    assert bytes(kept.read("one", digest_of(RIGHT))) == RIGHT
    kept.write_file("other", digest_of(RIGHT), str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == RIGHT
    assert agent.asked == 4


def test_what_stays_wrong_is_told_and_leaves_nothing(tmp_path: Path, files: bool) -> None:
    agent = Agent(tmp_path, *[WRONG] * 4, files=files)
    kept = FetchedData(agent.fetch, 10_000_000)
    with pytest.raises(DataLostError, match=f"is not {digest_of(RIGHT).hex()}, and neither"):
        kept.read("result", digest_of(RIGHT))
    with pytest.raises(DataLostError, match="is not what was sent"):
        kept.write_file("other", digest_of(RIGHT), str(tmp_path / "copy"))
    assert not (tmp_path / "copy").exists()


def test_what_makes_room_is_let_go_of_when_there_is_time(tmp_path: Path) -> None:
    size = 2 * 1024 * 1024  # as files, not as bytes
    agent = Agent(tmp_path, *[bytes(size)] * 4, files=True)
    kept = FetchedData(agent.fetch, size)

    def opened() -> list[str]:
        files = [entry.resolve() for entry in Path("/proc/self/fd").iterdir()]
        return sorted(file.name for file in files if file.parent == tmp_path)

    kept.read("a")
    assert not kept.holds_more
    kept.read("b")
    assert (kept.holds_more, opened()) == (True, ["a-1", "b-2"])
    kept.read("c")  # but no more than one
    assert opened() == ["b-2", "c-3"]
    kept.let_go()
    assert (kept.holds_more, opened()) == (False, ["c-3"])
