"""The engine's collections: short ones with many records, and cycles are freed all the same."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
from engine_support import in_loop

from armoflow.engine import garbage
from armoflow.engine.garbage import DUE, FEW, THRESHOLDS, Collector


class Ring:
    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def own_collections() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(*THRESHOLDS)
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def grow_old() -> None:
    """As many collections of survivors as make a full one due."""
    for _ in range(DUE):
        gc.collect(1)


def test_python_makes_no_full_collections_itself() -> None:
    gc.collect()
    full = gc.get_stats()[2]["collections"]
    kept = [[number] for number in range(40 * THRESHOLDS[0])]
    assert gc.get_stats()[2]["collections"] == full
    assert gc.get_count()[2] > DUE  # so that one is due
    assert kept


@in_loop
async def test_a_full_collection_comes_when_it_is_due() -> None:
    collector = Collector(lambda: 0)
    collector.start()
    collector.stop()
    ring = Ring()
    gone = weakref.ref(ring)
    gc.collect()  # it is old now, and nothing is due
    del ring
    collector.collect()
    assert gone() is not None
    grow_old()
    collector.collect()
    assert gone() is None
    assert gc.get_count()[2] == 0


@in_loop
async def test_what_came_with_many_records_is_left_out_without_a_look() -> None:
    records = 0
    collector = Collector(lambda: records)
    collector.start()
    collector.stop()
    ring = Ring()
    gone = weakref.ref(ring)
    gc.collect(1)  # it has survived
    gc.collect(1)
    del ring
    frozen, full = gc.get_freeze_count(), gc.get_stats()[2]["collections"]
    records = FEW + 1
    grow_old()
    collector.collect()
    assert gc.get_freeze_count() > frozen and gc.get_stats()[2]["collections"] == full
    assert gone() is not None
    records = 0
    grow_old()
    collector.collect()
    assert gone() is None


@in_loop
async def test_what_survives_a_long_one_is_looked_at_again_when_few_records_are_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records = 10 * FEW
    collector = Collector(lambda: records)
    collector.start()
    collector.stop()
    monkeypatch.setattr(garbage, "LONG", 0.0)
    rings = [Ring(), Ring()]
    early, late = map(weakref.ref, rings)
    grow_old()
    collector.collect()
    rings.pop(0)
    grow_old()
    collector.collect()
    assert early() is not None  # frozen: full collections leave it out, and stay short
    rings.clear()
    records = FEW - 1
    grow_old()
    collector.collect()
    assert early() is None
    assert late() is None
