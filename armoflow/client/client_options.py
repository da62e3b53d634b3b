"""The arguments of a client, checked where they are written; and what other libraries call them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

from armoflow import config
from armoflow.client.streams import tell
from armoflow.codec.clipping import clip
from armoflow.errors import ClientClosedError, GraphError, OptionError, shown
from armoflow.foreign_options import FOREIGN_OPTIONS
from armoflow.graph.context import INSIDE_TASK, find_current
from armoflow.option_values import MOST
from armoflow.options import OPTION_NAMES, Options, TaskOptions, make_options, nearest
from armoflow.protocol.resolve import ENDPOINT_VARIABLES, FILE_VARIABLE, STATE_VARIABLE, resolve
from armoflow.protocol.settings import (
    CONNECTION_OPTIONS,
    ConnectionOptions,
    ConnectionSettings,
    PayloadMode,
)
from armoflow.system.process_end import is_ending

_told: set[str] = set()
"""Lines about the engine that this process has printed."""

ARGUMENTS = (
    *("endpoint", "workers", "local", "payloads", "extensions", "max_priority"),
    *("connect_timeout", "inline_seconds", "name", "progress", "logs", "report", "state"),
    *("cache_limit", "dry_run", "budget", "partitions"),
    *CONNECTION_OPTIONS,
)


class ClientOptions(Options, ConnectionOptions, total=False):
    """What a client takes by name only: options of tasks, and of its connection."""


DETACH_VARIABLE = "ARMOFLOW_DETACH"
"""Lets a script leave its named runs where it would wait for them."""

DRY_RUN_VARIABLE = "ARMOFLOW_DRY_RUN"
"""Names a file to which each graph's explanation and estimate is written, a line of JSON each: then
no client runs anything."""

_RUN_NAME = 100
"""Characters of a run's name."""

_WORKERS = "write workers=..., the number of processes, each of which runs one task at a time"
_ENDPOINT = "write endpoint='http://host:port' or 'unix:/path', or leave it out to run here"
_AUTHORITY = "write certificate_authority='ca.crt'"
_CERTIFICATE = "write client_certificate='client.crt', client_key='client.key'"
_ABROAD = {
    **dict.fromkeys(("n_workers", "num_workers", "max_workers", "nworkers", "nprocs"), _WORKERS),
    **dict.fromkeys(("num_cpus", "n_jobs", "cores", "processes", "max_processes"), _WORKERS),
    **dict.fromkeys(("threads", "n_threads", "threads_per_worker", "nthreads"), _WORKERS),
    **dict.fromkeys(("address", "url", "host", "scheduler", "server", "cluster"), _ENDPOINT),
    **dict.fromkeys(("scheduler_file", "port"), _ENDPOINT),
    **dict.fromkeys(("ca", "cafile", "ca_cert", "tls_ca_file", "root_certificates"), _AUTHORITY),
    **dict.fromkeys(("cert", "certfile", "tls_client_cert", "client_cert"), _CERTIFICATE),
    **dict.fromkeys(("key", "keyfile", "tls_client_key"), _CERTIFICATE),
    "asynchronous": "leave it out: the futures of submit() can be awaited",
    "debug": "write local=True, which runs everything in the caller's thread",
    "sync": "write local=True, which runs everything in the caller's thread",
    "queue": "write partition=...",
    "max_duration": "write timeout=..., the seconds of one attempt",
    "batch": "write batch_size=...",
    "chunksize": "write batch_size=...",
    "chunk_size": "write batch_size=...",
    "dashboard_address": "leave it out: `armoflow dashboard` shows a running engine",
    "include_dashboard": "leave it out: `armoflow dashboard` shows a running engine",
    "silence_logs": "write logs=..., or leave it out",
    "verbose": "write progress=True, or logs=...",
    "memory_limit": "write memory=..., what a task may take",
    "cache_dir": "write state=..., a directory with the engine's data and the cache in it",
    "location": "write state=..., a directory with the engine's data and the cache in it",
    "ignore_reinit_error": "leave it out: there may be any number of clients",
    "deps": "write requirements=..., what has to be installed where tasks run",
    "runtime_env": "write requirements=..., and env=... for variables",
    "outputs": "outputs is one task's own: write @task(outputs=...)",
    "default_options": "write the options themselves, Client(retries=2, priority=3)",
}
"""Arguments of dask, Ray, concurrent.futures, joblib and Parsl, and what to write instead."""


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
            remedy = _ABROAD.get(name) or FOREIGN_OPTIONS.get(name)
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
        if not isinstance(state, (str, os.PathLike)) or not _names_a_file(os.fspath(state)):
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


def _names_a_file(path: str | bytes) -> bool:
    try:
        return bool(path) and b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:  # half a surrogate pair
        return False


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


def extensions_of_environment() -> bool:
    """Whether the environment lets extensions be used.

    Raises:
        OptionError: If it says neither yes nor no.
    """
    value = os.environ.get("ARMOFLOW_EXTENSIONS", "1")
    if value not in ("", "0", "1"):
        raise OptionError(f"the variable ARMOFLOW_EXTENSIONS must be 0 or 1, not {shown(value)}")
    return value != "0"


def refuse_where_none_can_run() -> None:
    """A client inside a task would wait for workers, of which its own task holds one.

    One that is made when the interpreter ends has no thread to run in.

    Raises:
        GraphError: If this is called by a running task.
        ClientClosedError: If it is too late.
    """
    if is_ending():
        raise ClientClosedError(
            "this process is ending, and no client can be started in it any more: compute before "
            "the program's end. A function of atexit can use a client that was started before the "
            "function was registered"
        )
    if find_current() is INSIDE_TASK:
        raise GraphError(
            "a Client inside a task would keep its worker waiting: return the Delayed instead, and "
            "its graph takes the task's place; Client(local=True) runs here"
        )


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
    if not _names_a_file(endpoint):
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
        raise OptionError(
            f"name must be a text of 1 to {_RUN_NAME} printable characters, not "
            f"{clip(shown(name), _RUN_NAME)}"
        )
    return name


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
