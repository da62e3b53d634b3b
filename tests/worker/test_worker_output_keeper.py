"""What tasks write, kept for their clients."""

from __future__ import annotations

import pytest

from armoflow.agent.passages import STDERR, STDOUT, Passage, Writer
from armoflow.codec.container import pack
from armoflow.codec.written import WrittenText, pack_written, read_written
from armoflow.errors import EnvelopeError
from armoflow.worker import output_keeper
from armoflow.worker.output_keeper import OutputKeeper

ALL = {"armoflow.logs": "0"}


def passage(text: str, task_id: str = "t", name: str = "f", level: int = STDOUT) -> Passage:
    return Passage(Writer(task_id, "s", name), level, "", text)


def test_only_what_is_wanted_is_kept() -> None:
    kept = OutputKeeper({"all": ALL, "errors": {"armoflow.logs": "30"}, "none": {}}.get)
    for task_id in ("all", "errors", "none", "unknown"):
        kept.hear([passage("one", task_id), passage("two", task_id, level=STDERR)])
    texts = {}
    for task_id in ("all", "errors"):
        result = kept.take(task_id)
        assert result is not None and result.name == "written/f"
        texts[task_id] = [text.text for text in read_written(result.data)]
    assert texts == {"all": ["one", "two"], "errors": ["two"]}
    assert not any(kept.take(task_id) for task_id in ("all", "none", "unknown"))


def test_of_much_the_newest_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_keeper, "WRITTEN_BYTES", 10)
    kept = OutputKeeper({"t": ALL}.get)
    for text in ("a\nb", "12345", "67890", "x" * 100, "y"):
        kept.hear([passage(text)])
    result = kept.take("t")
    assert result is not None
    told, *texts = read_written(result.data)
    assert told.text == "[5 lines left out: only the newest are stored]"
    assert [text.text for text in texts] == ["y"]


def test_what_is_something_else_is_refused() -> None:
    assert read_written(b"".join(pack_written([]))) == []
    whole = WrittenText(1.0, "f", 20, "", "text")
    for rows in ([[1.0]], [list(whole._replace(level="high"))], 7, [3]):  # type: ignore[arg-type]
        with pytest.raises(EnvelopeError, match="not what a task has written"):
            read_written(b"".join(pack(rows)))
