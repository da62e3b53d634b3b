"""``python -m tests.realistic``: the engine as a process, with the options of ``armoflow up``."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from armoflow.engine.agents.socket import SocketAgent
from armoflow.engine.command_line import add_engine_arguments, server_options
from armoflow.engine.scheduler import Agent
from armoflow.engine.server import Server, ServerOptions
from armoflow.protocol.grpc_setup import prepare_grpc
from armoflow.system.ending import watch_signals
from tests.integration.engines import WORKER
from tests.realistic.conduct import Conduct, Fate
from tests.realistic.core import BusySeat, TwoStepEngine
from tests.realistic.manners import Manners


class RealisticServer(Server):
    """The embedded engine's server, with another core and other manners.

    Args:
        options: What it is started with.
        fate: Decides what happens.
    """

    def __init__(self, options: ServerOptions, fate: Fate) -> None:
        super().__init__(options)
        self.engine = TwoStepEngine(options.engine, fate)
        self._fate = fate

    def interceptors(self) -> Sequence[Any]:
        """What sees every call, outermost first."""
        return (*super().interceptors(), Manners(self._fate))

    def _make_agent(self, partition: str, workers: int, directory: Path) -> Agent:
        return SocketAgent(
            self.engine,
            partition,
            workers,
            directory,
            commands=[self.options.command],
            environment=self.options.environment,
            calls=self.calls,
            seat=BusySeat,
        )


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.realistic", description=__doc__)
    parser.add_argument("--listen", required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--conduct", type=json.loads, default={}, help="what differs, as JSON")
    parser.add_argument("--costed", action="store_true", help="nothing goes wrong, all takes time")
    parser.add_argument("--counts", type=Path, help="a file that gets what was done, as JSON")
    parser.add_argument("--pods", type=int, help="what its partitions may have at most, they say")
    add_engine_arguments(parser)
    parser.set_defaults(worker=[WORKER], client_lease=0.0, retention=0.0)
    return parser.parse_args(arguments)


async def serve(chosen: argparse.Namespace) -> None:
    """Serve until told to stop."""
    options = server_options(chosen, private=True)
    options = replace(options, extensions=False, engine=replace(options.engine, strict=True))
    if chosen.pods:
        partitions = [replace(one, pod_max=chosen.pods) for one in options.engine.partitions]
        options = replace(options, engine=replace(options.engine, partitions=tuple(partitions)))
    usual = Conduct.costed() if chosen.costed else Conduct()
    fate = Fate(replace(usual, **chosen.conduct), chosen.seed)
    told = watch_signals(options.address.remove_socket)
    server = RealisticServer(options, fate)
    await server.start()
    try:
        print(f"ready: {server.address.url}", flush=True)
        await told.wait()
    finally:
        await server.stop()
        if chosen.counts:
            chosen.counts.write_text(json.dumps(fate.counts))


def main() -> int:
    """Serve; returns the exit code."""
    prepare_grpc()
    chosen = parse()
    logging.basicConfig(level=chosen.log_level.upper())
    asyncio.run(serve(chosen))
    return 0


if __name__ == "__main__":
    sys.exit(main())
