"""``armoflow run``: a script, on an engine of choice."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import rich_click as click

from armoflow.client.client_environment import DETACH_VARIABLE


class ScriptPath(click.Path):
    """The path of a script; what is none and begins with a dash was meant as an option."""

    def __init__(self) -> None:
        super().__init__(exists=True, dir_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Look whether it is there."""
        if str(value).startswith("-") and not Path(value).exists():
            raise click.NoSuchOption(str(value), ctx=ctx)
        return super().convert(value, param, ctx)


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--endpoint",
    metavar="URL",
    help="The engine that the script's clients use, unless the script names one. Without it, and "
    "without variables that name one, they start a private engine.",
)
@click.option(
    "--detach",
    is_flag=True,
    help="Leave when the script waits for a named run: what it has begun by a name is laid out "
    "whole first, and goes on.",
)
@click.argument("script", type=ScriptPath())
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(endpoint: str | None, detach: bool, script: str, arguments: Sequence[str]) -> None:
    """Run a Python script with the interpreter that armoflow is installed in.

    Its exit code and its signals are the script's own.
    """
    run_script(endpoint, [script, *arguments], detach=detach)


def run_script(endpoint: str | None, script: Sequence[str], *, detach: bool = False) -> NoReturn:
    """Become a script.

    Args:
        endpoint: The engine of its clients, unless it names one.
        script: Its path and its arguments.
        detach: It leaves its named runs.
    """
    environment = dict(os.environ)
    if endpoint:
        environment["ARMOFLOW_ENDPOINT"] = endpoint
    if detach:
        environment[DETACH_VARIABLE] = "1"
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *script], environment)
