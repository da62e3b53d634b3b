"""Which engine a command looks at: options that all of them share."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from armoflow.config import DEFAULT_LISTEN
from armoflow.errors import OptionError
from armoflow.protocol.resolve import STATE_VARIABLE, resolve
from armoflow.protocol.settings import CONNECTION_OPTIONS, ConnectionSettings
from armoflow.system.meeting import shared_endpoint

if TYPE_CHECKING:
    from armoflow.protocol.inspection import Inspection

OPTIONS = {
    "certificate_authority": "Authorities that the server's certificate may be from (PEM file).",
    "client_certificate": "The client's certificate (PEM file).",
    "client_key": "Its key (PEM file).",
    "client_p12": "Both (PKCS#12 file).",
    "target_name": "The name in the server's certificate, where it is not the host's.",
}


_NAMING = ["--endpoint", "--state", *(f"--{name.replace('_', '-')}" for name in OPTIONS)]

_HELP = click.RichHelpConfiguration(
    option_groups={"*": [{"name": "Options"}, {"name": "Which engine", "options": _NAMING}]}
)
"""Of a command's --help: its own options come first."""


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that name an engine; the command gets ``settings``."""

    @functools.wraps(command)
    def with_settings(endpoint: str | None, state: Path | None, **chosen: Any) -> Any:
        return command(settings=settings_of(endpoint, _given(chosen), state), **chosen)

    return _declare(state_option(with_settings))


def endpoint_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same but --state, for commands that mean something of their own by it."""

    @functools.wraps(command)
    def with_settings(endpoint: str | None, **chosen: Any) -> Any:
        return command(settings=settings_of(endpoint, _given(chosen)), **chosen)

    return _declare(with_settings)


def state_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option that names an engine by its state directory."""
    return click.option(
        "--state",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        metavar="DIRECTORY",
        help="The directory of Client(state=...), in place of an endpoint.",
    )(command)


def settings_of(
    endpoint: str | None, options: dict[str, Any], state: Path | None = None
) -> ConnectionSettings:
    """How the engine is reached, from the command line, the environment, or by default.

    Raises:
        OptionError: If an endpoint and a state directory are given.
    """
    environment = dict(os.environ)
    if state is not None:
        if endpoint is not None:
            raise OptionError(
                f"--state {state} is for the engine that clients share there: leave out --endpoint "
                f"{endpoint}, or --state"
            )
        endpoint = shared_endpoint(state)
    elif not resolve(endpoint, {}, environment).endpoint:
        said = environment.get(STATE_VARIABLE)
        endpoint = shared_endpoint(Path(said)) if said else f"http://{DEFAULT_LISTEN}"
    return resolve(endpoint, options, environment)


def _given(chosen: dict[str, Any]) -> dict[str, Any]:
    """What was said of the connection, taken from what was said."""
    given = {name: chosen.pop(name, None) for name in OPTIONS}
    return {name: value for name, value in given.items() if value is not None}


def _declare(command: Callable[..., Any]) -> Callable[..., Any]:
    for name, text in reversed(OPTIONS.items()):
        assert name in CONNECTION_OPTIONS
        option = f"--{name.replace('_', '-')}"
        command = click.option(option, name, metavar="TEXT", help=text)(command)
    command = click.rich_config(help_config=_HELP)(command)
    return click.option(
        "--endpoint",
        metavar="URL",
        help="The engine: http://host:port, https://host:port or unix:/path. Else what "
        "ARMOFLOW_ENDPOINT, AK_ENDPOINT or the file of AKCONFIG says; else the one that clients "
        "share in the directory of ARMOFLOW_STATE; else where armoflow up listens by itself, "
        f"http://{DEFAULT_LISTEN}.",
    )(command)


def look(settings: ConnectionSettings) -> Inspection:
    """Connect to it."""
    from armoflow.protocol.inspection import Inspection  # what looks at no engine starts sooner

    return Inspection(settings)
