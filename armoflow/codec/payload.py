"""A task's payload: which function to run on which items, as written by the planner.

A payload names its inputs by result id (``inputs``) and refers to them by position, so that it can
be laid out again for other ids without pickling anything twice. Outputs are not named here: a task
is told its expected outputs by the engine, in the order of submission.

Inside the pickles, dependencies are persistent ids (see :mod:`armoflow.codec.pickling`):

* ``("slot", input, slot)``: the value of one slot;
* ``("list", ((input, start, stop), ...))``: the values of slots as one list, absent ones left out;
* ``("constant", index)``: data put once with ``client.put``, named by ``constants[index]``; what
  was put under a name has that behind it;
* ``("buffer", index, digest, readonly)``: binary data inside an argument, in the same way, and what
  it must be when it arrives;
* ``("file", index, digest, name, executable)``: the same of a file;
* ``("previous",)``: in the arguments of a stage, the value of the step before it;
* ``("call", number)``: in the arguments of a stage of a GRAPH, the value of an earlier stage.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from armoflow import config, named_limits
from armoflow.codec.compatibility import own_versions
from armoflow.codec.container import Buffer
from armoflow.codec.positions import Positions
from armoflow.options import BACKOFF, CRASH_RETRIES, MAX_RETRIES, RETRIES
from armoflow.placement import CPUS_LABEL, GPUS_LABEL, MEMORY_LABEL, Limits
from armoflow.requirements import to_label
from armoflow.retrying import shorten


class Pickled(NamedTuple):
    """A pickled value and its out-of-band buffers, in order."""

    data: bytes | memoryview
    buffers: Sequence[Buffer] = ()

    @property
    def size(self) -> int:
        """Its bytes, and those of its buffers."""
        size = len(self.data)
        return size + sum(map(len, self.buffers)) if self.buffers else size


class Operation(enum.IntEnum):
    """What a task does with its items."""

    CALL = 0  # function(*args, **kwargs) -> one slot in each output
    MAP = 1  # function of each item of the columns -> a slot per item in each output
    FILTER = 2  # keep the items for which function is true -> a slot per item, absent if false
    COMBINE = 3  # fold the only column, left to right, into one slot
    GATHER = 4  # copy the slots of the only column, errors and all, into one envelope
    GRAPH = 5  # the stages are calls of one graph: the last one's value -> one slot


class CodeReference(NamedTuple):
    """Pickled code, by content hash: either inline, or stored as a result to be fetched once."""

    digest: str
    data: bytes | None = None
    result_id: str | None = None


class Values(NamedTuple):
    """Items of a column given as one pickled list (immutable scalars only)."""

    pickled: bytes | memoryview
    length: int


class PickledItems(NamedTuple):
    """Items of a column pickled one by one."""

    pickles: Sequence[Pickled]

    @property
    def length(self) -> int:
        """Number of items."""
        return len(self.pickles)


class InputSlots(NamedTuple):
    """Items of a column that are slots ``start`` to ``stop`` of input number ``input``."""

    input: int
    start: int
    stop: int

    @property
    def length(self) -> int:
        """Number of items."""
        return self.stop - self.start


Piece = Values | PickledItems | InputSlots

PREVIOUS = -1
"""In place of an input's number: the slots that the step before has made."""


class Stage(NamedTuple):
    """One more step of a task, on what the step before it made: fused calls, or fused maps.

    Attributes:
        name: The node's name.
        function: The code.
        arguments: After a CALL, and in a GRAPH, the pickle of ``(args, kwargs)``, which refer to
            the values before; else that of the fixed keyword arguments, or None.
    """

    name: str
    function: CodeReference
    arguments: Pickled | None = None


_COMBINE = Operation.COMBINE  # looking up a member takes longer than all else


