"""Calls with an engine that ends their tasks when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from armoflow.codec.envelope import Slot, SlotKind, pack_envelope
from armoflow.graph.nodes import CallNode
from armoflow.orchestrator.calls import Pace, PlainCalls
from armoflow.orchestrator.codebook import CodeBook
from armoflow.orchestrator.constant import Constant
from armoflow.orchestrator.outcomes import is_failure
from armoflow.orchestrator.planned import PlannedTask, Result
from armoflow.orchestrator.planning.plan_settings import PlanSettings
from armoflow.orchestrator.templates import PlainCall
from armoflow.placement import Limits
from armoflow.protocol.result_handle import ResultState

WORKERS = 2
SETTINGS = PlanSettings(workers=WORKERS, limits=Limits(("default",), 10))


class Foreign:
    """Stands for a future inside an argument."""


class Waiting:
    """Gets one value."""

    def __init__(self) -> None:
        self.slot: int | None = None
        self.data: bytes | Slot | None = None
        self.failed = False
        self.error: BaseException | None = None

    def settle_slot(self, result: Result, number: int, slot: bytes | Slot | None) -> None:
        self.slot, self.data = number, slot
        self.failed = slot is None or is_failure(slot)

    def settle_error(self, error: BaseException) -> None:
        self.error = error


class Desk:
    """Calls, with an engine that ends tasks when it is told to."""

    def __init__(self, pace: Pace) -> None:
        self.tasks: list[PlannedTask] = []
        self.cancelled: list[Result] = []
        self.room = True
        self.looks: list[Callable[[bool], None]] = []
        self.on_task: Callable[[PlannedTask], object] = self.tasks.append
        self.on_look: Callable[[Callable[[bool], None]], object] = self.looks.append
        fetch: Any = None
        self.calls = PlainCalls(
            CodeBook(),
            self,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            fetch=fetch,
            pace=pace,
            look=lambda _, told: self.on_look(told),
            watch=lambda _: None,
        )

    def put_now(self, entry: PlannedTask | Constant | Callable[[], None]) -> None:
        if isinstance(entry, PlannedTask):
            self.on_task(entry)

    def has_room(self) -> bool:
        return self.room

    def cancel_result(self, result: Result) -> None:
        self.cancelled.append(result)

    async def add(
        self, *values: Any, settings: PlanSettings = SETTINGS
    ) -> tuple[list[PlainCall], list[Waiting]]:
        nodes: list[CallNode] = [value.node for value in values]
        waiting = [Waiting() for _ in values]
        calls = self.calls.templates.prepare(nodes, settings, frozenset({Foreign}))
        assert calls is not None
        self.calls.start(calls, waiting)
        await turns()
        return calls, waiting

    async def end(self, planned: PlannedTask, seconds: float | None, failed: int = -1) -> None:
        """A task has ended well, but for one slot; the engine says how long it ran."""
        self.finish(planned, failed=failed)
        if seconds is not None and planned.sizer is not None:
            planned.sizer.measured(planned.items, seconds)
        await turns()

    def finish(
        self, planned: PlannedTask, seconds: float | None = None, *, failed: int = -1
    ) -> None:
        """A task has ended well, but for one slot; its result says how long it ran."""
        (result,) = planned.outputs
        slots = [
            Slot(SlotKind.ERROR if slot == failed else SlotKind.VALUE, b"", (b"buffer",))
            for slot in range(planned.items)
        ]
        result.data = b"".join(pack_envelope(slots, seconds))
        result.size = len(result.data)
        result.end(ResultState.COMPLETED)

    def sizes(self) -> list[int]:
        return [planned.items for planned in self.tasks]


async def turns() -> None:
    for _ in range(4):
        await asyncio.sleep(0)
