"""What is known of a session, asked for a page at a time; the calls block."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from armonik.common import Session, TaskStatus

from armoflow.dashboard.item_failures import ItemFailures
from armoflow.dashboard.sources import TaskSource, source_of
from armoflow.protocol.inspection import Inspection
from armoflow.protocol.item_inspection import ItemInspection
from armoflow.protocol.states import ENDED
from armoflow.report.chart import Interval, NumberedNames, Scale, frame, pack
from armoflow.report.collect import describe, versions
from armoflow.report.digest import Digest, by_start
from armoflow.report.trace import SessionTrace, TaskRun

TICK = 1e-4
"""Seconds of a step of the timeline: 32 bits of them are five days."""

RECENT = 10.0
"""Seconds over which the rate is taken."""

LONGEST_PAUSE = 60.0
"""Seconds between two looks for what is counted and not listed."""

RESULTS_PAUSE = 30.0
"""Seconds between two counts of results, while tasks run: an engine reads all of them for that."""

REST = 40
"""How many times as long as such a count took it is rested after it, at least."""

MOST = 250_000
"""Tasks that are kept, for the timeline, the stream and the critical path: of more the first ones,
and it is said. The numbers are those of all."""


class SessionFeed:
    """Follows a session.

    Args:
        inspection: Whom to ask.
        session: Which one.
        clock: Tells seconds.
        source: Whom to ask for its tasks; found out by itself.

    Attributes:
        trace: The session itself, with its counts; its runs are those that have ended.
        digest: Their numbers.
        running: Tasks that run now...
        progress: ...how far those are that tell it, by id: the item's name, and what it told...
        looked: ...which was at that time, in seconds since the epoch.
        calm: Nothing runs, nor did when it was looked before: nobody is kept from anything.
        chunks: The timeline, in the order in which it became known.
        results: How many results there are, by status.
        item_failures: Failed calls of tasks that have ended well.
    """

    def __init__(
        self,
        inspection: Inspection,
        session: Session,
        clock: Callable[[], float] = time.monotonic,
        source: TaskSource | None = None,
    ) -> None:
        self._inspection = inspection
        self._source = source or source_of(inspection, session.session_id)
        self._clock = clock
        self._versions = versions(inspection)
        self._known: dict[str, int] = {}  # the number of each task
        self._vain = (-1, 0.0, 1.0)  # nothing was found: ended then, next try, pause after it
        self._names = NumberedNames()
        self._pace: deque[tuple[float, int]] = deque()
        self._selections: dict[tuple[str, str], _Selection] = {}
        self.digest = Digest()
        self.running: list[TaskRun] = []
        self.progress: Mapping[str, tuple[str, str]] = {}
        self.looked = 0.0
        self.calm = False
        self.chunks: list[dict[str, Any]] = []
        self.results: Mapping[str, int] = {}
        self._next_results = 0.0
        self.trace = SessionTrace(session.session_id)
        self._describe(session, None)
        self._scale = Scale(self.trace.created or time.time(), TICK)
        self.item_failures = ItemFailures(ItemInspection(inspection), session.session_id, clock)

    # --- asking ---------------------------------------------------------------------------------

    def glance(self) -> None:
        """Ask for the session and its counts, and for what runs."""
        session = self._inspection.session(self.trace.id)
        self.looked = time.time()
        found = self._source.glance()
        ended = self.ended
        self._describe(session, found.counts)
        # For a moment all may have ended while a client submits more.
        self.calm = not self.live and self.ended == ended
        self.running = list(found.running)
        self.progress = found.progress
        now = self._clock()
        self._pace.append((now, self.ended))
        while self._pace[0][0] < now - RECENT:
            self._pace.popleft()

    def read(self) -> bool:
        """Ask for a page of tasks that have ended; False if none is missing."""
        if not self.behind:
            return False
        page = self._source.ended(self._known, live=not self.calm)
        if page.runs:
            self._add(page.runs)
        if page.nothing:
            self._wait()
        return True

    def _wait(self) -> None:
        """What was not found has no time of its end, or is listed later than it is counted.

        It is asked for again, ever more seldom.
        """
        ended, _, pause = self._vain
        pause = 2 * pause if ended == self.ended else 1.0
        self._vain = self.ended, self._clock() + pause, min(pause, LONGEST_PAUSE / 2)

    def ask_items(self) -> bool:
        """Ask for failed calls of tasks that ran several; whether there are more than before."""
        if not self.trace.armoflow:
            return False
        known = self.digest.lineage.runs
        # While tasks are still to be read it is asked now and then only, as while tasks run.
        failed = self.item_failures.ask(known, live=not self.calm or self.behind > 0)
        for run in failed:
            self.digest.fail_items(run)
        return bool(failed)

    def ask_results(self) -> None:
        """Ask how many results there are; now and then, while there are more and more of them."""
        now = self._clock()
        if self.calm or now >= self._next_results:
            self.results = self._inspection.result_counts(self.trace.id)
            took = self._clock() - now
            self._next_results = now + took + max(RESULTS_PAUSE, REST * took)

    def _describe(self, session: Session, counts: Mapping[TaskStatus, int] | None) -> None:
        trace = describe(self._inspection, session, self._versions, counts)
        trace.runs = self.trace.runs
        self.trace = trace

    def _add(self, found: Sequence[TaskRun]) -> None:
        first = len(self.trace.runs)
        self._known.update((run.id, number) for number, run in enumerate(found, len(self._known)))
        self.running = [run for run in self.running if run.id not in self._known]
        ended = found[: max(MOST - first, 0)]
        self.digest.count(by_start(found[len(ended) :]))
        runs = by_start(ended)
        rows = self.digest.add(runs)
        ran = [Interval(run, row) for run, row in zip(runs, rows, strict=True) if row >= 0]
        if ran:
            self.chunks.append(pack(ran, self._names, self._scale))
        # Last: who sees that there are more asks for the rest. Errors are gathered in groups; a
        # hundred thousand copies would fill the memory.
        self.trace.runs += [run._replace(error="") if run.error else run for run in ended]

    # --- telling --------------------------------------------------------------------------------

    @property
    def engine_seconds(self) -> float:
        """Of a processor that the engine has spent on answers, as far as it is known."""
        return self._source.seconds

    @property
    def ended(self) -> int:
        """How many tasks have ended, as the engine counts them."""
        return sum(self.trace.counts[state] for state in ENDED)

    @property
    def known(self) -> int:
        """How many of these were read."""
        return len(self._known)

    @property
    def behind(self) -> int:
        """How many of these are not known yet, and may be found now."""
        ended, again, _ = self._vain
        if ended == self.ended and self._clock() < again:
            return 0
        return max(self.ended - len(self._known), 0)

    @property
    def live(self) -> int:
        """How many tasks have not ended."""
        return self.trace.total - self.ended

    @property
    def rate(self) -> float:
        """How many end in a second, lately."""
        (begun, before), (now, ended) = self._pace[0], self._pace[-1]
        return max(ended - before, 0) / (now - begun) if now > begun else 0.0

    def frame(self) -> dict[str, Any]:
        """What the timeline is drawn into."""
        lanes = self.digest.lanes
        return frame(self._names, lanes.rows, lanes.order(), self._scale)

    def now_running(self, now: float) -> list[list[int]]:
        """What runs, for the timeline: start, length (in its steps), row, name."""
        found = []
        for run in self.running:
            row = self.digest.lanes.row_of(run.pod or "unknown")
            if run.started is not None and row >= 0:
                start = round((run.started - self._scale.origin) / TICK)
                length = max(round((now - run.started) / TICK), 0)
                found.append([start, length, row, self._names.number(run.name)])
        return found

    def select(self, state: str, name: str) -> list[int]:
        """The numbers of the tasks in a state (any, if empty) whose name holds some text.

        What has ended well with failed items in it counts as failed, too.
        """
        selection = self._selections.get((state, name))
        if selection is None:
            if len(self._selections) >= 8:
                self._selections.pop(next(iter(self._selections)))
            selection = self._selections[state, name] = _Selection(state, name.lower())
        runs = self.trace.runs
        numbers = selection.update(runs)
        # A copy: another thread adds more meanwhile.
        packs = tuple(self.item_failures.counts) if state == "failed" else ()
        inside = [self._known[id] for id in packs]
        named = [number for number in inside if name.lower() in runs[number].name.lower()]
        return sorted({*numbers, *named}) if named else numbers


class _Selection:
    """Numbers of tasks that a viewer asked for; only what is new is looked at."""

    def __init__(self, state: str, name: str) -> None:
        self._state = state
        self._name = name
        self._seen = 0
        self._numbers: list[int] = []

    def update(self, runs: list[TaskRun]) -> list[int]:
        known = len(runs)  # another thread adds more meanwhile
        for number in range(self._seen, known):
            run = runs[number]
            if self._state in ("", run.state) and self._name in run.name.lower():
                self._numbers.append(number)
        self._seen = known
        return self._numbers
