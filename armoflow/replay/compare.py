"""``python -m armoflow.replay.compare FOLDER OUTPUT``: computes a kept result again, and compares.

A process of its own, with the environment that workers get: the user's code may do anything. What
was found goes to a file, since that code may print.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from armoflow.cache.fingerprints import key_of
from armoflow.cache.recipe import output_id
from armoflow.cache.walk import digest_of
from armoflow.codec.container import Buffer
from armoflow.codec.envelope import Slot, SlotKind, unpack_envelope
from armoflow.codec.failure import ErrorRecord
from armoflow.codec.payload import Pickled
from armoflow.codec.pickling import loads
from armoflow.errors import UnkeyableError
from armoflow.replay.dump import read_dump
from armoflow.replay.rerun import Replayed, rerun

KEPT: Final = "kept"
"""The file with what is kept."""

FOUND: Final = "found.json"
"""The file with what was found."""

_CONTENT: Final = (SlotKind.VALUE, SlotKind.ABSENT)
"""What is kept: no failures."""


def compare(kept: Buffer, made: Buffer) -> dict[int, str]:
    """The slots of two results that differ: what the second one has there, in short.

    Values are the same if they have the same pickle, or the same key, or are equal.

    Example:
        >>> from armoflow.codec.envelope import pack_envelope
        >>> from armoflow.codec.pickling import dumps
        >>> one, other = (
        ...     b"".join(pack_envelope([dumps(value).data for value in values]))
        ...     for values in ([{1, 2}, 3], [{2, 1}, 4])
        ... )
        >>> list(compare(one, other))
        [1]
    """
    old, new = unpack_envelope(kept), unpack_envelope(made)
    different = {}
    for number, slot in enumerate(old):
        if slot.kind in _CONTENT:
            told = _told(slot, new[number]) if number < len(new) else "it has no such item"
            if told is not None:
                different[number] = told
    return different


def _told(old: Slot, new: Slot) -> str | None:
    """What is another in a slot; None: nothing."""
    if new.kind not in _CONTENT:
        return ErrorRecord.decode(new.data, b"").summary
    if old.kind is not new.kind:
        return f"{old.kind.name.lower()} -> {new.kind.name.lower()}"
    if old.data == new.data and [*map(bytes, old.buffers)] == [*map(bytes, new.buffers)]:
        return None
    before, now = (loads(Pickled(slot.data, slot.buffers)) for slot in (old, new))
    digests = [_digest(value, slot) for value, slot in ((before, old), (now, new))]
    return None if digests[0] == digests[1] or _equal(before, now) else digests[1]


def _digest(value: Any, slot: Slot) -> str:
    try:
        return key_of(value).hex()
    except UnkeyableError:
        return digest_of(b"pickle", bytes(slot.data), *map(bytes, slot.buffers)).hex()


def _equal(before: Any, now: Any) -> bool:
    try:
        return (before == now) is True  # of arrays and frames it is no bool
    except Exception:  # the user's __eq__
        return False


def _found(replayed: Replayed, kept: Buffer, output: str) -> dict[str, Any]:
    if output in replayed.made:
        different = compare(kept, replayed.made[output])
        return {"values": len(unpack_envelope(kept)), "different": different}
    if replayed.children and replayed.ok:
        return {"children": replayed.children}
    errors = [item.error.summary for item in replayed.items if item.error is not None]
    return {"failed": next(iter(errors), replayed.problem)}


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says."""
    folder = Path(arguments[0])
    replayed = rerun(read_dump(folder), alone=True, within=folder)
    kept = (folder / KEPT).read_bytes()
    found = _found(replayed, kept, output_id(int(arguments[1])))
    (folder / FOUND).write_text(json.dumps(found), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
