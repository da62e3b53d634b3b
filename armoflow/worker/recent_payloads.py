"""Payloads that were sent to a process lately: tasks that share one need it there once.

Both ends give each that goes by a place, in turns, so that the place is all that is said of it when
it is needed again. Tasks that run side by side have come side by side or one below the other: what
is needed again is among a few.
"""

from __future__ import annotations

from armoflow import config
from armoflow.worker.data import DataSource

_PLACES = config.BUNDLES_KEPT
_LARGEST = 2 * config.BUNDLE_BYTES
"""Bytes of what is kept: others are hardly shared."""


class SentPayloads:
    """What the owner knows of what its process has.

    Example:
        >>> sent, received = SentPayloads(), ReceivedPayloads()
        >>> first, second = b"first", b"second"
        >>> said = [sent.name(payload) for payload in (first, second, first)]
        >>> said
        [b'first', b'second', 0]
        >>> [received.find(one) for one in said]
        [b'first', b'second', b'first']
    """

    def __init__(self) -> None:
        self._kept: list[DataSource | None] = [None] * _PLACES
        self._places: dict[int, int] = {}  # by identity: what is kept stays the same object
        self._next = 0

    def name(self, payload: DataSource) -> DataSource | int:
        """How a payload is told: the place that it has, or itself."""
        place = self._places.get(id(payload))
        if place is None and _is_kept(payload):
            self._places.pop(id(self._kept[self._next]), None)
            self._places[id(payload)] = self._next
            self._kept[self._next] = payload
            self._next = (self._next + 1) % _PLACES
        return payload if place is None else place


class ReceivedPayloads:
    """What the process has."""

    def __init__(self) -> None:
        self._kept: list[DataSource] = []
        self._next = 0

    def find(self, told: DataSource | int) -> DataSource:
        """The payload that was told so."""
        if isinstance(told, int):
            return self._kept[told]
        if _is_kept(told):
            self._kept[self._next : self._next + 1] = [told]
            self._next = (self._next + 1) % _PLACES
        return told


def _is_kept(payload: DataSource) -> bool:
    return isinstance(payload, bytes) and len(payload) <= _LARGEST
