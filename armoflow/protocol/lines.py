"""The connections that data goes over: one, and more where that is full and the engine far away.

A connection carries about a hundred calls at once, whatever they are. Where each takes a long round
trip, that many are soon under way, and then the distance is what limits the rate: so another
connection is opened, and used as soon as it stands.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import grpc
from armonik.protogen.client import results_service_pb2_grpc

from armoflow import config

logger = logging.getLogger(__name__)


class Line:
    """A connection, as data uses it.

    Args:
        results: The stub of the results service on it.

    Attributes:
        free: How many more calls it carries.
    """

    __slots__ = ("free", "results")

    def __init__(self, results: Any) -> None:
        self.results = results
        self.free = config.TRANSFERS


class Lines:
    """Gives each transfer a line; lives in the loop's thread.

    Args:
        results: The stub of the results service on the connection that there is.
        another: Opens another channel to the same engine; None: there is only this one.
        round_trip: Gives the seconds that a call takes at least.
    """

    def __init__(
        self,
        results: Any,
        another: Callable[[], grpc.aio.Channel] | None,
        round_trip: Callable[[], float],
    ) -> None:
        self._lines = [Line(results)]
        self._another = another
        self._round_trip = round_trip
        self._waiting: deque[asyncio.Future[Line]] = deque()
        self._channels: list[grpc.aio.Channel] = []
        self._opening: asyncio.Task[None] | None = None

    async def take(self) -> Line:
        """A line with room for one more call, which is to be given back."""
        for line in self._lines:
            if line.free:
                line.free -= 1
                return line
        self._open_another()
        turn: asyncio.Future[Line] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(turn.result())  # its turn had come
            raise

    def give_back(self, line: Line) -> None:
        """A call over a line has ended."""
        line.free += 1
        self._hand_out(line)

    async def close(self) -> None:
        """Close what was opened here."""
        if self._opening is not None:
            self._opening.cancel()
            with suppress(asyncio.CancelledError):
                await self._opening
        for channel in self._channels:
            await channel.close()

    def _hand_out(self, line: Line) -> None:
        while line.free and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # else who waited has given up
                line.free -= 1
                turn.set_result(line)

    def _open_another(self) -> None:
        if self._another is None or self._opening is not None:
            return
        wanted = 1 + int(self._round_trip() / config.LINE_SECONDS)
        if len(self._lines) < min(wanted, config.LINES):
            self._opening = asyncio.create_task(self._open(self._another()))

    async def _open(self, channel: grpc.aio.Channel) -> None:
        self._channels.append(channel)
        await channel.channel_ready()
        self._opening = None
        line = Line(results_service_pb2_grpc.ResultsStub(channel))
        self._lines.append(line)
        self._hand_out(line)
        if self._waiting:
            self._open_another()
