"""Records by id in many small dictionaries: one of a million holds everybody up when it grows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Generic, TypeVar

FEW: Final = 32_768
"""Records that one dictionary may have: it grows in a millisecond."""

SHARDS: Final = 256
"""Dictionaries of more records, a power of two."""

T = TypeVar("T")


class Shards(Generic[T]):
    """Records by id.

    Example:
        >>> records = Shards[int]()
        >>> records.add({"a": 1, "b": 2})
        >>> records.pop("a"), records.pop("a"), records.get("b"), len(records)
        (1, None, 2, 1)
        >>> records.take(), bool(records)
        (('b', 2), False)
    """

    __slots__ = ("_at", "_count", "_mask", "_shards")

    def __init__(self) -> None:
        self._shards: list[dict[str, T]] = [{}]
        self._mask = 0
        self._at = 0  # where something was taken last
        self._count = 0

    def add(self, records: Mapping[str, T]) -> None:
        """Add records; one that is here already is replaced."""
        shards, mask = self._shards, self._mask
        if mask:
            fresh = 0
            for key, record in records.items():
                shard = shards[hash(key) & mask]
                fresh += key not in shard
                shard[key] = record
            self._count += fresh
            return
        shards[0].update(records)
        self._count = len(shards[0])
        if self._count > FEW:
            self._shards, self._mask, self._count = [{} for _ in range(SHARDS)], SHARDS - 1, 0
            self.add(shards[0])

    def get(self, key: str) -> T | None:
        """A record, if it is here."""
        return self._shards[hash(key) & self._mask].get(key)

    def pop(self, key: str) -> T | None:
        """Remove a record, if it is here."""
        record = self._shards[hash(key) & self._mask].pop(key, None)
        if record is not None:
            self._count -= 1
        return record

    def remove(self, keys: Iterable[str]) -> list[str]:
        """Remove records; returns the keys of those that are not here.

        Example:
            >>> records = Shards[int]()
            >>> records.add({"a": 1, "b": 2})
            >>> records.remove(["a", "c"]), len(records)
            (['c'], 1)
        """
        shards, mask = self._shards, self._mask
        if not mask:
            pop = shards[0].pop
            missing = [key for key in keys if pop(key, None) is None]
            self._count = len(shards[0])
            return missing
        missing = []
        count = 0
        for key in keys:
            if shards[hash(key) & mask].pop(key, None) is None:
                missing.append(key)
            else:
                count += 1
        self._count -= count
        if not self._count:
            self._shards, self._mask, self._at = [{}], 0, 0
        return missing

    def take(self) -> tuple[str, T]:
        """Remove any record.

        Raises:
            KeyError: If there is none.
        """
        while self._count:
            shard = self._shards[self._at]
            if shard:
                self._count -= 1
                return shard.popitem()
            self._at = (self._at + 1) & self._mask
        raise KeyError("there is none")

    def parts(self) -> Iterator[list[T]]:
        """All records, some at a time; what comes or goes meanwhile may be left out."""
        for shard in self._shards:
            yield list(shard.values())

    def __len__(self) -> int:
        return self._count

    def __bool__(self) -> bool:
        return self._count > 0
