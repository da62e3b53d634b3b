"""A private engine: started by a client, ends with it.

``python -m armoflow.engine --listen unix:PATH --state DIRECTORY --alive-fd N``

With ``--clients-fd`` instead it is shared by the clients of a state directory, and ends after them.
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path

from armoflow import config
from armoflow.engine.command_line import add_engine_arguments, server_options
from armoflow.engine.presence import Presence
from armoflow.engine.serving import EXIT_USAGE, run_server
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
        "--clients-fd",
        type=int,
        metavar="N",
        help="inherited descriptor of a bound socket that each client holds a connection to",
    )
    parser.add_argument(
        "--temporary",
        type=Path,
        action="append",
        default=[],
        metavar="DIRECTORY",
        help="removed once neither the parent nor the engine is there; may be repeated",
    )
    parser.set_defaults(log_level="warning")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=chosen.log_level.upper(), format="%(levelname)s %(message)s")
    presence = None if chosen.clients_fd is None else Presence(chosen.clients_fd)
    try:
        options = server_options(chosen, private=True)
        if presence is not None:  # its state stays, as that of `armoflow up`
            engine = replace(
                options.engine,
                client_lease=config.CLIENT_LEASE,
                retention=config.RETENTION,
                room=config.ROOM,
            )
            options = replace(options, engine=engine)
        elif options.extensions and options.address.path:  # its only client takes the stream
            options = replace(options, late_calls=True)
    except OptionError as error:
        print(f"armoflow: error: {error}", file=sys.stderr)
        return EXIT_USAGE
    return run_server(options, alive=chosen.alive_fd, presence=presence, temporary=chosen.temporary)


if __name__ == "__main__":
    sys.exit(main())
