"""Makes the tasks of a plan: options, code, constants and payload put together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NamedTuple

from armoflow import config
from armoflow.codec.payload import CodeReference, Operation, Payload, Pickled, Piece, Stage
from armoflow.codec.positions import Positions
from armoflow.errors import SerializationError
from armoflow.graph.base_task import BaseTask
from armoflow.graph.nodes import Node
from armoflow.orchestrator.codebook import CodeBook, EncodedCode
from armoflow.orchestrator.constant import Constant
from armoflow.orchestrator.planned import PlannedTask, Result, Steps
from armoflow.orchestrator.planning.drafts import Draft
from armoflow.orchestrator.planning.plan_settings import PlanSettings
from armoflow.orchestrator.sizes import BatchSizer
from armoflow.orchestrator.timers import CallTimer

_MANY = frozenset({Operation.MAP, Operation.FILTER, Operation.GATHER})
"""Operations that give a slot for each item."""

_CALL, _COMBINE, _GRAPH = Operation.CALL, Operation.COMBINE, Operation.GRAPH
"""Looking up a member takes longer than all else."""

_BACKED = frozenset({Operation.CALL, Operation.MAP, Operation.FILTER})
"""Operations that may be run a second time where they take long."""


class FusedStep(NamedTuple):
    """A further step of a fused task: its name, its code, its pickled arguments."""

    name: str
    function: BaseTask[Any, Any]
    arguments: Pickled | None


class Emitter:
    """Makes tasks for one plan.

    Args:
        book: The code that was sent already.
        settings: What holds where a task says nothing.
        owner: The plan, to recognise its tasks.

    Attributes:
        wanted: Nodes whose values the client will fetch.
        tolerant: Nodes whose failures become error slots even where one task makes one item.
    """

    def __init__(self, book: CodeBook, settings: PlanSettings, owner: object) -> None:
        self.settings = settings
        self.wanted: set[Node] = set()
        self.tolerant: set[Node] = set()
        # By identity, for callables need no hash: calls alone, with nothing known.
        self._first: Counter[int] = Counter()
        self._untold: set[int] = set()
        self._book = book
        self._owner: object = owner
        self._codes: dict[Any, EncodedCode] = {}
        self._silent: set[Any] = set()
        self._timers: dict[Any, CallTimer] = {}
        self._modules: EncodedCode | None = None
        self._no_modules = False

    def clear(self) -> None:
        """The plan is at its end."""
        self.wanted.clear()
        self.tolerant.clear()
        self._first.clear()
        self._untold.clear()
        self._codes.clear()
        self._silent.clear()
        self._timers.clear()

    def release(self) -> None:
        """Nothing more is emitted: the plan is not held any more."""
        self._owner = None

    def use(
        self, function: BaseTask[Any, Any], code: EncodedCode, modules: EncodedCode | None
    ) -> None:
        """Take a function's code, and the user's modules, as they were encoded before."""
        self._codes = {function: code}
        self._modules = modules
        self._no_modules = modules is None

    def emit(
        self,
        node: Node,
        operation: Operation,
        draft: Draft,
        *,
        function: BaseTask[Any, Any] | None = None,
        arguments: Pickled | None = None,
        columns: Sequence[list[Piece]] = (),
        positions: Positions = 0,
        count: int = 1,
        star: bool = False,
        final: bool = False,
        calls: bool = False,
        collection: bool = False,
        sizer: BatchSizer | None = None,
        outputs: Sequence[Result] | None = None,
        name: str | None = None,
        steps: Sequence[FusedStep] = (),
        spent: int = 0,
    ) -> Generator[PlannedTask | Constant, Any, Sequence[Result]]:
        """Emit one task, after the constants that it is the first to need; returns its outputs.

        By the time that the plan goes on the task may have ended, and let its outputs go. Of a
        chain, ``node`` is the last one, ``name`` and ``function`` are the first one's, and
        ``steps`` are all but the first.
        """
        many = operation in _MANY
        settings = self.settings
        rules = settings.rules.of(node)
        tolerant = not settings.fail_fast and ((many and count > 1) or node in self.tolerant)
        payload = Payload(
            operation,
            name or node.name,
            arguments=arguments,
            columns=list(columns),
            positions=positions,
            count=count,
            star=star,
            calls=calls,
            final=final,
            collection=collection,
            settings=rules.packed if tolerant or rules.replaces else rules.single,
            key=settings.key,
            limits=settings.limits,
            inline=settings.inline,
            spent=spent,
            target=settings.packing.target if _is_measured(sizer, count) else 0.0,
            paces=self._paces(function, steps if operation is _GRAPH else ()),
        )
        known = function is not None and not steps
        pace = settings.paces.of(function.function) if function is not None and known else None
        unmeasured = operation is _CALL and known and pace is None
        outputs = [Result(node.name)] if outputs is None else outputs
        wire = rules.wire_for((count if many else 1) * (len(steps) + 1))
        task = PlannedTask(payload, draft.inputs, outputs, wire, draft.constants)
        task.size = draft.size
        if sizer is not None:
            sizer.planned(count, draft.size)
            task.sizer = sizer
            if sizer.curious and function is not None and not steps:
                task.timed = settings.paces, function.function
        elif settings.patience and function is not None:
            task.sizer = self._timer(operation, function, steps, unmeasured)
        if collection:
            for output in outputs:
                output.positions = positions
        task.expected = None if pace is None else pace * count
        if unmeasured and function is not None:
            self._first[id(function.function)] += 1
        task.run = self._owner
        task.wanted = node in self.wanted
        task.keep = rules.keep
        task.backup = rules.backup and operation in _BACKED
        if rules.cached and operation is not Operation.GATHER:
            task.cached = final or operation is not _COMBINE
        if draft.modules or draft.code:
            self._book.add_modules(draft.modules, draft.code)
            self._forget_modules()
        self._book.add_packages(draft.others)
        if function is not None:
            yield from self._add_code(task, payload, function, steps)
        for constant in draft.constants:
            if constant.parts is not None and not constant.result_id:
                yield constant
        payload.versions = self._book.versions
        yield task
        return outputs

    def waited(self, function: Callable[..., Any]) -> bool:
        """Wait for the first calls of a function, if all workers have one; whether it is known now.

        The others of it would cost much more than that. Once is enough.
        """
        settings = self.settings
        key = id(function)
        if key in self._untold or self._first[key] < settings.probes:
            return False
        if settings.paces.wait(function, settings.subgraph_seconds.wait):
            return True
        self._untold.add(key)
        return False

    def _timer(
        self,
        operation: Operation,
        function: BaseTask[Any, Any],
        steps: Sequence[FusedStep],
        unmeasured: bool,
    ) -> CallTimer | None:
        """Who wants to know how long calls took that nobody packs."""
        paces, graph = self.settings.paces, operation is _GRAPH
        if not (graph or unmeasured):
            return None
        if any(type(one.function).__hash__ is None for one in (function, *_tasks(steps))):
            return None  # they are told apart by their hash
        if graph:
            calls = Counter(step.function.function for step in steps)
            return CallTimer(paces, calls, config.INLINE_CALL_SECONDS)
        timer = self._timers.get(function)
        if timer is None:
            timer = self._timers[function] = CallTimer(paces, {function.function: 1})
        return timer

    def _paces(
        self, function: BaseTask[Any, Any] | None, graph: Sequence[FusedStep]
    ) -> Sequence[Sequence[Any]]:
        """What is known of the calls that a task will make."""
        if graph:
            return self.settings.paces.known({step.function.function for step in graph})
        return () if function is None or function in self._silent else self._tell(function)

    def _tell(self, function: BaseTask[Any, Any]) -> Sequence[Sequence[Any]]:
        """What is known of the tasks that a function names; most name none."""
        paces = self.settings.paces
        if not paces.names_tasks(function.function):
            self._silent.add(function)
        return paces.tell(function.function)

    def _add_code(
        self,
        task: PlannedTask,
        payload: Payload,
        function: BaseTask[Any, Any],
        steps: Sequence[FusedStep],
    ) -> list[Constant]:
        """Let a task refer to its code; returns the constants that are to be announced first."""
        announced: list[Constant] = []
        code = self._code(task, function)
        payload.function, task.function = _refer(code, announced)
        if steps:
            self._add_steps(task, payload, function, steps, announced)
        if self._no_modules:
            return announced
        if self._modules is None:
            self._modules = self._book.modules()
            if self._modules is None:
                self._no_modules = True
                return announced
        payload.modules, task.modules = _refer(self._modules, announced)
        return announced

    def _add_steps(
        self,
        task: PlannedTask,
        payload: Payload,
        function: BaseTask[Any, Any],
        steps: Sequence[FusedStep],
        announced: list[Constant],
    ) -> None:
        assert payload.function is not None
        known = {function: (payload.function, task.function)}
        constants = []
        for step in steps:
            code = known.get(step.function)
            if code is None:
                code = known[step.function] = _refer(self._code(task, step.function), announced)
            payload.stages.append(Stage(step.name, code[0], step.arguments))
            constants.append(code[1])
        task.steps = Steps(payload.names, constants)

    def _code(self, task: PlannedTask, function: BaseTask[Any, Any]) -> EncodedCode:
        code = self._codes.get(function)
        if code is None:
            code = self._codes[function] = self._encode(task, function)
            self._forget_modules()
        return code

    def _encode(self, task: PlannedTask, function: BaseTask[Any, Any]) -> EncodedCode:
        try:
            return self._book.function(function.function)
        except SerializationError as error:
            raise SerializationError(f"task {task.name!r}: {error}") from error.__cause__

    def _forget_modules(self) -> None:
        self._modules = None
        self._no_modules = False


def _is_measured(sizer: BatchSizer | None, count: int) -> bool:
    """Whether a task has so many items because they seemed to be quick."""
    return sizer is not None and not sizer.fixed and count > 1


def _refer(code: EncodedCode, announced: list[Constant]) -> tuple[CodeReference, Constant | None]:
    reference, constant, is_new = code.refer()
    if is_new and constant is not None:
        announced.append(constant)
    return reference, constant


def _tasks(steps: Sequence[FusedStep]) -> Iterator[BaseTask[Any, Any]]:
    return (step.function for step in steps)
