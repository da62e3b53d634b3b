"""Runs a task that belongs to a trace in a span of its own; see :mod:`armoflow.tracing`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from armoflow.tracing import set_up, span, tell

if TYPE_CHECKING:
    from armoflow.agent.effects import Effects
    from armoflow.worker.process_state import ProcessState
    from armoflow.worker.runner import EngineTask, Runner

_attempted = False


def run_traced(runner: Runner, task: EngineTask, surroundings: ProcessState) -> Effects:
    """Run a task as :meth:`Runner.run` does; its child tasks belong to its span.

    Args:
        runner: Runs it.
        task: The task.
        surroundings: What the process has around its tasks.

    Raises:
        TaskFailure: If it fails.
        TaskPaused: If it waits for a retry.
    """
    global _attempted  # noqa: PLW0603 - once in a process
    if not _attempted:
        _attempted = True
        with surroundings.loading():
            set_up()
        surroundings.adopt_threads()
    attributes = {"armonik.session.id": task.session_id, "armonik.task.id": task.task_id}
    with span("armoflow.task", "CONSUMER", attributes, task.trace) as trace:
        try:
            return runner.run(replace(task, trace=trace))
        finally:
            tell(runner.name, {"armoflow.items": _items(runner)})


def _items(runner: Runner) -> int:
    """How many items the task has that it has begun last."""
    payload = runner.payload
    return 1 if payload is None else payload.count
