"""A seat with a real child process, and payloads to run on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from armoflow.agent.effects import Effects, StagedFile
from armoflow.agent.passages import Passage
from armoflow.codec.container import Buffer
from armoflow.codec.envelope import Slot, SlotKind, pack_envelope, unpack_envelope
from armoflow.codec.failure import ErrorRecord
from armoflow.codec.functions import encode_function
from armoflow.codec.payload import (
    CodeReference,
    Operation,
    Payload,
    Pickled,
    PickledItems,
    Piece,
    Settings,
    Values,
)
from armoflow.codec.payload_layout import pack_payload
from armoflow.codec.pickling import dumps, loads
from armoflow.worker.environment import worker_environment
from armoflow.worker.spares import Spares
from armoflow.worker.supervisor import ChildSupervisor
from armoflow.worker.work import Assignment, TaskEnding

PATIENCE = 60.0
KEY = b"the session's own"


def code(function: Callable[..., Any]) -> CodeReference:
    encoded = encode_function(function)
    return CodeReference(encoded.digest, encoded.data)


def call(
    function: Callable[..., Any], *args: Any, settings: Settings | None = None, **kwargs: Any
) -> Payload:
    return Payload(
        Operation.CALL,
        function.__name__,
        code(function),
        arguments=dumps((args, kwargs)),
        settings=settings or Settings(),
        key=KEY,
    )


def collection(
    operation: Operation,
    function: Callable[..., Any] | None,
    *columns: Sequence[Piece],
    settings: Settings | None = None,
    **fields: Any,
) -> Payload:
    return Payload(
        operation,
        function.__name__ if function else "gather",
        None if function is None else code(function),
        columns=[list(column) for column in columns],
        count=sum(piece.length for piece in columns[0]),
        collection=operation is not Operation.COMBINE,
        settings=settings or Settings(packed=True),
        key=KEY,
        **fields,
    )


def values(*items: Any) -> list[Piece]:
    return [Values(dumps(list(items)).data, len(items))]


def items(*objects: Any) -> list[Piece]:
    return [PickledItems([dumps(item) for item in objects])]


def encode(payload: Payload) -> bytes:
    return b"".join(pack_payload(payload))


def envelope(*slots: Any) -> bytes:
    """Stored values; Slots as they are, None is absent."""
    return b"".join(
        pack_envelope(
            slot if slot is None or isinstance(slot, Slot) else value_slot(slot) for slot in slots
        )
    )


def value_slot(value: Any) -> Slot:
    pickled = dumps(value)
    return Slot(SlotKind.VALUE, pickled.data, pickled.buffers)


def read_slots(data: Buffer) -> list[Slot]:
    return unpack_envelope(data)


def read(data: Buffer) -> list[Any]:
    """Values; error records and None for what has none."""
    return [_read(slot) for slot in unpack_envelope(data)]


def _read(slot: Slot) -> Any:
    if slot.kind is SlotKind.VALUE:
        return loads(Pickled(slot.data, slot.buffers))
    return None if slot.kind is SlotKind.ABSENT else ErrorRecord.decode(slot.data, KEY)


def output(outcome: TaskEnding, index: int = 0) -> list[Any]:
    assert outcome.effects is not None, outcome.error
    data = outcome.effects.data[outcome.work.outputs[index]]
    if isinstance(data, StagedFile):
        content = Path(data.path).read_bytes()
        assert len(content) == data.size
        return read(content)
    return read(data)


def record(outcome: TaskEnding) -> ErrorRecord:
    assert outcome.effects is None
    found = ErrorRecord.find(outcome.error, KEY)
    assert found is not None, outcome.error
    return found


class Seat:
    """A host that collects what a supervisor tells."""

    def __init__(self, directory: Path, spares: Spares | None = None, **options: Any) -> None:
        options.setdefault("delay", None)
        options.setdefault("environment", worker_environment())
        self.spares = spares or Spares(directory, **options)
        self.supervisor = ChildSupervisor(self, self.spares)
        self.outcomes: dict[int, TaskEnding] = {}
        self.order: list[int] = []
        self.back: list[Assignment] = []
        self.paused_works: list[tuple[int, float]] = []
        self.stored: dict[str, Any] = {}
        self.requests: list[tuple[str, Any]] = []
        self.passages: list[Passage] = []
        self._changed = asyncio.Event()
        self._count = 0

    async def stop(self) -> list[Assignment]:
        left = await self.supervisor.stop()
        await self.spares.stop()
        return left

    # --- host ---

    def completed(self, supervisor: ChildSupervisor, outcomes: Sequence[TaskEnding]) -> None:
        for outcome in outcomes:
            assert outcome.work.key not in self.outcomes
            self.outcomes[outcome.work.key] = outcome
            self.order.append(outcome.work.key)
        self._changed.set()

    def returned(self, supervisor: ChildSupervisor, works: Sequence[Assignment]) -> None:
        self.back.extend(works)
        self._changed.set()

    def paused(self, supervisor: ChildSupervisor, work: Assignment, seconds: float) -> None:
        self.paused_works.append((work.key, seconds))
        asyncio.get_running_loop().call_later(seconds, supervisor.send, [work])
        self._changed.set()

    def lagging(self, supervisor: ChildSupervisor, running: Assignment) -> None:
        pass

    def printed(self, passages: Sequence[Passage]) -> None:
        self.passages.extend(passages)
        self._changed.set()

    async def answer(self, work: Assignment, method: str, argument: Any) -> Any:
        self.requests.append((method, argument))
        if method == "fetch":
            if argument not in self.stored:
                raise KeyError(f"no data for {argument}")
            return self.stored[argument]
        if method == "store_results":
            return [f"stored-{name}" for name, _ in argument]
        raise NotImplementedError(method)

    # --- driving ---

    def work(
        self,
        payload: Payload,
        inputs: Mapping[str, Any] | None = None,
        outputs: int = 1,
        **fields: Any,
    ) -> Assignment:
        key = self._count
        self._count += 1
        return Assignment(
            f"task-{key}",
            "session",
            [f"output-{key}-{number}" for number in range(outputs)],
            encode(payload),
            dict(inputs or {}),
            key=key,
            **fields,
        )

    async def run(
        self, *payloads: Payload, inputs: Mapping[str, Any] | None = None, outputs: int = 1
    ) -> list[TaskEnding]:
        works = [self.work(payload, inputs, outputs) for payload in payloads]
        self.supervisor.send(works)
        await self.wait_for(works)
        return [self.outcomes[work.key] for work in works]

    async def wait_for(self, works: Sequence[Assignment]) -> None:
        await self.until(lambda: all(work.key in self.outcomes for work in works))

    async def until(self, condition: Callable[[], bool]) -> None:
        async def wait() -> None:
            while not condition():
                self._changed.clear()
                await self._changed.wait()

        await asyncio.wait_for(wait(), PATIENCE)

    def effects(self, key: int) -> Effects:
        effects = self.outcomes[key].effects
        assert effects is not None
        return effects


@asynccontextmanager
async def seat(directory: Path, **options: Any) -> AsyncIterator[Seat]:
    host = Seat(directory, **options)
    try:
        yield host
    finally:
        await host.stop()


async def file_appears(path: Path) -> None:
    """A task says through a file that it has come so far: there is no other channel to its code."""

    async def poll() -> None:
        while not path.exists():
            await asyncio.sleep(0.005)

    await asyncio.wait_for(poll(), PATIENCE)
