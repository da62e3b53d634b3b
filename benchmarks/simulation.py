"""The discrete-event model of client, engine and workers behind ``benchmarks.simulate``.

Work goes through stations: the client plans and submits in batches, the engine (a cluster's control
plane and database, or the embedded engine's loop) takes tasks in, hands them to workers and takes
completions, workers run them, the client gathers. Each station serves one job after the other; on
one machine all of them also compete for its cores.
"""

from __future__ import annotations

import heapq
import json
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

COSTS = Path(__file__).with_name("costs.json")

SIMULATED_TASKS = 100_000
"""Tasks that are simulated; a longer run is a straight line through these and half of these."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What each stage costs, in seconds.

    Attributes:
        client_call: One submission call, whatever is in it; ``client_task`` and ``client_item``
            come on top for each task and item in it.
        gather_task: Taking in one result; ``gather_item`` for each of its slots.
        engine_call: One submission on the engine's side; ``engine_submit`` for each task.
        engine_frame: Sending work to a worker once; ``engine_dispatch`` for each task.
        engine_complete: One completion: state, journal, events.
        worker_frame: Receiving work once; ``worker_task`` for each task, ``worker_item`` for each
            item beside the user's own code.
        agent_task: Time of a task in which its worker idles and nobody computes (latencies).
    """

    client_call: float
    client_task: float
    client_item: float
    gather_task: float
    gather_item: float
    engine_call: float
    engine_submit: float
    engine_frame: float
    engine_dispatch: float
    engine_complete: float
    worker_frame: float
    worker_task: float
    worker_item: float
    agent_task: float


