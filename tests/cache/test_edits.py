"""Edits of a small program, and whose keys each changes: those of its cone, and no others."""

# ruff: noqa: E501 - an edit a line

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from armoflow.cache import Keys, differences
from armoflow.cache.code import code_key
from armoflow.codec.usage import find_usage
from armoflow.policies import make_policy
from armoflow.system import packages

HELPERS = '''
"""Helpers."""
import functools
import math
import numpy as np
from enum import Enum
from dataclasses import dataclass, field

LIMIT = 10
UNUSED = 1
TABLE = {"a": 1, "b": [2, 3]}
NAMES = {"x", "y", "z"}


def traced(function):
    """Tells of calls."""

    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)

    return wrapper


def scaled(factor):
    def decorate(function):
        @functools.wraps(function)
        def wrapper(*args):
            return factor * function(*args)

        return wrapper

    return decorate


class Colour(Enum):
    RED = 1
    BLUE = 2


class Base:
    def shift(self, x):
        return x + 1


@dataclass
class Settings(Base):
    """Settings."""

    rate: float = 0.5
    names: list = field(default_factory=list)
    kind: Colour = Colour.RED

    @property
    def half(self):
        return self.rate / 2

    @staticmethod
    def sign(x):
        return -x

    @classmethod
    def make(cls):
        return cls()

    class Inner:
        depth = 3


def parse(text, sep=","):
    """Splits a text."""
    # a comment
    if text and sep:
        return [part for part in text.split(sep) if part]
    return []


def mean(values, *, start=0):
    return (math.fsum(values) + start) / max(len(values), 1)


@traced
def clip(x):
    return min(x, LIMIT)


@scaled(2)
def grow(x):
    return x + 1


def unused(x):
    return x


def even(x):
    return x == 0 or odd(x - 1)


def odd(x):
    return x != 0 and even(x - 1)


def norm(x):
    return np.sqrt(x)


def lookup(name):
    return TABLE[name] if name not in NAMES else None


def by_name(x):
    return x + 7


power = functools.partial(pow, 2)
shorten = lambda text: text[:3]
'''

MAIN = '''
import functools
import helpers
from helpers import Settings, clip, grow, even, lookup, norm, parse, power, shorten
from armoflow import task


def add_all(values, bonus=1):
    total = bonus
    for value in values:
        total += value
    return total


def make_adder(amount):
    def adder(x):
        return x + amount

    return adder


adder = make_adder(5)
adders = [make_adder(1), make_adder(2)]


@task
def load(path):
    """Reads."""
    return parse(path)


@task(retries=1)
def clean(rows):
    return [clip(row) for row in rows]


@task
def train(rows, depth=3):
    settings = Settings(rate=0.1)
    return settings.half + depth + helpers.mean(rows)


@task
def score(model, level="info"):
    return grow(adder(model)) + sum(add(model) for add in adders)


@task
def side(x):
    import helpers as tools

    named = tools.__dict__["by_name"](x), globals()["by_own_name"](x)
    return power(x), even(x), norm(x), lookup("a"), tools.shorten("long"), add_all([x]), named


def by_own_name(x):
    return x + 8
'''

LOADED, CLEANED, TRAINED, SCORED, SIDE = "load", "clean", "train", "score", "side"
TAIL = {CLEANED, TRAINED, SCORED}
ALL = {LOADED, *TAIL}
NOTHING: set[str] = set()


class Edit(NamedTuple):
    """What is replaced by what, and whose keys change."""

    old: str
    new: str
    cone: set[str]
    more: tuple[str, str] = ("", "")

    def apply(self, text: str) -> str:
        edited = text.replace(self.old, self.new)
        return edited.replace(*self.more) if self.more[0] else edited


