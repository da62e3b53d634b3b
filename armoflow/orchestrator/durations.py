"""How long tasks ran, asked of an engine that does not say it by itself.

A stock cluster tells that a result is there, not what it took. So a few of the tasks behind the
results are looked up, in one call now and then: enough for the sizes of the batches to come, too
little to be felt. Nothing waits for the answer but a plan that has patience, and nothing fails
with it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from armoflow.orchestrator.planned import PlannedTask
from armoflow.orchestrator.sizes import BatchSizer
from armoflow.protocol.transport import Transport

logger = logging.getLogger(__name__)

SAMPLE = 8
"""Tasks asked for in one call, and kept of one collection until they are."""

COLLECTING = 0.02
"""Seconds between a task's end and the question: others end, and the engine closes its books."""

INTERVAL = 0.25
"""Seconds between two questions, but for what nothing is known of: somebody may wait for that."""

TRIES = 4
"""Questions for one task: its result is there a moment before its end is written down."""


class _DurationQuestion(NamedTuple):
    task: PlannedTask
    sizer: BatchSizer
    tries: int = 0


class Durations:
    """Tells batch sizers what their batches took; lives in the loop's thread.

    Args:
        transport: The way to the engine.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._open: dict[BatchSizer, deque[_DurationQuestion]] = {}
        self._arrived = asyncio.Event()
        self._urgent = asyncio.Event()

    def ended(self, task: PlannedTask) -> None:
        """A task has completed whose duration its sizer would like to know."""
        if task.sizer is not None and task.task_id:
            self._add(_DurationQuestion(task, task.sizer))

    def _add(self, question: _DurationQuestion) -> None:
        if question.tries < TRIES:
            self._open.setdefault(question.sizer, deque(maxlen=SAMPLE)).append(question)
            self._arrived.set()
            if not question.sizer.known and not question.tries:
                self._urgent.set()

    async def run(self) -> None:
        """Ask until cancelled, one question at a time."""
        loop = asyncio.get_running_loop()
        earliest = 0.0
        while True:
            await self._arrived.wait()
            with suppress(TimeoutError, asyncio.TimeoutError):
                await asyncio.wait_for(self._urgent.wait(), max(earliest - loop.time(), 0.0))
            await asyncio.sleep(COLLECTING)
            self._arrived.clear()
            self._urgent.clear()
            sample = self._sample()
            earliest = loop.time() + INTERVAL
            if sample and (tries := await self._ask(sample)):
                # What was asked too early is known in a moment: plans may wait for it.
                earliest = loop.time() + min(INTERVAL, COLLECTING * 2**tries)

    def _sample(self) -> list[_DurationQuestion]:
        """The newest of each collection in turn; those that nobody is curious about are dropped."""
        sample: list[_DurationQuestion] = []
        while self._open and len(sample) < SAMPLE:
            for sizer, questions in list(self._open.items()):
                if sizer.curious and len(sample) < SAMPLE:
                    sample.append(questions.pop())
                if not questions or not sizer.curious:
                    del self._open[sizer]
        if self._open:
            self._arrived.set()
        return sample

    async def _ask(self, sample: Sequence[_DurationQuestion]) -> int:
        """Ask about some; returns how often that was tried for those still unanswered, or 0."""
        durations: dict[str, float | None]
        try:
            durations = await self._transport.durations([task.task_id for task, _, _ in sample])
        except Exception as error:  # whatever it is: sizes go by count then
            logger.debug("the durations of %d tasks are not known: %s", len(sample), error)
            durations = {task.task_id: None for task, _, _ in sample}
        unanswered = 0
        for task, sizer, tries in sample:
            if task.task_id not in durations:
                self._add(_DurationQuestion(task, sizer, tries + 1))
                unanswered = max(unanswered, tries + 1)
            elif (seconds := durations[task.task_id]) is None:
                sizer.unmeasurable()
            else:
                task.measured(seconds)
        return unanswered
