"""What an error says whose task has left no record of it."""

from __future__ import annotations

import pytest

from armoflow.errors import DataLostError, RemoteTraceback, TaskError
from armoflow.orchestrator.failures import Blame
from armoflow.protocol.transport import Failure


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
    assert str(error).startswith(f"data that task 'step' needs is gone: {text}")
    assert isinstance(error.__cause__, RemoteTraceback)


def test_another_error_is_no_loss() -> None:
    error = Blame("step", failure=Failure("task-1", "error", "the worker died")).exception(b"")
    assert isinstance(error, TaskError)
    assert not isinstance(error, DataLostError)
