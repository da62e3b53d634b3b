"""What belongs to a session: an index, so that a command on one does not look at all others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from armoflow.engine.records import ResultRecord, SessionRecord, TaskRecord
from armoflow.engine.state.shards import Shards
from armoflow.protocol.frames import SAY_PREFIX

REMEMBERED: Final = 50_000
"""Ids of deleted results that a session remembers at least: more than a client has under way in
batches whose outcome it does not know."""


class Members:
    """The live tasks and the results of a session, by id, the oldest first.

    Attributes:
        tasks: Tasks that are not evicted.
        results: Results that are not evicted.
        forgotten: Ids of results that were evicted last, deleted ones: a batch that names one was
            submitted before. In two parts, so that the older ones go at once.
        payloads: How many tasks need a payload that several were submitted with and that have not
            completed; one that fails needs it for good, so that it can be run again to see why.
        says: Names of results that keep others from submitting: see ``SAY_PREFIX``.
    """

    __slots__ = ("forgotten", "payloads", "results", "says", "tasks")

    def __init__(self) -> None:
        self.tasks = Shards[TaskRecord]()
        self.results = Shards[ResultRecord]()
        self.forgotten: tuple[set[str], set[str]] = (set(), set())
        self.payloads: dict[str, int] = {}
        self.says: set[str] = set()

    def hear(self, names: Iterable[str]) -> None:
        """Clients have made results of these names."""
        self.says.update([name for name in names if name.startswith(SAY_PREFIX)])

    def share_payloads(self, payload_ids: Sequence[str]) -> None:
        """Tasks with these payloads were submitted together."""
        payloads = self.payloads
        if not payloads and len(set(payload_ids)) == len(payload_ids):
            return  # each has its own
        for payload_id, count in Counter(payload_ids).items():
            known = payloads.get(payload_id, 0)
            if known or count > 1:
                payloads[payload_id] = known + count

    def release_payload(self, payload_id: str) -> bool:
        """A task has completed; whether no other one needs its payload."""
        left = self.payloads.get(payload_id, 1) - 1
        if left:
            self.payloads[payload_id] = left
        else:
            self.payloads.pop(payload_id, None)
        return not left

    def forget(self, result_ids: Iterable[str]) -> None:
        """Deleted results leave memory."""
        newest, _ = self.forgotten
        newest.update(result_ids)
        if len(newest) >= REMEMBERED:
            self.forgotten = (set(), newest)

    def forget_all(self) -> None:
        """No client submits to the session any more: none of them comes again."""
        self.forgotten = (set(), set())

    def knew(self, result_id: str) -> bool:
        """Whether a deleted result of this id was forgotten, not too long ago."""
        newest, older = self.forgotten
        return result_id in newest or result_id in older


@dataclass(slots=True, eq=False)
class Sweep:
    """What a command has still to come to, by id.

    They are the session's members themselves, taken over whole and given back one by one: a copy of
    a million would hold up everybody.
    """

    session: SessionRecord
    tasks: Shards[TaskRecord]
    results: Shards[ResultRecord]
