"""What calls take elsewhere, and what to write instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from armoflow.errors import SignatureError

_WORKERS = "the client has the workers: Client(workers=...)"
_CLIENT = "the client of the `with` block runs it: Client(endpoint), or Client(local=True) here"
_ERRORS = "return_exceptions=True puts errors in the place of values"
_TASKS = "it is an option of tasks: task.with_options({0}=...), or Client({0}=...)"
_NEEDLESS = "leave it out: chains are fused, and what is shared runs once, by itself"
_RESOURCE = (
    "write initial=... for what comes before the first item of a reduction, and @worker_resource "
    "on a function for what a worker makes once"
)

FOREIGN_KEYWORDS = {
    **dict.fromkeys(("n_jobs", "num_workers", "n_workers", "max_workers", "workers"), _WORKERS),
    **dict.fromkeys(("processes", "nprocs", "num_cpus", "pool"), _WORKERS),
    **dict.fromkeys(("scheduler", "get", "backend", "executor", "client"), _CLIENT),
    **dict.fromkeys(("errors", "raise_errors", "raise_on_error", "on_error"), _ERRORS),
    **dict.fromkeys(("optimize_graph", "traverse", "optimizations", "fuse"), _NEEDLESS),
    **{name: _TASKS.format(name) for name in ("retries", "priority", "partition", "cpus", "gpus")},
    **{name: _TASKS.format(name) for name in ("memory", "limits", "requirements", "env", "cache")},
    "resources": "say what tasks need: task.with_options(cpus=..., memory=..., gpus=...)",
    "with_results": "the futures are done: future.result() is there at once",
    "raise_exceptions": "future.exception() gives errors without raising them",
    "num_returns": "stop iterating client.as_completed(futures) after so many",
    "return_when": "iterate client.as_completed(futures), or concurrent.futures.wait(futures)",
    "sync": "submit(lazy) gives a future, and does not wait",
    "asynchronous": "use AsyncClient, whose calls are awaited",
    "direct": "leave it out: there is one way for data",
    "broadcast": "leave it out: data goes to each worker that needs it, once",
    "hash": "leave it out: equal large data goes up once",
    "default": "NamedValueError is raised where there is nothing",
    "override": "write replace=True",
    "overwrite": "write replace=True",
    "key": "write name=...",
    "filename": "write path=..., whose suffix chooses the format",
    "format": "write path=..., whose suffix chooses the format",
    **dict.fromkeys(("initializer", "initargs"), _RESOURCE),
    "start": "write initial=...",
    "split_every": "write fan_in=..., how many values one combining task takes",
    "progress": "the client shows it: Client(progress=True)",
    "verbose": "the client shows it: Client(progress=True), or Client(logs=...)",
}
"""Arguments that calls have in other libraries."""

ONE_NAME = "it takes one name; call it for each"
FIRST_OF_ALL = "write initial=... for what comes before the first item"
A_LIST = "give a list of the futures"


def refuse_arguments(
    call: str,
    known: Sequence[str],
    named: Mapping[str, Any],
    more: Sequence[Any] = (),
    remedy: str = "",
) -> None:
    """Refuse arguments that a call does not take.

    Args:
        call: What was called.
        known: The keyword arguments that it has.
        named: Those that it was given and has not.
        more: Positional arguments that were too many.
        remedy: What to write instead of these.

    Raises:
        SignatureError: If there is one of either; it says what to write.

    Example:
        >>> refuse_arguments("compute", ["timeout"], {"n_jobs": 2})
        Traceback (most recent call last):
        armoflow.errors.SignatureError: compute() has no argument 'n_jobs': the client has the \
workers: Client(workers=...)
    """
    for name in named:
        import difflib  # where something is wrong only

        close = difflib.get_close_matches(name, known, n=1)
        near = f"did you mean {close[0]!r}?" if close else f"it takes {_listed(known)}"
        raise SignatureError(
            f"{call}() has no argument {name!r}: {FOREIGN_KEYWORDS.get(name) or near}"
        )
    if more:
        raise SignatureError(f"{call}() does not take {more[0]!r} as well: {remedy}")


def _listed(known: Sequence[str]) -> str:
    return ", ".join(f"{name}=..." for name in known) or "no keyword arguments"
