"""What the orchestrator asks of an engine: one interface, two ways to carry it.

:class:`~armoflow.protocol.standard.StandardTransport` speaks the calls that every ArmoniK serves;
:class:`~armoflow.protocol.batch.BatchTransport` the batch extension of the embedded engine.
Both apply the same steps in the same order and give the same guarantees.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from armoflow import config
from armoflow.codec.container import Buffer
from armoflow.content import Part
from armoflow.errors import ArmoflowError, DataLostError
from armoflow.options import MAX_RETRIES, PRIORITY
from armoflow.protocol.traffic import Traffic
from armoflow.tracing import Labels


class ResultState(enum.Enum):
    """What the client knows of a result."""

    PLANNED = "planned"
    CREATED = "created"
    COMPLETED = "completed"
    ABORTED = "aborted"
    DELETED = "deleted"


class Note(Protocol):
    """What is to be known of tasks by whoever goes on with them."""

    def lay_out(self) -> tuple[str, Buffer]:
        """A name, and what is stored under it."""

    async def confirm(self) -> None:
        """Nothing is between this and the submission of the tasks.

        Raises:
            ArmoflowError: If they are not to be submitted: somebody else has taken over.
        """


class TaskState(enum.Enum):
    """What a task does, as far as who waits for it cares."""

    WAITING = "waiting"
    """Its payload or its inputs are not all there."""
    PAUSED = "paused"
    QUEUED = "queued"
    RUNNING = "running"
    REPEATED = "repeated"
    """It was lost with its agent or worker, and taken up again under another id."""
    ENDED = "ended"


class ResultHandle:
    """A result to be: named by the planner, given its id when its batch is submitted.

    The planner, the tasks that still need the result and the futures on it hold the handle; when
    the last of them lets go, ``on_release`` is called with the id and the size (bytes, where it is
    known), and the data can be deleted.
    """

    __slots__ = ("__weakref__", "id", "name", "on_release", "size", "state")

    def __init__(self, name: str = "", id: str = "") -> None:
        self.name = name
        self.id = id
        self.size = 0
        self.state = ResultState.PLANNED if not id else ResultState.CREATED
        self.on_release: Callable[[str, int], None] | None = None

    def __del__(self) -> None:
        if self.on_release is not None and self.id:
            self.on_release(self.id, self.size)

    def __repr__(self) -> str:
        return f"<ResultHandle {self.name!r} {self.id or 'without id'} {self.state.value}>"


@dataclass(frozen=True, slots=True)
class WireOptions:
    """The ArmoniK task options that armoflow sets; seconds for ``max_duration``.

    ``application`` names what the tasks of a session belong to: a session's tasks inherit it.
    ``labels`` are further options, by name: for workers, and for whoever looks.
    """

    max_duration: float
    max_retries: int = MAX_RETRIES
    priority: int = PRIORITY
    partition: str = ""
    application: str = ""
    labels: Labels = ()


@functools.lru_cache(maxsize=64)
def labelled(options: WireOptions, labels: Labels) -> WireOptions:
    """Options with further ones; the same object for the same ones, as far as some are kept."""
    return dataclasses.replace(options, labels=(*options.labels, *labels))


class Submission:
    """One ArmoniK task to be submitted.

    Attributes:
        inputs: Handles of the data dependencies; each has its id, or is an output of an earlier
            submission of the same batch.
        outputs: Handles of the expected outputs, in order; the transport gives them their ids.
        options: The task's ArmoniK options.
        name: The node's name; results are named after it.
        size: Estimated bytes of the payload.
        keep: The outputs stay when nothing needs them any more, and when their session ends.
        cached: The outputs' data outlives everything: what imports it later shall find it.
        wanted: The client will fetch the outputs: an engine that can, sends small ones along.
        task_id: Set by the transport.
        payload_id: Set by the transport, or before for a payload that exists already; empty again
            after the submission where the engine frees it.
        stored: The payload's data is in the engine.
    """

    __slots__ = (
        "cached",
        "inputs",
        "keep",
        "name",
        "options",
        "outputs",
        "payload_id",
        "size",
        "stored",
        "task_id",
        "wanted",
    )

    def __init__(
        self,
        name: str,
        inputs: Sequence[ResultHandle],
        outputs: Sequence[ResultHandle],
        options: WireOptions,
        size: int = 0,
    ) -> None:
        self.name = name
        self.inputs = inputs
        self.outputs = outputs
        self.options = options
        self.size = size
        self.keep = False
        self.cached = False
        self.wanted = False
        self.task_id = ""
        self.payload_id = ""
        self.stored = False

    def pack(self) -> list[Buffer]:
        """Lay out the payload; called once the inputs have their ids."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a result was aborted: the task that owned it, its final status and its error text.

    Attributes:
        partition: Where it ran, if the engine says so.
    """

    task_id: str
    status: str
    error: str
    partition: str = ""


class TaskUnderWay(NamedTuple):
    """A task that runs, or one that was lost and taken up again under another id.

    Attributes:
        task_id: Its id; of what was taken up again, that of the first try.
        parent: The task that submitted it; empty for those of the client.
        repeated: It was lost, and goes on under another id.
    """

    task_id: str
    parent: str
    repeated: bool


@dataclass(frozen=True, slots=True)
class ResultChange:
    """A result was completed or aborted.

    Attributes:
        result_id: Which.
        state: COMPLETED or ABORTED.
        size: Bytes of its data, where known.
        data: The data itself, where the engine sent it along.
        failure: Why it was aborted, where the engine sent it along.
        seconds: How long the task ran, where the engine says.
    """

    result_id: str
    state: ResultState
    size: int = 0
    data: bytes | None = None
    failure: Failure | None = None
    seconds: float | None = None


class InputsAbortedError(ArmoflowError):
    """A batch was refused because some of its inputs are aborted or deleted.

    Nothing of the batch was submitted; ``result_ids`` are the inputs to blame.
    """

    def __init__(self, result_ids: Sequence[str]) -> None:
        super().__init__(f"{len(result_ids)} input(s) are aborted or deleted")
        self.result_ids = frozenset(result_ids)


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What the engine says of itself at connect."""

    core_version: str
    partitions: tuple[str, ...]
    chunk_bytes: int
    extensions: frozenset[str] = field(default_factory=frozenset)
    pods: Mapping[str, int] = field(default_factory=dict)  # at most, by partition

    def pods_of(self, partition: str) -> int:
        """How many pods a partition may have at most; an empty name stands for the default one."""
        return max(self.pods.get(self.name_of(partition), config.UNKNOWN_PODS), 1)

    def name_of(self, partition: str) -> str:
        """A partition's name; of the default one what it is called unless it was renamed."""
        if partition:
            return partition
        return self.partitions[0] if len(self.partitions) == 1 else "default"

    @property
    def frees_payloads(self) -> bool:
        """Whether the engine deletes payloads by itself (stock clusters do, but do not say so)."""
        return "frees-payloads" in self.extensions

    @property
    def commits_at_once(self) -> bool:
        """Whether a task ends in the moment in which its results are there.

        ArmoniK.Core completes the results before the task, which may be lost in between; then it is
        run again, and needs its payload and its inputs.
        """
        return "-armoflow" in self.core_version

    @property
    def propagates_aborts(self) -> bool:
        """Whether a task submitted while its input is being aborted ends too (0.38 and later)."""
        parts = self.core_version.split(".")
        try:
            return (int(parts[0]), int(parts[1])) >= (0, 38)
        except (IndexError, ValueError):
            return False


