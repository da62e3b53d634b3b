"""A private engine: started by a client, ends with it.

``python -m armoflow.engine --listen unix:PATH --state DIRECTORY --alive-fd N``
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from pathlib import Path

from armoflow.engine.arguments import add_engine_arguments, server_options
from armoflow.engine.run import EXIT_USAGE, run_server
from armoflow.errors import OptionError


def main(arguments: list[str] | None = None) -> int:
    """Serve until the parent is gone; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m armoflow.engine", description=__doc__)
    add_engine_arguments(parser)
    parser.add_argument("--listen", required=True, metavar="ADDRESS")
    parser.add_argument("--state", required=True, type=Path, metavar="DIRECTORY")
    parser.add_argument(
        "--alive-fd",
        type=int,
        metavar="N",
        help="inherited descriptor of a pipe whose other end the parent holds open",
    )
    parser.add_argument(
        "--temporary", action="store_true", help="remove the state directory at the end"
    )
    parser.set_defaults(log_level="warning")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=chosen.log_level.upper(), format="%(levelname)s %(message)s")
    try:
        options = server_options(chosen, private=True)
    except OptionError as error:
        print(f"armoflow: error: {error}", file=sys.stderr)
        return EXIT_USAGE
    code = run_server(options, alive=chosen.alive_fd)
    if chosen.temporary and code == 0:
        shutil.rmtree(chosen.state, ignore_errors=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
