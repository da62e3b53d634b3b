"""Values and classes of scripts, deep arguments, whatever can be called: at every door."""

from __future__ import annotations

import contextlib
import functools
import pickle
import sys
import textwrap
import types
from collections.abc import Iterator
from typing import Any

import pytest

from armoflow import Client, task
from armoflow.errors import SerializationError
from tests.integration.engines import Up

SCRIPT = """
import abc, collections, dataclasses, enum, functools, typing
T = typing.TypeVar("T")
class Slots:
    __slots__ = ("a",)
    def __init__(self, a): self.a = a
class OneSlot:
    __slots__ = "only"
    def __init__(self): self.only = 5
class Private:
    __slots__ = ("__hidden", "__weakref__")
    def __init__(self): self.__hidden = 5
    def get(self): return self.__hidden
class MoreSlots(Slots):
    __slots__ = ("b",)
class NoSlots(Slots): pass
class EmptySlots:
    __slots__ = ()
@dataclasses.dataclass(slots=True)
class Data:
    x: int
    y: int = 2
@dataclasses.dataclass(slots=True, frozen=True)
class Frozen:
    x: int
class Named(typing.NamedTuple):
    x: int
    y: str = "s"
Plain = collections.namedtuple("Plain", "a b")
class Color(enum.Enum):
    red = 1
    green = enum.auto()
class Flags(enum.Flag):
    a = 1
    b = 2
class Whole(enum.IntEnum):
    one = 1
class Protocol(typing.Protocol):
    def m(self) -> int: ...
class Generic(typing.Generic[T]):
    def __init__(self, v): self.v = v
class Meta(type):
    def __call__(cls, *a): return super().__call__(*a)
class WithMeta(metaclass=Meta):
    def __init__(self, v): self.v = v
class Reduced:
    def __init__(self, v): self.v = v
    def __reduce__(self): return Reduced, (self.v,)
class Failed(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a} {b}")
        self.a, self.b = a, b
class Outer:
    class Inner:
        def __init__(self, v): self.v = v
class Abstract(abc.ABC):
    @abc.abstractmethod
    def m(self): ...
class Concrete(Abstract):
    def m(self): return 1
def local():
    class Local:
        def __init__(self, v): self.v = v
    return Local
Local = local()
@functools.singledispatch
def kind(x): return "any"
@kind.register
def _(x: int): return ["int", kind("s")]
@kind.register
def _(x: Slots): return "slots"
def same(x): return x
def fail(): raise Failed(1, 2)
def slots(a): return Slots(a)
def red(): return Color.red
values = [Slots(1), OneSlot(), Private(), NoSlots(4), EmptySlots(), Data(1), Frozen(1), Named(1),
    Plain(1, 2), Color.red, Color.green, Flags.a | Flags.b, Whole.one, Generic(1), WithMeta(2),
    Reduced(3), Failed(1, 2), Outer.Inner(1), Concrete(), Local(1)]
classes = [Slots, Data, Named, Plain, Color, Flags, Protocol, Generic, WithMeta, Outer.Inner, Local]
"""


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A script's ``__main__``, which cannot be imported anywhere."""
    module: Any = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    exec(compile(textwrap.dedent(SCRIPT), "<script>", "exec"), vars(module))
    yield module


def test_values_of_a_script_come_back_as_what_they_are(client: Client, script: Any) -> None:
    same = task(script.same)
    for value in script.values:
        for back in (
            client.compute(same(value)),
            client.submit(same(value)).result(),
            *client.compute(same.map([value, value])),
            client.compute(same(client.put(value))),
            client.compute(same(same({"inside": [value]})))["inside"][0],
        ):
            assert type(back) is type(value)
            if isinstance(value, script.enum.Enum):
                assert back is value
    for cls in script.classes:
        assert client.compute(same(cls)) is cls
    assert client.compute(same(script.Slots(7))).a == 7
    assert client.compute(same(script.Private())).get() == 5
    assert client.compute(same(script.OneSlot())).only == 5
    assert client.compute(same(script.Data(1))) == script.Data(1)


def test_what_tasks_make_is_of_the_scripts_own_classes(client: Client, script: Any) -> None:
    made = client.compute(task(script.slots)(3))
    assert isinstance(made, script.Slots)
    assert made.a == 3
    assert not hasattr(made, "__dict__")
    assert client.compute(task(script.red)()) is script.Color.red
    error = client.submit(task(script.fail)()).exception()
    assert type(error) is script.Failed
    assert (error.a, error.b) == (1, 2)
    kinds = task(script.kind)
    told = client.compute([kinds(1), kinds(script.Slots(1)), kinds("s")])
    assert told == [["int", "any"], "slots", "any"]