@dataclass(frozen=True, slots=True)
class Costs:
    """An engine as the model sees it.

    Attributes:
        source: Where the numbers are from.
        measured: False while any of them is a placeholder.
        cores: Cores that client, engine and workers share; None if each has its own.
        submit_tasks: Tasks in one submission call.
        submit_calls: Submission calls in flight at once.
        engine_slice: Tasks of a submission that the engine takes in before other work has a turn.
        frame_tasks: Most tasks sent to a worker at once.
        prefetch_frames: Frames that a worker has in hand at once.
        target_seconds: Duration that packing aims at.
    """

    source: str
    measured: bool
    cores: int | None
    submit_tasks: int
    submit_calls: int
    engine_slice: int
    frame_tasks: int
    prefetch_frames: int
    target_seconds: float
    stage: Stage

    @classmethod
    def read(cls, engine: str, path: Path = COSTS) -> Costs:
        """Costs of an engine from a file."""
        data = dict(json.loads(path.read_text())[engine])
        micro = data.pop("microseconds")
        stage = Stage(**{name: value / 1e6 for name, value in micro.items()})
        return cls(**data, stage=stage)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Work to simulate.

    Attributes:
        items: Items of the collection.
        seconds: What the user's code takes for one item.
        workers: Workers.
        packed: Items per task; None lets the model choose as the client would.
    """

    items: int
    seconds: float
    workers: int
    packed: int | None = 1

    def batch(self, costs: Costs) -> int:
        """Items per task: the target duration, but never fewer tasks than keep workers busy."""
        if self.packed is not None:
            return self.packed
        duration = self.seconds + costs.stage.worker_item
        wanted = math.ceil(costs.target_seconds / duration)
        return max(1, min(wanted, self.items // (2 * self.workers)))


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
    """The cores of one machine; a job runs when one is free, first come, first served."""

    def __init__(self, clock: Clock, count: int | None) -> None:
        self._clock = clock
        self._free = count
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()

    def use(self, seconds: float, done: Callable[[], None]) -> None:
        if self._free is None:
            self._clock.after(seconds, done)
        elif self._free > 0:
            self._free -= 1
            self._clock.after(seconds, lambda: self._release(done))
        else:
            self._waiting.append((seconds, done))

    def _release(self, done: Callable[[], None]) -> None:
        if self._free is not None:
            self._free += 1
        if self._waiting:
            self.use(*self._waiting.popleft())
        done()


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


class Model:
    """The first ``tasks`` tasks of a scenario on an engine."""

    def __init__(self, costs: Costs, scenario: Scenario, tasks: int) -> None:
        self.costs = costs
        self.scenario = scenario
        self.tasks = tasks
        self._batch = scenario.batch(costs)
        self._clock = Clock()
        cores = Cores(self._clock, costs.cores)
        self._client = Station(cores)
        self._engine = Station(cores)
        self._workers = [Station(cores) for _ in range(scenario.workers)]
        self._idle = deque(self._workers * costs.prefetch_frames)
        self._submitted = self._calls = self._ready = self._gathered = 0
        self._planning = False

    def run(self) -> float:
        """Simulate until the last value is in hand; returns the seconds that it took."""
        self._submit()
        self._clock.run()
        assert self._gathered == self.tasks
        return self._clock.now

    def demand(self) -> dict[str, float]:
        """Seconds for which each station was needed; none of them had more than it could do."""
        working = sum(worker.busy for worker in self._workers)
        working += self.tasks * self.costs.stage.agent_task
        return {
            "client": self._client.busy,
            "engine": self._engine.busy,
            "workers": working / len(self._workers),
        }

    def _submit(self) -> None:
        count = min(self.costs.submit_tasks, self.tasks - self._submitted)
        if count <= 0 or self._planning or self._calls == self.costs.submit_calls:
            return
        self._submitted += count
        self._calls += 1
        self._planning = True
        stage = self.costs.stage
        client = stage.client_call + count * (stage.client_task + self._batch * stage.client_item)

        def planned() -> None:
            self._planning = False
            self._engine.serve(stage.engine_call, partial(self._take_in, count))
            self._submit()

        self._client.serve(client, planned)

    def _take_in(self, count: int) -> None:
        """The engine's side of a submission, slice by slice."""
        part = min(count, self.costs.engine_slice)

        def taken() -> None:
            self._make_ready(part)
            if count > part:
                self._take_in(count - part)
            else:
                self._calls -= 1
                self._submit()

        self._engine.serve(part * self.costs.stage.engine_submit, taken)

    def _make_ready(self, count: int) -> None:
        self._ready += count
        self._dispatch()

    def _dispatch(self) -> None:
        stage = self.costs.stage
        while self._ready and self._idle:
            count = self._frame()
            self._ready -= count
            self._engine.serve(
                stage.engine_frame + count * stage.engine_dispatch,
                partial(self._work, self._idle.popleft(), count),
            )

    def _frame(self) -> int:
        """Tasks of the next frame: the workers share what is ready."""
        share = math.ceil(self._ready / self.scenario.workers)
        return min(share, self.costs.frame_tasks)

    def _work(self, worker: Station, count: int) -> None:
        stage = self.costs.stage
        per_item = stage.worker_item + self.scenario.seconds
        seconds = stage.worker_frame + count * (stage.worker_task + self._batch * per_item)

        def ran() -> None:
            if stage.agent_task:
                self._clock.after(count * stage.agent_task, completed)
            else:
                completed()

        def completed() -> None:
            self._engine.serve(count * stage.engine_complete, lambda: self._complete(worker, count))

        worker.serve(seconds, ran)

    def _complete(self, worker: Station, count: int) -> None:
        stage = self.costs.stage
        self._idle.append(worker)
        self._dispatch()

        self._client.serve(
            count * (stage.gather_task + self._batch * stage.gather_item),
            partial(self._gather, count),
        )

    def _gather(self, count: int) -> None:
        self._gathered += count


def predict(costs: Costs, scenario: Scenario) -> Prediction:
    """What the model says of a scenario.

    Example:
        >>> cluster = Costs.read("cluster")
        >>> published = predict(cluster, Scenario(items=100_000, seconds=0.0, workers=2_000))
        >>> 4_000 < published.rate < 5_000
        True
    """
    tasks = math.ceil(scenario.items / scenario.batch(costs))
    # Whole rounds of all workers, so that the two runs differ by whole rounds.
    half = max(10, SIMULATED_TASKS // (2 * scenario.workers)) * scenario.workers
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
