"""Makes the tasks of a plan: options, code, constants and payload put together."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from armoflow import config
from armoflow.codec.envelope import Slot, SlotKind, pack_envelope
from armoflow.codec.payload import (
    CodeReference,
    Operation,
    Payload,
    Pickled,
    Piece,
    Settings,
    Stage,
)
from armoflow.codec.pickling import are_scalars
from armoflow.errors import SerializationError
from armoflow.graph.arguments import contains_lazy
from armoflow.graph.nodes import Node
from armoflow.graph.task import BaseTask
from armoflow.options import (
    BACKOFF,
    CRASH_RETRIES,
    DEFAULT_OPTIONS,
    MAX_RETRIES,
    PRIORITY,
    RETRIES,
    Limits,
    TaskOptions,
    merge_options,
)
from armoflow.orchestrator import dynamic
from armoflow.orchestrator.code import CodeBook, EncodedCode
from armoflow.orchestrator.drafts import ConstantValue, Draft, External
from armoflow.orchestrator.planned import Constant, PlannedTask, Result, Steps
from armoflow.orchestrator.sizes import BatchSizer
from armoflow.protocol.transport import WireOptions

_KEPT = 10_000
"""Sets of options whose rules are kept between plans."""

_MANY = frozenset({Operation.MAP, Operation.FILTER, Operation.GATHER})
"""Operations that give a slot for each item."""


class Rules:
    """What follows from a node's options, worked out once for all nodes that share them.

    Args:
        own: The node's options.
        block: What the blocks around the call say, for the graph that its task may return.
        base: What holds in the plan for tasks that do not say otherwise.
        capture: Failures become error slots.
    """

    __slots__ = ("batch_size", "defaults", "fuse", "keep", "options", "packed", "single", "wire")

    def __init__(
        self, own: TaskOptions, block: TaskOptions | None, base: TaskOptions, capture: bool
    ) -> None:
        self.options = options = merge_options(own, base)
        usual = DEFAULT_OPTIONS.given()
        inherited = merge_options(block, base).given()
        self.defaults = {
            name: value for name, value in inherited.items() if usual.get(name) != value
        }
        self.keep = bool(options.keep)
        self.fuse = options.fuse is not False and not self.keep
        self.batch_size = options.batch_size
        self.single = Settings(
            retries=options.retries or RETRIES,
            backoff=BACKOFF if options.backoff is None else options.backoff,
            timeout=options.timeout,
            crash_retries=CRASH_RETRIES if options.crash_retries is None else options.crash_retries,
            capture=capture,
            priority=options.priority,
            partition=options.partition,
            max_retries=options.max_retries,
            defaults=self.defaults,
        )
        self.packed = dataclasses.replace(self.single, packed=True)
        self.wire = self._wire(1)

    def wire_for(self, items: int) -> WireOptions:
        """The ArmoniK options of a task of so many items, those of all steps together."""
        return self.wire if self.single.timeout is None or items == 1 else self._wire(items)

    def _wire(self, items: int) -> WireOptions:
        options = self.options
        return WireOptions(
            max_duration=_max_duration(self.single, items),
            max_retries=MAX_RETRIES if options.max_retries is None else options.max_retries,
            priority=options.priority or PRIORITY,
            partition=options.partition or "",
        )


KnownRules: TypeAlias = dict[tuple[int, int], tuple[TaskOptions, TaskOptions | None, Rules]]
"""Rules by the ids of a node's options and block, which they hold."""


class Step(NamedTuple):
    """A further step of a fused task: its name, its code, its pickled arguments."""

    name: str
    function: BaseTask[Any, Any]
    arguments: Pickled | None


