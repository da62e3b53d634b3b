"""The walk over what a function uses of the user's own code."""

from __future__ import annotations

import functools
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from armoflow import task
from armoflow.codec.usage import find_usage

HELPER = """
import functools, json
import walked_deep
from walked_deep import leaf
RATE = 3
HANDLERS = {"a": leaf}
def deco(f):
    @functools.wraps(f)
    def inner(*args): return f(*args)
    return inner
class Base:
    factor = 2
    def used(self): return RATE
class Child(Base):
    def own(self): return walked_deep.DEPTH
def unused(): return 1
def by_default(f=leaf): return f
@deco
def decorated(x): return HANDLERS["a"](x)
def main(x, kind=Child):
    def nested(): return decorated(x)
    return json.dumps([nested(), getattr(walked_deep, "dynamic")(), {leaf, by_default}])
"""
DEEP = """
DEPTH = 1
def leaf(x): return x + len(str(DEPTH))
def dynamic(): return DEPTH
def not_used(): return 0
"""


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "walked.py").write_text(HELPER)
    (tmp_path / "walked_deep.py").write_text(DEEP)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("walked")
    for name in ("walked", "walked_deep"):
        sys.modules.pop(name, None)


def names(*roots: Any) -> tuple[list[str], list[str], list[str]]:
    usage = find_usage(*roots)
    return (
        [function.__qualname__ for function in usage.functions],
        [cls.__qualname__ for cls in usage.classes],
        [f"{binding.module}.{binding.path}" for binding in usage.bindings],
    )


def test_everything_that_is_used_and_nothing_else(helper: Any) -> None:
    functions, classes, bindings = names(helper.main)
    assert set(functions) == {  # the decorator is wrapped as what it decorates
        *("main", "decorated", "decorated", "leaf", "dynamic", "by_default"),
        *("Base.used", "Child.own"),
    }
    assert set(classes) == {"Base", "Child"}
    assert {"walked.RATE", "walked.Base.factor", "walked_deep.DEPTH", "walked.HANDLERS"} <= set(
        bindings
    )
    assert list(find_usage(helper.main).modules) == ["walked", "walked_deep"]


def test_whatever_can_be_called(helper: Any) -> None:
    class Callable:
        def __call__(self) -> Any:
            return helper.leaf(1)

    for root in (
        task(helper.leaf),
        functools.partial(helper.leaf, 1),
        functools.lru_cache(helper.leaf),
        lambda: helper.leaf(1),
        {"inside": [helper.leaf]},
        Callable(),
        Callable().__call__,
        functools.partial(print, key=helper.leaf),
    ):
        assert "leaf" in names(root)[0], root
        assert "walked_deep.DEPTH" in names(root)[2]


def test_installed_code_is_not_looked_into() -> None:
    import msgpack

    assert names(importlib.import_module, msgpack.packb, print, find_usage) == ([], [], [])


def test_the_order_depends_on_the_code_alone(helper: Any, tmp_path: Path) -> None:
    program = (
        "import walked; from armoflow.codec.usage import find_usage\n"
        "usage = find_usage(walked.main)\n"
        "print([f.__qualname__ for f in usage.functions], [c.__qualname__ for c in usage.classes],"
        " list(usage.modules), [(b.module, b.path) for b in usage.bindings])"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONPATH": f"{tmp_path}:{Path.cwd()}", "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(told) == 1
    assert "by_default" in told.pop()


@pytest.mark.parametrize(
    "change",
    [
        lambda m: setattr(m, "RATE", 4),
        lambda m: m.HANDLERS.update(b=1),
        lambda m: m.HANDLERS.update(a=len),
        lambda m: setattr(m.Base, "factor", 9),
        lambda m: setattr(m.Child, "new", 9),
        lambda m: setattr(m.decorated.__wrapped__, "__code__", (lambda x: x).__code__),
        lambda m: setattr(m.by_default, "__defaults__", (1,)),
        lambda m: setattr(m.walked_deep, "DEPTH", 5),
        lambda m: setattr(m, "len", 5),
        lambda m: setattr(m.walked_deep, "len", len),
        importlib.reload,
    ],
)
def test_a_change_is_noticed(helper: Any, change: Any) -> None:
    usage = find_usage(helper.main)
    assert usage.holds()
    helper.unused = 1
    assert usage.holds()
    change(helper)
    assert not usage.holds() or "len" in vars(helper)
    assert find_usage(helper.main).holds()


def test_a_closure_variable_is_noticed(helper: Any) -> None:
    count = 1

    def closure() -> Any:
        return helper.leaf(count)

    usage = find_usage(closure)
    assert usage.holds()
    count = 2
    assert not usage.holds()


def test_code_that_refers_to_itself_is_walked_once() -> None:
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec("def even(n): return n == 0 or odd(n - 1)\ndef odd(n): return n and even(n - 1)", scope)
    loop: list[Any] = [scope["even"]]
    loop.append(loop)
    assert names(loop)[0] == ["even", "odd"]
