"""What a plan consists of: results to be, and the tasks that make them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from armoflow import config
from armoflow.codec.container import Buffer
from armoflow.codec.envelope import Cell
from armoflow.codec.payload import CodeReference, Operation, Payload
from armoflow.codec.positions import Positions, label
from armoflow.errors import ArmoflowError
from armoflow.orchestrator.constant import Constant
from armoflow.orchestrator.paces import Paces
from armoflow.orchestrator.sizes import BatchSizer
from armoflow.protocol.result_handle import ResultHandle, ResultState
from armoflow.protocol.submission import Submission, WireOptions

if TYPE_CHECKING:
    from armoflow.orchestrator.blame import Blame  # processes of tasks plan, and blame nobody


class Waiter(Protocol):
    """Who waits for results."""

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants what it waits for any more."""

    def arrive(self, result: Result) -> None:
        """A result was completed or aborted."""


class Result(ResultHandle):
    """A result of the plan, with who waits for it.

    There is one for each task that is queued, so it makes no lists before it has two to hold.

    Attributes:
        consumers: Planned tasks that have it as an input and have not ended.
        data: Its data, once it is here.
        cells: Its data's slots, once they were read.
        seconds: How long it took to make them, once they were read, where its data says so.
        packages: What its worker told of its packages, once they were read.
        ran: How long its task ran, where the engine says so.
        blame: Why it was aborted.
        positions: Where its items are, if it holds items of a collection.
    """

    __slots__ = (
        *("_waiters", "blame", "cells", "consumers", "data", "packages", "positions", "ran"),
        "seconds",
    )

    def __init__(self, name: str = "") -> None:
        super().__init__(name)
        self.packages = ""
        self.consumers: list[PlannedTask] | tuple[()] = ()
        self._waiters: Waiter | list[Waiter] | None = None
        self.data: Buffer | None = None
        self.cells: list[Cell] | None = None
        self.seconds: float | None = None
        self.ran: float | None = None
        self.blame: Blame | None = None
        self.positions: Positions | None = None

    @classmethod
    def existing(cls, result_id: str, name: str, positions: Positions | None = None) -> Result:
        """A result that has its id already."""
        result = cls(name)
        result.id = result_id
        result.state = ResultState.CREATED
        result.positions = positions
        return result

    @property
    def promised(self) -> tuple[int, int] | None:
        """Size and checksum that its data must have, where that is known before it is read."""
        return None

    def item_name(self, slot: int) -> str:
        """What errors call the item in one of its slots."""
        return label(self.name, self.positions, slot)

    @property
    def final(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in (ResultState.COMPLETED, ResultState.ABORTED, ResultState.DELETED)

    def add_consumer(self, task: PlannedTask) -> None:
        """A task has it as an input."""
        if isinstance(self.consumers, list):
            self.consumers.append(task)
        else:
            self.consumers = [task]

    def remove_consumer(self, task: PlannedTask) -> None:
        """A task does not need it after all."""
        if isinstance(self.consumers, list) and task in self.consumers:
            self.consumers.remove(task)

    def add_waiter(self, waiter: Waiter) -> None:
        """Tell somebody when it is completed or aborted."""
        if self._waiters is None:
            self._waiters = waiter
        elif isinstance(self._waiters, list):
            self._waiters.append(waiter)
        else:
            self._waiters = [self._waiters, waiter]

    @property
    def waiters(self) -> Sequence[Waiter]:
        """Who is told when it is completed or aborted, as often as they were added."""
        waiters = self._waiters
        if waiters is None:
            return ()
        return waiters if isinstance(waiters, list) else (waiters,)

    def end(self, state: ResultState) -> None:
        """It was completed or aborted: tell who waits."""
        self.state = state
        self.consumers = ()
        waiters, self._waiters = self.waiters, None
        for waiter in waiters:
            waiter.arrive(self)


class SlotRange(NamedTuple):
    """Slots ``start`` to ``stop`` of a result."""

    result: Result
    start: int
    stop: int

    @property
    def length(self) -> int:
        """Number of slots."""
        return self.stop - self.start


class LocalItems(NamedTuple):
    """Items that the client holds: not pickled yet."""

    values: list[Any]

    @property
    def length(self) -> int:
        """Number of items."""
        return len(self.values)


PlanPiece = SlotRange | LocalItems

_numbers = itertools.count()


class Steps(NamedTuple):
    """The steps of a fused task.

    Attributes:
        names: The names of all.
        functions: Of all but the first, the constants of their code, where it is stored.
    """

    names: list[str]
    functions: Sequence[Constant | None]


class PlannedTask(Submission):
    """One ArmoniK task of the plan: a payload, and the constants that must be up before it.

    Attributes:
        payload: The payload, but for ids.
        constants: What ``payload.constants`` names, in order.
        function: The function's constant, if its code is stored and not inline.
        modules: The same for the user's modules.
        operation: What it does.
        positions: Where its items are in a collection, if it runs items of one.
        items: How many items it runs: 1 for a call, 0 if it only copies.
        run: Which plan it belongs to.
        sizer: Told of its items and the seconds that it ran, where the engine says.
        timed: Told how long the calls of a function take, with that function.
        expected: Seconds that it will run, as far as is known of its function; None: nothing is.
        steps: What it runs, if that is more than one thing.
        number: Its place in the order of the plan.
        open_outputs: Outputs that are neither completed nor aborted.
        broken: It failed itself, and not because of an input.
        on_end: Called once with it, when it has ended and lets go of all.
        held: It is being submitted, and keeps what that needs even if it ends meanwhile.
        backup: It may be run a second time, and keeps its payload for that.
        original: What it is a second run of, if it is one.
    """

    __slots__ = (
        "backup",
        "broken",
        "constants",
        "expected",
        "function",
        "held",
        "items",
        "modules",
        "number",
        "on_end",
        "open_outputs",
        "operation",
        "original",
        "payload",
        "positions",
        "run",
        "sizer",
        "steps",
        "timed",
    )

    inputs: Sequence[Result]
    outputs: Sequence[Result]

    def __init__(
        self,
        payload: Payload,
        inputs: Sequence[Result],
        outputs: Sequence[Result],
        options: WireOptions,
        constants: Sequence[Constant] = (),
    ) -> None:
        # Tuples, because they are smaller than lists, and all empty ones are the same.
        super().__init__(payload.name, tuple(inputs), tuple(outputs), options)
        self.payload: Payload | None = payload
        self.constants = tuple(constants)
        self.function: Constant | None = None
        self.modules: Constant | None = None
        self.operation = payload.operation
        self.steps: Steps | None = None
        self.positions = payload.positions if payload.collection else None
        self.items = _items(payload)
        self.open_outputs = len(outputs)
        self.held = False
        self.broken = self.backup = False
        self.original: PlannedTask | None = None
        self.on_end: Callable[[PlannedTask], None] | None = None
        self.sizer: BatchSizer | None = None
        self.expected: float | None = None
        self.timed: tuple[Paces, Callable[..., Any]] | None = None
        self.run: object = None
        self.number = next(_numbers)

    @property
    def is_copy(self) -> bool:
        """Whether it is a second run of another one."""
        return self.original is not None

    @property
    def names(self) -> list[str]:
        """The names of its steps; with the position where it runs one item of a collection."""
        names = [self.name] if self.steps is None else self.steps.names
        if self.items > 1:
            return names
        return [label(name, self.positions, 0) for name in names]

    @property
    def label(self) -> str:
        """The name of its last step, or of its only one: what errors call it."""
        return self.names[-1]

    @property
    def several(self) -> Positions | None:
        """Where its items are in a collection, where it runs several."""
        return self.positions if self.items > 1 else None

    @property
    def curious(self) -> bool:
        """Whether somebody would like to know how long it ran."""
        if self.sizer is not None and self.sizer.curious:
            return True
        # The plan may be at its end: what is known of a function is of use to the next.
        return self.timed is not None and self.timed[0].of(self.timed[1]) is None

    def measured(self, seconds: float, size: int) -> None:
        """It ran so long; an output of it has so many bytes."""
        items = max(self.items, 1)
        if self.sizer is not None:
            self.sizer.weighed(items, size)
            self.sizer.measured(self.items, seconds)
        if self.timed is not None:
            paces, function = self.timed
            paces.note_size(function, size / items)
            seconds = max(seconds - config.TASK_SECONDS, 0.0)
            paces.note(function, seconds / items, items)

    def pending_constants(self) -> list[Constant]:
        """Constants without an id yet."""
        if not (self.constants or self.function or self.modules or self.steps):
            return []  # as most
        return [constant for constant in self.all_constants() if not constant.result_id]

    def all_constants(self) -> list[Constant]:
        """All data that must be stored before it: arguments, functions, modules."""
        needed = [*self.constants]
        if self.steps is not None:
            needed.extend(filter(None, self.steps.functions))
        if self.function is not None:
            needed.append(self.function)
        if self.modules is not None:
            needed.append(self.modules)
        return needed

    def fill(self) -> Payload:
        """The payload for the inputs' ids."""
        payload = self.payload
        if payload is None:
            raise ArmoflowError(f"the payload of {self.name!r} was laid out and let go already")
        if self.inputs:
            payload.inputs = [handle.id for handle in self.inputs]
            payload.origins = [(handle.name, handle.positions) for handle in self.inputs]
            payload.promised = {
                number: promised
                for number, handle in enumerate(self.inputs)
                if (promised := handle.promised) is not None
            }
        if self.constants:
            payload.constants = [constant.result_id for constant in self.constants]
        if self.function is not None and payload.function is not None:
            payload.function = CodeReference(payload.function.digest, None, self.function.result_id)
        if self.modules is not None and payload.modules is not None:
            payload.modules = CodeReference(payload.modules.digest, None, self.modules.result_id)
        for number, constant in enumerate(self.steps.functions if self.steps is not None else ()):
            if constant is not None:
                stage = payload.stages[number]
                code = CodeReference(stage.function.digest, None, constant.result_id)
                payload.stages[number] = stage._replace(function=code)
        return payload

    @property
    def failed(self) -> bool:
        """Whether it was given up: an input failed, or nobody wants it any more."""
        for output in self.outputs:  # noqa: SIM110 - asked of every task: no generator
            if output.blame is not None:
                return True
        return False

    def hold(self) -> None:
        """Submitting begins."""
        self.held = True

    def submitted(self) -> None:
        """Submitting is over, well or not."""
        self.held = False
        if self.open_outputs == 0:
            self.let_go()
        elif not self.backup:
            self.payload = None

    def let_go(self) -> None:
        """Drop all references once nothing needs them: the task has ended, inputs may be freed."""
        if self.held:
            return
        if self.on_end is not None:
            on_end, self.on_end = self.on_end, None
            on_end(self)
        self.payload = None
        self.inputs = ()
        self.outputs = ()
        self.constants = ()
        self.function = self.modules = None
        if self.steps is not None:
            self.steps = Steps(self.steps.names, ())


def _items(payload: Payload) -> int:
    if payload.operation is Operation.GATHER:
        return 0
    return 1 if payload.operation is Operation.COMBINE else max(payload.count, 1)
