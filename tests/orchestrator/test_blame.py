"""What an error says whose task has left no record of it."""

from __future__ import annotations

import pytest

from armoflow.errors import DataLostError, RemoteTraceback, TaskError
from armoflow.orchestrator.blame import Blame
from armoflow.protocol.result_handle import Failure


@pytest.mark.parametrize(
    "text",
    [
        "Preprocessing error: Key not found",
        "Result data was not found",
        "the data of input(s) 1, 2 was deleted before the task ran",
    ],
)
def test_inputs_without_data_are_told_as_such(text: str) -> None:
    error = Blame("step", failure=Failure("task-1", "error", text)).exception(b"")
    assert isinstance(error, DataLostError)
    assert str(error).startswith(f"data, which task 'step' needs, is gone: {text}")
    assert isinstance(error.__cause__, RemoteTraceback)


def test_a_value_of_a_task_that_ended_well_was_deleted_since() -> None:
    """As who attaches to a run finds whose values somebody deletes."""
    error = Blame("step", failure=Failure("task-1", "completed", "")).exception(b"")
    assert isinstance(error, DataLostError)
    assert str(error).startswith("what task 'step' made is gone: the task ended well")


def test_the_results_that_lack_are_named_with_their_tasks() -> None:
    def told(text: str, *needs: tuple[str, str]) -> str:
        failure = Failure("task-1", "error", text)
        return str(Blame("step", failure=failure, needs=needs).exception(b""))

    one = "the data of result 1a of task 'load'"
    payload = ("", "3c")
    lost = "Key not found"
    assert told(lost, ("load", "1a")) == f"{one}, which task 'step' needs, is gone: {lost}"
    assert told(lost, ("load", "1a"), payload).startswith(f"{one} or of result 3c, its payload, ")
    said = "the data of input(s) 1a was deleted before the task ran"
    assert told(said, ("load", "1a"), ("load", "2b"), payload).startswith(f"{one}, which task")
    many = [("load", str(number)) for number in range(1_000)]
    assert "of result 2 of task 'load' or of one of 997 more, which task" in told(lost, *many)


def test_another_error_is_no_loss() -> None:
    error = Blame("step", failure=Failure("task-1", "error", "the worker died")).exception(b"")
    assert isinstance(error, TaskError)
    assert not isinstance(error, DataLostError)