class EndedTasks(NamedTuple):
    """What the engine says of tasks whose results are there.

    Attributes:
        over: Those that nothing starts again.
        sizes: The bytes of their results' data, by result id.
    """

    over: set[str]
    sizes: dict[str, int]


class LabelledSession(NamedTuple):
    """A session with a label.

    Attributes:
        value: What its label says.
        id: Its id.
        open: Tasks may be submitted to it.
        created: When it was opened, in seconds since 1970.
    """

    value: str
    id: str
    open: bool
    created: float


class StoredPart(NamedTuple):
    """Data that was stored under a name.

    Attributes:
        result_id: Where it is.
        created: When it was stored, in seconds since 1970, by the engine's clock.
    """

    result_id: str
    created: float


class Owned(NamedTuple):
    """What becomes of a result.

    Attributes:
        state: What it is.
        owner: The task that will make it; empty: none was submitted.
    """

    state: ResultState
    owner: str


class SharedSessions(Protocol):
    """Sessions that several clients come back to, one after the other: found by a label."""

    async def open(self, options: WireOptions, label: tuple[str, str]) -> str:
        """Open a session with a label, that no lease ends; returns its id."""

    async def find(self, name: str, value: str | None = None) -> list[LabelledSession]:
        """The sessions with a label that are there still, the oldest first.

        Args:
            name: The label's.
            value: What it says; None: whatever it says.
        """

    async def parts(self, session_id: str, name: str) -> list[StoredPart]:
        """What was stored under names that begin so, in a session; the oldest first."""

    async def names(self, session_id: str, prefix: str) -> list[str]:
        """The names that begin so of the results that are there, in a session."""

    async def owned(self, session_id: str, result_ids: Sequence[str]) -> dict[str, Owned]:
        """What becomes of results, by id; those are left out that the engine does not know."""

    async def forward(self, session_id: str, tasks: Sequence[Submission]) -> None:
        """Submit tasks whose results and payloads are there already."""

    def begun(self, session_id: str) -> None:
        """Somebody has submitted tasks to a session: there is something to watch."""


