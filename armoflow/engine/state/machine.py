"""The state machine with all its commands."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

from armoflow.engine.state.recovery import Recovery

_COMMANDS: Final = (
    *("create_session", "pause_session", "resume_session", "stop_submission"),
    *("close_session", "cancel_session", "purge_session", "delete_session", "go_on"),
    *("create_results", "complete_results", "import_results", "delete_results"),
    *("submit_tasks", "submit_with_data", "disown"),
    *("acquire", "start", "put_behind", "run", "release", "delay"),
    *("complete_tasks", "fail_task", "cancel_tasks", "stopped"),
    *("announce", "complete_announced", "announce_client_part", "start_client_tasks"),
    *("withdraw", "evict", "evict_results"),
)


class State(Recovery):
    """Sessions, tasks and results, and every command that changes them.

    A command validates everything first, then changes, and returns the changes. A refusal raises
    :class:`~armoflow.engine.records.StateError` and changes nothing; data that its caller stored
    for it is the caller's to delete. Data that an accepted command does not keep (a repeated
    upload, the commit of a task that was cancelled meanwhile) is named in ``Changes.deleted``.

    What has no memory left is in no condition to put back what it has changed: if a command fails
    by a MemoryError, ``on_break`` is called, and the state is not to be used any more. What is true
    is in the journal.

    The commands stand in one module each by what they concern; this class only joins them.

    >>> from armoflow.engine.records import ApiOptions, NewResult, NewTask, Partition, Stored
    >>> state = State([Partition("default")], "default")
    >>> options = ApiOptions(max_duration=60.0, max_retries=3, priority=1)
    >>> changes = state.create_session(0.0, "session", options, [])
    >>> results = [NewResult("payload", "payload"), NewResult("output", "output")]
    >>> changes = state.create_results(1.0, "session", results)
    >>> task = NewTask("task", "payload", dependencies=(), outputs=("output",))
    >>> changes = state.submit_tasks(2.0, "session", None, [task])
    >>> state.tasks["task"].status.name
    'PENDING'
    >>> changes = state.complete_results(3.0, "session", [("payload", Stored(b"object", 10))])
    >>> [ready.id for ready in changes.ready]
    ['task']
    """


def _told(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command whose end in the middle is told."""

    @functools.wraps(command)
    def run(self: State, *arguments: Any, **options: Any) -> Any:
        try:
            return command(self, *arguments, **options)
        except MemoryError as error:
            self.on_break(error)
            raise

    return run


for _name in _COMMANDS:
    setattr(State, _name, _told(getattr(State, _name)))
