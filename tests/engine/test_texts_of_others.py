"""What any program may write where an engine reads it: options of tasks, lines of workers."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from armonik.client import ArmoniKResults, ArmoniKSessions, ArmoniKTasks
from armonik.common import TaskDefinition, TaskStatus
from hypothesis import given
from hypothesis import strategies as st
from serving import Serving, serve, task_options

from armoflow import named_limits, placement, requirements
from armoflow.agent.passages import Passage
from armoflow.codec import written
from armoflow.engine.agents.clef import ClefReader
from armoflow.named_limits import read_limits
from armoflow.placement import read_wish
from armoflow.requirements import from_label
from armoflow.texts import is_text
from tests.faults.scripts import wait_for

DEEP = "[" * 100_000
"""Deeper than Python's reader of JSON goes."""

HUGE = "9" * 5_000
"""A number with more digits than Python reads."""

ODD = [
    *((named_limits.LABEL, text) for text in (DEEP, '{"a":' * 40_000, f'{{"a": {HUGE}}}')),
    *((named_limits.LABEL, text) for text in (r'{"\ud800": 1}', '{"a": NaN, "b": -1}', "[]")),
    *((requirements.LABEL, text) for text in (DEEP, r'["\ud800"]', r'["file:///a\u0000.whl"]')),
    *((requirements.LABEL, text) for text in ('["file:///a%00.whl"]', '["--help"]', '[["a"]]')),
    *((label, HUGE) for label in (placement.CPUS_LABEL, placement.MEMORY_LABEL)),
    *((label, HUGE) for label in (placement.GPUS_LABEL, written.LEVEL_OPTION)),
    ("traceparent", "\0\n"),
]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serve(tmp_path_factory.mktemp("state"), workers=1) as running:
        yield running


@pytest.mark.parametrize(("label", "text"), ODD, ids=lambda value: value[:20])
def test_a_task_with_any_option_ends_and_holds_up_nobody(
    serving: Serving, caplog: pytest.LogCaptureFixture, label: str, text: str
) -> None:
    """Its payload is none, so it ends as one that cannot be run."""
    tasks, results = ArmoniKTasks(serving.channel), ArmoniKResults(serving.channel)
    session = ArmoniKSessions(serving.channel).create_session(task_options(max_retries=1))
    payload = results.create_results({"payload": b"none"}, session)["payload"].result_id
    outputs = results.create_results_metadata(["odd", "plain"], session)
    submitted = [
        tasks.submit_tasks(session, [TaskDefinition(payload, [output.result_id], options=options)])
        for output, options in zip(
            outputs.values(), (task_options(options={label: text}), None), strict=True
        )
    ]
    with caplog.at_level(logging.ERROR, "asyncio"):
        for (task,) in submitted:
            wait_for(
                lambda: tasks.get_task(task.id).status == TaskStatus.ERROR,  # noqa: B023
                "the task does not end",
            )
            told = tasks.get_task(task.id).output
            assert told is not None and "no header" in str(told.error)
    assert not caplog.records


TEXTS = st.text() | st.sampled_from([DEEP, HUGE, r'{"\ud800": 1}', "-1", "1.5", "\u0663", "{}"])


@given(TEXTS | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_options_that_say_nothing_are_no_fault(text: str) -> None:
    limits = read_limits({named_limits.LABEL: text})
    assert all(is_text(name) and count > 0 for name, count in limits.items())
    assert all(is_text(one) for one in from_label(text))
    assert read_wish({placement.CPUS_LABEL: text}, placement.CPUS_LABEL) >= 0
    assert (written.wanted_level({written.LEVEL_OPTION: text}) or 0) >= 0


# --- lines of workers ---------------------------------------------------------------------------

LINE = {"@t": "", "@m": "hot", "@l": "Warning", "sessionId": "s", "taskId": "t", "taskName": "f"}


def read(*lines: str | bytes) -> list[Passage]:
    data = [line if isinstance(line, bytes) else line.encode() for line in lines]
    return list(ClefReader().feed(b"".join(line + b"\n" for line in data)))


@pytest.mark.parametrize("name", [name for name in LINE if name != "@t"])
@pytest.mark.parametrize("value", [["Warning"], {}, 7, None, True], ids=str)
def test_a_line_with_another_kind_of_value_is_none(name: str, value: Any) -> None:
    assert read(json.dumps(LINE | {name: value})) == []


def test_what_cannot_be_written_is_shown_as_such() -> None:
    (passage,) = read(json.dumps(LINE | {"@m": "half a \ud83d", "taskName": "\udfff"}))
    assert passage.text == "half a ?" and passage.writer.name == "?"


def test_lines_that_are_no_json_leave_the_others_as_they_are() -> None:
    line = json.dumps(LINE)
    odd = ('{"@t": ' + DEEP, '{"@t": ' + HUGE + "}", b'{"@t": "\xff"}', '{"@t"')
    assert [one.text for one in read(line, *odd, line)] == ["hot", "hot"]
