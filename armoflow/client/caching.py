"""What a client's cache needs of the client: where the index is, and keys of references."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from armoflow.cache.fingerprints import key_of
from armoflow.client.future import Future
from armoflow.client.put import Put, check_owner
from armoflow.client.streams import tell
from armoflow.codec.envelope import Slot, unpack_cells
from armoflow.codec.payload import Pickled
from armoflow.codec.pickling import loads
from armoflow.errors import UnkeyableError
from armoflow.index import Index, UnusableIndexError
from armoflow.index_files import path_of
from armoflow.orchestrator.constant import Constant

if TYPE_CHECKING:
    from armoflow.client.client import Client

logger = logging.getLogger(__name__)

T = TypeVar("T")

INDEX_NAME = "cache.sqlite"
"""The file of the index in a state directory."""

_told = False


def open_index(endpoint: str | None, state: Path | None) -> Index:
    """The index of an engine.

    Args:
        endpoint: Where it listens; None: it is a private one, which ends with its client.
        state: Its state directory, where that is this client's to know: the index is in it.

    Raises:
        EngineError: If it cannot be opened.
    """
    if state is not None:
        return Index(state / INDEX_NAME, str(state))
    if endpoint is not None:
        return Index(path_of(endpoint), endpoint)
    global _told  # noqa: PLW0603 - said once in a process
    if not _told:
        _told = True
        tell(
            sys.stderr,
            "armoflow: cached values go with this client's private engine: to keep them, say "
            "Client(state='./state')",
        )
    return Index(None)


def unless_unusable(look_up: Callable[[], T]) -> T | None:
    """What a cache has of some values; None if its index cannot be used.

    Then they are computed, and not kept: a cache saves work, and is no reason to do none.
    """
    try:
        return look_up()
    except UnusableIndexError as error:
        logger.warning("nothing is taken from the cache, nor kept: %s", error)
        return None


def find_index(endpoint: str, state: Path | None) -> Path:
    """The file of the index of an engine, whether it is there or not."""
    return path_of(endpoint) if state is None else state / INDEX_NAME


def reference_keys(
    client: Client, read: Callable[[Constant], Any]
) -> dict[type, Callable[[Any], bytes]]:
    """How futures and ``put`` references count: by their values.

    Args:
        client: The client whose references these must be.
        read: Reads the data of what was put.
    """

    def of_future(future: Future[Any]) -> bytes:
        check_owner(future, client)
        if not future.done():
            raise UnkeyableError(
                f"{future!r} has no key before it is done: give the lazy value that it stands for, "
                "or wait for it"
            )
        return key_of(future.result())

    def of_put(reference: Put[Any]) -> bytes:
        check_owner(reference, client)
        (cell,) = unpack_cells(read(reference.constant))
        data, buffers = (cell.data, cell.buffers) if isinstance(cell, Slot) else (cell, ())
        return key_of(loads(Pickled(data or b"", buffers)))

    return {Future: of_future, Put: of_put}