EDITS = {
    # a helper
    "a helper's body": Edit("text.split(sep) if part", "text.split(sep) if part.strip()", ALL),
    "a helper's constant": Edit("    return []\n", "    return [0]\n", ALL),
    "a helper's condition": Edit("if text and sep:", "if text or sep:", ALL),
    "a helper of one task": Edit(
        "/ max(len(values), 1)", "/ max(len(values), 2)", {TRAINED, SCORED}
    ),
    "a helper that nobody uses": Edit(
        "def unused(x):\n    return x", "def unused(x):\n    return -x", NOTHING
    ),
    "a helper's helper": Edit("x != 0 and even(x - 1)", "x != 0 and even(x - 2)", {SIDE}),
    "a helper's method": Edit("return self.rate / 2", "return self.rate / 3", {TRAINED, SCORED}),
    "another name for a helper": Edit("add_all", "add_up", {SIDE}),
    "a helper in the script": Edit("total += value", "total -= value", {SIDE}),
    "a lambda": Edit("text[:3]", "text[:4]", {SIDE}),
    "a partial's argument": Edit("partial(pow, 2)", "partial(pow, 3)", {SIDE}),
    "a partial's function": Edit("partial(pow, 2)", "partial(max, 2)", {SIDE}),
    "a helper that one imports in its body": Edit('shorten("long")', 'shorten("other")', {SIDE}),
    "a helper among a module's names": Edit("x + 7", "x + 70", {SIDE}),
    "a helper among the script's names": Edit("x + 8", "x + 80", {SIDE}),
    "the order of functions": Edit("def unused(x):\n    return x\n\n\n", "", NOTHING),
    # a global
    "a global": Edit("LIMIT = 10", "LIMIT = 11", TAIL),
    "a global's type": Edit("LIMIT = 10", "LIMIT = 10.0", TAIL),
    "a global computed otherwise": Edit("LIMIT = 10", "LIMIT = 5 + 5", NOTHING),
    "a global that nobody uses": Edit("UNUSED = 1", "UNUSED = 2", NOTHING),
    "a new global": Edit("UNUSED = 1", "UNUSED = 1\nMORE = 2", NOTHING),
    "a value in a table": Edit('"b": [2, 3]', '"b": [2, 4]', {SIDE}),
    "the order of a table": Edit('{"a": 1, "b": [2, 3]}', '{"b": [2, 3], "a": 1}', NOTHING),
    "the order of a set": Edit('{"x", "y", "z"}', '{"z", "y", "x"}', NOTHING),
    "an element of a set": Edit('{"x", "y", "z"}', '{"x", "y", "w"}', {SIDE}),
    "a closure's value": Edit("adder = make_adder(5)", "adder = make_adder(6)", {SCORED}),
    "a closure's code": Edit("return x + amount", "return x - amount", {SCORED}),
    "the closures in a list": Edit(
        "make_adder(1), make_adder(2)", "make_adder(2), make_adder(1)", {SCORED}
    ),
    # defaults
    "a helper's default": Edit('sep=","', 'sep=";"', ALL),
    "a helper's keyword default": Edit("start=0", "start=1", {TRAINED, SCORED}),
    "a task's default": Edit("depth=3", "depth=4", {TRAINED, SCORED}),
    "a default of a helper in the script": Edit("bonus=1", "bonus=2", {SIDE}),
    "a default's type": Edit("depth=3", "depth=3.0", {TRAINED, SCORED}),
    # decorators
    "a decorator's body": Edit(
        "        return function(*args)\n", "        return function(*args) or 0\n", TAIL
    ),
    "a decorator's argument": Edit("@scaled(2)", "@scaled(3)", {SCORED}),
    "a decorator's factory": Edit("factor * function(*args)", "factor + function(*args)", {SCORED}),
    "a decorator less": Edit("@traced\n", "", TAIL),
    "a decorator more": Edit("def mean(", "@traced\ndef mean(", {TRAINED, SCORED}),
    "an option of a task": Edit("@task(retries=1)", "@task(retries=2, timeout=5)", NOTHING),
    "a task's option less": Edit("@task(retries=1)", "@task", NOTHING),
    # classes
    "a base's method": Edit(
        "return x + 1\n\n\n@dataclass", "return x + 2\n\n\n@dataclass", {TRAINED, SCORED}
    ),
    "another base": Edit("class Settings(Base)", "class Settings", {TRAINED, SCORED}),
    "a field's default": Edit("rate: float = 0.5", "rate: float = 0.6", {TRAINED, SCORED}),
    "a field's factory": Edit("default_factory=list", "default_factory=dict", {TRAINED, SCORED}),
    "a field's annotation": Edit("rate: float", "rate: object", NOTHING),
    "a new field": Edit(
        "rate: float = 0.5", "rate: float = 0.5\n    more: int = 0", {TRAINED, SCORED}
    ),
    "a static method": Edit("return -x", "return +x", {TRAINED, SCORED}),
    "a class method": Edit("return cls()", "return cls(1)", {TRAINED, SCORED}),
    "a nested class": Edit("depth = 3\n", "depth = 4\n", {TRAINED, SCORED}),
    "a member of an enum": Edit("BLUE = 2", "BLUE = 3", {TRAINED, SCORED}),
    "a dataclass's parameter": Edit("@dataclass\n", "@dataclass(eq=False)\n", {TRAINED, SCORED}),
    "a class's docstring": Edit('"""Settings."""', '"""Other settings."""', NOTHING),
    "the order of methods": Edit(
        "    @staticmethod\n    def sign(x):\n        return -x\n\n    @classmethod\n    def make(cls):\n        return cls()\n",
        "    @classmethod\n    def make(cls):\n        return cls()\n\n    @staticmethod\n    def sign(x):\n        return -x\n",
        NOTHING,
    ),
    # comments, docstrings, formatting
    "a comment": Edit("# a comment", "# another\n    # comment", NOTHING),
    "a comment less": Edit("    # a comment\n", "", NOTHING),
    "a docstring": Edit(
        '"""Splits a text."""', '"""Splits it.\n\n    At separators.\n    """', NOTHING
    ),
    "a docstring less": Edit('    """Splits a text."""\n', "", NOTHING),
    "a docstring more": Edit("def even(x):\n", 'def even(x):\n    """Is it?"""\n', NOTHING),
    "a task's docstring": Edit('    """Reads."""\n', "", NOTHING),
    "a module's docstring": Edit('"""Helpers."""', '"""Others."""', NOTHING),
    "moved lines": Edit("LIMIT = 10", "\n\n\n\nLIMIT = 10", NOTHING),
    "a condition on several lines": Edit(
        "if text and sep:", "if (\n        text\n        and sep\n    ):", NOTHING
    ),
    "a statement on one line": Edit(
        "if text and sep:\n        return", "if text and sep: return", NOTHING
    ),
    "a call on several lines": Edit(
        "min(x, LIMIT)", "min(\n        x,\n        LIMIT,\n    )", NOTHING
    ),
    "brackets": Edit("return x == 0 or odd(x - 1)", "return ((x == 0) or odd((x - 1)))", NOTHING),
    "quotes": Edit('lookup("a")', "lookup('a')", NOTHING),
    "a number's spelling": Edit("LIMIT = 10", "LIMIT = 0xA", NOTHING),
    "a local's name": Edit("total", "summed", NOTHING),
    "a local's name in a comprehension": Edit(
        "[part for part in text.split(sep) if part]", "[p for p in text.split(sep) if p]", NOTHING
    ),
    "an argument's annotation": Edit("def clip(x):", "def clip(x: int) -> int:", NOTHING),
    "a local's annotation": Edit("total = bonus", "total: int = bonus", NOTHING),
    "an argument's name": Edit(
        "def norm(x):\n    return np.sqrt(x)", "def norm(y):\n    return np.sqrt(y)", {SIDE}
    ),
    # imports
    "an import's alias": Edit(" np", " xp", NOTHING),
    "a helper's alias": Edit(
        "shorten\nfrom", "shorten, clip as cut\nfrom", NOTHING, ("clip(row)", "cut(row)")
    ),
    "a global's name": Edit("LIMIT", "MOST", NOTHING),
    "an alias in a body": Edit(" tools", " things", NOTHING),
    "an import that nobody uses": Edit("import math\n", "import math\nimport json\n", NOTHING),
    "another module's function": Edit("math.fsum", "sum", {TRAINED, SCORED}),
    "another function of a package": Edit("np.sqrt", "np.cbrt", {SIDE}),
    # arguments
    "an argument more": Edit("def score(model, level", "def score(model, more=0, level", {SCORED}),
    "the order of arguments": Edit(
        "def mean(values, *, start=0)", "def mean(*, start=0, values)", {TRAINED, SCORED}
    ),
}

