"""What the orchestrator asks of an engine: one interface, two ways to carry it.

:class:`~armoflow.protocol.standard.StandardTransport` speaks the calls that every ArmoniK serves;
:class:`~armoflow.protocol.batch.BatchTransport` the batch extension of the embedded engine.
Both apply the same steps in the same order and give the same guarantees.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from armoflow.codec.container import Buffer
from armoflow.content import DataPart
from armoflow.errors import DataLostError
from armoflow.protocol.engine_info import EngineInfo
from armoflow.protocol.result_handle import Failure, ResultChange, ResultState
from armoflow.protocol.submission import Note, Submission, WireOptions
from armoflow.protocol.traffic import Traffic


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

    async def created(self, session_id: str, prefix: str, *, unowned: bool = False) -> list[str]:
        """The results of a session whose data is to come, and whose names begin so.

        Args:
            session_id: The session.
            prefix: What their names begin with.
            unowned: Only those that no task was submitted for.
        """

    async def owned(self, session_id: str, result_ids: Sequence[str]) -> dict[str, Owned]:
        """What becomes of results, by id; those are left out that the engine does not know."""

    async def forward(self, session_id: str, tasks: Sequence[Submission]) -> None:
        """Submit tasks whose results and payloads are there already."""

    async def unpause(self, session_id: str) -> None:
        """Let a session go on, if it was paused."""

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
    """

    info: EngineInfo
    traffic: Traffic
    looks: Sequence[float]
    batches: int
    collecting: float
    round_trip: float

    @property
    def shared(self) -> SharedSessions:
        """Sessions that several clients come back to."""

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

    async def lay_out(self, session_id: str, submissions: Sequence[Submission], note: Note) -> None:
        """Store what tasks would need, and do not submit them: what they need has failed.

        Args:
            session_id: Where.
            submissions: The tasks, none of which was submitted; inputs are outputs of others of
                them, or have their ids.
            note: Laid out once all have their ids, and stored.

        Raises:
            EngineError: If that was refused.
        """

    async def store(
        self, session_id: str, name: str, parts: Sequence[DataPart], *, lasting: bool = False
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

    async def longest_running(self, session_id: str) -> Sequence[str]:
        """The ids of the tasks that run: of very many, of those that have run for longest."""

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
