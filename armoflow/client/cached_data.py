"""The data of a cache, for commands: by a client of its own, since the data is the engine's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from armoflow.client.client import Client
from armoflow.client.engine_backend import EngineBackend
from armoflow.codec.container import Buffer
from armoflow.protocol.settings import CONNECTION_OPTIONS, ConnectionSettings


def remove_cached(
    settings: ConnectionSettings, state: Path | None, opaque_ids: Sequence[bytes]
) -> int:
    """Delete data of a cache at its engine, and what the index says of it.

    Args:
        settings: How the engine is reached.
        state: The state directory, where it is an engine of its clients.
        opaque_ids: The data.

    Returns:
        How much is gone now.
    """
    with _connected(settings, state) as backend:
        return backend.remove_cached(opaque_ids)


@contextmanager
def reading_cached(
    settings: ConnectionSettings, state: Path | None
) -> Iterator[Callable[[Sequence[bytes]], dict[bytes, Buffer]]]:
    """A function that gives data of a cache by opaque ids, as far as the engine has it.

    Args:
        settings: How the engine is reached.
        state: The state directory, where it is an engine of its clients.
    """
    with _connected(settings, state) as backend:
        yield backend.read_cached


@contextmanager
def _connected(settings: ConnectionSettings, state: Path | None) -> Iterator[EngineBackend]:
    options: dict[str, Any] = {"state": state}
    if state is None:
        given = {name: getattr(settings, name) for name in ("endpoint", *CONNECTION_OPTIONS)}
        options = {name: value for name, value in given.items() if value}
    with Client(progress=False, name="armoflow cache", cache_limit="none", **options) as client:
        backend = client._backend
        assert isinstance(backend, EngineBackend)
        yield backend
