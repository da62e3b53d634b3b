"""Syntax trees are built whole, whatever other threads do."""

from __future__ import annotations

import ast
import gc
import importlib
import sys
import threading
from pathlib import Path

import pytest

from armoflow.codec import modules
from armoflow.codec.syntax import parse

SOURCE = "\n".join(f"def f{n}(x): return [x + {n} for _ in range({n})]" for n in range(40))


def test_trees_are_built_beside_collections_and_other_threads() -> None:
    whole = ast.dump(ast.parse(SOURCE))
    found: list[str] = []

    class Interfering:
        """Garbage whose finaliser lets other threads run."""

        def __init__(self) -> None:
            self.cycle = self

        def __del__(self) -> None:
            for _ in range(100):
                pass

    def build() -> None:
        for _ in range(10):
            Interfering()
            found.append(ast.dump(parse(SOURCE)))

    thresholds, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.set_threshold(1)
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=build) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        gc.set_threshold(*thresholds)
        sys.setswitchinterval(interval)
    assert found == [whole] * 40


def test_what_is_no_python_says_so() -> None:
    with pytest.raises(SyntaxError):
        parse("def")


def test_a_source_is_read_once_for_all_clients_and_anew_when_it_is_edited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(text: str) -> ast.Module:
        read.append(text)
        return parse(text)

    monkeypatch.setattr(modules, "parse", counted)
    monkeypatch.syspath_prepend(str(tmp_path))
    for text in ("import json  # read once\n", "import csv  # once too\n"):
        (tmp_path / "read_once.py").write_text(text)
        importlib.invalidate_caches()
        for _client in range(3):
            bundle = modules.ModuleBundle()
            bundle.add(["read_once"])
            assert bundle.others == {text.split()[1]}
        assert read.count(text) == 1