class Transport(Protocol):
    """The calls that the orchestrator needs; every one may be repeated safely by the transport.

    Attributes:
        info: What the engine says of itself.
        traffic: What is on its way there.
        looks: Seconds after (re)connecting at which to poll: what ends meanwhile may be missed.
        batches: How many are being submitted at once at most.
        collecting: Seconds in which tasks are collected into a batch while another is on its way.
        round_trip: Seconds that a call takes at least; 0 where nothing is called by itself, and
            before the first call.
        shared: Sessions that several clients come back to.
    """

    info: EngineInfo
    traffic: Traffic
    looks: Sequence[float]
    batches: int
    collecting: float
    round_trip: float
    shared: SharedSessions

    async def create_session(self, options: WireOptions, partitions: Sequence[str]) -> str:
        """Open a session over these partitions; returns its id."""

    async def submit(
        self,
        session_id: str,
        submissions: Sequence[Submission],
        named: Callable[[], None],
        note: Note | None = None,
    ) -> None:
        """Create the results, submit the tasks, upload the payloads.

        Args:
            session_id: Where.
            submissions: The tasks; inputs are outputs of earlier ones, or have their ids.
            named: Called as soon as every output has its id (again, if a batch is replaced).
            note: Laid out once inputs, outputs and payloads have their ids, and stored before the
                tasks are submitted, or with them.

        Raises:
            InputsAbortedError: If the batch was refused for aborted inputs: no task was submitted.
                Results that were created keep their ids; those of the batch that need none of
                these inputs may be submitted again.
            EngineError: If it was refused for another reason.
        """

    async def store(
        self, session_id: str, name: str, parts: Sequence[Part], *, lasting: bool = False
    ) -> str:
        """Store data as a completed result; returns its id.

        Args:
            session_id: Where.
            name: What it is called.
            parts: The data.
            lasting: It is little, and stays when the result goes, to be imported later.
        """

    async def import_data(
        self, session_id: str, items: Sequence[tuple[str, bytes]], *, lasting: bool = False
    ) -> list[str]:
        """Make results of data that the engine stores already: (name, opaque id) pairs.

        Args:
            session_id: Where.
            items: What they are called, and what they hold.
            lasting: The data stays when the results go; else it goes with any of them.

        Returns:
            The ids of the new results, in order.

        Raises:
            EngineError: NOT_FOUND, if there is no such data (any more).
        """

    async def located(
        self, session_id: str, result_ids: Sequence[str]
    ) -> dict[str, tuple[bytes, int]]:
        """Opaque id and size of the data of completed results, by result id.

        Raises:
            EngineError: If there is no answer.
        """

    def watch(self, session_id: str) -> AsyncGenerator[Sequence[ResultChange], None]:
        """Changes of the session's results, for ever: reconnects, never loses one, may repeat."""

    def listen(self, hear: Callable[[list[Any]], None], stored: int | None) -> None:
        """Have it told what tasks write: task id, name, level, logger, text of each passage.

        Of all sessions, from the next one on.

        Args:
            hear: Is told, where the engine can.
            stored: Where it cannot, have workers store what has this level at least, and read that;
                None: then it is told nothing.
        """

    async def under_way(self, session_id: str) -> Sequence[TaskUnderWay]:
        """The tasks that run, and those that were lost and taken up again; not all of very many."""

    async def repeated(self, session_id: str) -> Mapping[str, int]:
        """How often items were tried again in tasks that have ended, by their names."""

    async def catch_up(self, session_id: str) -> None:
        """Tell what tasks that have ended wrote, as far as it is told and can be read now."""

    def watch_again(self, session_id: str) -> None:
        """Changes were missed: subscribe anew, where the transport does not see to that itself."""

    async def poll(self, session_id: str, result_ids: Sequence[str]) -> Sequence[ResultChange]:
        """The final ones among these results, asked for directly."""

    async def fetch(
        self, session_id: str, result_ids: Sequence[str]
    ) -> list[Buffer | DataLostError]:
        """Download results, in order; in the place of one whose data is gone, what says so."""

    async def failures(self, session_id: str, result_ids: Sequence[str]) -> dict[str, Failure]:
        """Why results were aborted, by result id."""

    async def producer(self, session_id: str, result_id: str) -> tuple[str, str]:
        """The task that made a result, and the partition in which it ran.

        Raises:
            EngineError: If there is no answer.
        """

    async def task_error(self, task_id: str) -> str:
        """The error of a task, as whole as the engine has it: lists may show a short form.

        Raises:
            EngineError: If there is no answer.
        """

    async def ended_tasks(self, session_id: str, tasks: Mapping[str, Sequence[str]]) -> EndedTasks:
        """Which of these tasks are over for good, of each of which all results are there.

        A task that is tried again is not; one that handed a result to a child is, when that is.

        Args:
            session_id: Where.
            tasks: Their outputs, by task id.

        Raises:
            EngineError: If there is no answer.
        """

    async def durations(self, task_ids: Sequence[str]) -> dict[str, float | None]:
        """How long tasks ran, by task id: seconds, or None where the engine does not say.

        Tasks that have not ended, or did not complete, are left out. Asked once, not repeated.

        Raises:
            EngineError: If there is no answer.
        """

    async def count_tasks(self, session_id: str, partition: str) -> Mapping[TaskState, int]:
        """How many tasks are in which state; empty: of all sessions, in all partitions.

        Raises:
            EngineError: If there is no answer.
        """

    async def delete(self, session_id: str, result_ids: Sequence[str]) -> None:
        """Delete the data of results."""

    async def cancel_tasks(self, session_id: str, task_ids: Sequence[str]) -> None:
        """Cancel tasks that have not ended."""

    async def cancel_session(self, session_id: str) -> None:
        """Cancel everything in a session."""

    async def end_session(self, session_id: str) -> None:
        """Close a session; its data goes, but what is kept and what failed tasks were given."""

    async def close(self) -> None:
        """Close the connection."""
