"""``armoflow up``: an engine that stays."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

DEFAULT_LISTEN = "127.0.0.1:5001"


def add_up(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    from armoflow.engine.arguments import add_engine_arguments

    parser = commands.add_parser(
        "up",
        help="start an engine that stays",
        description="Start an engine on this machine, and serve until it is told to stop "
        "(Ctrl-C, SIGTERM). What it was given survives: start it again with the same --state.",
    )
    parser.add_argument(
        "--listen",
        default=DEFAULT_LISTEN,
        metavar="ADDRESS",
        help="host:port on this machine's loopback, or unix:/path (default: %(default)s)",
    )
    parser.add_argument(
        "--state",
        type=Path,
        default=default_state(),
        metavar="DIRECTORY",
        help="where sessions, tasks and data are kept (default: %(default)s)",
    )
    add_engine_arguments(parser)
    parser.set_defaults(run=run_up)


def default_state() -> Path:
    """``$XDG_STATE_HOME/armoflow``, or ``~/.local/state/armoflow``."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "armoflow"


def run_up(arguments: argparse.Namespace) -> int:
    """Serve until told to stop; returns the exit code."""
    from armoflow.engine.arguments import server_options
    from armoflow.engine.run import run_server

    logging.basicConfig(
        level=arguments.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s"
    )
    return run_server(server_options(arguments))
