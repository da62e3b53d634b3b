"""The files in which an engine keeps what tasks write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from armoflow.agent.passages import STDOUT, Passage, Writer
from armoflow.engine import output_store
from armoflow.engine.output_store import TaskOutput


def passage(text: str, session: str = "session") -> Passage:
    return Passage(Writer("task", session, "f"), STDOUT, "", text)


def kept(output: TaskOutput, session: str = "session") -> list[str]:
    return [
        json.loads(line)["text"]
        for path in output.paths(session)
        if path.exists()
        for line in path.read_text().splitlines()
    ]


def test_each_session_has_its_own(tmp_path: Path) -> None:
    output = TaskOutput(tmp_path / "output")
    output.write([passage("a"), passage("b", "../other"), passage("c"), passage("nobody's", "")])
    assert kept(output) == ["a", "c"]
    assert kept(output, "../other") == ["b"]
    assert {path.parent for path in output.paths("../other")} == {tmp_path / "output"}
    output.remove(["session"])
    assert kept(output) == [] and kept(output, "../other") == ["b"]
    output.keep_only({"session"})
    assert list((tmp_path / "output").iterdir()) == []
    output.write([passage("again")])
    assert kept(output) == ["again"]
    output.close()


def test_what_is_old_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_store, "OUTPUT_FILE_BYTES", 1000)
    monkeypatch.setattr(output_store, "_OPEN", 1)
    output = TaskOutput(tmp_path)
    for number in range(100):
        output.write([passage(str(number)), passage(str(number), "other")])
    lines = kept(output)
    assert lines == [str(number) for number in range(100 - len(lines), 100)]
    assert 10 <= len(lines) <= 30
    output.close()


def test_a_directory_that_cannot_be_written_costs_output_only(tmp_path: Path) -> None:
    (tmp_path / "output").write_text("in the way")
    output = TaskOutput(tmp_path / "output")
    heard: list[str] = []
    end = output.listen("session", lambda some: heard.extend(one.text for one in some))
    output.write([passage("told"), passage("not mine", "other")])
    end()
    output.write([passage("too late")])
    assert heard == ["told"]
    output.close()
