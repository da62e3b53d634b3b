"""Which engine a command looks at: options that all of them share."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rich_click as click

from armoflow.config import DEFAULT_LISTEN
from armoflow.protocol.inspection import Inspection
from armoflow.protocol.resolve import STATE_VARIABLE, resolve
from armoflow.protocol.settings import CONNECTION_OPTIONS, ConnectionSettings
from armoflow.system.temporary import shared_endpoint

OPTIONS = {
    "certificate_authority": "Authorities that the server's certificate may be from (PEM file).",
    "client_certificate": "The client's certificate (PEM file).",
    "client_key": "Its key (PEM file).",
    "client_p12": "Both (PKCS#12 file).",
    "target_name": "The name in the server's certificate, where it is not the host's.",
}


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that name an engine; the command gets ``settings``."""

    @functools.wraps(command)
    def with_settings(endpoint: str | None, **chosen: Any) -> Any:
        given = {name: chosen.pop(name, None) for name in OPTIONS}
        options = {name: value for name, value in given.items() if value is not None}
        return command(settings=settings_of(endpoint, options), **chosen)

    for name, text in reversed(OPTIONS.items()):
        assert name in CONNECTION_OPTIONS
        option = f"--{name.replace('_', '-')}"
        with_settings = click.option(option, name, metavar="TEXT", help=text)(with_settings)
    return click.option(
        "--endpoint",
        metavar="URL",
        help="The engine: http://host:port, https://host:port or unix:/path. Else what "
        "ARMOFLOW_ENDPOINT, AK_ENDPOINT or the file of AKCONFIG says; else the one that clients "
        "share in the directory of ARMOFLOW_STATE; else where armoflow up listens by itself, "
        f"http://{DEFAULT_LISTEN}.",
    )(with_settings)


def settings_of(endpoint: str | None, options: dict[str, Any]) -> ConnectionSettings:
    """How the engine is reached, from the command line, the environment, or by default."""
    environment = dict(os.environ)
    settings = resolve(endpoint, {}, environment)
    if not settings.endpoint:
        state = environment.get(STATE_VARIABLE)
        endpoint = shared_endpoint(Path(state)) if state else f"http://{DEFAULT_LISTEN}"
    return resolve(endpoint, options, environment)


def look(settings: ConnectionSettings) -> Inspection:
    """Connect to it."""
    return Inspection(settings)
