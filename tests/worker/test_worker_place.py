"""The worker where there is no place for its files, and its user has no name."""

from __future__ import annotations

import os
import pwd
import tempfile
from pathlib import Path

import pytest

from armoflow.errors import EngineError
from armoflow.worker.place import habitable, own_directory


@pytest.fixture
def _nowhere(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unusable() -> str:
        raise FileNotFoundError("no usable temporary directory")

    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "gettempdir", unusable)


@pytest.mark.usefixtures("_nowhere")
def test_files_go_beside_the_socket(short_path: Path) -> None:
    left = short_path / "armoflow-left"
    left.mkdir()
    (left / "owner.lock").touch()
    directory = own_directory(short_path / "worker.sock")
    try:
        assert directory.path.parent == short_path
        assert not left.exists()  # what a killed worker has left there is swept away
        assert habitable({}, directory.path)["TMPDIR"] == str(directory.path)
    finally:
        directory.remove()
    with pytest.raises(EngineError, match="TMPDIR"):
        own_directory(None)


def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unknown(uid: int) -> object:
        raise KeyError(uid)

    assert habitable({"PATH": "/bin"}, tmp_path) == {"PATH": "/bin"}
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    variables = habitable({"PATH": "/bin"}, tmp_path)
    assert variables["HOME"] == str(tmp_path) and variables["LOGNAME"]
    (own := tmp_path / "own").mkdir()
    assert habitable({"HOME": str(own)}, tmp_path)["HOME"] == str(own)
    monkeypatch.setattr(
        os, "access", lambda path, mode: path == str(own)
    )  # root may write anywhere
    assert habitable({"HOME": "/"}, tmp_path)["HOME"] == str(tmp_path)
