"""The discrete-event model of client, engine and workers behind ``benchmarks.scale.simulate``.

Work goes through stations: the client looks at the graph, then plans and submits in batches; the
engine (a cluster's control plane and database, or the embedded engine's loop) takes tasks in, hands
them to workers and takes completions; workers run them; the journal commits; the client takes in
the news of what was committed, and decodes the values when all are there. Each station serves one
job after the other; on one machine all of them also compete for its cores.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks.scale.costs import Batches, Costs, Scenario

SIMULATED_TASKS = 60_000
"""Tasks that are simulated; a longer run is a straight line through these and half of these."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says.

    Attributes:
        tasks: ArmoniK tasks.
        elapsed: Seconds from submission to the last value in hand.
        rate: Items per second.
        worker_use: Share of the workers' time spent in user code.
        busiest: The station that sets the pace.
    """

    tasks: int
    elapsed: float
    rate: float
    worker_use: float
    busiest: str


class Clock:
    """The event queue."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def after(self, delay: float, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now + delay, self._count, action))

    def run(self) -> None:
        while self._events:
            self.now, _, action = heapq.heappop(self._events)
            action()


class Cores:
    """The cores of one machine: jobs that run at the same time share them evenly.

    Args:
        clock: The time.
        count: How many; not a whole number where other programs take a part of them. None: each
            job has one of its own.
    """

    def __init__(self, clock: Clock, count: float | None) -> None:
        self._clock = clock
        self._count = count
        self._jobs: list[_Job] = []
        self._since = 0.0
        self._plan = 0

    def use(self, seconds: float, done: Callable[[], None]) -> None:
        """Do a job of so many seconds of a core, then call ``done``."""
        if self._count is None:
            self._clock.after(seconds, done)
        else:
            self._advance()
            self._jobs.append(_Job(seconds, done))
            self._await_next()

    def _speed(self) -> float:
        assert self._count is not None
        return min(1.0, self._count / len(self._jobs))

    def _advance(self) -> None:
        """Bring what is left of the jobs up to date."""
        now = self._clock.now
        if self._jobs:
            progress = (now - self._since) * self._speed()
            for job in self._jobs:
                job.left -= progress
        self._since = now

    def _await_next(self) -> None:
        """Wait for the end of the first job that would end as things are."""
        self._plan += 1
        if self._jobs:
            left = max(min(job.left for job in self._jobs), 0.0)
            self._clock.after(left / self._speed(), partial(self._end, self._plan))

    def _end(self, plan: int) -> None:
        if plan != self._plan:
            return  # a job came meanwhile, and another end is waited for
        self._advance()
        ended = [job for job in self._jobs if job.left <= _NO_TIME]
        self._jobs = [job for job in self._jobs if job.left > _NO_TIME]
        self._await_next()
        for job in ended:
            job.done()


@dataclass(slots=True)
class _Job:
    left: float
    done: Callable[[], None]


_NO_TIME = 1e-9
"""Seconds that are none: what rounding leaves."""


class Station:
    """Serves one job after the other, each on a core."""

    def __init__(self, cores: Cores) -> None:
        self.busy = 0.0
        self._cores = cores
        self._jobs: deque[tuple[float, Callable[[], None]]] = deque()
        self._serving = False

    def serve(self, seconds: float, done: Callable[[], None]) -> None:
        """Do a job of so many seconds when its turn comes, then call ``done``."""
        self._jobs.append((seconds, done))
        if not self._serving:
            self._next()

    def _next(self) -> None:
        if not self._jobs:
            self._serving = False
            return
        self._serving = True
        seconds, done = self._jobs.popleft()
        self.busy += seconds

        def finish() -> None:
            done()
            self._next()

        self._cores.use(seconds, finish)


class Journal:
    """Commits what has gathered, as one; what comes meanwhile gathers for the next commit."""

    def __init__(self, clock: Clock, cores: Cores, costs: Costs) -> None:
        self.station = Station(cores)
        self._clock = clock
        self._costs = costs
        self._instant = not (
            costs.commit_delay or costs.stage.journal_commit or costs.stage.journal_task
        )
        self._gathered: list[Callable[[], None]] = []
        self._tasks = 0
        self._writing = False

    def add(self, tasks: int, committed: Callable[[], None]) -> None:
        """Commit changes of so many tasks soon, then call ``committed``."""
        if self._instant:
            committed()
            return
        self._gathered.append(committed)
        self._tasks += tasks
        if not self._writing:
            self._writing = True
            self._clock.after(self._costs.commit_delay, self._write)

    def _write(self) -> None:
        told, self._gathered = self._gathered, []
        tasks, self._tasks = self._tasks, 0
        stage = self._costs.stage

        def written() -> None:
            for committed in told:
                committed()
            self._writing = bool(self._gathered)
            if self._writing:
                self._clock.after(self._costs.commit_delay, self._write)

        self.station.serve(stage.journal_commit + tasks * stage.journal_task, written)


