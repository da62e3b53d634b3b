"""Copies of the payloads of a named run, for engines that do not keep these.

ArmoniK's deployments delete a task's payload when the task ends well, whatever became of its items
or of the graph that it returned. What failed in there runs again from a copy: one result for each
batch of tasks, stored beside their part of the manifest. It is data, and never unpickled.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgpack

from armoflow.codec.container import Buffer
from armoflow.errors import DataLostError, MalformedError
from armoflow.protocol.submission import Submission
from armoflow.protocol.transport import Transport

PREFIX = "payloads/"
"""Begins the names of copies."""


class CopyPlace(NamedTuple):
    """Where the copy of a payload is.

    Attributes:
        name: What it is stored under, with those of its batch.
        number: Which of these it is.
    """

    name: str
    number: int


def new_name() -> str:
    """A name for the copies of one batch."""
    return PREFIX + secrets.token_hex(8)


def pack_copies(tasks: Iterable[Submission]) -> bytes:
    """Lay out the payloads of a batch, whose results have their ids."""
    packed: bytes = msgpack.packb([b"".join(task.pack()) for task in tasks], use_bin_type=True)
    return packed


def unpack_copies(data: Buffer) -> list[bytes]:
    """Read the payloads of a batch.

    Raises:
        MalformedError: If it is none.

    Example:
        >>> unpack_copies(bytes([0x91, 0xC4, 1, 65]))
        [b'A']
    """
    try:
        copies = msgpack.unpackb(data, raw=False, max_bin_len=len(data))
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise MalformedError(f"copies of a run's payloads cannot be read: {error}") from error
    if not isinstance(copies, list) or not all(isinstance(copy, bytes) for copy in copies):
        raise MalformedError("copies of a run's payloads are not what they may be")
    return copies


async def fetch_copies(
    transport: Transport, session_id: str, wanted: Mapping[str, CopyPlace]
) -> dict[str, Buffer | DataLostError]:
    """The copies of some payloads, by any key; what is not there says so.

    Raises:
        MalformedError: If what is stored there are no copies.
    """
    names = sorted({place.name for place in wanted.values()})
    batches = {name: await _fetch(transport, session_id, name) for name in names}
    return {key: _copy(batches[place.name], place.number) for key, place in wanted.items()}


async def _fetch(transport: Transport, session_id: str, name: str) -> Sequence[bytes]:
    stored = await transport.shared.parts(session_id, name)
    for data in await transport.fetch(session_id, [part.result_id for part in stored[:1]]):
        if not isinstance(data, DataLostError):
            return unpack_copies(data)
    return ()


def _copy(batch: Sequence[bytes], number: int) -> Buffer | DataLostError:
    if number < len(batch):
        return batch[number]
    return DataLostError("neither its payload is stored any more, nor the copy of it")