def test_a_class_that_was_defined_again(client: Client, script: Any) -> None:
    old, old_class = script.Slots(1), script.Slots
    assert type(client.compute(task(script.same)(old))) is old_class
    exec("class Slots:\n    def __init__(self, a): self.b = a\n", vars(script))
    back = client.compute(task(script.same)([old, script.Slots(2)]))
    assert [type(value) for value in back] == [old_class, script.Slots]
    assert (back[0].a, back[1].b) == (1, 2)
    assert isinstance(client.compute(task(script.slots)(5)), script.Slots)


@task
def take(value: Any) -> int:
    return 1


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


DEEP = nested(5000)


def skip_unless_too_deep(value: Any) -> None:
    """How deep a value may be is another depth in some versions of Python."""
    with contextlib.suppress(RecursionError):
        pickle.dumps(value)
        pytest.skip("this Python pickles it")


def closes_over() -> Any:
    value = nested(5000)
    return lambda: value is None


@pytest.mark.parametrize("depth", [1000, 30_000])
def test_deep_values_are_named_at_every_door(client: Client, depth: int) -> None:
    deep = nested(depth)
    skip_unless_too_deep(deep)
    take = task(lambda v, w=None: 1, name="take")
    for refused, told in (
        (lambda: client.compute(take(deep)), "argument 'v' of task 'take': list"),
        (lambda: client.submit(take(1, w={"a": deep})).result(), "argument 'w' of task 'take'"),
        (lambda: client.compute(take.map([deep, deep])), r"item take\[0\]: list"),
        (lambda: client.compute(take.map([1], w=deep)), "argument 'w' of task 'take'"),
        (lambda: client.put(deep), r"the value given to put\(\): list at value"),
        (lambda: client.compute(task(nested)(depth)), "task 'nested' returned a value that cannot"),
        (lambda: client.compute(task(nested).map([depth])), r"task 'nested\[0\]' returned"),
        (lambda: client.compute(task(closes_over())()), "closure variable 'value'"),
    ):
        with pytest.raises(SerializationError, match=f"(?s){told}.* nested too deeply .*flatten"):
            refused()
    with Client(local=True) as local:
        assert local.compute(take(deep)) == local.compute(take(1, w={"a": deep})) == 1


@pytest.mark.parametrize("kind", [tuple, frozenset])
def test_deep_tuples_and_sets_are_named_too(client: Client, kind: type) -> None:
    deep: Any = 1
    for _ in range(3000):
        deep = kind([deep])
    skip_unless_too_deep(deep)
    with pytest.raises(SerializationError, match=r"argument 'value' of .*nested too deeply"):
        client.compute(take(deep))
    with pytest.raises(SerializationError, match=r"argument 'value' of .*nested too deeply"):
        client.submit(take, deep).result()


def test_tuples_that_share_their_parts_are_looked_at_once(client: Client) -> None:
    shared: Any = 1
    for _ in range(100):
        shared = (shared, shared)  # 2 ** 100 places for one value
    assert client.submit(take, shared).result() == 1


def test_what_contains_itself_arrives_so(client: Client) -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert client.compute(task(lambda value: value[0] is value)(loop))


class Count:
    """Equal to others, and without a hash."""

    def __init__(self, start: int) -> None:
        self.start = start

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Count)

    __hash__ = None  # type: ignore[assignment]

    def __call__(self, x: int = 0, y: int = 0) -> int:
        return self.start + x + y

    def method(self, x: int = 0, y: int = 0) -> int:
        return self.start + x + y


def child(function: Any, x: int) -> Any:
    return task(function)(x)


def child_map(function: Any, x: int) -> Any:
    return task(function).map([x]).gather()


@pytest.mark.parametrize("local", [False, True], ids=["engine", "local"])
def test_whatever_can_be_called(engine: Up, local: bool) -> None:
    endpoint = {"local": True} if local else {"endpoint": engine.endpoint}
    with Client(**endpoint) as client:
        for function in (
            *(Count(5), Count(6), Count(7).method),
            *(functools.partial(Count(1), y=4), functools.partial(sum, [1, 2])),
        ):
            mine, expected = task(function), function(1)
            assert client.compute(mine(1)) == expected
            assert client.submit(mine(1)).result() == expected
            assert client.compute(mine.map([1, 1])) == [expected] * 2
            assert client.compute(task([1, 0].__getitem__).map([0]).filter(mine).gather()) == [1]
            assert client.compute(mine(mine(1))) == function(expected)
            assert client.compute(task(child)(function, 1)) == expected
            assert client.compute(task(child_map)(function, 1)) == [expected]
        assert client.compute(task(Count(1)).map([1, 2]).reduce(task(Count(0)))) == 5
