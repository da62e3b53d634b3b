"""Counts the bytes between a client and an engine."""

from __future__ import annotations

import asyncio
import threading


class Relay(threading.Thread):
    """Passes bytes on to an engine, and counts them.

    Attributes:
        endpoint: Where it listens.
        moved: Bytes, in both directions.
    """

    def __init__(self, upstream: str, directory: str) -> None:
        super().__init__(daemon=True)
        self.endpoint = f"unix:{directory}/relay"
        self.moved = 0
        self._upstream = upstream.removeprefix("unix:")
        self._loop = asyncio.new_event_loop()
        self._served = threading.Event()
        self.start()
        self._served.wait()

    def run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.run_forever()

    def stop(self) -> None:
        """Pass nothing on any more."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self.join()

    async def _serve(self) -> None:
        path = self.endpoint.removeprefix("unix:")
        self._server = await asyncio.start_unix_server(self._connect, path)
        self._served.set()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._upstream)
        await asyncio.gather(self._pass(reader, back), self._pass(there, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            self.moved += len(data)
            writer.write(data)
        writer.close()
