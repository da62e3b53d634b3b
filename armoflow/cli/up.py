"""``armoflow up``: an engine that stays."""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from armoflow.cli.dashboard_command import check_dashboard
from armoflow.cli.parsers import ParserCommand
from armoflow.cli.spans import span_or_none
from armoflow.config import (
    CLIENT_LEASE,
    DASHBOARD_LISTEN,
    DEFAULT_LISTEN,
    METRICS_HOST,
    RETENTION,
)
from armoflow.engine.access.access_options import add_access_arguments
from armoflow.engine.command_line import (
    add_engine_arguments,
    given_path,
    number_of,
    server_options,
)
from armoflow.errors import OptionError
from armoflow.system.interpreter import python_command
from armoflow.system.sockets import page_place

logger = logging.getLogger(__name__)


def make_parser() -> argparse.ArgumentParser:
    """The command line of ``armoflow up``."""
    parser = argparse.ArgumentParser(
        description="Start an engine on this machine, and serve until it is told to stop "
        "(Ctrl-C, SIGTERM, SIGHUP; a second signal ends it on the spot; with --users FILE SIGHUP "
        "reads that again instead). What it was given survives: start it again with the same "
        "--state. Exit codes: 0 when it was told to stop, 1 "
        "when it failed, 2 when it could not start.",
    )
    parser.add_argument(
        "--listen",
        default=DEFAULT_LISTEN,
        metavar="ADDRESS",
        help="host:port, or unix:/path (default: %(default)s); beyond this machine's loopback with "
        "--client-ca only",
    )
    parser.add_argument(
        "--state",
        type=given_path,
        metavar="DIRECTORY",
        help="where sessions, tasks and data are kept (default: $XDG_STATE_HOME/armoflow, "
        "or ~/.local/state/armoflow)",
    )
    parser.add_argument(
        "--client-lease",
        type=span_or_none,
        default=CLIENT_LEASE,
        metavar="TIME",
        help="how long an armoflow client may be away before its session is cancelled and its data "
        "deleted, but what its failed tasks were given; none: as long as it likes (default: 1h)",
    )
    parser.add_argument(
        "--retention",
        type=span_or_none,
        default=RETENTION,
        metavar="TIME",
        help="how long sessions that have ended can be looked at, and what they kept is stored: "
        "1d, 36h, 90min...; none: until they are purged (default: 1d)",
    )
    parser.add_argument(
        "--dashboard",
        nargs="?",
        const=DASHBOARD_LISTEN,
        metavar="HOST:PORT",
        help="serve a live page about what runs, too, and print the link to it (at "
        f"{DASHBOARD_LISTEN}, if no address is given)",
    )
    parser.add_argument(
        "--web",
        metavar="ADDRESS",
        help="serve browsers (gRPC-Web) at this host:port, too; the address to use is printed, "
        "with its token where no client certificates are asked for (needs armoflow[web])",
    )
    parser.add_argument(
        "--web-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="a page that may call there, as http://localhost:4200; may be repeated",
    )
    parser.add_argument(
        "--metrics-port",
        type=number_of("port", 0, 2**16 - 1),
        metavar="PORT",
        help="serve /metrics for Prometheus there; 0: any that is free (needs armoflow[metrics])",
    )
    parser.add_argument(
        "--metrics-host",
        metavar="HOST",
        help="where /metrics listens: it shows partitions and counts, and takes no orders "
        f"(default: {METRICS_HOST})",
    )
    parser.add_argument(
        "--grace",
        type=_grace,
        default=0.0,
        metavar="SECONDS",
        help="when it is told to stop, how long tasks that run may take to end, while no others "
        "are begun; what runs on is given back, and run again after the next start (default: "
        "%(default)g)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="say what is wrong with the state directory, if anything is, change nothing, and end",
    )
    parser.add_argument(
        "--backup",
        type=given_path,
        metavar="DIRECTORY",
        help="copy the state directory there, whether an engine runs on it or not, check the copy, "
        "and end",
    )
    parser.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="how the log looks on the standard error: for people, or a JSON object a line (CLEF, "
        "as `armoflow worker` writes it) (default: %(default)s)",
    )
    add_access_arguments(parser)
    add_engine_arguments(parser)
    return parser


