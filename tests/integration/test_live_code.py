"""Code of the user's that changes while a program runs: tasks run it as it is when they start."""

from __future__ import annotations

import contextlib
import enum
import functools
import importlib
import os
import random
import sys
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from armoflow import Client, task
from armoflow.errors import LeftBehindWarning, SerializationError

Write = Callable[..., types.ModuleType]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes ``name.py`` and gives the module, imported or (by default) loaded again."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    written: set[str] = set()
    stamp = [1_000_000_000]

    def write(name: str, text: str, *, load: bool = True) -> types.ModuleType:
        path = tmp_path / (name.replace(".", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        stamp[0] += 10  # of another time than the version before
        os.utime(path, (stamp[0], stamp[0]))
        importlib.invalidate_caches()
        written.add(name)
        if not load:
            return sys.modules.get(name) or types.ModuleType(name)
        if name in sys.modules:
            return importlib.reload(sys.modules[name])
        return importlib.import_module(name)

    yield write
    for name in list(sys.modules):
        if name in written or name.partition(".")[0] in written:
            del sys.modules[name]


def script(function: Callable[..., Any], **names: Any) -> Callable[..., Any]:
    """The function as it would be in a script, with these globals."""
    scope = {"__name__": "__main__", "__builtins__": __builtins__, **names}
    copied = types.FunctionType(function.__code__, scope, function.__name__)
    copied.__module__ = "__main__"
    copied.__qualname__ = function.__name__
    return copied


def call(x: Any) -> Any:
    return module.h(x)  # type: ignore[name-defined]  # noqa: F821


def all_of_it(x: Any) -> Any:
    return module.all_of_it(x)  # type: ignore[name-defined]  # noqa: F821


def by_name(x: Any) -> Any:
    return h(x)  # type: ignore[name-defined]  # noqa: F821


def agree(client: Client, function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function gives at every door: the same as here."""
    expected = function(*arguments)
    mine = task(function)
    assert client.compute(mine(*arguments)) == expected
    assert client.submit(mine(*arguments)).result() == expected
    if arguments:
        assert client.compute(mine.map(*([argument] for argument in arguments))) == [expected]
    assert client.compute(task(nested)(mine, arguments)) == expected
    return expected


def nested(inner: Any, arguments: tuple[Any, ...]) -> Any:
    return inner(*arguments)


def test_a_module_that_is_loaded_again(client: Client, write: Write) -> None:
    module = write("lively", "def h(x): return x + 1\n")
    g = script(call, module=module)
    assert agree(client, g, 1) == 2
    write("lively", "def h(x): return x + 1000\n")
    assert agree(client, g, 1) == 1001
    write("lively", "import lively_b\ndef h(x): return lively_b.k(x)\n", load=False)
    write("lively_b", "def k(x): return -x\n", load=False)
    importlib.reload(module)
    assert agree(client, g, 1) == -1
    write("lively_b", "def k(x): return -2 * x\n")
    assert agree(client, g, 1) == -2
    del sys.modules["lively"]  # and imported again, as another module
    fresh = write("lively", "def h(x): return 'fresh'\n")
    assert agree(client, script(call, module=fresh), 1) == "fresh"
    assert agree(client, g, 1) == -2


def test_a_module_that_was_edited_and_not_loaded_again_runs_as_it_is_here(
    client: Client, write: Write
) -> None:
    module = write(
        "edited",
        "BASE = 1\nFEW = [1]\nclass K:\n    rate = 2\n    def m(self): return self.rate\n"
        "def h(x): return x + BASE + sum(FEW) + K().m() + other()\ndef other(): return 0\n",
    )
    write(
        "edited",
        "# longer\nBASE = 10\nFEW = [10]\nclass K:\n    rate = 20\n    def m(self): return -1\n"
        "def h(x): return 'new'\n",
        load=False,
    )
    assert agree(client, script(call, module=module), 1) == 5
    assert agree(client, module.h, 1) == 5
    importlib.reload(module)
    assert agree(client, script(call, module=module), 1) == "new"
    assert agree(client, module.h, 1) == "new"


def test_a_module_whose_file_is_gone_or_half_written(
    client: Client, write: Write, tmp_path: Path
) -> None:
    gone = write("gone", "BASE = 5\ndef h(x): return x + BASE\n")
    (tmp_path / "gone.py").unlink()
    assert agree(client, script(call, module=gone), 1) == 6
    assert agree(client, gone.h, 1) == 6
    half = write("half", "def h(x): return x + 7\n")
    write("half", "def h(x): return x +", load=False)
    assert agree(client, half.h, 1) == 8


PATCHED = """
from patched_origin import VALUE, give
import patched_origin as origin
RATE = 3
TABLE = {"a": 1}
LIMITS = [1, 2]
COMPUTED = dict(a=1)
NUMBER = int("4")
class Config:
    def __init__(self): self.depth = 1
CONFIG = Config()
class K:
    factor = 2
    def m(self): return self.factor
    @staticmethod
    def s(): return 1
    @classmethod
    def c(cls): return cls.factor
    @property
    def p(self): return 10
class Child(K): pass
def h(x): return x + 1
def all_of_it(x):
    return [h(x), RATE, TABLE, LIMITS, COMPUTED, NUMBER, CONFIG.depth, VALUE, give(), origin.give(),
            K().m(), K.s(), K.c(), K().p, Child().m(), origin.VALUE]
"""


@pytest.fixture
def patched(write: Write) -> Any:
    write("patched_origin", "VALUE = 'v'\ndef give(): return 'given'\n")
    return write("patched", PATCHED)


REPLACED: dict[str, Any] = {
    "h": lambda x: ("other", x),
    "RATE": 5,
    "TABLE": {"a": 2},
    "LIMITS": None,
    "COMPUTED": {"b": 1},
    "NUMBER": 77,
    "VALUE": "w",
    "give": lambda: "taken",
    "K.factor": 9,
    "K.m": lambda self: ("m", self.factor),
    "K.s": staticmethod(lambda: "s"),
    "K.c": classmethod(lambda cls: ("c", cls.factor)),
    "K.p": property(lambda self: "p"),
    "Child.m": lambda self: "child",
    "origin.VALUE": "elsewhere",
    "origin.give": lambda: "elsewhere given",
    "CONFIG.depth": 8,
}


@pytest.mark.parametrize("path", REPLACED)
def test_what_is_patched(client: Client, patched: Any, path: str) -> None:
    g = script(all_of_it, module=patched)
    before = agree(client, g, 1)
    with mock.patch(f"patched.{path}", REPLACED[path]):
        assert agree(client, g, 1) != before
        agree(client, patched.all_of_it, 1)
    assert agree(client, g, 1) == before


def test_what_is_patched_before_anything_ran(client: Client, patched: Any) -> None:
    g = script(all_of_it, module=patched)
    with contextlib.ExitStack() as stack:
        for path, value in REPLACED.items():
            stack.enter_context(mock.patch(f"patched.{path}", value))
        agree(client, g, 1)
    agree(client, g, 1)


def test_what_is_changed_in_place(client: Client, patched: Any) -> None:
    g = script(all_of_it, module=patched)
    agree(client, g, 1)
    for change in (
        lambda: patched.TABLE.update(b=2),
        lambda: patched.LIMITS.append(3),
        patched.COMPUTED.clear,
        lambda: setattr(patched.CONFIG, "depth", 5),
        patched.LIMITS.clear,
    ):
        before = patched.all_of_it(1)
        before = [list(part) if isinstance(part, list) else part for part in before]
        change()
        agree(client, g, 1)
        agree(client, patched.all_of_it, 1)


def test_instances_among_arguments_have_their_patched_class(client: Client, patched: Any) -> None:
    g = script(lambda k: k.m())
    assert agree(client, g, patched.K()) == 2
    with mock.patch.object(patched.K, "factor", 50):
        assert agree(client, g, patched.K()) == 50
    assert agree(client, g, patched.K()) == 2


def test_what_only_lives_here_is_each_workers_own(client: Client, write: Write) -> None:
    module = write(
        "lasting",
        "import threading\n_lock = None\n_other = threading.Lock()\n"
        "def h(x):\n    global _lock\n    _lock = _lock or threading.Lock()\n"
        "    with _lock, _other: return x\n",
    )
    module.h(1)
    assert agree(client, module.h, 1) == 1


def test_code_that_cannot_travel_is_named(client: Client, patched: Any) -> None:
    class Locked:
        def __reduce__(self) -> Any:
            raise TypeError("never")

        def __call__(self) -> None: ...

    with (
        mock.patch("patched.h", Locked()),
        pytest.raises(SerializationError, match=r"patched\.h was replaced .* never.*: workers"),
    ):
        client.compute(task(patched.all_of_it)(1))


def test_names_imported_by_name_are_what_they_were_bound_to(client: Client, write: Write) -> None:
    helper = write("bound_to", "def h(x): return x + 1\n")
    user = write("binder", "from bound_to import h\ndef g(x): return h(x)\n")
    mine = script(call, module=user)
    direct = script(by_name, h=helper.h)
    assert agree(client, direct, 1) == 2
    write("bound_to", "def h(x): return x + 50\n")
    assert agree(client, user.g, 1) == 2
    assert agree(client, mine, 1) == 2
    assert agree(client, direct, 1) == 2
    importlib.reload(user)
    assert agree(client, user.g, 1) == 51


def test_decorators_partials_defaults_closures(client: Client, write: Write) -> None:
    module = write(
        "wrapping",
        "import functools\n"
        "PLUS = 1\n"
        "def twice(f):\n"
        "    @functools.wraps(f)\n"
        "    def inner(x): return 2 * f(x)\n"
        "    return inner\n"
        "@twice\n"
        "def h(x, /): return x + PLUS\n"
        "@functools.lru_cache\n"
        "def cached(x): return x + PLUS\n"
        "@functools.singledispatch\n"
        "def kind(x): return ('any', PLUS)\n"
        "@kind.register\n"
        "def _(x: int): return ('int', PLUS)\n"
        "def make(y): return lambda x: x + y + PLUS\n"
        "add = make(3)\n"
        "part = functools.partial(h, 5)\n"
        "def all(x): return [h(x), cached(x), kind(x), kind('s'), add(x), part()]\n",
    )
    for root in (module.h, module.cached, module.kind, module.add, module.all):
        agree(client, root, 1)
    agree(client, module.part)
    module.PLUS = 100
    module.cached.cache_clear()
    for root in (module.h, module.cached, module.kind, module.add, module.all):
        agree(client, root, 1)
    agree(client, module.part)
    agree(client, functools.partial(module.h), 1)
    write(
        "wrapping",
        Path(str(module.__file__)).read_text().replace("2 * f(x)", "3 * f(x)"),
    )
    agree(client, module.h, 1)
    agree(client, module.all, 1)


def test_defaults_and_attributes_that_are_replaced(client: Client, write: Write) -> None:
    module = write(
        "lively",
        "K = 1\n"
        "def keyed(x, y=K): return x + y\n"
        "def plain(x, y=1, *, k=0): return x + y + k + counted.n + getattr(counted, 'more', 0)\n"
        "def counted(x): return x\n"
        "counted.n = 1\n"
        "class Adder:\n"
        "    def add(self, x, y=1): return x + y\n"
        "def all_of_it(x): return plain(x), keyed(x), Adder().add(x)\n",
    )
    g = script(all_of_it, module=module)
    assert agree(client, g, 0) == (2, 1, 1)
    module.plain.__defaults__ = (10,)
    assert agree(client, g, 0) == (11, 1, 1)
    module.plain.__kwdefaults__ = {"k": 20}
    assert agree(client, g, 0) == (31, 1, 1)
    module.counted.n = 3
    assert agree(client, g, 0) == (33, 1, 1)
    module.counted.more = 4
    assert agree(client, g, 0) == (37, 1, 1)
    module.counted.more = 5
    assert agree(client, g, 0) == (38, 1, 1)
    module.Adder.add.__defaults__ = (7,)
    assert agree(client, g, 0) == (38, 1, 7)
    module.keyed.__defaults__ = (9,)
    assert agree(client, g, 0) == (38, 9, 7)
    module.keyed.__defaults__ = (1,)
    module.plain.__defaults__, module.plain.__kwdefaults__ = (1,), {"k": 0}
    module.counted.n = 1
    del module.counted.more
    module.Adder.add.__defaults__ = (1,)
    assert agree(client, g, 0) == (2, 1, 1)


def plus_100(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator of the script's, as those that time or log are."""

    @functools.wraps(function)
    def inner(*arguments: Any) -> Any:
        return function(*arguments) + 100

    return inner


def test_what_the_script_decorates_or_registers(client: Client, write: Write) -> None:
    module = write(
        "lively",
        "import functools\n"
        "def h(x): return x + 1\n"
        "def twice(f):\n"
        "    @functools.wraps(f)\n"
        "    def inner(x): return 2 * f(x)\n"
        "    return inner\n"
        "@functools.singledispatch\n"
        "def kind(x): return 'any'\n"
        "class Adder:\n"
        "    def add(self, x): return x + 1\n"
        "def all_of_it(x): return h(x), kind(x), Adder().add(x)\n",
    )
    g = script(all_of_it, module=module)
    assert agree(client, g, 0) == (1, "any", 1)
    original = module.h
    decorate = script(plus_100, functools=functools)
    module.h = decorate(original)
    assert agree(client, g, 0) == (101, "any", 1)
    module.h = module.twice(original)  # by what stands in the same source
    assert agree(client, g, 0) == (2, "any", 1)
    module.kind.register(int)(script(of_int))
    assert agree(client, g, 0) == (2, "int", 1)
    module.Adder.add = decorate(module.Adder.add)
    assert agree(client, g, 0) == (2, "int", 101)
    module.h = original
    assert agree(client, g, 0) == (1, "int", 101)


def of_int(x: int) -> str:
    return "int"


def test_what_was_changed_in_a_class_is_not_changed_in_the_next(
    client: Client, write: Write
) -> None:
    module = write(
        "lively",
        "class Outer:\n"
        "    class Inner:\n"
        "        v = 1\n"
        "def all_of_it(x): return Outer.Inner.v + x\n",
    )
    g = script(all_of_it, module=module)
    module.Outer.Inner.v = 10
    assert agree(client, g, 0) == 10
    module.Outer.Inner = type("Inner", (), {"v": 20})
    assert agree(client, g, 0) == 20
    module.Outer = type("Outer", (), {"Inner": type("Inner", (), {"v": 30})})
    assert agree(client, g, 0) == 30


def test_two_clients_of_one_engine_with_a_module_of_one_name(engine: Any, write: Write) -> None:
    module = write("shared_name", "def h(x): return x + 1\n")
    g = script(call, module=module)
    with Client(engine.endpoint) as one, Client(engine.endpoint) as other:
        assert agree(one, g, 1) == 2
        module.h = lambda x: "patched"
        assert agree(other, g, 1) == "patched"
        assert agree(one, g, 1) == "patched"
        write("shared_name", "def h(x): return x + 3\n")
        assert agree(one, g, 1) == agree(other, g, 1) == 4


def test_clients_in_turn_with_other_values_of_one_module(engine: Any, write: Write) -> None:
    module = write("in_turn", "RATE = 1\ndef h(x): return RATE\ndef plain(x): return x\n")
    other = write("in_turn_other", "def h(x): return x\n")
    with Client(engine.endpoint, workers=1) as one, Client(engine.endpoint, workers=1) as two:
        assert agree(one, module.plain, 0) == 0
        write("in_turn_other", "def h(x): return -x\n")
        assert agree(two, script(call, module=other), 3) == -3
        write("in_turn", "RATE = 1\ndef h(x): return RATE\ndef plain(x): return -x\n")
        assert agree(two, module.plain, 1) == -1
        write("in_turn", "RATE = 1\ndef h(x): return RATE\ndef plain(x): return x\n")
        module.RATE = 5
        assert agree(two, module.h, 0) == 5


def test_what_waits_runs_as_it_was_when_it_was_submitted(client: Client, write: Write) -> None:
    module = write("moment", "RATE = 1\ndef h(x): return RATE\n")
    futures = []
    for module.RATE in range(20):
        futures.append(client.submit(task(module.h)(0)))
    assert [future.result() for future in futures] == list(range(20))


def meet(path: str, mode: str) -> tuple[int, Any]:
    """Two at a time, each in a process of its own: one reads when the other writes."""
    with Path(path).open(mode):
        color = enum.Enum("color", "red green")
        words = ["a", "b", "c", "d", "e", "f"]
        seen = hash("key"), list(set(words)), list(frozenset(words)), hash(color.red)
        return os.getpid(), seen


def test_hashes_and_the_order_of_sets_are_the_same_in_all_workers(
    client: Client, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    meeting = task(batch_size=1)(meet)
    told = client.compute([meeting(str(tmp_path / "fifo"), mode) for mode in "rw"])
    (one, seen), (other, too) = told
    assert one != other
    assert seen == too


def of_a_module(x: Any) -> Any:
    return module.h(x), module.K  # type: ignore[name-defined]  # noqa: F821


def by_getattr(name: str) -> Any:
    return getattr(module, name)()  # type: ignore[name-defined]  # noqa: F821


def by_dict(name: str) -> Any:
    return vars(module)[name]()  # type: ignore[name-defined]  # noqa: F821


def made(x: int) -> Any:
    return module.made + x  # type: ignore[name-defined]  # noqa: F821


def of_derived(x: int) -> Any:
    return Derived.v, x  # type: ignore[name-defined]  # noqa: F821


def takes(value: Any) -> Any:
    """What is among the arguments is called."""
    return value.go() if hasattr(value, "go") else value(1)


def make_holder(module: Any, **attributes: Any) -> type:
    """A class of a script, whose methods use a module."""

    def go(self: Any) -> Any:
        return module.h(1), module.K

    return type("Holder", (), {"__module__": "__main__", "go": go, **attributes})


def test_code_among_arguments_is_as_it_is_here(client: Client, write: Write) -> None:
    module = write("handed", "K = 1\ndef h(x): return x + K\nkept = [h]\n")
    holder, g = make_holder(module), script(takes)
    of_module = script(of_a_module, module=module)
    put = []
    for change in (
        lambda: None,
        lambda: setattr(module, "K", 50),
        lambda: write("handed", "K = 2\ndef h(x): return x * K\n"),
        lambda: setattr(module, "h", lambda x: ("patched", x)),
    ):
        change()
        for value in (module.h, functools.partial(module.h), of_module, holder()):
            agree(client, g, value)
            put.append((task(g)(client.put(value)), g(value)))
            assert client.compute(put[-1][0]) == put[-1][1]
        assert client.compute(task(lambda several: [f(1) for f in several])([module.h])) == [
            module.h(1)
        ]


def test_values_that_hold_more_than_attributes(client: Client, write: Write) -> None:
    module = write(
        "holding",
        "class Few(list): pass\n"
        "class Table(dict): pass\n"
        "class Level(int): pass\n"
        "class Slots:\n    __slots__ = ('v',)\n"
        "class Both(Slots): pass\n"
        "few, table, level, both = Few([1]), Table(a=1), Level(3), Both()\n"
        "both.v, both.w = 1, 1\n"
        "def all_of_it(x):\n"
        "    more = getattr(few, 'more', None)\n"
        "    return list(few), dict(table), level + 0, both.v, both.w, more\n",
    )
    g = script(all_of_it, module=module)
    for change in (
        lambda: None,
        lambda: module.few.append(2),
        lambda: module.table.update(b=2),
        lambda: setattr(module, "level", module.Level(5)),
        lambda: setattr(module.both, "v", 9),
        lambda: setattr(module.both, "w", 9),
        lambda: setattr(module.few, "more", 9),
    ):
        change()
        agree(client, g, 1)


DELETED = (
    "import enum\nK = 1\n"
    "class Base:\n    v = 1\n"
    "class Derived(Base):\n    v = 2\n    def m(self): return 'own'\n"
    "def h(): return 'here'\n"
    "def all_of_it(x):\n"
    "    try: said = h()\n"
    "    except NameError: said = 'gone'\n"
    "    return said, 'K' in globals(), Derived.v, hasattr(Derived, 'm'), x\n"
)


def test_what_was_deleted_is_not_there(
    client: Client, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = write("lacking", DELETED)
    g = script(all_of_it, module=module)
    before = agree(client, g, 1)
    with monkeypatch.context() as patch:
        for path in ("h", "K", "Derived.v", "Derived.m"):
            patch.delattr(f"lacking.{path}")
            agree(client, g, 1)
    assert agree(client, g, 1) == before
    derived = type("Derived", (module.Base,), {"__module__": "__main__", "v": 2})
    of_script: Any = script(of_derived, Derived=derived)
    assert agree(client, of_script, 1) == (2, 1)
    del derived.v
    assert agree(client, of_script, 1) == (1, 1)


def test_names_that_are_not_spelled_out(client: Client, write: Write) -> None:
    module = write(
        "dispatching",
        "STATE = {'v': 1}\n"
        "def on_a(): return 1\n"
        "def on_b(): return 2\n"
        "def __getattr__(name):\n"
        "    if name == 'made': return STATE['v']\n"
        "    raise AttributeError(name)\n"
        "def by_globals(name): return globals()[name]()\n"
        "def in_turn(x): return [globals()[name]() for name in ('on_a', 'on_b')]\n",
    )
    functions = module.by_globals, *(script(one, module=module) for one in (by_getattr, by_dict))
    for change in (
        lambda: None,
        lambda: setattr(module, "on_a", lambda: "patched"),
        lambda: module.STATE.update(v=5),
    ):
        change()
        agree(client, module.in_turn, 1)
        agree(client, script(made, module=module), 1)
        for function in functions:
            agree(client, function, "on_a")


@pytest.mark.parametrize("answer", ["return 1", "raise KeyError(name)"])
def test_modules_that_answer_anything_to_any_name(
    client: Client, write: Write, answer: str
) -> None:
    module = write("answering", f"def __getattr__(name): {answer}\ndef h(x): return x + 1\n")

    assert agree(client, module.h, 1) == 2


def test_modules_that_a_loader_changes_or_a_program_makes(
    client: Client, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "K = 1\ndef h(x): return x + K\n"
    text += "class Held:\n    v = 1\n    def go(self): return self.v, K\n"
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as packed:
        packed.writestr("zipped.py", text)
    monkeypatch.syspath_prepend(str(tmp_path / "packed.zip"))
    zipped = importlib.import_module("zipped")
    program = types.ModuleType("made_here")
    exec(text, vars(program))
    for module in (zipped, program):
        monkeypatch.setitem(sys.modules, module.__name__, module)
        for name, value in (("K", 1), ("K", 7), ("h", lambda x: ("patched", x))):
            setattr(module, name, value)
            agree(client, script(call, module=module), 1)
            agree(client, script(takes), module.Held())
        module.Held.v = 5
        assert agree(client, script(takes), module.Held()) == (5, 7)


RATE = 1


def of_this_module(x: int) -> tuple[int, int]:
    assert RATE  # pytest compiles something else
    return x, RATE


def test_modules_that_pytest_compiles(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(x: int) -> tuple[Any, ...]:
        assert RATE
        return "other", x, RATE

    here = sys.modules[__name__]

    def by_its_name(x: int) -> Any:
        return of_this_module(x)

    for name, value in (("RATE", 1), ("RATE", 5), ("of_this_module", other)):
        monkeypatch.setattr(here, name, value)
        agree(client, here.of_this_module, 3)
        agree(client, by_its_name, 3)


def test_bases_that_were_loaded_again_or_assigned(client: Client, write: Write) -> None:
    write("above", "class Base:\n    def m(self): return 1\n")
    module = write(
        "below",
        "from above import Base\n"
        "class Other:\n    def m(self): return 'other'\n"
        "class Mid(Base): pass\n"
        "class Low(Mid): pass\n"
        "def all_of_it(x): return Low().m(), x\n",
    )
    g = script(all_of_it, module=module)
    assert agree(client, g, 0) == (1, 0)
    write("above", "class Base:\n    def m(self): return 2\n")
    assert agree(client, g, 0) == (1, 0)  # its base is the one that was there then
    assert agree(client, script(lambda low: low.m()), module.Low()) == 1
    module.Mid.__bases__ = (module.Other,)
    assert agree(client, g, 0) == ("other", 0)
    importlib.reload(module)
    assert agree(client, g, 0) == (2, 0)


def test_bases_that_have_another_name_than_their_own_stay(client: Client, write: Write) -> None:
    module = write(
        "odd_bases",
        "import collections\n"
        "def make():\n    class Inner: v = 1\n    return Inner\n"
        "Base = make()\n"
        "class Low(Base): pass\n"
        "_Row = collections.namedtuple('Row', 'a b')\n"
        "class Row(_Row):\n    def m(self): return self.a\n"
        "def all_of_it(x):\n"
        "    return issubclass(Low, Base), Low.v, issubclass(Row, _Row), Row(x, 2).m()\n",
    )
    g = script(all_of_it, module=module)
    assert agree(client, g, 0) == (True, 1, True, 0)
    module.Base.v = 3
    assert agree(client, g, 0) == (True, 3, True, 0)
    module.Low.v = 5
    assert agree(client, g, 0) == (True, 5, True, 0)


def test_classes_that_an_abstract_one_was_told_of(client: Client, write: Write) -> None:
    module = write(
        "abstract",
        "import abc\n"
        "class Base(abc.ABC): pass\n"
        "class Own:\n    def register(self): return 1\n"
        "def all_of_it(x): return isinstance(x, Base), isinstance(Own(), Base), Own().register()\n",
    )
    g = script(all_of_it, module=module)
    assert agree(client, g, 1) == (False, False, 1)
    module.Base.register(int)
    assert agree(client, g, 1) == (True, False, 1)
    module.Base.register(module.Own)
    assert agree(client, g, 1) == (True, True, 1)
    module.Own.register = lambda self: 2
    assert agree(client, g, 1) == (True, True, 2)


def test_defaults_of_methods_that_a_library_has_written(client: Client, write: Write) -> None:
    module = write(
        "written",
        "import collections, dataclasses, typing\n"
        "@dataclasses.dataclass\n"
        "class Settings:\n"
        "    kinds: typing.ClassVar[int] = 5\n"
        "    rate: int = 1\n"
        "    names: list = dataclasses.field(default_factory=list)\n"
        "    depth: int = dataclasses.field(default=3, kw_only=True)\n"
        "Pair = collections.namedtuple('Pair', 'a b', defaults=[1])\n"
        "class Row(typing.NamedTuple):\n    a: int = 1\n"
        "def all_of_it(x):\n"
        "    made = Settings()\n"
        "    return made.rate, made.names, made.depth, tuple(Pair(x)), tuple(Row())\n",
    )
    g = script(all_of_it, module=module)
    assert agree(client, g, 0) == (1, [], 3, (0, 1), (1,))
    module.Settings.__init__.__defaults__ = (9, *module.Settings.__init__.__defaults__[1:])
    assert agree(client, g, 0) == (9, [], 3, (0, 1), (1,))
    module.Settings.__init__.__kwdefaults__ = {"depth": 8}
    assert agree(client, g, 0) == (9, [], 8, (0, 1), (1,))
    module.Pair.__new__.__defaults__ = module.Row.__new__.__defaults__ = (7,)
    assert agree(client, g, 0) == (9, [], 8, (0, 7), (7,))


def test_functions_that_lie_in_what_a_library_made(client: Client, write: Write) -> None:
    pytest.importorskip("numpy")
    module = write(
        "around",
        "import functools\nimport numpy\n"
        "K = 1\n"
        "def h(x): return x + K\n"
        "wide = numpy.vectorize(h)\n"
        "class Holder:\n    __slots__ = ('function',)\n"
        "holder = Holder()\n"
        "holder.function = h\n"
        "class Kinds:\n"
        "    @functools.singledispatchmethod\n    def kind(self, x): return 'any', K\n"
        "    @kind.register\n    def _(self, x: int): return 'int', K\n"
        "def all_of_it(x):\n"
        "    return int(wide(x)), holder.function(x), Kinds().kind(x), Kinds().kind(1.5)\n",
    )
    g = script(all_of_it, module=module)
    assert agree(client, g, 1) == (2, 2, ("int", 1), ("any", 1))
    module.K = 5
    assert agree(client, g, 1) == (6, 6, ("int", 5), ("any", 5))
    module.Kinds.__dict__["kind"].register(float)(script(lambda self, x: "float"))
    assert agree(client, g, 1) == (6, 6, ("int", 5), "float")


def test_a_function_that_was_changed_is_so_wherever_it_is_kept(
    client: Client, write: Write
) -> None:
    module = write(
        "kept_function",
        "def h(x, y=1): return x + y\n"
        "class Holder:\n    def __init__(self): self.function = h\n"
        "holder, table = Holder(), {'h': h}\n"
        "def all_of_it(x): return h(x), holder.function(x), table['h'](x)\n",
    )
    g = script(all_of_it, module=module)
    assert agree(client, g, 1) == (2, 2, 2)
    module.h.__defaults__ = (10,)
    assert agree(client, g, 1) == (11, 11, 11)
    module.h.__code__ = (lambda x, y: x - y).__code__
    assert agree(client, g, 1) == (-9, -9, -9)
    module.h = lambda x: "replaced"
    assert agree(client, g, 1) == ("replaced", -9, -9)


def test_a_value_whose_class_was_replaced(client: Client, write: Write) -> None:
    module = write(
        "turned",
        "class Service:\n    def m(self): return 1\n"
        "class Other:\n    def m(self): return 2\n"
        "service = Service()\n"
        "def all_of_it(x): return service.m(), x\n",
    )
    g = script(all_of_it, module=module)
    assert agree(client, g, 0) == (1, 0)
    module.service.__class__ = module.Other
    assert agree(client, g, 0) == (2, 0)


def test_values_of_numpy_are_data(client: Client, write: Write) -> None:
    numpy = pytest.importorskip("numpy")
    module = write(
        "numbers_of_numpy",
        "import numpy\n"
        "RATE = numpy.float64(0.5)\n"
        "DAY = numpy.datetime64('2020-01-01')\n"
        "KIND = numpy.dtype('i4')\n"
        "MASKED = numpy.ma.array([1, 2], mask=[False, True])\n"
        "LIMIT = float('0.5')\n"
        "def all_of_it(x): return [RATE, DAY, KIND, MASKED.tolist(), LIMIT, x]\n",
    )
    g = script(all_of_it, module=module)
    agree(client, g, 0)
    for name, value in {
        "RATE": numpy.float64(0.9),
        "DAY": numpy.datetime64("2021-01-01"),
        "KIND": numpy.dtype("f8"),
        "MASKED": numpy.ma.array([1, 2], mask=[True, False]),
        "LIMIT": numpy.float64(0.7),
    }.items():
        setattr(module, name, value)
        agree(client, g, 0)


def is_missing(x: Any) -> bool:
    return x is module.MISSING  # type: ignore[name-defined,no-any-return]  # noqa: F821


def test_what_is_the_same_object_stays_the_same(client: Client, write: Write) -> None:
    write(
        "sharing",
        "import collections\n"
        "MISSING = object()\n"
        "class Config:\n    def __init__(self): self.depth = 1\n"
        "class Service:\n    def __init__(self, config): self.config = config\n"
        "CONFIG = Config()\n"
        "SERVICE = Service(CONFIG)\n"
        "RECENT = collections.deque([1], maxlen=3)\n"
        "COUNTS = collections.Counter('a')\n"
        "NAMES = collections.defaultdict(list)\n",
    )
    module = write(
        "shared_by",
        "from sharing import *\n"
        "import sharing\n"
        "def take(x=MISSING): return x is MISSING\n"
        "def all_of_it(x):\n"
        "    sharing.CONFIG.depth = x\n"
        "    sharing.RECENT.append(x), sharing.COUNTS.update('b'), sharing.NAMES['a'].append(x)\n"
        "    return [take(), take(sharing.MISSING), SERVICE.config.depth,\n"
        "            SERVICE.config is CONFIG, list(RECENT)[-1], COUNTS['b'] > 0,\n"
        "            NAMES['a'][-1]]\n",
    )
    g = script(all_of_it, module=module)
    expected = [True, True, 5, True, 5, True, 5]
    assert agree(client, g, 5) == expected
    sharing = sys.modules["sharing"]
    sharing.RECENT.append(7), sharing.COUNTS.update("c"), sharing.NAMES["b"].append(1)
    assert agree(client, g, 5) == expected
    assert agree(client, script(is_missing, module=module), module.MISSING) is True


def of_script(value: Any) -> Any:
    return value.m(), value.inherited(), value.s()


def test_code_and_defaults_of_a_class_in_a_script(client: Client) -> None:
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(
        "def helper(x, y=1): return x + y\n"
        "class First:\n    def inherited(self): return 1\n"
        "class Second:\n    def inherited(self): return 2\n"
        "class K(First):\n"
        "    def m(self, y=1): return helper(y)\n"
        "    @staticmethod\n    def s(y=1): return y\n",
        scope,
    )
    value, g = scope["K"](), script(of_script)
    assert agree(client, g, value) == (2, 1, 1)
    scope["K"].m.__defaults__ = (7,)
    assert agree(client, g, value) == (8, 1, 1)
    scope["helper"].__defaults__ = (70,)
    assert agree(client, g, value) == (77, 1, 1)
    scope["K"].m.__code__ = (lambda self, y=1: -y).__code__
    assert agree(client, g, value) == (-7, 1, 1)
    scope["K"].s.__defaults__ = (3,)
    assert agree(client, g, value) == (-7, 1, 3)
    scope["K"].__bases__ = (scope["Second"],)
    assert agree(client, g, value) == (-7, 2, 3)


def test_what_is_left_behind_is_told(client: Client, write: Write) -> None:
    module = write(
        "heavy",
        "import json\nTABLE = {}\n"
        "def size(x): return len(TABLE)\n"
        "def text(x): return json.dumps(x)\n",
    )
    assert agree(client, module.size, 1) == 0
    module.TABLE.update((number, f"{number:40}") for number in range(50_000))
    with pytest.warns(LeftBehindWarning, match=r"heavy\.TABLE is not what .* too large to travel"):
        client.compute(task(module.size)(1))
    assert agree(client, module.text, 1) == "1"
    for patch in (mock.patch("json.dumps"), mock.patch("json.dumps", lambda x: "mine")):
        with (
            patch,
            Client() as other,
            pytest.warns(LeftBehindWarning, match=r"json\.dumps was replaced in this process"),
        ):
            other.compute(task(module.text)(1))


def drawn(x: int) -> float:
    return rng.random() + x  # type: ignore[name-defined,no-any-return]  # noqa: F821


def test_random_numbers_that_would_be_the_same_in_several_processes_are_told() -> None:
    numpy = pytest.importorskip("numpy")
    for generator in (random.Random(), numpy.random.default_rng(), numpy.random.RandomState()):
        function = script(drawn, rng=generator)
        held = functools.partial(lambda made, x: made.random() + x, generator)
        with (
            Client() as client,
            pytest.warns(LeftBehindWarning, match=r"^rng is copied to each worker process"),
            pytest.warns(LeftBehindWarning, match=r"^a \w+ is copied to each worker process"),
        ):
            client.compute(task(function)(1), task(held)(1))
