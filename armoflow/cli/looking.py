"""``armoflow explain`` and ``armoflow plan``: what a script asks for, and nothing of it is run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rich_click as click

from armoflow.cli.printing import json_option, print_json
from armoflow.cli.run_script import ScriptPath
from armoflow.cli.termination import ending_in_order
from armoflow.client.client_environment import DRY_RUN_VARIABLE
from armoflow.errors import GraphError

_SCRIPT = {"ignore_unknown_options": True, "allow_interspersed_args": False}


def _script_command(command: Any) -> Any:
    """Arguments and options of a command that looks at a script."""
    rest = click.argument("arguments", nargs=-1, type=click.UNPROCESSED)(command)
    script = click.argument("script", type=ScriptPath())(rest)
    return click.option(
        "--endpoint",
        metavar="URL",
        help="The engine that the script's clients use, unless the script names one.",
    )(json_option(script))


@click.command(context_settings=_SCRIPT)
@_script_command
def explain(endpoint: str | None, script: str, arguments: Sequence[str], *, as_json: bool) -> None:
    """Say what the cache has of the graphs of SCRIPT, and why it has not the rest.

    The script runs with clients that run nothing (dry_run=True), and ends where it needs a value:
    at the first compute(), or the first result() of a future. What it prints goes to the standard
    error.
    """
    looked = _look(endpoint, script, arguments)
    if as_json:
        print_json([found["explanation"] for found in looked])
    else:
        click.echo("\n\n".join(found["text"] for found in looked))


@click.command(context_settings=_SCRIPT)
@_script_command
def plan(endpoint: str | None, script: str, arguments: Sequence[str], *, as_json: bool) -> None:
    """Say what the graphs of SCRIPT are expected to take, from what was measured before.

    The script runs with clients that run nothing (dry_run=True), and ends where it needs a value:
    at the first compute(), or the first result() of a future. What it prints goes to the standard
    error.
    """
    looked = _look(endpoint, script, arguments)
    if as_json:
        print_json([found["estimate"] for found in looked])
    else:
        click.echo("\n\n".join(found["estimate_text"] for found in looked))


def _look(endpoint: str | None, script: str, arguments: Sequence[str]) -> list[dict[str, Any]]:
    """What a script asks for, graph by graph.

    Raises:
        GraphError: If it asks for nothing.
    """
    environment = dict(os.environ)
    if endpoint:
        environment["ARMOFLOW_ENDPOINT"] = endpoint
    with ending_in_order(), tempfile.TemporaryDirectory(prefix="armoflow-") as directory:
        told = Path(directory) / "told"
        environment[DRY_RUN_VARIABLE] = str(told)
        ended = subprocess.run(
            [sys.executable, script, *arguments], env=environment, stdout=sys.stderr, check=False
        )
        lines = told.read_text(encoding="utf-8").splitlines() if told.exists() else []
    if not lines:
        raise GraphError(
            f"{script} ended with code {ended.returncode} and asked for no graph: nothing was "
            "computed or submitted"
        )
    return [json.loads(line) for line in lines]