class Model:
    """The first ``tasks`` tasks of a scenario on an engine."""

    def __init__(self, costs: Costs, scenario: Scenario, tasks: int) -> None:
        self.costs = costs
        self.scenario = scenario
        self.tasks = tasks
        self._batches: Batches = scenario.batches(costs)
        self._clock = Clock()
        cores = Cores(self._clock, costs.cores)
        self._client = Station(cores)
        self._engine = Station(cores)
        self._journal = Journal(self._clock, cores, costs)
        self._workers = [Station(cores) for _ in range(scenario.workers)]
        self._idle = deque(self._workers * costs.prefetch_frames)
        self._ready: deque[range] = deque()
        self._submitted = self._calls = self._waiting = self._gathered = 0
        self._planning = False
        self._ended: float | None = None
        # A plan waits after its first small batches, and goes on with what it has learnt.
        self._piloting = self._batches.pilots > 0 and costs.patience > 0

    def run(self) -> float:
        """Simulate until the last value is in hand; returns the seconds that it took."""
        items = self._items(range(self.tasks))
        self._client.serve(items * self.costs.stage.check_item, self._submit)
        self._clock.run()
        assert self._ended is not None
        return self._ended

    def demand(self) -> dict[str, float]:
        """Seconds for which each station was needed; none of them had more than it could do."""
        working = sum(worker.busy for worker in self._workers)
        working += self.tasks * self.costs.stage.agent_task
        return {
            "client": self._client.busy,
            "engine": self._engine.busy,
            "journal": self._journal.station.busy,
            "workers": working / len(self._workers),
        }

    def _items(self, numbers: range) -> int:
        """Items of these tasks."""
        return self._batches.before(numbers.stop) - self._batches.before(numbers.start)

    # --- submission -----------------------------------------------------------------------------

    def _submit(self) -> None:
        limit = min(self.tasks, self._batches.pilots) if self._piloting else self.tasks
        count = min(self.costs.submit_tasks, limit - self._submitted)
        if count <= 0 or self._planning or self._calls == self.costs.submit_calls:
            return
        numbers = range(self._submitted, self._submitted + count)
        items = self._items(numbers)
        self._submitted += count
        self._calls += 1
        self._planning = True
        stage = self.costs.stage

        def planned() -> None:
            self._planning = False
            if self._piloting and self._submitted == limit:
                self._clock.after(self.costs.patience, self._go_on)
            self._engine.serve(stage.engine_call, partial(self._take_in, numbers))
            self._submit()

        self._client.serve(
            stage.client_call + count * stage.client_task + items * stage.client_item, planned
        )

    def _go_on(self) -> None:
        """The plan knows how long items take, or will wait for that no longer."""
        if self._piloting:
            self._piloting = False
            self._submit()

    def _take_in(self, numbers: range) -> None:
        """The engine's side of a submission, slice by slice."""
        part, rest = numbers[: self.costs.engine_slice], numbers[self.costs.engine_slice :]
        stage = self.costs.stage

        def taken() -> None:
            self._ready.append(part)
            self._waiting += len(part)
            self._dispatch()
            if rest:
                self._journal.add(len(part), _nothing)
                self._take_in(rest)
            else:
                self._journal.add(len(part), self._reply)

        self._engine.serve(
            len(part) * stage.engine_submit + self._items(part) * stage.engine_item, taken
        )

    def _reply(self) -> None:
        self._calls -= 1
        self._submit()

    # --- work -----------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        stage = self.costs.stage
        while self._ready and self._idle:
            numbers = self._take()
            self._engine.serve(
                stage.engine_frame + len(numbers) * stage.engine_dispatch,
                partial(self._work, self._idle.popleft(), numbers),
            )

    def _take(self) -> range:
        """Tasks of one frame: the workers share what is ready."""
        share = -(-self._waiting // self.scenario.workers)
        first = self._ready.popleft()
        count = min(share, self.costs.frame_tasks, len(first))
        if len(first) > count:
            self._ready.appendleft(first[count:])
        self._waiting -= count
        return first[:count]

    def _work(self, worker: Station, numbers: range) -> None:
        stage = self.costs.stage
        count = len(numbers)
        per_item = stage.worker_item + self.scenario.seconds
        seconds = stage.worker_frame + count * stage.worker_task + self._items(numbers) * per_item

        def ran() -> None:
            if stage.agent_task:
                self._clock.after(count * stage.agent_task, completed)
            else:
                completed()

        def completed() -> None:
            self._engine.serve(count * stage.engine_complete, lambda: self._complete(worker, count))

        worker.serve(seconds, ran)

    def _complete(self, worker: Station, count: int) -> None:
        self._idle.append(worker)
        self._dispatch()
        self._journal.add(count, partial(self._tell, count))

    # --- gathering ------------------------------------------------------------------------------

    def _tell(self, count: int) -> None:
        """What was committed is told to the client."""

        def told() -> None:
            if self.costs.durations:
                self._go_on()
            self._gathered += count
            if self._gathered == self.tasks:
                self._client.serve(self._decoding(), self._end)

        self._client.serve(count * self.costs.stage.notify_task, told)

    def _end(self) -> None:
        self._ended = self._clock.now  # there may be commits to come that nobody waits for

    def _decoding(self) -> float:
        stage = self.costs.stage
        items = self._items(range(self.tasks))
        return self.tasks * stage.gather_task + items * stage.gather_item


def _nothing() -> None:
    return None


def predict(costs: Costs, scenario: Scenario) -> Prediction:
    """What the model says of a scenario.

    Example:
        >>> cluster = Costs.read("cluster").with_free_client()
        >>> published = predict(cluster, Scenario(items=100_000, seconds=0.0, workers=2_000))
        >>> 4_000 < published.rate < 5_000
        True
    """
    tasks = scenario.batches(costs).tasks
    # Whole rounds of all workers, so that the two runs differ by whole rounds.
    half = max(5, SIMULATED_TASKS // (2 * scenario.workers)) * scenario.workers
    simulated = min(tasks, 2 * half)
    model = Model(costs, scenario, simulated)
    elapsed = model.run()
    if tasks > simulated:
        pace = (elapsed - Model(costs, scenario, half).run()) / (simulated - half)
        elapsed += (tasks - simulated) * pace
    demand = model.demand()
    return Prediction(
        tasks=tasks,
        elapsed=elapsed,
        rate=scenario.items / elapsed,
        worker_use=scenario.items * scenario.seconds / scenario.workers / elapsed,
        busiest=max(demand, key=lambda name: demand[name]),
    )
