"""A proxy between client and engine that breaks what it is told to break.

Two parts in a process of its own: a relay of bytes, whose connections can be cut as a network cuts
them, and behind it a gRPC server that forwards any method as raw messages and knows which is which.

A method is named like ``Tasks/SubmitTasks``; a request on the batch extension's stream like
``Connect/SUBMIT``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COMMAND_TIMEOUT = 60.0

LONG_STREAMS = ("Events/GetEvents", "Extension/Connect")

CHANGES = "Connect/CHANGES"
"""What the batch extension tells unasked: may be held, unlike other single frames."""


class Proxy:
    """Starts the proxy and tells it what to break.

    Args:
        upstream: The engine's endpoint, a ``unix:`` one.
    """

    def __init__(self, upstream: str) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="af-")
        self.endpoint = f"unix:{self._directory.name}/s"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.proxy", upstream, self._directory.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            cwd=Path(__file__).parents[2],
        )
        assert self._read() == "ready"

    def cut(self, method: str, when: str, times: int = 1) -> None:
        """Cut all connections in a call.

        Args:
            method: Which.
            when: ``"before"`` it is forwarded, ``"midway"`` through its data, or ``"after"`` it was
                carried out and before the client gets the answer.
            times: In how many calls.
        """
        self._tell("cut", method, when, times)

    def refuse(self, method: str) -> None:
        """Answer calls of a method with PERMISSION_DENIED."""
        self._tell("refuse", method)

    def cut_now(self) -> None:
        """Cut all connections."""
        self._tell("cut_now")

    def hold(self, method: str) -> None:
        """Let no answer of a method through, on calls under way too, until ``release``."""
        self._tell("hold", method)

    def release(self, method: str) -> None:
        """Let what was held through."""
        self._tell("release", method)

    def silence(self, method: str) -> None:
        """Let no answer through on the calls of a method that are under way; never again."""
        self._tell("silence", method)

    def delay(self, method: str) -> None:
        """Forward no call of a method until ``release``."""
        self._tell("delay", method)

    def wait_for(self, method: str, count: int = 1) -> None:
        """Wait until so many calls of a method came since ``reset``."""
        self._tell("wait", method, count)

    def wait_for_answer(self, method: str, count: int = 1) -> None:
        """Wait until the engine has answered so many calls of a method since ``reset``."""
        self._tell("wait", f"{method} answered", count)

    def wait_for_cuts(self, count: int = 1) -> None:
        """Wait until so many cuts were made since ``reset``."""
        self._tell("wait", "cut", count)

    def reset(self) -> None:
        """Forget all rules and counts."""
        self._tell("reset")

    def stop(self) -> None:
        """End it."""
        assert self._process.stdin and self._process.stdout
        self._process.kill()
        self._process.wait(COMMAND_TIMEOUT)
        self._process.stdin.close()
        self._process.stdout.close()
        self._directory.cleanup()

    def _tell(self, *command: Any) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(command) + "\n")
        assert self._read() == "done", f"{command} was not done"

    def _read(self) -> str:
        assert self._process.stdout
        timer = threading.Timer(COMMAND_TIMEOUT, self._process.kill)
        timer.start()
        try:
            return self._process.stdout.readline().strip()
        finally:
            timer.cancel()


@contextmanager
def proxy(upstream: str) -> Iterator[Proxy]:
    """A proxy for the length of a block."""
    started = Proxy(upstream)
    try:
        yield started
    finally:
        started.stop()


# --- the process ----------------------------------------------------------------------------------


class Relay:
    """Copies bytes from one Unix socket to another, until it is told to cut."""

    def __init__(self, path: str, target: str) -> None:
        self._path = path
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._connected, self._path)

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(self._target)
        self._writers |= {writer, inner_writer}
        with contextlib.suppress(asyncio.CancelledError):  # the proxy ends
            await asyncio.gather(self._copy(reader, inner_writer), self._copy(inner_reader, writer))
        self._writers -= {writer, inner_writer}

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()


class Rules:
    """What to break, and what came."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.changed = asyncio.Condition()
        self.cuts: dict[tuple[str, str], int] = {}
        self.refused: set[str] = set()
        self.held: dict[str, asyncio.Event] = {}
        self.delayed: dict[str, asyncio.Event] = {}
        self.streams: dict[Forwarding, str] = {}

    async def count(self, name: str) -> None:
        async with self.changed:
            self.counts[name] += 1
            self.changed.notify_all()

    async def wait(self, name: str, count: int) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: self.counts[name] >= count)

    def take_cut(self, method: str, when: str) -> bool:
        left = self.cuts.get((method, when), 0)
        if left:
            self.cuts[method, when] = left - 1
        return left > 0

    def reset(self) -> None:
        for event in (*self.held.values(), *self.delayed.values()):
            event.set()
        self.counts.clear()
        self.cuts.clear()
        self.refused.clear()
        self.held.clear()
        self.delayed.clear()


