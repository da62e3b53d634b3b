"""``armoflow worker``: an ArmoniK worker that runs armoflow's tasks."""

from __future__ import annotations

import rich_click as click


@click.command()
def worker() -> int:
    """Serve an ArmoniK agent as a worker.

    Where both listen is told by ArmoniK's own environment variables:
    ComputePlane__WorkerChannel__Address and ComputePlane__AgentChannel__Address, with their
    SocketType. After SIGTERM it serves on until its agent has ended, for ARMOFLOW_GRACE seconds
    (20) at most. SIGINT and SIGHUP end it at once, a second signal on the spot. Exit codes: 0 when
    it was told to stop, 1 when it failed, 2 when the variables make no sense.
    """
    from armoflow.worker.serve import main

    return main()