@dataclass(slots=True)
class Settings:
    """How the items are run; durations in seconds.

    Attributes:
        retries: Further attempts after an exception or a timeout, per item.
        backoff: Seconds before the first retry, doubling.
        max_backoff: The most that they become, or None.
        jitter: The part of a pause that chance may take away.
        timeout: Seconds per attempt, or None.
        crash_retries: Further attempts after the process died, per item.
        packed: Failures become error slots; the task ends in success.
        capture: As ``packed``, for a whole subtree under a packed item, children included.
        priority: The task's priority, or None.
        partition: The task's partition, or None.
        max_retries: The task's retries by the engine, or None.
        defaults: Options of children that say nothing, by name: those of the client and of the
            blocks around the call, where they differ from the usual.
        on_failure: The pickle of what stands in the place of a value that could not be made:
            ``"skip"``, a function, or a value; None: nothing does.
        retry_on: The pickle of what is tried again; None: everything.
        retry_timeouts: What has run into its timeout is.
        options: Further options of the task for ArmoniK, by name.
        cpus: Processors that it uses, or None.
        memory: Bytes that its process may have, or None.
        gpus: Graphics processors that it wants, or None.
        retry_memory: What has taken more memory than it may is tried again.
        limits: Of each name, how many may run at the same time.
        env: Environment variables that are set while it runs.
        requirements: What is installed where it runs; in order.
    """

    retries: int = RETRIES
    backoff: float = BACKOFF
    timeout: float | None = None
    crash_retries: int = CRASH_RETRIES
    packed: bool = False
    capture: bool = False
    priority: int | None = None
    partition: str | None = None
    max_retries: int | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)
    on_failure: bytes | None = None
    max_backoff: float | None = None
    jitter: float = 0.0
    retry_on: bytes | None = None
    retry_timeouts: bool = True
    options: Mapping[str, str] = field(default_factory=dict)
    cpus: int | None = None
    memory: int | None = None
    gpus: int | None = None
    retry_memory: bool = True
    limits: Mapping[str, int] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    requirements: Sequence[str] = field(default_factory=list)

    @property
    def labels(self) -> dict[str, str]:
        """The task's further options for ArmoniK: the user's, and what it takes and needs."""
        limits = json.dumps(self.limits) if self.limits else None
        wants = {
            CPUS_LABEL: self.cpus,
            MEMORY_LABEL: self.memory,
            GPUS_LABEL: self.gpus,
            named_limits.LABEL: limits,
        }
        needed = dict(to_label(self.requirements))
        return {**self.options, **{k: str(value) for k, value in wants.items() if value}, **needed}

    @property
    def engine_retries(self) -> int:
        """How often the engine tries a task again whose worker was lost."""
        return MAX_RETRIES if self.max_retries is None else self.max_retries

    def pause_after(self, attempt: int) -> float:
        """Most seconds between an attempt that failed and the next, and than a task may take.

        Example:
            >>> Settings(backoff=0.5).pause_after(3)
            2.0
        """
        doublings = min(attempt - 1, 64)
        most = config.MAXIMUM_PAUSE if self.max_backoff is None else self.max_backoff
        return min(self.backoff * 2.0**doublings, most, config.MAXIMUM_PAUSE)

    def draw_pause(self, attempt: int) -> float:
        """The same, but for what chance takes away."""
        return shorten(self.pause_after(attempt), self.jitter)

    @property
    def pauses(self) -> float:
        """Most seconds that all pauses of an item take together.

        Example:
            >>> Settings(retries=100, backoff=1, max_backoff=4).pauses
            395.0
        """
        growing = min(self.retries, 64)
        rest = (self.retries - growing) * self.pause_after(self.retries)
        return sum(map(self.pause_after, range(1, growing + 1))) + rest


