"""A bad network between client and engine: slow, lossy, cut, or gone without a word.

A relay of TCP connections in a thread of its own. What it does to bytes is what TCP makes of a bad
network: they come late, in order, or not at all; a lost packet holds up those behind it until it is
sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

PACKET = 1448
CHUNK = 11 * PACKET
RETRANSMISSION = 0.2
"""Seconds after which TCP sends again at the earliest."""


@dataclass(frozen=True)
class Weather:
    """What a network does.

    Attributes:
        round_trip: Seconds that a byte there and one back take.
        bits: Bits a second, in each direction, for all connections together; 0: no limit.
        loss: The part of packets that is lost.
        resets: Connections are reset after so many bytes, about; 0: never.
        freezes: Connections fall silent after so many bytes, about, and are never closed.
        times: How often each of the last two happens, at most.
        ahead: Chunks of 16 KB on their way in one direction: more are not taken from who sends.
    """

    round_trip: float = 0.0
    bits: float = 0.0
    loss: float = 0.0
    resets: int = 0
    freezes: int = 0
    times: int = 1000
    ahead: int = 32


WEATHERS = {
    "none of it": Weather(),
    "50 ms": Weather(round_trip=0.05),
    "10 Mbit/s": Weather(bits=10e6),
    "2 % of packets lost": Weather(round_trip=0.02, loss=0.02),
    "reset every 4 MB": Weather(resets=4_000_000),
    "half-open after 4 MB, twice": Weather(freezes=4_000_000, times=2),
    "all of it": Weather(0.05, 10e6, 0.005, resets=4_000_000, freezes=5_000_000, times=3),
}


@dataclass
class Fate:
    """What happens to a connection once it has carried so many bytes."""

    reset: float
    freeze: float
    carried: int = 0
    frozen: bool = False


class Link:
    """The relay, between a port of its own and a target.

    Args:
        target: Host and port of what is behind it, or the path of its socket.
        weather: What it does.
        seed: Of its dice.

    Attributes:
        port: Where it listens, on the loopback.
        resets: Connections that it has reset.
        freezes: Connections that it has left half-open.
    """

    def __init__(self, target: tuple[str, int] | str, weather: Weather, seed: int = 0) -> None:
        self.resets = self.freezes = 0
        self._target = target
        self._weather = weather
        self._dice = random.Random(seed)
        self._free = {"up": 0.0, "down": 0.0}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="link")
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._connected, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await self._relay(reader, writer)
        except (asyncio.CancelledError, OSError):
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await self._connect()
        fate = self._fate()
        ends = [
            asyncio.create_task(self._pump("up", reader, behind_writer, fate)),
            asyncio.create_task(self._pump("down", behind_reader, writer, fate)),
        ]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
            for each in (writer, behind_writer):
                _reset(each)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, str):
            return await asyncio.open_unix_connection(self._target)
        return await asyncio.open_connection(*self._target)

    def _fate(self) -> Fate:
        """What will happen to a connection."""
        weather = self._weather
        resets = weather.resets * self._dice.uniform(0.5, 1.5)
        freezes = weather.freezes * self._dice.uniform(0.5, 1.5)
        return Fate(
            resets if resets and self.resets < weather.times else math.inf,
            freezes if freezes and self.freezes < weather.times else math.inf,
        )

    async def _pump(
        self,
        way: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        fate: Fate,
    ) -> None:
        """Take what comes, and deliver it when it is due, until the end of one of both."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(self._weather.ahead)
        taking = asyncio.create_task(self._take(reader, waiting))
        try:
            await self._deliver(way, waiting, writer, fate)
        finally:
            taking.cancel()

    async def _take(
        self, reader: asyncio.StreamReader, waiting: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        data = b"-"
        while data:
            data = await reader.read(CHUNK)
            await waiting.put((self._loop.time() + self._weather.round_trip / 2, data))

    async def _deliver(
        self,
        way: str,
        waiting: asyncio.Queue[tuple[float, bytes]],
        writer: asyncio.StreamWriter,
        fate: Fate,
    ) -> None:
        while True:
            due, data = await waiting.get()
            await self._until(due)
            await self._carry(way, len(data))
            if not data:
                return
            if fate.frozen:
                await asyncio.Event().wait()
            writer.write(data)
            await writer.drain()
            fate.carried += len(data)
            if fate.carried > fate.reset:
                self.resets += 1
                return
            if fate.carried > fate.freeze and not fate.frozen:
                self.freezes += 1
                fate.frozen = True

    async def _carry(self, way: str, size: int) -> None:
        """Wait while the line is busy with these bytes, and with what is lost of them."""
        packets = -(-size // PACKET)
        if self._weather.loss and self._dice.random() > (1 - self._weather.loss) ** packets:
            await asyncio.sleep(RETRANSMISSION + self._weather.round_trip)
        if self._weather.bits:
            begin = max(self._free[way], self._loop.time())
            self._free[way] = begin + size * 8 / self._weather.bits
            await self._until(self._free[way])

    async def _until(self, time: float) -> None:
        await asyncio.sleep(max(0.0, time - self._loop.time()))


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection as one that broke: its end is no orderly one."""
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextmanager
def link(target: tuple[str, int] | str, weather: Weather, seed: int = 0) -> Iterator[Link]:
    """A link for the length of a block."""
    started = Link(target, weather, seed)
    try:
        yield started
    finally:
        started.stop()
