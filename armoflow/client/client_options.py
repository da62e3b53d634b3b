"""The arguments of a client, checked where they are written."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, get_args

from armoflow import config
from armoflow.errors import OptionError, shown
from armoflow.foreign_options import FOREIGN_OPTIONS, nearest
from armoflow.option_values import MOST
from armoflow.options import OPTION_NAMES, Options, TaskOptions, make_options
from armoflow.protocol.settings import (
    CONNECTION_OPTIONS,
    ConnectionOptions,
    PayloadMode,
)
from armoflow.texts import plain

ARGUMENTS = (
    *("endpoint", "workers", "local", "payloads", "extensions", "max_priority"),
    *("connect_timeout", "inline_seconds", "name", "progress", "logs", "report", "state"),
    *("cache_limit", "dry_run", "budget", "partitions"),
    *CONNECTION_OPTIONS,
)


class ClientOptions(Options, ConnectionOptions, total=False):
    """What a client takes by name only: options of tasks, and of its connection."""


_RUN_NAME = 100
"""Characters of a run's name."""


def make_client_options(values: Mapping[str, Any]) -> tuple[TaskOptions, dict[str, Any]]:
    """The options of tasks, and those of the connection, among a client's keyword arguments.

    Raises:
        OptionError: If one is neither an option nor an argument; it says what to write.

    Example:
        >>> make_client_options({"n_workers": 2})
        Traceback (most recent call last):
        armoflow.errors.OptionError: unknown argument 'n_workers': write workers=..., the number \
of processes, each of which runs one task at a time
    """
    connection = {name: values[name] for name in CONNECTION_OPTIONS if values.get(name) is not None}
    options = {name: value for name, value in values.items() if name not in CONNECTION_OPTIONS}
    for name in options:
        if name not in OPTION_NAMES:
            from armoflow.client.neighbours import OF_ARGUMENTS

            remedy = OF_ARGUMENTS.get(name) or FOREIGN_OPTIONS.get(name)
            remedy = remedy or nearest(name, (*ARGUMENTS, *OPTION_NAMES))
            raise OptionError(f"unknown argument {name!r}: {remedy}")
    return make_options(options), connection


def check_arguments(
    endpoint: object,
    *,
    workers: object,
    local: object,
    payloads: object,
    extensions: object,
    max_priority: object,
    connect_timeout: object,
    inline_seconds: object,
    name: object,
    progress: object,
    logs: object,
    connection: Mapping[str, Any],
) -> None:
    """Check the values of a client's own arguments, but those of the connection.

    Raises:
        OptionError: If one of them is of the wrong type or out of range.
    """
    _check_endpoint(endpoint)
    _check_count("workers", workers)
    _check_count("max_priority", max_priority)
    if max_priority is None:
        raise OptionError("max_priority must be a positive integer, not None")
    if not isinstance(local, bool):
        raise OptionError(f"local must be True or False, not {shown(local)}")
    if local and endpoint is not None:
        raise OptionError(
            f"local=True runs in the caller's thread: leave out endpoint={endpoint!r}, or local"
        )
    if local and connection:
        raise OptionError(
            f"local=True runs in the caller's thread: leave out {', '.join(connection)}, or local"
        )
    if not isinstance(payloads, str) or payloads not in get_args(PayloadMode):
        modes = ", ".join(map(repr, get_args(PayloadMode)))
        raise OptionError(f"payloads must be one of {modes}, not {shown(payloads)}")
    if extensions is not None and not isinstance(extensions, bool):
        raise OptionError(f"extensions must be True, False or None, not {shown(extensions)}")
    if (
        isinstance(connect_timeout, bool)
        or not isinstance(connect_timeout, (int, float))
        or not 0 < connect_timeout <= config.MAXIMUM_DURATION
    ):
        raise OptionError(
            "connect_timeout must be a positive number of seconds, up to "
            f"{config.MAXIMUM_DURATION:.0f}, not {shown(connect_timeout)}"
        )
    _check_inline_seconds(inline_seconds)
    _check_name(name)
    if progress is not None and not isinstance(progress, bool):
        raise OptionError(f"progress must be True, False or None, not {shown(progress)}")
    if not (logs is None or isinstance(logs, bool) or (isinstance(logs, str) and logs == "errors")):
        raise OptionError(f"logs must be True, False, 'errors' or None, not {shown(logs)}")


