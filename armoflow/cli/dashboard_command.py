"""``armoflow dashboard``: a live page about an engine's sessions."""

from __future__ import annotations

from importlib.util import find_spec

import rich_click as click

from armoflow.cli.endpoint import engine_options, look
from armoflow.config import DASHBOARD_LISTEN
from armoflow.errors import OptionError
from armoflow.protocol.settings import ConnectionSettings


@click.command()
@engine_options
@click.option(
    "--listen",
    default=DASHBOARD_LISTEN,
    show_default=True,
    metavar="HOST:PORT",
    help="Where the page is served: an address of this machine's loopback; port 0: a free one.",
)
@click.option("--engine-process", type=int, hidden=True)
def dashboard(settings: ConnectionSettings, listen: str, engine_process: int | None) -> None:
    """Serve a page that shows live what runs, what is slow, and what failed.

    It prints a link that holds a token: whoever has the link can look, and nobody can change
    anything. Ctrl-C ends it.
    """
    check_dashboard()
    from armoflow.dashboard.dashboard_server import bind, serve

    with bind(listen) as listening, look(settings) as inspection:
        serve(
            inspection,
            listening,
            engine=engine_process,
            ready=lambda link: click.echo(f"dashboard: {link}"),
        )


def check_dashboard() -> None:
    """Look whether what the page takes is installed; nothing of it is imported.

    Raises:
        OptionError: If it is not.
    """
    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise OptionError(
            f"the dashboard takes {' and '.join(missing)}: pip install 'armoflow[dashboard]'"
        )
