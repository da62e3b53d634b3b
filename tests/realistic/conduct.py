"""How badly the engine behaves, decided by a seed; and the clock by which it does."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field


class Clock:
    """The engine's own time, in seconds since the epoch; a test may give it another pace.

    Args:
        pace: How many of its seconds pass in one of the machine's.
    """

    def __init__(self, pace: float = 1.0) -> None:
        self._pace = pace
        self._start = time.time()
        self._began = time.monotonic()

    def now(self) -> float:
        """What time it is."""
        return self._start + (time.monotonic() - self._began) * self._pace

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds / self._pace)


@dataclass(frozen=True)
class Conduct:
    """What was measured on the real engine; shares are of 1, times are seconds.

    Attributes:
        late_rows: Results that are told to be completed before any read shows it.
        late_aborts: Results that still read as created when their task has failed.
        late_seconds: How long such a row is late.
        doubled: Events that come twice.
        overtaken: Events that later ones overtake.
        cut: Event streams that end in UNKNOWN, of the events that they would send.
        silenced: Event streams that go on after an outage, but never say anything any more.
        opening: Seconds in which a new subscription may miss updates.
        faults: Calls that end in UNKNOWN, before or after they had an effect.
        lost: Tasks that are lost between their results' completion and their own end.
        lost_seconds: After which such a task is tried again.
        ending: Seconds between a task's results and its own end.
        refused_deletes: Deletions that are refused.
        lost_data: Part of the names of results whose data the object store has lost.
        outage: Seconds in which every call fails, once, some time after the first submission.
        call_costs: Seconds that calls take, by ``Service/Method``.
        task_cost: Seconds of an agent that every task takes, beside what its worker takes.
        children_cost: Seconds more of the agent that a task with children takes.
        in_order: A partition serves in the order of arrival; else sessions take turns.
    """

    late_rows: float = 0.02
    late_aborts: float = 0.375
    late_seconds: tuple[float, float] = (0.001, 0.030)
    doubled: float = 0.2
    overtaken: float = 0.1
    cut: float = 0.01
    silenced: float = 0.5
    opening: float = 0.06
    faults: float = 0.02
    lost: float = 0.03
    lost_seconds: float = 0.3
    ending: tuple[float, float] = (0.001, 0.020)
    refused_deletes: float = 0.1
    lost_data: str = ""
    outage: float = 0.0
    call_costs: Mapping[str, float] = field(default_factory=dict)
    task_cost: float = 0.0
    children_cost: float = 0.0
    in_order: bool = False

    @classmethod
    def costed(cls) -> Conduct:
        """What the real one costs, with 2 agents on 2 cores, and nothing that goes wrong.

        Costs are waits: an agent or a call that takes its time, not a busy processor. What the
        engine here needs for a task's data counts as part of them.
        """
        return cls(
            late_rows=0.02,
            late_aborts=0.0,
            doubled=0.0,
            overtaken=0.0,
            cut=0.0,
            opening=0.0,
            faults=0.0,
            lost=0.0,
            ending=(0.001, 0.003),
            refused_deletes=0.0,
            call_costs={
                "Results/CreateResultsMetaData": 0.0015,
                "Results/CreateResults": 0.0015,
                "Results/DeleteResultsData": 0.010,
                "Results/DownloadResultData": 0.0024,
                "Results/UploadResultData": 0.012,
                "Tasks/SubmitTasks": 0.010,
            },
            task_cost=0.015,
            children_cost=0.070,
            in_order=True,
        )


class Fate:
    """What happens when: chance with a seed, the clock, and a count of all that was done.

    Args:
        conduct: How likely it is.
        seed: Of the chance.
        clock: What its times are measured by.

    Attributes:
        counts: What was done.
        lost_data: The results without their data.
        outages: How many have begun.
    """

    def __init__(self, conduct: Conduct, seed: int, clock: Clock | None = None) -> None:
        self.conduct = conduct
        self.clock = clock or Clock()
        self.counts: Counter[str] = Counter()
        self._random = random.Random(seed)
        self.lost_data: set[str] = set()
        self._late: dict[str, float] = {}
        self._outage_begins: float | None = None
        self.outages = 0

    def hits(self, share: float, what: str) -> bool:
        """Whether it happens now; counted if it does."""
        if self._random.random() >= share:
            return False
        self.counts[what] += 1
        return True

    def between(self, bounds: tuple[float, float]) -> float:
        """A number between two."""
        return self._random.uniform(*bounds)

    async def pay(self, seconds: float, what: str) -> None:
        """Take the time that something costs; counted if it costs any."""
        if seconds > 0:
            self.counts[f"{what} paid"] += 1
            await self.clock.sleep(seconds)

    def delay(self, result_id: str) -> None:
        """Let reads of a result show for a while what it was before."""
        self._late[result_id] = self.clock.now() + self.between(self.conduct.late_seconds)

    def is_late(self, result_id: str) -> bool:
        """Whether a read of a result does not show yet what it has become."""
        until = self._late.get(result_id)
        if until is None:
            return False
        if self.clock.now() < until:
            return True
        del self._late[result_id]
        return False

    def submitted(self) -> None:
        """Tasks were submitted: the outage comes some time after the first of them."""
        if self.conduct.outage and self._outage_begins is None:
            self._outage_begins = self.clock.now() + self.between((0.1, 1.5))

    def outage_left(self) -> float:
        """Seconds that the database will be away; 0 while it is there."""
        if self._outage_begins is None:
            return 0.0
        since = self.clock.now() - self._outage_begins
        self.outages = int(since >= 0)
        return self.conduct.outage - since if 0 <= since < self.conduct.outage else 0.0
