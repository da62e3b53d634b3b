from __future__ import annotations

import operator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runners import LocalRunner
from seats import call, collection, values

from armoflow.codec.envelope import Cell, Slot, SlotKind
from armoflow.codec.payload import Operation
from armoflow.worker.mark import (
    ENTRIES,
    ITEM,
    SPOOL_BYTES,
    Mark,
    MarkWriter,
    SpoolEntry,
    cell_from_wire,
    cell_to_wire,
    create_mark_file,
    decode_entries,
)

slots = st.builds(
    Slot,
    st.sampled_from([SlotKind.VALUE, SlotKind.ERROR, SlotKind.SKIPPED]),
    st.binary(max_size=40),
    st.lists(st.binary(max_size=40), max_size=2),
)
cells: st.SearchStrategy[Cell] = st.binary(max_size=40) | st.none() | slots


def by_item(entries: list[SpoolEntry]) -> dict[int, Any]:
    return {entry.item: entry.cells for entry in entries}


@given(st.integers(1, 3).flatmap(lambda n: st.lists(st.lists(cells, min_size=n, max_size=n))))
def test_the_owner_reads_what_the_child_kept(kept: list[list[Cell]]) -> None:
    mark = Mark(create_mark_file("/tmp"))
    recorder = MarkWriter(mark, lambda *_: None)
    recorder.begin(5)
    for item, row in enumerate(kept):
        recorder.start(item, 1, 0)
        recorder.keep(item, row)
    recorder.start(len(kept), 1, 0)
    read = [[cell_from_wire(cell) for cell in entry.cells] for entry in mark.entries()]
    assert read == [[cell_from_wire(cell_to_wire(cell)) for cell in row] for row in kept]
    assert mark.position()[:2] == (5, len(kept))
    mark.close()


@given(st.text(max_size=200), st.integers(1, 9))
def test_the_owner_reads_which_call_of_a_graph_runs(name: str, number: int) -> None:
    mark = Mark(create_mark_file("/tmp"))
    recorder = MarkWriter(mark, lambda *_: None)
    recorder.begin(5)
    recorder.start(0, 1, 0)
    recorder.inline(number, 2, 99, name)
    told = mark.position()
    assert told == (5, 0, 2, 99, number, told.name)
    assert name.startswith(told.name.rstrip("\ufffd"))
    assert told.name == name or len(name.encode(errors="replace")) > 384
    recorder.inline(0, 1, 0)
    assert mark.position() == (5, 0, 1, 0, 0, "")
    mark.close()


@given(st.lists(st.integers(0, SPOOL_BYTES // 3), max_size=40))
def test_what_does_not_fit_is_shipped_or_left_out(lengths: list[int]) -> None:
    mark = Mark(create_mark_file("/tmp"))
    found: dict[int, Any] = {}

    def ship(serial: int, base: int, numbers: bytes, spool: bytes) -> None:
        assert serial == 1
        found.update(by_item(decode_entries(base, memoryview(numbers).cast("I"), spool)))

    recorder = MarkWriter(mark, ship)
    recorder.begin(1)
    for item, length in enumerate(lengths):
        recorder.start(item, 1, 0)
        recorder.keep(item, [bytes([item]) * length])
    mark.words[ITEM] = len(lengths)
    found.update(by_item(mark.entries()))
    for item, length in enumerate(lengths):
        if item in found:
            assert found[item] == [bytes([item]) * length]
        else:
            assert length > SPOOL_BYTES // 4
    mark.close()


def test_between_tasks_nothing_runs(tmp_path: Path) -> None:
    local = LocalRunner(tmp_path)
    local.run(call(len, "four"))
    assert local.mark.position().item == 1  # storing, no item is to blame
    local.recorder.end()
    assert local.mark.position().serial == 0


@pytest.mark.parametrize("count", [1, ENTRIES - 1, ENTRIES, ENTRIES + 1, 3 * ENTRIES])
def test_any_number_of_items(tmp_path: Path, count: int) -> None:
    local = LocalRunner(tmp_path)
    payload = collection(Operation.MAP, operator.neg, values(*range(count)))
    assert local.run(payload) == [-number for number in range(count)]
    assert bool(local.shipped) == (count > ENTRIES)
