"""Downloading results: those asked for in the same moment together, bounded in bytes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from armoflow import config
from armoflow.codec.container import keeps_promise, stranger
from armoflow.errors import (
    ArmoflowError,
    ClientClosedError,
    DataLostError,
    EngineUnreachableError,
    EnvelopeError,
    StaleCacheError,
)
from armoflow.orchestrator.blame import Blame
from armoflow.orchestrator.credit import Credit
from armoflow.orchestrator.planned import Result
from armoflow.protocol.transport import Transport

logger = logging.getLogger(__name__)

Callback = Callable[[Result], None]


FIRST_GUESS = 1 * config.MIB
"""Bytes that a result is taken to have before any has come, where the engine does not say."""


class Fetcher:
    """Fetches the data of completed results; lives in the loop's thread.

    As many are under way as the bytes allow. An engine that tells of a result without its size is
    taken to tell of one like those that came before.
    """

    def __init__(self, transport: Transport, session: Callable[[], Awaitable[str]]) -> None:
        self._transport = transport
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._wanted: dict[Result, list[Callback]] = {}
        self._planned = False
        self._running: set[asyncio.Task[None]] = set()
        self._credit = Credit(config.BYTES_FETCHED)
        self._usual: float = FIRST_GUESS
        self._come = 0

    def fetch(self, result: Result, callback: Callback) -> None:
        """Get a result's data, then call back; a failure becomes the result's blame."""
        self._wanted.setdefault(result, []).append(callback)
        if not self._planned:
            self._planned = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._planned = False
        wanted, self._wanted = self._wanted, {}
        group: dict[Result, list[Callback]] = {}
        total = 0
        for result, callbacks in wanted.items():
            size = result.size or int(self._usual)
            if group and (total + size > config.BATCH_BYTES or len(group) >= config.BATCH_TASKS):
                self._start(group, total)
                group, total = {}, 0
            group[result] = callbacks
            total += size
        self._start(group, total)

    def _start(self, group: dict[Result, list[Callback]], size: int) -> None:
        task = self._loop.create_task(self._fetch(group, size))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """Give up what is under way: whoever waits for it is told."""
        running = list(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    async def _fetch(self, group: dict[Result, list[Callback]], size: int) -> None:
        try:
            async with self._credit.lend(size):
                await self._download_all(list(group))
        except asyncio.CancelledError:
            closed = ClientClosedError("the client was closed while values were being downloaded")
            for result in group:
                result.blame = Blame(result.name, error=closed)
        for result, callbacks in group.items():
            for callback in callbacks:
                callback(result)

    async def _download_all(self, results: Sequence[Result]) -> None:
        try:
            await self._download(results)
        except EngineUnreachableError as error:
            for result in results:
                result.blame = Blame(result.name, error=error)
        except Exception:
            # Each alone, to find out which one is to blame.
            await asyncio.gather(*map(self._download_alone, results))

    async def _download(self, results: Sequence[Result]) -> None:
        session_id = await self._session()
        data = await self._transport.fetch(session_id, [result.id for result in results])
        for result, content in zip(results, data, strict=True):
            if isinstance(content, DataLostError):
                lost = DataLostError(f"task {result.name!r} has ended well, but {content}")
                result.blame = Blame(result.name, positions=result.positions, error=lost)
            elif result.promised is not None and not keeps_promise(content, *result.promised):
                told = f"the value of {result.name!r} is not what was kept in the cache"
                error = StaleCacheError(told, result.id)
                result.blame = Blame(result.name, positions=result.positions, error=error)
            elif why := stranger(content):
                foreign = await self._foreign(result, why)
                result.blame = Blame(result.name, positions=result.positions, error=foreign)
            else:
                result.data = content
                result.size = result.size or len(content)
                self._learn(len(content))

    def _learn(self, size: int) -> None:
        """A result has come: the next ones are like the last few."""
        self._come += 1
        self._usual += (size - self._usual) / min(self._come, 8)

    async def _foreign(self, result: Result, why: str) -> EnvelopeError:
        """The error for a result that no worker of this armoflow has written."""
        transport = self._transport
        try:
            task, partition = await transport.producer(await self._session(), result.id)
        except ArmoflowError as error:
            logger.warning("which task has made result %s is unknown: %s", result.id, error)
            task = partition = ""
        where = f" It was made by task {task} in partition {partition!r}." if partition else ""
        others = ", ".join(map(repr, transport.info.partitions))
        return EnvelopeError(
            f"the result of task {result.name!r} was not written by a worker of this armoflow: "
            f"{why}.{where} That partition runs another worker, or one of another version: choose "
            f"one that runs armoflow's, @task(partition=...); the engine has {others}"
        )

    async def _download_alone(self, result: Result) -> None:
        try:
            await self._download([result])
        except Exception as error:  # whatever it is, no memory above all: who waits for it is told
            result.blame = Blame(result.name, error=error)