class Emitter:
    """Makes tasks for one plan.

    Args:
        book: The code that was sent already.
        options: What holds where a task says nothing.
        capture: Failures of every task become error slots.
        external: What futures and ``put`` references inside arguments stand for.
        copy: Copy the memory of arguments that can be written to.
        owner: The plan, to recognise its tasks.
        key: Seals the tasks' errors.
        limits: What tasks may ask for, if that is known.
        inline: Seconds for which returned graphs are begun where they are; None: what is usual.
        rules: What followed from options in earlier plans with the same settings.

    Attributes:
        wanted: Nodes whose values the client will fetch.
        tolerant: Nodes whose failures become error slots even where one task makes one item.
    """

    def __init__(
        self,
        book: CodeBook,
        options: TaskOptions,
        capture: bool,
        *,
        external: External | None,
        copy: bool,
        owner: object,
        key: bytes,
        limits: Limits | None,
        inline: float | None,
        rules: KnownRules,
    ) -> None:
        self.wanted: set[Node] = set()
        self.tolerant: set[Node] = set()
        self._book = book
        self._defaults = options
        self._capture = capture
        self._external = external
        self._copy = copy
        self._owner = owner
        self._key = key
        self._limits = limits
        self._inline = inline
        self._rules = rules
        self._codes: dict[Any, EncodedCode] = {}
        self._modules: EncodedCode | None = None
        self._no_modules = False
        self._sightings: dict[int, tuple[Any, Constant | None]] = {}

    def clear(self) -> None:
        """The plan is at its end."""
        self.wanted.clear()
        self.tolerant.clear()
        self._sightings.clear()
        self._codes.clear()

    def use(
        self, function: BaseTask[Any, Any], code: EncodedCode, modules: EncodedCode | None
    ) -> None:
        """Take a function's code, and the user's modules, as they were encoded before."""
        self._codes = {function: code}
        self._modules = modules
        self._no_modules = modules is None

    def rules(self, node: Node) -> Rules:
        """What follows from a node's options.

        Raises:
            SubmissionError: If they ask for what the session does not allow.
        """
        own, block = node.options, node.block
        if block is not None and dynamic.is_dynamic(node):
            block = None  # its description says which calls were made in which block
        key = (id(own), id(block))
        known = self._rules.get(key)
        if known is None:
            if len(self._rules) >= _KEPT:
                self._rules.clear()
            rules = Rules(own, block, self._defaults, self._capture)
            if self._limits is not None:
                self._limits.check(node.name, rules.options)
            known = self._rules[key] = (own, block, rules)  # held, so that ids stay their own
        return known[2]

    def draft(self, base: Draft | None = None) -> Draft:
        """A new draft, after a base if there is one."""
        return Draft(base, self._external, copy=self._copy)

    def emit(
        self,
        node: Node,
        operation: Operation,
        draft: Draft,
        *,
        function: BaseTask[Any, Any] | None = None,
        arguments: Pickled | None = None,
        columns: Sequence[list[Piece]] = (),
        start: int = 0,
        count: int = 1,
        star: bool = False,
        final: bool = False,
        calls: bool = False,
        collection: bool = False,
        sizer: BatchSizer | None = None,
        outputs: Sequence[Result] | None = None,
        name: str | None = None,
        steps: Sequence[Step] = (),
    ) -> Generator[PlannedTask | Constant, Any, Sequence[Result]]:
        """Emit one task, after the constants that it is the first to need; returns its outputs.

        By the time that the plan goes on the task may have ended, and let its outputs go. Of a
        chain, ``node`` is the last one, ``name`` and ``function`` are the first one's, and
        ``steps`` are all but the first.
        """
        many = operation in _MANY
        rules = self.rules(node)
        payload = Payload(
            operation,
            name or node.name,
            arguments=arguments,
            columns=list(columns),
            start=start,
            count=count,
            star=star,
            calls=calls,
            final=final,
            collection=collection,
            settings=rules.packed
            if (many and count > 1) or node in self.tolerant
            else rules.single,
            key=self._key,
            limits=self._limits,
            inline=self._inline,
        )
        if outputs is None:
            outputs = [Result(node.name)]
        wire = rules.wire_for((count if many else 1) * (len(steps) + 1))
        task = PlannedTask(payload, draft.inputs, outputs, wire, draft.constants)
        task.size = draft.size
        if sizer is not None:
            sizer.planned(count, draft.size)
            task.sizer = sizer
        if collection:
            for output in outputs:
                output.first = start
        task.run = self._owner
        task.wanted = node in self.wanted
        task.keep = rules.keep
        if draft.modules:
            self._book.add_modules(draft.modules)
            self._forget_modules()
        if function is not None:
            yield from self._add_code(task, payload, function, steps)
        for constant in draft.constants:
            if constant.parts is not None and not constant.result_id:
                yield constant
        yield task
        return outputs

    def _add_code(
        self,
        task: PlannedTask,
        payload: Payload,
        function: BaseTask[Any, Any],
        steps: Sequence[Step],
    ) -> Iterator[Constant]:
        payload.function, task.function = yield from _refer(self._code(task, function))
        if steps:
            yield from self._add_steps(task, payload, function, steps)
        if self._no_modules:
            return
        if self._modules is None:
            self._modules = self._book.modules()
            if self._modules is None:
                self._no_modules = True
                return
        payload.modules, task.modules = yield from _refer(self._modules)

    def _add_steps(
        self,
        task: PlannedTask,
        payload: Payload,
        function: BaseTask[Any, Any],
        steps: Sequence[Step],
    ) -> Iterator[Constant]:
        assert payload.function is not None
        known = {function: (payload.function, task.function)}
        constants = []
        for step in steps:
            code = known.get(step.function)
            if code is None:
                code = known[step.function] = yield from _refer(self._code(task, step.function))
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

    def refers_outside(self, values: Iterable[Any]) -> bool:
        """Whether some of these arguments are futures or ``put`` references."""
        return self._external is not None and any(
            type(value) in self._external.kinds for value in values
        )

    def holds_references(self, values: Sequence[Any]) -> bool:
        """Whether some items hold lazy values, or are futures or ``put`` references."""
        if are_scalars(values):
            return False
        kinds = () if self._external is None else self._external.kinds
        return any(type(value) in kinds or contains_lazy(value) for value in values)

    # --- large arguments ------------------------------------------------------------------------

    def shared(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Arguments, with large ones that were seen before replaced by constants."""
        return (
            tuple([self._share(value) for value in args]),
            {name: self._share(value) for name, value in kwargs.items()} if kwargs else kwargs,
        )

    def fixed(self, draft: Draft, fixed: dict[str, Any], node: Node) -> Pickled | None:
        """Pickle the fixed arguments of a collection operation; large ones go up once."""
        if not fixed:
            return None
        values = {}
        for name, value in fixed.items():
            values[name] = value
            if _nbytes(value) > config.SHARED_ARGUMENT_LIMIT:
                values[name] = ConstantValue(self._constant(value, f"argument {name!r}"))
        return draft.dumps_named(values, values.items(), node.name)

    def _share(self, value: Any) -> Any:
        if type(value) in _SMALL or _nbytes(value) <= config.SHARED_ARGUMENT_LIMIT:
            return value
        if id(value) not in self._sightings:
            self._sightings[id(value)] = (value, None)  # held, so that its id stays its own
            return value
        _, constant = self._sightings[id(value)]
        if constant is None:
            constant = self._constant(value, "shared argument")
            self._sightings[id(value)] = (value, constant)
        return ConstantValue(constant)

    def _constant(self, value: Any, name: str) -> Constant:
        return Constant(name, value_parts(self.draft().dumps(value, name)))


_SMALL = frozenset({int, float, bool, type(None), complex})


def _refer(
    code: EncodedCode,
) -> Generator[Constant, Any, tuple[CodeReference, Constant | None]]:
    reference, constant, is_new = code.refer()
    if is_new and constant is not None:
        yield constant
    return reference, constant


def value_parts(pickled: Pickled) -> list[Any]:
    """The stored form of one value: an envelope of one slot."""
    return pack_envelope([Slot(SlotKind.VALUE, pickled.data, pickled.buffers)])


def longest(settings: Settings) -> float:
    """Seconds that an item may take: every attempt, and the waits between."""
    if settings.timeout is None:
        return math.inf
    attempts = settings.retries + settings.crash_retries + 1
    # Pauses double: beyond some dozens the sum is more than a task may take, or nothing.
    backoffs = settings.backoff * (2.0 ** min(settings.retries, 64) - 1)
    return attempts * settings.timeout + backoffs


def _max_duration(settings: Settings, items: int) -> float:
    """Longest that ``Process`` may take: every item, and one of the graph that it may return."""
    total = longest(settings) * (items + 1) + config.DURATION_MARGIN
    return math.ceil(total) if total < config.MAXIMUM_DURATION else config.MAXIMUM_DURATION


def _nbytes(value: Any) -> int:
    if isinstance(value, (bytes, bytearray, str)):
        return len(value)
    size = getattr(value, "nbytes", 0) if hasattr(type(value), "nbytes") else 0
    return size if isinstance(size, int) else 0
