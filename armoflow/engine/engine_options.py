"""How an engine is set up, and task options in the form that frames carry."""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from armoflow.config import MAX_PRIORITY, MIB
from armoflow.engine.records import ApiOptions, Partition
from armoflow.errors import OptionError
from armoflow.placement import check_partition

Durability = Literal["normal", "full"]

KNOWN_OPTIONS: Final = 256
"""Task options that are remembered by their values."""

DEFAULT_PARTITION = Partition("default", pod_max=1)


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What is fixed when an engine starts.

    Attributes:
        state_directory: Where the journal and the data are; made if missing.
        partitions: The partitions; the first one is where tasks go that name none.
        max_priority: Highest priority that a submission may ask for. None: 10, as the queues of
            stock clusters have it; strict: any, as the reference engine with NATS.
        delete_payload: Delete a task's payload once the task is completed, as stock clusters do.
        strict: Behave as the reference engine does even where that is a defect.
        durability: ``"normal"`` survives the death of any process; ``"full"`` also waits for the
            disk at each commit, and survives a power cut.
        client_lease: Seconds that a client may be away before its session ends, if it was asked for
            with a lease; 0: as long as it likes.
        retention: Seconds that sessions stay after their end; 0: until they are deleted.
        memory_limit: Bytes of small data that stay in memory.
        watcher_limit: Events that a watcher may fall behind before it is closed.
        room: Bytes on the disk that new work leaves free, for deletions; less on a small disk.
        devices: The machine's graphics processors, of which tasks may have some for themselves.
        own_devices: Partitions whose workers have others, each its own: their tasks take none.
    """

    state_directory: Path
    partitions: tuple[Partition, ...] = (DEFAULT_PARTITION,)
    max_priority: int | None = None
    delete_payload: bool = False
    strict: bool = False
    durability: Durability = "normal"
    client_lease: float = 0.0
    retention: float = 0.0
    memory_limit: int = 64 * MIB
    watcher_limit: int = 200_000
    room: int = 0
    devices: tuple[str, ...] = ()
    own_devices: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not self.partitions:
            raise OptionError("an engine needs at least one partition")
        for partition in self.partitions:
            check_partition(partition.id)
        if self.durability not in ("normal", "full"):
            raise OptionError(f"durability must be 'normal' or 'full', not {self.durability!r}")
        for name in ("client_lease", "retention"):
            seconds = getattr(self, name)
            if not 0 <= seconds < math.inf:
                raise OptionError(
                    f"{name} must be a number of seconds, or 0 for none, not {seconds}"
                )

    @property
    def highest_priority(self) -> int:
        """What ``max_priority`` means."""
        if self.max_priority is not None:
            return self.max_priority
        return sys.maxsize if self.strict else MAX_PRIORITY

    @property
    def default_partition(self) -> str:
        """Id of the partition where tasks go that name none."""
        return self.partitions[0].id


_FIELDS = {field.name: field for field in dataclasses.fields(ApiOptions)}


def encode_options(options: ApiOptions) -> dict[str, Any]:
    """The options that say something, by field name.

    Example:
        >>> encode_options(ApiOptions(priority=2, partition_id="gpu"))
        {'priority': 2, 'partition_id': 'gpu'}
    """
    values = {name: getattr(options, name) for name in _FIELDS}
    return {
        name: dict(value) if name == "options" else value for name, value in values.items() if value
    }


def decode_options(values: Mapping[str, Any] | None) -> ApiOptions | None:
    """ApiOptions from what :func:`encode_options` made; None stays None (inherit).

    Tasks share theirs, whatever frame they come in: equal values are the same object, where it is
    still known, so that they are merged, written and kept in memory once.

    Raises:
        OptionError: If a field is unknown.
    """
    if values is None:
        return None
    try:
        return _known_options(tuple(values.items()))
    except TypeError:  # a map among them, which few have
        return _make_options(values)


@functools.lru_cache(maxsize=KNOWN_OPTIONS)
def _known_options(items: tuple[tuple[str, Any], ...]) -> ApiOptions:
    return _make_options(dict(items))


def _make_options(values: Mapping[str, Any]) -> ApiOptions:
    unknown = values.keys() - _FIELDS.keys()
    if unknown:
        raise OptionError(f"unknown task option {min(unknown)!r}")
    return ApiOptions(**values)
