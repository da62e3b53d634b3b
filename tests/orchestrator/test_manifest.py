"""Manifests of named runs are data: what they say is read back, anything else is refused."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from armoflow.codec.payload import Operation
from armoflow.errors import MalformedError
from armoflow.orchestrator.named.copies import pack_copies, unpack_copies
from armoflow.orchestrator.named.manifest import (
    KEY_BYTES,
    Head,
    ManifestPart,
    PartialNote,
    PlanningProcess,
    ResultSlots,
    TaskNote,
    ValueNote,
    pack_part,
    unpack_part,
)
from armoflow.protocol.submission import Submission, WireOptions

KEY = bytes(KEY_BYTES)
OPTIONS = WireOptions(60.0, 3, 1, "default", labels=(("armoflow_run", "nightly"),))
WHOLE = ManifestPart(
    3,
    Head(KEY, KEY, 0, "total", True, b"seal", PlanningProcess("host", 7, "then")),
    [TaskNote("p1", ("a",), ("b",), OPTIONS, Operation.MAP, ("load", "clean"), 4, 2)],
    [ValueNote("b", 0, 0, 2 * KEY)],
    [PartialNote("b", KEY, 4, 6)],
    [ResultSlots("b", "load", 4, 0, 2)],
    "interrupted",
    "payloads/0f",
)
ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


def test_what_is_written_is_read_back() -> None:
    assert unpack_part(pack_part(WHOLE)) == WHOLE


def places_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in what msgpack gives."""
    found = [path]
    inside: Any = ()
    if isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, list):
        inside = enumerate(value)
    for key, inner in inside:
        found += places_in(inner, (*path, key))
    return found


WRITTEN = msgpack.unpackb(pack_part(WHOLE))
PLACES = places_in(WRITTEN)


@given(st.sampled_from(PLACES), ODD)
def test_whatever_stands_anywhere_in_it_is_believed_or_refused(
    path: tuple[Any, ...], odd: Any
) -> None:
    written = msgpack.unpackb(pack_part(WHOLE))
    if path:
        holder = written
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = odd
    else:
        written = odd

    try:
        part = unpack_part(msgpack.packb(written))
    except MalformedError:
        return
    assert unpack_part(pack_part(part)) == part


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_no_manifest(data: bytes) -> None:
    with pytest.raises(MalformedError):
        unpack_part(data)


@given(st.integers(0, len(pack_part(WHOLE)) - 1))
def test_a_part_that_was_cut_short_is_refused(length: int) -> None:
    with pytest.raises(MalformedError):
        unpack_part(pack_part(WHOLE)[:length])


@given(st.lists(st.binary(max_size=50), max_size=5))
def test_copies_of_payloads_are_read_back(payloads: list[bytes]) -> None:
    assert unpack_copies(pack_copies([Packed(data) for data in payloads])) == payloads


@given(ODD.map(msgpack.packb) | st.binary(max_size=100))
def test_whatever_stands_in_place_of_copies_is_believed_or_refused(data: bytes) -> None:
    try:
        copies = unpack_copies(data)
    except MalformedError:
        return
    assert all(type(copy) is bytes for copy in copies)


class Packed(Submission):
    """A task with this payload."""

    def __init__(self, data: bytes) -> None:
        super().__init__("task", [], [], OPTIONS)
        self._data = data

    def pack(self) -> list[Any]:
        return [self._data]
