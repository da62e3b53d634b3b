"""``armoflow config``: every value that is not in the script, and where it comes from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import rich_click as click

from armoflow import config as tunables
from armoflow.cli.printing import json_option, print_json, print_table
from armoflow.client.client_environment import LIMIT_VARIABLE
from armoflow.placement import OFFERS_VARIABLE
from armoflow.protocol.resolve import FILE_VARIABLE, STATE_VARIABLE, resolve
from armoflow.protocol.settings import CONNECTION_OPTIONS, ConnectionSettings

SECRET = "client_p12_password"

OTHERS: Mapping[str, str] = {
    "ARMOFLOW_EXTENSIONS": "1",
    STATE_VARIABLE: "",
    "ARMOFLOW_CACHE": "~/.cache/armoflow",
    OFFERS_VARIABLE: "",
    LIMIT_VARIABLE: f"{tunables.CACHE_LIMIT / tunables.MIB / 1024:g}GiB",
    "ARMOFLOW_ENVIRONMENTS": "~/.cache/armoflow/environments",
    "ARMOFLOW_GRACE": f"{tunables.WORKER_GRACE:g}",
    "XDG_STATE_HOME": "~/.local/state",
    "ComputePlane__WorkerChannel__Address": "/cache/armonik_worker.sock",
    "ComputePlane__AgentChannel__Address": "/cache/armonik_agent.sock",
}
"""Variables beside those of the connection, with what holds where they are not set."""


@click.group()
def config() -> None:
    """What variables and files say."""


@config.command()
@json_option
def show(as_json: bool) -> None:
    """Print every value, and where it comes from."""
    settings = resolve(None, {}, os.environ)
    rows = [_row(settings, name) for name in ("endpoint", *CONNECTION_OPTIONS)]
    rows += [_variable(name, default) for name, default in {FILE_VARIABLE: "", **OTHERS}.items()]
    if as_json:
        print_json(rows)
    else:
        print_table(["NAME", "VALUE", "FROM"], [list(row.values()) for row in rows])


def _variable(name: str, default: str) -> dict[str, Any]:
    said = os.environ.get(name)
    return {
        "name": name,
        "value": said or default or None,
        "from": "environment" if said else "default",
    }


def _row(settings: ConnectionSettings, name: str) -> dict[str, Any]:
    value = getattr(settings, name)
    origin = settings.origins.get(name)
    if name == SECRET and value:
        value = "(not shown)"
    elif name == "endpoint":
        value = value or "none: a private engine is started"
    return {
        "name": name,
        "value": None if value in (None, "") else str(value),
        "from": "default" if origin is None else str(origin),
    }
