"""``armoflow run``: a script, on an engine of choice."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import rich_click as click


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--endpoint",
    metavar="URL",
    help="The engine that the script's clients use, unless the script names one. Without it, and "
    "without variables that name one, they start a private engine.",
)
@click.argument("script", type=click.Path(exists=True, dir_okay=False))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(endpoint: str | None, script: str, arguments: Sequence[str]) -> None:
    """Run a Python script with the interpreter that armoflow is installed in.

    Its exit code and its signals are the script's own.
    """
    environment = dict(os.environ)
    if endpoint:
        environment["ARMOFLOW_ENDPOINT"] = endpoint
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, script, *arguments], environment)