def _grace(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= (seconds := float(text)) < math.inf:
            return seconds
    raise argparse.ArgumentTypeError(f"{text!r} is no time: write a number of seconds")


def default_state() -> Path:
    """``$XDG_STATE_HOME/armoflow``, or ``~/.local/state/armoflow``.

    Raises:
        OptionError: If this user has no home directory.
    """
    base = os.environ.get("XDG_STATE_HOME")
    if base:
        return Path(base) / "armoflow"
    try:
        return Path.home() / ".local" / "state" / "armoflow"
    except RuntimeError as error:
        raise OptionError(
            "there is no place for the engine's state, because this user has no home directory: "
            "give it with --state DIRECTORY, or set HOME"
        ) from error


def _check(state: Path, backup: Path | None) -> int:
    """Say what is wrong with a state directory, or with a copy that is made; 1 if something is."""
    from armoflow.engine.backup import back_up
    from armoflow.engine.checking import check_state

    if backup is None:
        findings = check_state(state)
    else:
        findings, state = back_up(state, backup), backup
    for problem in findings.problems:
        print(problem)
    counts = ", ".join(f"{count} {name}" for name, count in findings.counts.items())
    verdict = f"{len(findings.problems)} problem(s)" if findings.problems else "sound"
    print(f"{state}: {verdict} ({counts or 'not looked into'})")
    return int(bool(findings.problems))


def _log(level: str, form: str) -> None:
    """Set up the log."""
    if form == "text":
        logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s")
        return
    from armoflow.worker.log_format import LineHandler, clef

    def put(lines: Sequence[bytes]) -> None:
        sys.stderr.buffer.write(b"".join(line + b"\n" for line in lines))
        sys.stderr.buffer.flush()

    logging.basicConfig(level=level, format="%(message)s", handlers=[LineHandler(clef, put)])


def run_up(arguments: argparse.Namespace) -> int:
    """Serve until told to stop; returns the exit code."""
    from armoflow.engine.serving import print_error, run_server

    _log(arguments.log_level.upper(), arguments.log_format)
    if arguments.state is None:
        arguments.state = default_state()
        with contextlib.suppress(OSError):  # what is wrong is told where it is used
            arguments.state.parent.mkdir(parents=True, exist_ok=True)
    if arguments.check or arguments.backup is not None:
        return _check(arguments.state, arguments.backup)
    companion = None
    if arguments.dashboard is not None:
        check_dashboard()
        page_place(arguments.dashboard)
        _check_beside(arguments)
        companion = functools.partial(_dashboard, arguments.dashboard)
    options = replace(server_options(arguments), grace=arguments.grace)
    tell = print_error if arguments.log_format == "text" else logger.critical
    return run_server(options, stays=True, companion=companion, tell=tell)


def _check_beside(arguments: argparse.Namespace) -> None:
    """Refuse a page about an engine that would not know it."""
    for option in ("client_ca", "users", "tls_cert"):
        if getattr(arguments, option) is not None:
            raise OptionError(
                f"--dashboard cannot be beside --{option.replace('_', '-')}: its process is no "
                "client that this engine knows. Run `armoflow dashboard --endpoint https://...` "
                "with the certificate of a user, such as client.monitoring"
            )


def _dashboard(listen: str, url: str) -> Sequence[str]:
    """The command that serves a page about the engine at an address."""
    options = ("--endpoint", url, "--listen", listen, "--engine-process", str(os.getpid()))
    return python_command("armoflow.cli.main", "dashboard", *options)


up = ParserCommand("up", make_parser, run_up)
