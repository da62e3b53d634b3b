"""The ``armoflow`` command."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from armoflow.cli.up import add_up
from armoflow.cli.worker import add_worker
from armoflow.errors import ArmoflowError
from armoflow.protocol.grpc_setup import prepare_grpc
from armoflow.system.descriptors import open_standard_streams

EXIT_USAGE = 2
EXIT_INTERRUPTED = 128 + signal.SIGINT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    open_standard_streams()
    prepare_grpc()
    try:
        chosen = make_parser().parse_args(arguments)
        code: int = chosen.run(chosen)
    except KeyboardInterrupt:  # before the command has begun to look after signals itself
        return EXIT_INTERRUPTED
    except ArmoflowError as error:
        print(f"armoflow: error: {error}", file=sys.stderr)
        return EXIT_USAGE
    return code


def make_parser() -> argparse.ArgumentParser:
    """The parser with all commands."""
    parser = argparse.ArgumentParser(prog="armoflow", description="Python workflows on ArmoniK.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add_up(commands)
    add_worker(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
