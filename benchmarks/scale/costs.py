"""What engines cost, stage by stage, and the work that the model of scale is asked about."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path

from armoflow.orchestrator.sizes import AdaptiveSizer

COSTS = Path(__file__).with_name("costs.json")


@dataclass(frozen=True, slots=True)
class Stage:
    """What each stage costs, in seconds.

    Attributes:
        check_item: Looking at one item of a graph before any of it is planned.
        client_call: One submission call, whatever is in it; ``client_task`` and ``client_item``
            come on top for each task and item in it.
        notify_task: Taking in the news of one result.
        gather_task: Decoding one result when all are there; ``gather_item`` for each of its slots.
        engine_call: One submission on the engine's side; ``engine_submit`` for each task,
            ``engine_item`` for each item.
        engine_frame: Sending work to a worker once; ``engine_dispatch`` for each task.
        engine_complete: One completion: state and events.
        journal_commit: One transaction of the journal, which has a thread of its own;
            ``journal_task`` for each task that was submitted or ended.
        worker_frame: Receiving work once; ``worker_task`` for each task, ``worker_item`` for each
            item beside the user's own code.
        agent_task: Time of a task in which its worker idles and nobody computes (latencies).
    """

    check_item: float
    client_call: float
    client_task: float
    client_item: float
    notify_task: float
    gather_task: float
    gather_item: float
    engine_call: float
    engine_submit: float
    engine_item: float
    engine_frame: float
    engine_dispatch: float
    engine_complete: float
    journal_commit: float
    journal_task: float
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
        commit_delay: Seconds in which changes gather before they are committed together.
        target_seconds: Duration that packing aims at where the engine tells durations.
        durations: Whether it does.
        patience: Seconds for which a plan waits, after the first small batches, for a duration.
    """

    source: str
    measured: bool
    cores: float | None
    submit_tasks: int
    submit_calls: int
    engine_slice: int
    frame_tasks: int
    prefetch_frames: int
    commit_delay: float
    target_seconds: float
    durations: bool
    patience: float
    stage: Stage

    @classmethod
    def read(cls, engine: str, path: Path = COSTS) -> Costs:
        """Costs of an engine from a file."""
        data = dict(json.loads(path.read_text())[engine])
        micro = data.pop("microseconds")
        stage = Stage(**{name: value / 1e6 for name, value in micro.items()})
        return cls(**data, stage=stage)

    def with_free_client(self) -> Costs:
        """The same engine and workers, with as many clients as it takes not to wait for them."""
        mine = ("check_", "client_", "notify_", "gather_")
        names = [field.name for field in dataclasses.fields(Stage) if field.name.startswith(mine)]
        stage = dataclasses.replace(self.stage, **dict.fromkeys(names, 0.0))
        return dataclasses.replace(self, stage=stage)


@dataclass(frozen=True, slots=True)
class Batches:
    """How a collection is cut into tasks.

    Attributes:
        items: Items of the collection.
        pilots: Tasks that go first, to learn how long an item takes.
        pilot: Items in each of these.
        size: Items in each of the others; the last one may have fewer.
    """

    items: int
    pilots: int
    pilot: int
    size: int

    @property
    def tasks(self) -> int:
        return self.pilots + math.ceil((self.items - self.pilots * self.pilot) / self.size)

    def before(self, number: int) -> int:
        """Items of the first so many tasks."""
        pilots = min(number, self.pilots)
        return min(pilots * self.pilot + (number - pilots) * self.size, self.items)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Work to simulate.

    Attributes:
        items: Items of the collection.
        seconds: What the user's code takes for one item.
        workers: Workers.
        packed: Items per task; None: as the client chooses.
    """

    items: int
    seconds: float
    workers: int
    packed: int | None = 1

    def batches(self, costs: Costs) -> Batches:
        """The tasks: what the client's own code says, told what it would be told."""
        if self.packed is not None:
            return Batches(self.items, 0, 0, self.packed)
        sizer = AdaptiveSizer(self.workers, self.items, costs.target_seconds, patience=0.0)
        pilot = sizer.next(0)
        if costs.durations:
            each = costs.stage.worker_item + self.seconds
            sizer.measured(pilot, costs.stage.worker_task + pilot * each)
        size = sizer.next(pilot * self.workers)
        pilots = self.workers if size != pilot else 0
        return Batches(self.items, pilots, pilot, size)
