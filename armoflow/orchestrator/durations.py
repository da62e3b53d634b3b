"""How long tasks ran, asked of an engine that does not say it by itself.

A stock cluster tells that a result is there, not what it took. So a few of the results are read,
now and then, for the worker writes it into them; of those that are large, or gone already, the
tasks are looked up in one call, though what the engine says has the agent's time in it. That is
enough for the sizes of the batches to come, and too little to be felt. Nothing waits for the
answer but a plan that has patience, and nothing fails with it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from armoflow import config
from armoflow.codec.container import Buffer
from armoflow.codec.envelope import unpack_told
from armoflow.errors import DataLostError, EnvelopeError
from armoflow.orchestrator.planned import PlannedTask, Result
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
    result_id: str  # and not the result: what is held here is not let go
    size: int
    tries: int = 0


class Durations:
    """Tells batch sizers what their batches took; lives in the loop's thread.

    Args:
        transport: The way to the engine.
        session: The id of the session, once there is one.
    """

    def __init__(
        self, transport: Transport, session: Callable[[], str | None] = lambda: None
    ) -> None:
        self._transport = transport
        self._session = session
        self._open: dict[BatchSizer, deque[_DurationQuestion]] = {}
        self._arrived = asyncio.Event()
        self._urgent = asyncio.Event()

    def ended(self, task: PlannedTask, result: Result) -> None:
        """A task has completed, with this result at last, and its sizer would like to know more."""
        if task.sizer is not None and task.task_id:
            self._add(_DurationQuestion(task, task.sizer, result.id, result.size))

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
            earliest = loop.time() + INTERVAL
            if tries := await self._ask(self._sample()):
                # What was asked too early is known in a moment: plans may wait for it.
                earliest = loop.time() + min(INTERVAL, COLLECTING * 2**tries)

    def _sample(self) -> list[_DurationQuestion]:
        """The newest of each collection in turn; those that nobody is curious about are dropped."""
        sample: list[_DurationQuestion] = []
        while self._open and len(sample) < SAMPLE:
            for sizer, questions in list(self._open.items()):
                curious = questions[-1].task.curious
                if curious and len(sample) < SAMPLE:
                    sample.append(questions.pop())
                if not questions or not curious:
                    del self._open[sizer]
        if self._open:
            self._arrived.set()
        return sample

    async def _ask(self, sample: Sequence[_DurationQuestion]) -> int:
        """Ask about some; returns how often that was tried for those still unanswered, or 0.

        None of them is held any more then: what a task is given goes with it.
        """
        if not sample:
            return 0
        durations: dict[str, float | None]
        sizes: dict[str, int] = {}
        durations = {**await self._read(sample)}
        left = [question for question in sample if question.task.task_id not in durations]
        try:
            if left:
                sizes = await self._weigh(left)
                ids = [question.task.task_id for question in left]
                durations.update(await self._transport.durations(ids))
        except Exception as error:  # whatever it is: sizes go by count then
            logger.debug("the durations of %d tasks are not known: %s", len(left), error)
            durations.update(dict.fromkeys([question.task.task_id for question in left]))
        unanswered = 0
        for question in sample:
            task, sizer, result_id, size, tries = question
            if task.task_id not in durations:
                self._add(question._replace(tries=tries + 1))
                unanswered = max(unanswered, tries + 1)
            elif (seconds := durations[task.task_id]) is None:
                sizer.unmeasurable()
            else:
                task.measured(seconds, size or sizes.get(result_id, 0))
        return unanswered

    async def _weigh(self, sample: Sequence[_DurationQuestion]) -> dict[str, int]:
        """The bytes of results whose event did not say it."""
        unknown = [question.result_id for question in sample if not question.size]
        session_id = self._session()
        if not unknown or session_id is None:
            return {}
        changes = await self._transport.poll(session_id, unknown)
        return {change.result_id: change.size for change in changes}

    async def _read(self, sample: Sequence[_DurationQuestion]) -> dict[str, float]:
        """The seconds that results tell of, by the ids of their tasks."""
        asked = [
            question
            for question in sample
            if 0 < question.size <= config.INLINE_DATA_LIMIT and not question.tries
        ]
        session_id = self._session()
        if not asked or session_id is None:
            return {}
        try:
            ids = [question.result_id for question in asked]
            contents = await self._transport.fetch(session_id, ids)
        except Exception as error:  # the tasks are looked up, then
            logger.debug("%d results are not there to be read: %s", len(asked), error)
            return {}
        told = {}
        for question, content in zip(asked, contents, strict=True):
            seconds = _seconds(content)
            if seconds is not None:
                told[question.task.task_id] = seconds
        return told


def _seconds(content: Buffer | DataLostError) -> float | None:
    if isinstance(content, DataLostError):
        return None
    try:
        seconds = unpack_told(content)[1].get("seconds")
    except EnvelopeError:  # whoever reads it is told what is wrong
        return None
    return seconds if isinstance(seconds, float) else None
