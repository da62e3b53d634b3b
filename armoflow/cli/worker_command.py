"""``armoflow worker``: an ArmoniK worker that runs armoflow's tasks."""

from __future__ import annotations

import rich_click as click


@click.command()
@click.option(
    "--log-format",
    type=click.Choice(["clef", "text"]),
    default="clef",
    show_default=True,
    help="How the lines on the standard output look: as ArmoniK's log collector reads them (CLEF, "
    "a JSON object each), or for people.",
)
def worker(log_format: str) -> int:
    """Serve an ArmoniK agent as a worker.

    Where both listen is told by ArmoniK's own environment variables:
    ComputePlane__WorkerChannel__Address and ComputePlane__AgentChannel__Address, with their
    SocketType. What tasks write, and the worker's own log, are lines on its standard output.

    After SIGTERM it serves on until its agent has ended, for ARMOFLOW_GRACE seconds (20) at most.
    SIGINT and SIGHUP end it at once, a second signal on the spot. Exit codes: 0 when it was told to
    stop, 1 when it failed, 2 when the variables make no sense.
    """
    from armoflow.worker.serve import main

    return main(log_format)
