"""The state machine with all its commands."""

from __future__ import annotations

from armoflow.engine.state.recovery import Recovery


class State(Recovery):
    """Sessions, tasks and results, and every command that changes them.

    A command validates everything first, then changes, and returns the changes. A refusal raises
    :class:`~armoflow.engine.records.StateError` and changes nothing; data that its caller stored
    for it is the caller's to delete. Data that an accepted command does not keep (a repeated
    upload, the commit of a task that was cancelled meanwhile) is named in ``Changes.deleted``.

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