class Forwarding:
    """One call on its way."""

    def __init__(self, server: Server, method: str, context: Any) -> None:
        self.silent = asyncio.Event()
        self._server = server
        self._rules = server.rules
        self._context = context
        self._method = method
        self._name = "/".join(part.rpartition(".")[2] for part in method.strip("/").split("/"))
        self._asked: set[str] = set()
        self._changes = b""
        self._writing = asyncio.Lock()
        self._cuts_before = server.cuts

    async def run(self, requests: AsyncIterator[bytes]) -> None:
        self._rules.streams[self] = self._name
        try:
            await self._came(self._name)
            if self._name in self._rules.refused:
                import grpc

                await self._context.abort(grpc.StatusCode.PERMISSION_DENIED, "not for you")
            await self._forward(requests)
        finally:
            del self._rules.streams[self]

    async def _forward(self, requests: AsyncIterator[bytes]) -> None:
        import grpc

        call = self._server.channel.stream_stream(self._method)(
            self._outwards(requests),
            timeout=self._context.time_remaining(),
            metadata=[
                entry
                for entry in self._context.invocation_metadata()
                if entry[0].startswith("armoflow-")
            ],
        )
        helpers = []
        if self._name in LONG_STREAMS:
            helpers = [
                asyncio.create_task(self._headers(call)),
                asyncio.create_task(self._write_changes()),
            ]
        count = 0
        try:
            while (message := await call.read()) is not grpc.aio.EOF:
                await self._answered(message)
                count += 1
                await self._cut_midway(count)
                await self._let_through()
                passed = self._without_changes(message)
                if passed or not message:  # a reply may be empty
                    await self._write(passed)
            await self._let_through()
            code = await call.code()
            if code is not grpc.StatusCode.OK:
                await self._context.abort(code, await call.details())
        except grpc.aio.AioRpcError as error:
            await self._let_through()
            await self._context.abort(error.code(), error.details())
        finally:
            for helper in helpers:
                helper.cancel()
            call.cancel()

    async def _headers(self, call: Any) -> None:
        await call.initial_metadata()
        async with self._writing:
            await self._context.send_initial_metadata(())

    async def _outwards(self, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        count = 0
        async for message in requests:
            for name in frame_names(self._name, message):
                await self._came(name)
            yield message
            count += 1
            await self._cut_midway(count)
        if self._server.cuts > self._cuts_before:
            # A stream that was cut looks like one that ended: it must not be ended for the engine.
            await asyncio.Event().wait()

    async def _came(self, name: str) -> None:
        await self._rules.count(name)
        if name in self._rules.delayed:
            await self._rules.delayed[name].wait()
        if self._rules.take_cut(name, "before"):
            await self._server.cut()
            await asyncio.Event().wait()  # until the cut ends this call
        self._asked.add(name)

    async def _cut_midway(self, count: int) -> None:
        if count == 2 and self._rules.take_cut(self._name, "midway"):
            await self._server.cut()
            await asyncio.Event().wait()

    async def _answered(self, message: bytes) -> None:
        await self._rules.count(f"{self._name} answered")
        asked, self._asked = self._asked, set()
        if any(self._rules.take_cut(name, "after") for name in asked):
            await self._server.cut()
            await asyncio.Event().wait()

    async def _write(self, message: bytes) -> None:
        async with self._writing:
            await self._context.write(message)

    def _without_changes(self, message: bytes) -> bytes:
        """The message, without the changes in it if these are held."""
        if CHANGES not in self._rules.held or not self._name.endswith("Extension/Connect"):
            return message
        import msgpack

        from armoflow.protocol.frames import Kind

        rest = b""
        for frame in unpack(message):
            data = msgpack.packb(frame, use_bin_type=True)
            if frame[1] == Kind.CHANGES:
                self._changes += data
            else:
                rest += data
        return rest

    async def _write_changes(self) -> None:
        """Write what was held once it is released."""
        while True:
            async with self._rules.changed:
                await self._rules.changed.wait_for(
                    lambda: self._changes and CHANGES not in self._rules.held
                )
            changes, self._changes = self._changes, b""
            await self._write(changes)

    async def _let_through(self) -> None:
        if self.silent.is_set():
            await asyncio.Event().wait()
        if self._name in self._rules.held:
            await self._rules.held[self._name].wait()


def frame_names(method: str, message: bytes) -> list[str]:
    """The requests in one message of the batch extension."""
    if not method.endswith("Extension/Connect"):
        return []
    from armoflow.protocol.frames import Kind

    return [f"Connect/{Kind(frame[1]).name}" for frame in unpack(message)]


def unpack(message: bytes) -> Any:
    """The frames in a message."""
    import msgpack

    unpacker = msgpack.Unpacker(raw=False, max_buffer_size=len(message) + 1, strict_map_key=False)
    unpacker.feed(message)
    return unpacker


class Server:
    """The two parts, and the commands."""

    def __init__(self, upstream: str, directory: str) -> None:
        self.rules = Rules()
        self.cuts = 0
        self._upstream = upstream
        self._inner = f"{directory}/i"
        self._relay = Relay(f"{directory}/s", self._inner)

    async def serve(self) -> None:
        import grpc

        server = self

        class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
            def service(self, details: Any) -> Any:
                async def forward(requests: AsyncIterator[bytes], context: Any) -> None:
                    await Forwarding(server, details.method, context).run(requests)

                return grpc.stream_stream_rpc_method_handler(forward)

        unlimited = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.default_authority", "localhost"),
        ]
        # The engine may be started again: the way back to it is short.
        unlimited.append(("grpc.max_reconnect_backoff_ms", 200))
        self.channel = grpc.aio.insecure_channel(self._upstream, options=unlimited)
        grpc_server = grpc.aio.server(options=unlimited[:2])
        grpc_server.add_generic_rpc_handlers((Handler(),))
        grpc_server.add_insecure_port(f"unix:{self._inner}")
        await grpc_server.start()
        await self._relay.start()
        print("ready", flush=True)
        await self._obey()

    async def cut(self) -> None:
        self.cuts += 1
        self._relay.cut()
        await self.rules.count("cut")

    async def _obey(self) -> None:
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
        )
        while line := await reader.readline():
            command, *arguments = json.loads(line)
            await getattr(self, f"_do_{command}")(*arguments)
            print("done", flush=True)

    async def _do_cut(self, method: str, when: str, times: int) -> None:
        self.rules.cuts[method, when] = times

    async def _do_refuse(self, method: str) -> None:
        self.rules.refused.add(method)

    async def _do_cut_now(self) -> None:
        await self.cut()

    async def _do_hold(self, method: str) -> None:
        self.rules.held[method] = asyncio.Event()

    async def _do_delay(self, method: str) -> None:
        self.rules.delayed[method] = asyncio.Event()

    async def _do_release(self, method: str) -> None:
        for events in (self.rules.held, self.rules.delayed):
            if method in events:
                events.pop(method).set()
        async with self.rules.changed:
            self.rules.changed.notify_all()

    async def _do_silence(self, method: str) -> None:
        for stream, name in self.rules.streams.items():
            if name == method:
                stream.silent.set()

    async def _do_wait(self, name: str, count: int) -> None:
        await self.rules.wait(name, count)

    async def _do_reset(self) -> None:
        self.rules.reset()


if __name__ == "__main__":
    asyncio.run(Server(sys.argv[1], sys.argv[2]).serve())