SOURCES = {"helpers": HELPERS, "main": MAIN}


def load(edit: Edit | None = None) -> dict[str, Any]:
    """The program's graph, from modules that are the user's own."""
    for name, source in SOURCES.items():
        text = source if edit is None else edit.apply(source)
        module = types.ModuleType(name)
        module.__file__ = f"/somewhere/{name}.py"
        sys.modules[name] = module
        exec(compile(text, module.__file__, "exec", dont_inherit=True), vars(module))
    found = vars(sys.modules["main"])
    loaded = found["load"]("a,b")
    cleaned = found["clean"](loaded)
    trained = found["train"](cleaned)
    scored = found["score"](trained)
    values = (loaded, cleaned, trained, scored, found["side"](1))
    return dict(zip(ALL_TASKS, values, strict=True))


ALL_TASKS = (LOADED, CLEANED, TRAINED, SCORED, SIDE)


def keys_of(edit: Edit | None = None) -> dict[str, bytes]:
    keys = Keys(lambda node: make_policy(True))
    digests = {}
    for name, value in load(edit).items():
        found = keys.of(value.node)
        assert found is not None
        digests[name] = found.digest
    return digests


@pytest.fixture(scope="module", autouse=True)
def names() -> Iterator[None]:
    """The names of the program's modules are free again afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        for name in SOURCES:
            patch.setitem(sys.modules, name, types.ModuleType(name))
        yield


@pytest.fixture(scope="module")
def base(names: None) -> dict[str, bytes]:
    return keys_of()


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_changes_the_keys_of_its_cone(name: str, base: dict[str, bytes]) -> None:
    edit = EDITS[name]
    assert edit.old in HELPERS + MAIN
    edited = keys_of(edit)
    assert {task for task in ALL_TASKS if edited[task] != base[task]} == edit.cone


def test_another_version_of_a_package_changes_the_keys_of_those_that_use_it(
    base: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    packages.forget_versions()
    with monkeypatch.context() as patch:
        patch.setattr(packages, "version_of", lambda name: "0.0.1")
        edited = keys_of()
    packages.forget_versions()
    assert {task for task in ALL_TASKS if edited[task] != base[task]} == {SIDE}
    assert keys_of() == base


def test_a_function_that_was_loaded_again_has_its_key_and_one_that_was_patched_another(
    base: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = load()
    helpers = sys.modules["helpers"]
    monkeypatch.setattr(helpers, "mean", lambda values: 0)
    found = {
        name: Keys(lambda node: make_policy(True)).of(value.node) for name, value in values.items()
    }
    changed = {name for name, key in found.items() if key is None or key.digest != base[name]}
    assert changed == {TRAINED, SCORED}


def test_all_that_is_sent_with_a_task_is_in_its_key() -> None:
    for value in load().values():
        usage = find_usage(value.node.task.function)
        names = {f"function {found.__module__}:{found.__qualname__}" for found in usage.functions}
        names |= {f"class {found.__module__}:{found.__qualname__}" for found in usage.classes}
        pieces = code_key(value.node.task.function).pieces
        assert names - pieces.keys() == set()


def test_the_function_that_was_edited_is_told_with_its_lines() -> None:
    def parts(edit: Edit | None = None) -> Any:
        value = load(edit)[TRAINED]
        return Keys(lambda node: make_policy(True)).parts(value.node)

    old = parts()
    (found,) = differences(old, parts(EDITS["a helper of one task"]))
    assert (found.kind, found.name) == ("code", "function helpers:mean")
    assert "\n-" in found.text and "\n+" in found.text
    (found,) = differences(old, parts(EDITS["a task's default"]))
    assert found.name == "function main:train"


def test_a_module_that_only_the_task_imports_counts_by_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "later.py").write_text("import later_too\ndef f(x): return later_too.g(x)")
    (tmp_path / "later_too.py").write_text("def g(x): return x + 1")

    def run(x: int) -> int:
        import later  # type: ignore[import-not-found]

        found: int = later.f(x)
        return found

    before = code_key(run)
    assert {"module later", "module later_too"} <= before.pieces.keys()
    (tmp_path / "later_too.py").write_text("# why\ndef g(x):\n  'Doc.'\n  return (x + 1)")
    assert code_key(run).digest == before.digest
    (tmp_path / "later_too.py").write_text("def g(x): return x + 2")
    after = code_key(run)
    assert after.digest != before.digest
    assert after.told.pieces["module later_too"].text == "def g(x): return x + 2"
    assert "later" not in sys.modules


def test_what_has_no_key_in_a_global_counts_by_its_type() -> None:
    def of(lock: str) -> bytes:
        scope = {"__name__": "__main__"}
        exec(f"import threading\nlock = {{'a': {lock}}}\ndef f():\n  with lock['a']: pass", scope)
        return code_key(scope["f"]).digest

    assert of("threading.Lock()") == of("threading.Lock()") != of("threading.RLock()")
