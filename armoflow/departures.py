"""Why values that an index knew are not in it any more: for who asks why they run again."""

from __future__ import annotations

import enum
import time
from collections.abc import Iterable, Sequence
from itertools import islice

from armoflow import config
from armoflow.index import Index
from armoflow.index_entries import leading_to


class Departure(enum.Enum):
    """Why a value is not there any more; what is said of it."""

    EVICTED = "it had to go, since the cache was larger than its limit"
    REMOVED = "it was removed, by armoflow cache rm or invalidate"
    GONE = "the engine had its data no more"

    @property
    def kind(self) -> str:
        """What explanations call it."""
        return self.name.lower()


def depart(index: Index, opaque_ids: Sequence[bytes], why: Departure) -> None:
    """Data goes: so do its entries; why is noted, of the newest that went.

    Args:
        index: The index.
        opaque_ids: The data.
        why: Why.
    """
    now = time.time()
    with index.writing() as execute:
        for opaque_id in opaque_ids:
            data = execute("SELECT id FROM data WHERE opaque = ?", (opaque_id,)).fetchone()
            if data is not None:
                for key, _ in [*leading_to(execute, data[0])]:
                    execute(
                        "INSERT OR REPLACE INTO departed VALUES (?, ?, ?)", (key, why.name, now)
                    )
        execute(
            "DELETE FROM departed WHERE at < (SELECT at FROM departed ORDER BY at DESC"
            " LIMIT 1 OFFSET ?)",
            (config.CACHE_DEPARTED,),
        )
    index.forget(opaque_ids)


def departures(index: Index, keys: Iterable[bytes]) -> dict[bytes, Departure]:
    """Why values are not there any more, by the keys of those that were."""
    found: dict[bytes, Departure] = {}
    with index.reading() as execute:
        if execute("SELECT 1 FROM departed LIMIT 1").fetchone() is None:
            return found
        asked = iter(keys)
        while some := list(islice(asked, config.CACHE_ENTRIES_ASKED)):
            marks = ",".join("?" * len(some))
            query = f"SELECT key, why FROM departed WHERE key IN ({marks})"
            found.update((key, Departure[why]) for key, why in execute(query, some))
    return found