@dataclass(slots=True)
class Payload:
    """Everything a worker needs to run one task.

    Attributes:
        operation: What to do.
        name: The node's name, for errors.
        function: The code (None for GATHER).
        modules: The user's own modules that the code may import, or None.
        inputs: Result ids of the dependencies; references in pickles are positions in it.
        constants: Result ids of data that is fetched, not depended on.
        arguments: CALL: pickle of ``(args, kwargs)``. MAP, FILTER: pickle of the fixed keyword
            arguments, or None. COMBINE: pickle of the initial value, or None.
        columns: MAP: one column per iterable; FILTER, COMBINE, GATHER: one column.
        positions: Where its items are in their collection.
        count: Number of items (CALL: 1).
        star: MAP: each item is a tuple of positional arguments.
        calls: MAP: each item is ``(args, kwargs)``: sibling calls, each an item of its own.
        final: COMBINE: an empty column without initial value is an error, not an absent slot.
        collection: The items belong to a collection: errors name their index.
        settings: Retries, timeouts, and so on.
        stages: CALL, MAP, FILTER: further steps, each for every item; the last one's are stored.
            GRAPH: all calls, each after those that it reads.
        key: Seals the errors of the task and of its children (see ``armoflow.codec.seal``).
        origins: Of each input, the name of the node that makes it and, where it holds items of a
            collection, where these are; for errors.
        limits: What the session allows children to ask for, if that is known.
        inline: Seconds for which a graph that it returns is begun where it ran; None: what is usual
            there.
        paces: What calls take that it may return: name, file and line of a function, seconds,
            whether it returns graphs (1) and whether its values are large (2), and how many were
            measured.
        spent: Attempts that its first item has spent, where the graph was that it is of.
        target: Seconds that it should take: if it takes far more, it gives away what it has not
            begun; 0: it runs all of it.
        lost: How many tasks that were to run its items were lost with their workers.
        promised: Size and checksum of what some inputs must be, by their numbers: of those that a
            cache gave.
        versions: What its pickles were written with (see :mod:`armoflow.codec.compatibility`).
    """

    operation: Operation
    name: str
    function: CodeReference | None = None
    modules: CodeReference | None = None
    inputs: list[str] = field(default_factory=list)
    constants: list[str] = field(default_factory=list)
    arguments: Pickled | None = None
    columns: list[list[Piece]] = field(default_factory=list)
    positions: Positions = 0
    count: int = 1
    star: bool = False
    calls: bool = False
    final: bool = False
    collection: bool = False
    settings: Settings = field(default_factory=Settings)
    stages: list[Stage] = field(default_factory=list)
    key: bytes = field(default=b"", repr=False)
    origins: Sequence[tuple[str, Positions | None]] = ()
    limits: Limits | None = None
    inline: float | None = None
    paces: Sequence[Sequence[Any]] = ()
    spent: int = 0
    target: float = 0.0
    lost: int = 0
    promised: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    versions: str = field(default_factory=own_versions)

    @property
    def slot_count(self) -> int:
        """How many slots each output gets."""
        return 1 if self.operation is _COMBINE else self.count

    @property
    def names(self) -> list[str]:
        """The names of the nodes that it runs, step by step."""
        return [self.name, *(stage.name for stage in self.stages)]

    def steps(self) -> Iterator[Payload]:
        """The task step by step: each as a payload of its own, without stages.

        Example:
            >>> fused = Payload(Operation.MAP, "f", stages=[Stage("g", CodeReference("hash"))])
            >>> [(step.name, step.operation.name) for step in fused.steps()]
            [('f', 'MAP'), ('g', 'MAP')]
        """
        if not self.stages or self.operation is Operation.GRAPH:
            yield self
            return
        yield replace(self, stages=[], target=0.0)
        operation = Operation.CALL if self.operation is Operation.CALL else Operation.MAP
        columns: list[list[Piece]] = []
        if operation is Operation.MAP:
            columns = [[InputSlots(PREVIOUS, 0, self.count)]]
        for stage in self.stages:
            yield replace(
                self,
                operation=operation,
                name=stage.name,
                function=stage.function,
                arguments=stage.arguments,
                columns=columns,
                star=False,
                calls=False,
                stages=[],
                target=0.0,
            )

    @property
    def divisible(self) -> bool:
        """Whether it has items that other tasks may run as well, each with a slot of its own."""
        settings, many = self.settings, self.operation in (Operation.MAP, Operation.FILTER)
        return many and self.count > 1 and (settings.packed or settings.capture)
