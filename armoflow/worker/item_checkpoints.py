"""What items keep of themselves for a later attempt: a file each, beside those of the processes.

A child writes them, and removes those of a task that it has ended. Its owner removes them where a
child cannot: it was killed, or the task has waited for a retry in no process. All go with the
owner's directory.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from armoflow.codec.container import Buffer
from armoflow.codec.envelope import pack_envelope, unpack_envelope
from armoflow.codec.payload import Pickled
from armoflow.errors import EnvelopeError
from armoflow.protocol.shared_files import remove_file
from armoflow.worker import data
from armoflow.worker.failures import UnreadableDataError

logger = logging.getLogger(__name__)

_NEW = ".new"


class Checkpoints:
    """The checkpoints of the tasks of one owner.

    Args:
        beside: The directory of a process of this owner.
    """

    def __init__(self, beside: str) -> None:
        self._directory = f"{os.path.dirname(beside)}/checkpoints"  # noqa: PTH120 - no pathlib in children

    def of_item(self, task_id: str, item: str) -> ItemCheckpoint:
        """That of an item of a task."""
        return ItemCheckpoint(self._directory, f"{_stem(task_id)}{item}")

    def forget(self, task_id: str) -> None:
        """A task has ended: remove what its items have kept.

        What cannot be removed now goes with the directory: a task's end is told in any case.
        """
        stem = _stem(task_id)
        with suppress(OSError):  # no task of this owner has ever kept anything
            for entry in os.listdir(self._directory):  # noqa: PTH208
                if entry.startswith(stem):
                    remove_file(f"{self._directory}/{entry}")

    def removal(self, task_id: str) -> Callable[[], None]:
        """What to call when a task has ended."""
        return functools.partial(self.forget, task_id)


class ItemCheckpoint:
    """The checkpoint of one item."""

    def __init__(self, directory: str, name: str) -> None:
        self._directory = directory
        self._path = f"{directory}/{name}"

    def write(self, value: Any) -> None:
        """Keep a value; where there is no room, say so and keep the one before."""
        from armoflow.worker.inputs import pickle_value  # owners do not come here

        parts = pack_envelope([pickle_value(value, copy=False)])
        try:
            self._write(parts)
        except OSError as error:
            logger.warning("the checkpoint of a task is not kept: %s", error)

    def read(self) -> tuple[Any] | None:
        """What was kept last, alone in a tuple; None: nothing was, or it cannot be read."""
        try:
            (slot,) = unpack_envelope(data.read((self._path, 0)))
        except (UnreadableDataError, EnvelopeError):
            return None
        from armoflow.codec.pickling import loads

        return (loads(Pickled(slot.data, slot.buffers)),)

    def _write(self, parts: list[Buffer]) -> None:
        os.makedirs(self._directory, mode=0o700, exist_ok=True)  # noqa: PTH103
        data.write(self._path + _NEW, parts)
        os.replace(self._path + _NEW, self._path)  # noqa: PTH105


def _stem(task_id: str) -> str:
    """How the names of a task's files begin: ids of other engines may be anything."""
    import hashlib

    return f"{hashlib.blake2b(task_id.encode(errors='replace'), digest_size=16).hexdigest()}-"
