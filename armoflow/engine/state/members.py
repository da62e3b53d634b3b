"""What belongs to a session: an index, so that a command on one does not look at all others."""

from __future__ import annotations

from itertools import islice
from typing import Final

from armoflow.engine.records import ResultRecord, TaskRecord

REMEMBERED: Final = 50_000
"""Ids of deleted results that a session remembers at least: more than a client has under way in
batches whose outcome it does not know."""


class Members:
    """The live tasks and the results of a session, by id, the oldest first.

    Attributes:
        tasks: Tasks that are not evicted.
        results: Results that are not evicted.
        forgotten: Ids of results that were evicted last, deleted ones: a batch that names one was
            submitted before.
    """

    __slots__ = ("forgotten", "results", "tasks")

    def __init__(self) -> None:
        self.tasks: dict[str, TaskRecord] = {}
        self.results: dict[str, ResultRecord] = {}
        self.forgotten: dict[str, None] = {}

    def forget(self, result_id: str) -> None:
        """A deleted result leaves memory."""
        self.forgotten[result_id] = None
        if len(self.forgotten) > 2 * REMEMBERED:
            self.forgotten = dict.fromkeys(islice(self.forgotten, REMEMBERED, None))
