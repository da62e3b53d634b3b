"""Memory that many may write to, each to its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from armoflow.worker.originals import Original, Originals

SMALL, LARGE = 1_000, 3_000_000


@pytest.mark.parametrize("size", [0, SMALL, LARGE])
@pytest.mark.parametrize("files", [True, False])
def test_each_gets_what_was_there_first(
    size: int, files: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not files:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    memory = bytearray(b"a" * size)
    original = Original(memory)
    memory[:] = b"b" * size
    first, second = original.copy(), memoryview(original.copy())
    second[:] = b"c" * size
    assert bytes(first) == bytes(original.copy()) == b"a" * size
    assert bytes(second) == b"c" * size


def test_where_no_file_can_be_made_it_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError("too many open files")

    monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
    assert bytes(Original(b"a" * LARGE).copy()) == b"a" * LARGE


def test_large_memory_is_kept_once_and_let_go_of() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    originals = Originals()
    memory = bytearray(LARGE)
    assert originals.of(memoryview(memory)) is originals.of(memoryview(memory))
    small = bytearray(SMALL)
    assert originals.of(memoryview(small)) is not originals.of(memoryview(small))
    for _ in range(100):
        originals.of(memoryview(bytearray(LARGE)))
    assert len(list(Path("/proc/self/fd").iterdir())) - before < 20
    del originals
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_two_parts_of_one_memory_are_told_apart() -> None:
    memory = memoryview(bytearray(b"a" * LARGE + b"b" * LARGE))
    originals = Originals()
    first, second = (originals.of(part).copy() for part in (memory[:LARGE], memory[LARGE:]))
    assert (bytes(first[:1]), bytes(second[:1])) == (b"a", b"b")
