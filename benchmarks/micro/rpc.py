"""A message over gRPC and back on one Unix socket, with and without grpcio's thread pool.

    python -m benchmarks.micro.rpc

Why ``armoflow.protocol.grpc_setup`` sets an experiment: medians of processes that take turns.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

ROUNDS = 3
MESSAGES = 2_000
METHOD = "/benchmark.Echo/Connect"


async def serve(address: str) -> None:
    import grpc

    async def echo(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for message in requests:
            yield message

    handler = grpc.stream_stream_rpc_method_handler(echo)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("benchmark.Echo", {"Connect": handler}),)
    )
    server.add_insecure_port(address)
    await server.start()
    print("ready", flush=True)
    await server.wait_for_termination()


async def call(address: str) -> None:
    import grpc

    options = [("grpc.default_authority", "localhost")]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        stream = channel.stream_stream(METHOD)()
        times = []
        for _ in range(MESSAGES):
            started = time.perf_counter()
            await stream.write(b"x" * 500)
            await stream.read()
            times.append(time.perf_counter() - started)
        stream.cancel()
    print(1e6 * statistics.median(times), flush=True)


def measure(directory: Path, experiments: str) -> float:
    """Microseconds of one round trip."""
    address = f"unix:{directory / 'echo.sock'}"
    environment = {**os.environ, "GRPC_EXPERIMENTS": experiments}
    command = [sys.executable, __file__]
    with subprocess.Popen(
        [*command, "serve", address], env=environment, stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        try:
            called = subprocess.run(
                [*command, "call", address], env=environment, stdout=subprocess.PIPE, check=True
            )
        finally:
            server.terminate()
    return float(called.stdout)


def main() -> None:
    from armoflow.protocol.grpc_setup import _EXPERIMENTS

    ways = {"as it comes": "", "without the pool": _EXPERIMENTS}
    found: dict[str, list[float]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as directory:
        for _ in range(ROUNDS):
            for way, experiments in ways.items():
                found[way].append(measure(Path(directory), experiments))
    for way, times in found.items():
        print(f"{way:18} {statistics.median(times):6.0f} us")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        what = {"serve": serve, "call": call}[sys.argv[1]]
        try:
            import uvloop

            uvloop.run(what(sys.argv[2]))
        except ImportError:
            asyncio.run(what(sys.argv[2]))
    else:
        main()
