"""An engine in a few lines: plans are run by the worker's own runner, in this thread.

It keeps ArmoniK's rules that matter to a plan: a task runs when its inputs are there, an aborted
input ends it, children run after their parent, outputs are produced or delegated.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from armoflow.agent.effects import StagedFile
from armoflow.orchestrator.blame import Blame
from armoflow.orchestrator.codebook import CodeBook
from armoflow.orchestrator.constant import Constant
from armoflow.orchestrator.outcomes import ItemOutcome, outcomes
from armoflow.orchestrator.planned import PlannedTask, Result, SlotRange
from armoflow.orchestrator.planning.known import NOTHING, Known
from armoflow.orchestrator.planning.plan_settings import PlanSettings
from armoflow.orchestrator.planning.planner import Planner
from armoflow.protocol.result_handle import Failure, ResultState
from armoflow.worker.failures import UnreadableDataError
from armoflow.worker.mark import HANDS, Mark, MarkWriter, create_mark_file
from armoflow.worker.runner import EngineTask, Runner, TaskFailure

KEY = b"the key of the simulation"


class SimulatedEngine:
    """Runs tasks with a runner, depth first."""

    def __init__(self, directory: Path) -> None:
        self.data: dict[str, bytes] = {}
        self.aborted: dict[str, str] = {}
        self.ran: list[str] = []
        self.names: dict[str, str] = {}
        self._numbers = itertools.count(1)
        self._mark = Mark(create_mark_file(str(directory)))
        recorder = MarkWriter(self._mark, lambda *_: None)
        self._runner = Runner(self, recorder, str(directory))  # type: ignore[arg-type]

    def tell(self, hands: int) -> None:
        """Let tasks know of other processes; see ``HANDS_FREE``."""
        self._mark.words[HANDS] = hands

    # --- what a task asks its agent -------------------------------------------------------------

    def new_results(self, names: Sequence[str]) -> list[str]:
        return [self.new_id() for _ in names]

    def store_results(self, items: Sequence[tuple[str, bytes]]) -> list[str]:
        raise AssertionError("only agents with a data folder are asked")

    def fetch(self, result_id: str) -> bytes:
        try:
            return self.data[result_id]
        except KeyError:
            raise UnreadableDataError(f"no data of {result_id}") from None

    # --- what a client asks ---------------------------------------------------------------------

    def new_id(self) -> str:
        return f"result-{next(self._numbers)}"

    def run(
        self,
        task_id: str,
        payload: bytes,
        inputs: Sequence[str],
        outputs: Sequence[str],
    ) -> None:
        """Run one task, and then the children that it submitted."""
        pending = deque([(task_id, payload, inputs, outputs)])
        while pending:
            task_id, payload, inputs, outputs = pending.popleft()
            blocked = next((i for i in inputs if i in self.aborted), None)
            if blocked is not None:
                self.aborted.update(dict.fromkeys(outputs, self.aborted[blocked]))
                continue
            missing = [i for i in inputs if i not in self.data]
            if missing:
                assert pending, f"{task_id} waits for {missing} for ever"
                pending.append((task_id, payload, inputs, outputs))
                continue
            self.ran.append(task_id)
            sources = {i: self.data[i] for i in inputs}
            try:
                effects = self._runner.run(
                    EngineTask(1, task_id, "session", list(outputs), payload, sources)
                )
            except TaskFailure as failure:
                self.aborted.update(dict.fromkeys(outputs, failure.text))
                continue
            for result_id, data in effects.data.items():
                self.data[result_id] = _read(data)
            assert not effects.undelivered(outputs)
            children = [
                (f"child-{self.new_id()}", self.data[c.payload_id], c.dependencies, c.outputs)
                for c in effects.children
            ]
            pending.extendleft(reversed(children))


class SameProcess(CodeBook):
    """Sends no modules: the runner is in this process, where importing them anew would hurt."""

    def modules(self) -> None:
        return None


class Simulation:
    """Plans values and runs the plan as it comes."""

    def __init__(self, directory: Path, *, known: Known = NOTHING, **settings: Any) -> None:
        self.engine = SimulatedEngine(directory)
        self.known = known
        self.settings = PlanSettings(**settings, key=KEY)
        self.book = SameProcess()
        self.tasks: list[tuple[str, int]] = []
        self.live = 0
        self.peak = 0
        self.seconds_per_item: float | None = None
        self.prepare: Callable[[Planner], None] = lambda planner: None

    def compute(self, *values: Any) -> list[list[ItemOutcome]]:
        """The outcomes of each value's items, absent ones left out."""
        targets = [PlannedTarget(value) for value in values]
        planner = Planner(self.book, self.settings, self.known)
        self.prepare(planner)
        for entry in planner.plan(targets):
            if isinstance(entry, Constant):
                entry.result_id = self.engine.new_id()
                self.engine.data[entry.result_id] = b"".join(entry.parts or ())
            else:
                self._run(entry)
        return [[o for o in target.outcomes(self) if o.present] for target in targets]

    def values(self, value: Any) -> list[Any]:
        """The values of a collection; raises the first error."""
        (found,) = self.compute(value)
        for outcome in found:
            if outcome.error is not None:
                raise outcome.error
        return [outcome.value for outcome in found]

    def value(self, value: Any) -> Any:
        """One value."""
        (only,) = self.values(value)
        return only

    def _run(self, task: PlannedTask) -> None:
        for output in task.outputs:
            output.id = output.id or self.engine.new_id()
            self._follow(output)
        self.tasks.append((task.name, task.items))
        payload = b"".join(task.pack())
        self.engine.run(
            f"task {task.name}",
            payload,
            list(dict.fromkeys(i.id for i in task.inputs)),
            [o.id for o in task.outputs],
        )
        for output in task.outputs:
            output.state = ResultState.COMPLETED
            output.data = self.engine.data.get(output.id)
            if output.id in self.engine.aborted:
                failure = Failure(task.name, "error", self.engine.aborted[output.id])
                output.blame = Blame(task.label, failure=failure)
        if task.sizer is not None and self.seconds_per_item is not None:
            task.measured(task.items * self.seconds_per_item, 0)
        task.let_go()

    def _follow(self, output: Result) -> None:
        self.live += 1
        self.peak = max(self.peak, self.live)

        def released(_: str, size: int) -> None:
            self.live -= 1

        output.on_release = released


class PlannedTarget:
    """Collects where a value is."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.pieces: list[Any] = []
        self.error: Exception | None = None
        self.sealed = False

    def place(self, column: Sequence[Any], whole: bool) -> None:
        self.pieces.extend(column)

    def seal(self) -> None:
        self.sealed = True

    def fail(self, error: Exception) -> None:
        self.error = error

    def outcomes(self, simulation: Simulation) -> list[ItemOutcome]:
        if self.error is not None:
            return [ItemOutcome(error=self.error)]
        assert self.sealed
        for piece in self.pieces:
            if isinstance(piece, SlotRange) and piece.result.blame is None:
                piece.result.data = simulation.engine.data[piece.result.id]
        return outcomes(self.pieces, KEY)


def _read(data: Any) -> bytes:
    return Path(data.path).read_bytes() if isinstance(data, StagedFile) else bytes(data)
