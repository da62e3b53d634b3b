"""From a client's arguments to what it runs graphs on: an engine, or the caller's own thread."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from armoflow.client.client_environment import (
    extensions_of_environment,
    find_cache_limit,
    find_engine,
    find_state,
    is_dry,
    script_name,
)
from armoflow.client.client_options import check_arguments, check_budget, make_client_options
from armoflow.client.engine_start import EngineStart
from armoflow.errors import ClientClosedError, GraphError
from armoflow.graph.context import INSIDE_TASK, find_current
from armoflow.offers import make_offers
from armoflow.options import DEFAULT_OPTIONS, merge_options
from armoflow.protocol.settings import PayloadMode
from armoflow.system.process_end import is_ending

if TYPE_CHECKING:
    from datetime import timedelta

    from armoflow.client.backend import Backend
    from armoflow.client.client import Client
    from armoflow.client.client_options import ClientOptions
    from armoflow.client.output_display import Logs


def open_backend(
    client: Client,
    endpoint: str | None,
    options: ClientOptions,
    *,
    workers: int | None,
    local: bool,
    payloads: PayloadMode,
    extensions: bool | None,
    max_priority: int,
    connect_timeout: float,
    inline_seconds: float | None,
    name: str | None,
    progress: bool | None,
    logs: Logs | None,
    report: str | os.PathLike[str] | None,
    dry_run: bool,
    budget: float | timedelta | None,
    state: str | os.PathLike[str] | None,
    cache_limit: int | str | None,
    partitions: Mapping[str, Mapping[str, int | str]] | None,
) -> Backend:
    """What a client of these arguments runs its graphs on; see there for them.

    All of them are checked before anything is started.
    """
    task_options, connection = make_client_options(options)
    defaults = merge_options(task_options, DEFAULT_OPTIONS)
    check_arguments(
        endpoint,
        workers=workers,
        local=local,
        payloads=payloads,
        extensions=extensions,
        max_priority=max_priority,
        connect_timeout=connect_timeout,
        inline_seconds=inline_seconds,
        name=name,
        progress=progress,
        logs=logs,
        connection=connection,
    )
    directory = find_state(state, endpoint, connection, local=local)
    limit = find_cache_limit(cache_limit)
    offers = () if partitions is None else make_offers(partitions)
    page = _page(report, local=local)
    seconds = check_budget(budget, local=local)
    dry = is_dry(dry_run)
    backend: Backend
    if local:
        from armoflow.client.local_backend import LocalBackend

        backend = LocalBackend(client, defaults)
    else:
        _refuse_where_none_can_run()
        if extensions is None:
            extensions = extensions_of_environment()
        found = find_engine(endpoint, connection, workers, directory)
        with EngineStart(found, directory, workers, extensions=extensions) as start:
            from armoflow.client.engine_backend import EngineBackend

            backend = EngineBackend(
                client,
                start,
                defaults,
                cache_limit=limit,
                offers=offers,
                payloads=payloads,
                extensions=extensions,
                max_priority=max_priority,
                connect_timeout=connect_timeout,
                inline_seconds=inline_seconds,
                name=script_name() if name is None else name,
                progress=progress,
                logs=logs,
                report=page,
                budget=seconds,
            )
    if dry:
        from armoflow.client.dry_run import DryRunBackend

        return DryRunBackend(client, backend)
    return backend


def _page(report: str | os.PathLike[str] | None, *, local: bool) -> Path | None:
    if report is None:
        return None
    from armoflow.client.reporting import check_report

    return check_report(report, local=local)


def _refuse_where_none_can_run() -> None:
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
