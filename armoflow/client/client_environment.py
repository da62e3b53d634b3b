"""What a client is told outside of its script, by variables and files; arguments come first."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from armoflow import config
from armoflow.byte_sizes import read_size
from armoflow.client.client_options import names_a_file
from armoflow.client.streams import tell
from armoflow.errors import OptionError, shown
from armoflow.protocol.resolve import ENDPOINT_VARIABLES, FILE_VARIABLE, STATE_VARIABLE, resolve
from armoflow.protocol.settings import ConnectionSettings

DETACH_VARIABLE = "ARMOFLOW_DETACH"
"""Lets a script leave its named runs where it would wait for them."""

DRY_RUN_VARIABLE = "ARMOFLOW_DRY_RUN"
"""Names a file to which each graph's explanation and estimate is written, a line of JSON each: then
no client runs anything."""

LIMIT_VARIABLE = "ARMOFLOW_CACHE_LIMIT"
"""Says what the cache may have, for scripts that say nothing."""

NO_LIMIT = "none"

_told: set[str] = set()
"""Lines about the engine that this process has printed."""


def find_engine(
    endpoint: str | None, connection: Mapping[str, Any], workers: int | None, state: Path | None
) -> ConnectionSettings | None:
    """Where the engine is, by arguments, variables and file; None: one is to be started here.

    What was not said in the script is told once, on the standard error.

    Raises:
        OptionError: If what is said of the connection is not what it may be, or a private engine is
            to have too many workers.
    """
    if state is None:
        settings = resolve(endpoint, connection, os.environ)
        _tell(settings)
        if settings.endpoint:
            return settings
    if workers is not None and workers > config.WORKERS_LIMIT:
        raise OptionError(
            f"workers must be at most {config.WORKERS_LIMIT}, not "
            f"{shown(workers)}: each is a process "
            "of this machine, and one for each processor is the default"
        )
    return None


def find_state(
    state: object, endpoint: object, connection: Mapping[str, Any], *, local: bool
) -> Path | None:
    """The state directory of the engine to share; None: the client does not ask for one.

    Raises:
        OptionError: If the argument or the variable is no directory's name, or an endpoint is given
            beside it.
    """
    if state is None:
        said = os.environ.get(STATE_VARIABLE)
        if local or endpoint is not None or not said:
            return None
        for variable in ENDPOINT_VARIABLES:
            if os.environ.get(variable):
                raise OptionError(
                    f"{variable} names an engine, and {STATE_VARIABLE} the state of another: unset "
                    "one of them"
                )
        _tell_once(f"the engine's state is {said} ({STATE_VARIABLE})")
        name = f"the variable {STATE_VARIABLE}"
    else:
        if not isinstance(state, (str, os.PathLike)) or not names_a_file(os.fspath(state)):
            raise OptionError(f"state must be the name of a directory, not {shown(state)}")
        if endpoint is not None:
            raise OptionError(
                f"state={os.fspath(state)!r} is for an engine of this client's own: leave out "
                f"endpoint={endpoint!r}, or state"
            )
        if local:
            raise OptionError("local=True runs in the caller's thread: leave out state, or local")
        said, name = os.fspath(state), "state"
    if connection:
        raise OptionError(
            f"{', '.join(connection)} is for an engine at an endpoint, and {name} names a directory"
        )
    path = Path(os.fsdecode(said)).expanduser().resolve()
    if path.exists() and not path.is_dir():
        raise OptionError(f"{name} must name a directory, not {str(path)!r}, which is a file")
    return path


def _tell(settings: ConnectionSettings) -> None:
    origin = settings.origins.get("endpoint")
    if origin is None and os.environ.get(FILE_VARIABLE):
        where = f"{FILE_VARIABLE} ({os.environ[FILE_VARIABLE]}) names no endpoint: running here"
    elif origin is not None and origin.kind != "argument":
        where = f"the engine is {settings.named('endpoint')}"
    else:
        return
    _tell_once(where)


def _tell_once(where: str) -> None:
    if where not in _told:
        _told.add(where)
        tell(sys.stderr, f"armoflow: {where}")


def find_cache_limit(value: object, environment: Mapping[str, str] = os.environ) -> int | None:
    """The bytes that an argument or the variable allows; None: any number.

    Raises:
        OptionError: If it is no size.

    Example:
        >>> find_cache_limit("1.5GiB"), find_cache_limit(10_000), find_cache_limit("none")
        (1610612736, 10000, None)
        >>> find_cache_limit(None, {"ARMOFLOW_CACHE_LIMIT": "20 GB"})
        20000000000
    """
    name = "cache_limit"
    if value is None:
        value = environment.get(LIMIT_VARIABLE) or config.CACHE_LIMIT
        name = f"the variable {LIMIT_VARIABLE}"
    if isinstance(value, str) and value == NO_LIMIT:
        return None
    return read_size(name, value, other=", or 'none'")


def extensions_of_environment() -> bool:
    """Whether the environment lets extensions be used.

    Raises:
        OptionError: If it says neither yes nor no.
    """
    value = os.environ.get("ARMOFLOW_EXTENSIONS", "1")
    if value not in ("", "0", "1"):
        raise OptionError(f"the variable ARMOFLOW_EXTENSIONS must be 0 or 1, not {shown(value)}")
    return value != "0"


def is_dry(dry_run: object) -> bool:
    """Whether a client runs nothing, by its argument or the variable.

    Raises:
        OptionError: If the argument is something else than True or False.
    """
    if not isinstance(dry_run, bool):
        raise OptionError(f"dry_run must be True or False, not {shown(dry_run)}")
    return dry_run or bool(os.environ.get(DRY_RUN_VARIABLE))


def script_name(arguments: Sequence[str] | None = None) -> str:
    """What the program is called that runs here; nothing, in an interactive session.

    Example:
        >>> script_name(["examples/word_count.py", "text"]), script_name(["-c"])
        ('word_count', '')
    """
    said = sys.argv if arguments is None else arguments
    return Path(said[0]).stem if said and said[0] not in ("", "-c") else ""