def names_a_file(path: str | bytes) -> bool:
    """Whether a file system takes it as a path."""
    try:
        return bool(path) and b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:  # half a surrogate pair
        return False


def _check_inline_seconds(value: object) -> None:
    if value is None:
        return
    limit = config.INLINE_LIMIT
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (known and 0 <= value <= limit):  # type: ignore[operator]
        raise OptionError(
            f"inline_seconds must be a number of seconds from 0 to {limit:g}, not "
            f"{shown(value)}; 0 "
            "gives each call of a returned graph a task of its own"
        )


def _check_endpoint(endpoint: object) -> None:
    if endpoint is None:
        return
    if not isinstance(endpoint, str):
        raise OptionError(
            "endpoint must be text such as 'http://host:5001', not "
            f"{shown(endpoint)}; the number of "
            "worker processes is workers=..."
        )
    if not endpoint.strip():
        raise OptionError(f"endpoint {endpoint!r} is empty: leave it out to run on this machine")
    if not names_a_file(endpoint):
        raise OptionError(
            f"endpoint {endpoint!r} is no address: it has a NUL, or half a character, in it"
        )


def _check_count(name: str, value: object) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise OptionError(f"{name} must be a positive integer, not {shown(value)}")
    if isinstance(value, int) and value > MOST:
        raise OptionError(f"{name} must be a positive integer, up to {MOST}, not {shown(value)}")


def _check_name(value: object) -> None:
    if value is not None and not isinstance(value, str):
        raise OptionError(f"name must be text, not {shown(value)}: it is what armoflow ps shows")
    if value is not None and not value.isprintable():
        raise OptionError(f"name must be printable text on one line, not {shown(value)}")


def check_run(name: object, replace: object = False, kind: str = "run") -> str:
    """The name of a run, or of a value, checked.

    Raises:
        OptionError: If it cannot be one.

    Example:
        >>> check_run("")
        Traceback (most recent call last):
        armoflow.errors.OptionError: name must be a text of 1 to 100 printable characters, not ''
    """
    if not isinstance(replace, bool):
        raise OptionError(f"replace must be True or False, not {shown(replace)}")
    if name is None and replace:
        raise OptionError(f"replace=True is for a named {kind}: say name=..., or leave it out")
    fits = isinstance(name, str) and name.strip() and len(name) <= _RUN_NAME
    if not (fits and isinstance(name, str) and name.isprintable()):
        from armoflow.codec.clipping import clip

        raise OptionError(
            f"name must be a text of 1 to {_RUN_NAME} printable characters, not "
            f"{clip(shown(name), _RUN_NAME)}"
        )
    return plain(name)


def check_budget(budget: object, *, local: bool) -> float | None:
    """The seconds of work that a graph may take.

    Raises:
        OptionError: If it is no positive number of seconds.

    Example:
        >>> check_budget(timedelta(minutes=1), local=False)
        60.0
    """
    if budget is None:
        return None
    seconds = budget.total_seconds() if isinstance(budget, timedelta) else budget
    if (
        isinstance(seconds, bool)
        or not isinstance(seconds, (int, float))
        or not 0 < seconds <= sys.float_info.max
    ):
        raise OptionError(
            "budget must be a positive number of seconds of work, or a timedelta, not "
            f"{shown(budget)}"
        )
    if local:
        raise OptionError("local=True runs in the caller's thread: leave out budget, or local")
    return float(seconds)
