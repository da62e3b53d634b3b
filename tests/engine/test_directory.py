"""The state directory: made, closed to others, or refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from engine_support import Running, in_loop

from armoflow.engine.core import Engine
from armoflow.engine.directory import prepare_directory
from armoflow.engine.engine_options import EngineOptions
from armoflow.errors import EngineError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_directory_is_this_users_alone(tmp_path: Path) -> None:
    prepare_directory(tmp_path / "a" / "state")
    assert mode(tmp_path / "a" / "state") == 0o700


def test_of_a_path_with_a_typo_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="/typo is not there either: make that") as caught:
        prepare_directory(tmp_path / "typo" / "a" / "state")
    assert caught.value.code == "FAILED_PRECONDITION"
    assert not (tmp_path / "typo").exists()


def test_a_path_that_is_no_utf_8_is_refused(tmp_path: Path) -> None:
    """Clients and workers are told it as a text."""
    directory = tmp_path / os.fsdecode(b"state\xff")
    with pytest.raises(EngineError, match="is no UTF-8: choose another one"):
        prepare_directory(directory)
    assert not directory.exists()


@pytest.mark.parametrize("open_mode", [0o755, 0o777, 0o770, 0o701])
def test_a_directory_open_to_others_is_closed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, open_mode: int
) -> None:
    tmp_path.chmod(open_mode)
    prepare_directory(tmp_path)
    assert mode(tmp_path) == 0o700
    assert "was open to others" in caplog.text


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    prepare_directory(tmp_path / "link")
    assert mode(tmp_path / "real") == 0o700


def test_another_users_directory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    (tmp_path / "link").symlink_to(tmp_path)
    for path in (tmp_path, tmp_path / "link"):
        with pytest.raises(EngineError, match="belongs to another user") as caught:
            prepare_directory(path)
        assert str(path) in str(caught.value) and "--state" in str(caught.value)
        assert caught.value.code == "PERMISSION_DENIED"


@pytest.mark.parametrize("place", ["file", "file/below", "dangling"])
def test_what_is_no_directory_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere" / "else")
    with pytest.raises(EngineError, match="is no directory"):
        prepare_directory(tmp_path / place)


@in_loop
async def test_files_are_this_users_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        async with Running(tmp_path / "state") as running:
            running.open_session()
            running.submit(b"x" * 100_000)
            await running.engine.committed()
            for path in (tmp_path / "state").rglob("*"):
                assert path.is_dir() or mode(path) & 0o077 == 0, path
    finally:
        os.umask(before)


@in_loop
async def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(EngineError, match=r"cannot write .*lock.*--state"):
        await Engine(EngineOptions(tmp_path)).start()
    (tmp_path / "lock").rmdir()
    (tmp_path / "journal.db").mkdir()
    with pytest.raises(EngineError, match=r"cannot write .*journal\.db.*--state"):
        await Engine(EngineOptions(tmp_path)).start()


@pytest.mark.parametrize("name", ["objects", "staging", "agents", "output"])
@in_loop
async def test_files_that_an_engine_would_remove_are_refused(tmp_path: Path, name: str) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / name / "ab").mkdir(parents=True)
    (tmp_path / name / "ab" / "mine").write_text("precious")
    (tmp_path / "journal.db").touch()  # one that has nothing in it knows of no files either
    with pytest.raises(EngineError, match=rf"no journal \(journal.db\), but files in .*{name}"):
        await Engine(EngineOptions(tmp_path)).start()
    assert (tmp_path / name / "ab" / "mine").read_text() == "precious"
    assert mode(tmp_path) == 0o755


@in_loop
async def test_a_first_start_that_was_killed_is_made_again(tmp_path: Path) -> None:
    for name in ("objects", "staging"):
        (tmp_path / name).mkdir()
    (tmp_path / "lock").touch()
    async with Running(tmp_path):
        pass


def test_a_directory_that_others_use_is_not_closed(tmp_path: Path) -> None:
    directory = tmp_path / "shared"
    directory.mkdir(mode=0o755)
    (directory / "passwd").touch()
    with pytest.raises(EngineError, match=r"is open to others .*\(passwd\): choose another"):
        prepare_directory(directory)
    assert directory.stat().st_mode & 0o777 == 0o755
    directory.chmod(0o700)
    prepare_directory(directory)
