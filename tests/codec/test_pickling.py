import contextlib
import dataclasses
import enum
import functools
import io
import pickle
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import types
import unittest.mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from armoflow import config
from armoflow.codec.classes import known_pickle
from armoflow.codec.container import pack, unpack
from armoflow.codec.payload import Pickled
from armoflow.codec.pickling import (
    are_scalars,
    dumps,
    dumps_whole,
    is_scalar,
    loads,
)
from armoflow.errors import GraphError, SerializationError

LARGE = config.OUT_OF_BAND_LIMIT
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False),
    lambda children: (
        st.lists(children)
        | st.lists(children).map(tuple)
        | st.dictionaries(st.text() | st.integers(), children)
        | st.sets(st.integers())
        | st.frozensets(st.text())
    ),
)


class Reference:
    """Stands for a Delayed: never pickled itself."""

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        raise AssertionError("a reference is not pickled")


def refer(value):
    return ("reference", value.name) if type(value) is Reference else None


def resolve(reference):
    return f"<{reference[1]}>"


@dataclasses.dataclass
class Holder:
    inside: object


class Unpicklable:
    def __reduce__(self):
        raise RuntimeError("will not go")


@given(VALUES)
def test_any_value_comes_back(value):
    assert loads(dumps(value)) == value
    assert loads(dumps(value, refer), resolve) == value


@given(VALUES)
def test_a_value_around_a_reference_comes_back(value):
    back = loads(dumps((value, [Reference("r")], {"k": value}), refer), resolve)
    assert back == (value, ["<r>"], {"k": value})


def test_references_are_found_inside_any_object():
    reference = Reference("deep")
    value = {
        "attribute": Holder([reference]),
        "partial": functools.partial(print, reference),
        "closure": lambda: reference,
        "long": [0] * 1000 + [reference],
        "same": (reference, reference),
    }
    back = loads(dumps(value, refer), resolve)
    assert back["attribute"].inside == ["<deep>"]
    assert back["partial"].args == ("<deep>",)
    assert back["closure"]() == "<deep>"
    assert back["long"][-1] == "<deep>"
    assert back["same"] == ("<deep>", "<deep>")


def test_a_hook_does_not_outlive_its_call():
    loads(dumps([Reference("a")], refer), resolve)
    with pytest.raises(SerializationError):
        dumps([Reference("b")])
    with pytest.raises(SerializationError):
        dumps([Reference("b")], lambda value: None)


def test_errors_of_the_hook_pass():
    def refuse(value):
        if type(value) is Reference:
            raise GraphError("not of this client")

    with pytest.raises(GraphError, match="not of this client"):
        dumps([Reference("a")], refuse)


def test_pickling_inside_pickling():
    class Nested:
        def __reduce__(self):
            return bytes, (dumps([1, Holder(2)]).data,)

    back = loads(dumps([Nested(), Holder(3)]))
    assert loads(Pickled(back[0]))[1].inside == 2
    assert back[1].inside == 3


def test_pickling_from_many_threads():
    failures = []

    def work(number):
        for _ in range(200):
            value = [number, Holder(number), lambda: number]
            back = loads(dumps(value, refer), resolve)
            if (back[0], back[1].inside, back[2]()) != (number,) * 3:
                failures.append(back)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_nothing_of_a_value_is_kept():
    import gc
    import weakref

    value = Holder(Holder(1))
    alive = weakref.ref(value)
    dumps(value)
    dumps(value, refer)
    del value
    gc.collect()
    assert alive() is None


# --- large data -----------------------------------------------------------------------------------


def test_a_large_array_is_not_copied():
    array = np.arange(LARGE, dtype="f8")
    pickled = dumps({"array": array, "more": [1]})
    assert len(pickled.data) < 1000
    assert [view.nbytes for view in pickled.buffers] == [array.nbytes]
    view = pickled.buffers[0]
    assert view.ndim == 1 and view.format == "B" and view.contiguous
    assert np.shares_memory(np.frombuffer(view, "u1"), array)

    stored = bytearray(b"".join(pack(pickled.data, pickled.buffers)))
    data, buffers = unpack(stored)
    back = loads(Pickled(data, buffers))["array"]
    assert np.shares_memory(back, np.frombuffer(stored, "u1"))
    assert back.flags.writeable
    assert back.ctypes.data % 8 == 0
    np.testing.assert_array_equal(back, array)


def test_a_small_array_has_memory_of_its_own():
    array = np.arange(10)
    pickled = dumps(array)
    assert not pickled.buffers
    back = loads(Pickled(bytes(pickled.data)))
    back += 1
    np.testing.assert_array_equal(back, array + 1)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(2.0 * LARGE).reshape(2, -1)[:, ::2],
        np.asfortranarray(np.arange(1.0 * LARGE).reshape(4, -1)),
        np.arange(LARGE)[::-1],
        np.arange(LARGE * 3.0).reshape(-1, 3).T[1:],
        np.array([], "f4"),
        np.array(3.5),
        np.arange(LARGE).astype("M8[s]"),
        np.zeros(LARGE, [("a", "i4"), ("b", "f8")])["b"],
    ],
    ids=["strided", "fortran", "reversed", "transposed", "empty", "scalar", "dates", "field"],
)
def test_arrays_of_any_layout(array):
    pickled = dumps([array])
    if array.nbytes >= LARGE:
        assert len(pickled.buffers) == 1
        assert len(pickled.data) < 1000
    back = loads(pickled)[0]
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_arrays_of_objects_and_subclasses():
    class Special(np.ndarray):
        pass

    objects = np.array([{"a": 1}, None], dtype=object)
    assert loads(dumps(objects))[0] == {"a": 1}
    special = np.arange(LARGE).view(Special)[::2]
    np.testing.assert_array_equal(loads(dumps(special)), special)


@pytest.mark.parametrize("kind", [bytes, bytearray])
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: ((x, 1), {}), lambda x: {"k": [x]}])
def test_large_binary_data_goes_out_of_band(kind, wrap):
    data = kind(b"x" * LARGE)
    pickled = dumps(wrap(data))
    assert len(pickled.data) < 1000
    assert len(pickled.buffers) == 1
    back = loads(pickled)
    assert back == wrap(data)
    assert pickle.dumps(back, 5) == pickle.dumps(wrap(data), 5)  # same types too


def test_large_binary_data_with_references():
    data = b"x" * LARGE
    pickled = dumps(((data, Reference("r"), data), {"k": Holder(data)}), refer)
    assert len(pickled.buffers) == 1
    (first, reference, second), more = loads(pickled, resolve)
    assert first is second is more["k"].inside
    assert (first, reference) == (data, "<r>")


def test_a_reference_without_a_resolver_is_an_error():
    pickled = dumps([Reference("r"), b"x" * LARGE], refer)
    with pytest.raises(pickle.UnpicklingError):
        loads(pickled)
    with pytest.raises(pickle.UnpicklingError):
        loads(dumps([Reference("r")], refer))


# --- identity -------------------------------------------------------------------------------------


def test_a_class_of_this_process_is_not_touched_when_it_comes_home():
    class Local:
        limit = 1

        def method(self):
            return self.limit

    data = dumps(Local())
    method = Local.method
    Local.limit = 2
    back = loads(data)
    assert type(back) is Local
    assert Local.method is method
    assert back.method() == 2


def test_an_enumeration_keeps_its_identity():
    class Color(enum.Enum):
        RED = 1

    assert loads(dumps([Color.RED]))[0] is Color.RED


def define(scope, text):
    exec(textwrap.dedent(text), scope)
    return scope


CLASSES = """
    import dataclasses, functools
    BASE = 10
    class Parent:
        def up(self):
            return BASE
    @dataclasses.dataclass
    class Point(Parent):
        x: int
        LIMIT = 1
        def total(self):
            return self.x + self.up() + self.LIMIT + helper()
        @functools.lru_cache
        def cached(self):
            return 1
        __hash__ = None
    def helper():
        return 100
"""


@pytest.mark.parametrize("cached", [True, False])
def test_a_changed_class_is_pickled_anew(cached):
    scope = define({"__name__": "__main__"}, CLASSES)
    if not cached:
        scope["Point"].table = []  # what can change in place is never trusted
    else:
        del scope["Point"].cached
    point = scope["Point"](5)

    def elsewhere():
        program = (
            "import pickle, sys\nfrom armoflow.codec.pickling import loads\n"
            "from armoflow.codec.payload import Pickled\n"
            "print([loads(Pickled(d)).total() for d in pickle.load(sys.stdin.buffer)])"
        )
        data = pickle.dumps([dumps(point).data, dumps(point).data])
        done = subprocess.run(
            [sys.executable, "-c", program], input=data, capture_output=True, check=True
        )
        return done.stdout.decode().strip()

    assert elsewhere() == "[116, 116]"
    scope["Point"].LIMIT = 2
    assert elsewhere() == "[117, 117]"
    scope["BASE"] = 20
    assert elsewhere() == "[127, 127]"
    scope["helper"] = eval("lambda: 200", scope)
    assert elsewhere() == "[227, 227]"
    scope["Parent"].up = lambda self: 0
    assert elsewhere() == "[207, 207]"
    assert (known_pickle(scope["Point"]) is not None) == cached


def test_classes_of_other_processes():
    program = (
        "import sys\nfrom dataclasses import dataclass\n"
        "from armoflow.codec.pickling import dumps, loads\n"
        "@dataclass\nclass Made:\n    x: int\n    def double(self):\n        return 2 * self.x\n"
        "import pickle\n"
        "sys.stdout.buffer.write(pickle.dumps([dumps(Made(n)).data for n in range(3)]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    values = [loads(Pickled(data)) for data in pickle.loads(done.stdout)]
    assert [value.double() for value in values] == [0, 2, 4]
    assert len({type(value) for value in values}) == 1
    again = loads(dumps(values))
    assert type(again[0]) is type(values[0])
    assert again == values


def test_a_module_made_by_hand_travels_by_value(monkeypatch):
    module = types.ModuleType("made_by_hand")
    exec("def f(x):\n    return g(x) + 1\ndef g(x):\n    return 2 * x\n", vars(module))
    monkeypatch.setitem(sys.modules, "made_by_hand", module)
    data = dumps_whole(module.f)
    monkeypatch.delitem(sys.modules, "made_by_hand")
    assert pickle.loads(data)(3) == 7


@pytest.mark.parametrize(("name", "file"), [("made_by_hand", None), ("<run_path>", "script.py")])
def test_a_task_of_a_module_that_cannot_be_imported_travels_by_value(monkeypatch, name, file):
    """As the tasks that a graph is made of in a task; the second is a script that runpy runs."""
    module = types.ModuleType(name)
    if file is not None:
        module.__file__ = file
    code = "from armoflow import task\n@task\ndef f(x):\n    return g.local(x) + 1\n"
    exec(code + "@task\ndef g(x):\n    return 2 * x\n", vars(module))
    monkeypatch.setitem(sys.modules, name, module)
    data = dumps_whole(module.f)
    monkeypatch.delitem(sys.modules, name)
    assert pickle.loads(data).local(3) == 7


# --- scalars --------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1, 1.5, True, None, 2j, "x", b"x", 10**50, "x" * 1024])
def test_scalars(value):
    assert is_scalar(value) and are_scalars([value])


@pytest.mark.parametrize(
    "value", ["x" * 1025, b"x" * 1025, (), [], np.float64(1), enum.IntEnum("E", "a").a, bytearray()]
)
def test_not_scalars(value):
    assert not is_scalar(value) and not are_scalars([1, value])


# --- failures -------------------------------------------------------------------------------------


def check(value, *words):
    with pytest.raises(SerializationError) as caught:
        dumps(value, refer)
    for word in words:
        assert word in str(caught.value)
    assert caught.value.__cause__ is not None


def test_what_means_nothing_elsewhere_is_refused_with_the_remedy(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("text")
    with path.open() as text, path.open("rb") as binary, socket.socket() as connection:
        check(text, "TextIOWrapper at value cannot be pickled", "give its path or what it holds")
        check([binary], "BufferedReader at value[0]", "give its path or what it holds")
        check({"x": connection}, "at value['x']", "give the address, and connect in the task")
    with tempfile.NamedTemporaryFile("w") as temporary:
        check(temporary, "TextIOWrapper at value.file", "give its path")
    check((n for n in [1]), "generator at value", "give a list, or task.map(iterable)")
    check(threading.Thread(), "at value._", "tasks share nothing")  # its lock, or its handle
    monkeypatch.setattr(sys, "stdout", sys.__stdout__)  # pytest's own is no stream
    assert loads(dumps(sys.stdout)) is sys.stdout
    assert loads(dumps(io.StringIO("text"))).read() == "text"


def test_the_failing_part_is_named():
    lock = threading.Lock()
    check(lock, "_thread.lock at value cannot be pickled")
    check({"x": [0, 1, 2, lock]}, "_thread.lock at value['x'][3]")
    check([Holder({"a": lock})], "_thread.lock at value[0].inside['a']")
    check({(1, lock): 2}, "_thread.lock at value, key (1, <unlocked")
    check(functools.partial(print, lock), "_thread.lock at value")
    check(Holder(Unpicklable()), "Unpicklable at value.inside cannot be pickled: will not go")
    check((n for n in ()), "generator at value")
    with contextlib.closing(open(__file__)) as file:  # noqa: PTH123
        file.close()
        check([file], "TextIOWrapper at value[0]")


def test_the_failing_variable_is_named():
    lock = threading.Lock()

    def f():
        return lock

    check(f, "_thread.lock at lock (closure variable 'lock' of function", ".f'")

    scope = {"settings": {"inner": [lock]}}
    exec("def g():\n    return settings", scope)
    check([scope["g"]], "at settings['inner'][0] (global 'settings' of function 'g')")

    def outer():
        return f()

    check(outer, "closure variable 'lock' of function")

    def with_default(x=lock):
        return x

    check(with_default, "default argument of function")


def test_a_value_that_is_nested_too_deeply():
    value = []
    for _ in range(100_000):
        value = [value]
    check(value, "too deep")


def test_a_value_that_contains_itself():
    value = [threading.Lock()]
    value.append(value)
    check(value, "_thread.lock at value[0]")
    fine = [1]
    fine.append(fine)
    back = loads(dumps(fine))
    assert back[1] is back


def test_explaining_asks_no_more_than_it_must():
    class Strange:
        def __getattr__(self, name):
            raise RuntimeError(name)

    check([Strange(), threading.Lock()], "cannot be pickled")


SHADOWS = """
    class Other:
        pass
    class Wrapper:
        def __init__(self, wrapped):
            self.wrapped = wrapped
        @property
        def __name__(self):
            "That of what is wrapped."
            return self.wrapped + Wrapper.__qualname__
        @__name__.setter
        def __name__(self, name):
            self.wrapped = name
    class Pretends(Exception):
        __class__ = property(lambda self: Other if Pretends else None)
        __mro__ = "no mro"
"""


def test_what_a_class_says_of_its_instances_under_names_that_classes_have_themselves():
    program = (
        "import pickle, sys\n"
        "Wrapper, Pretends, Other = pickle.load(sys.stdin.buffer)\n"
        "one = Wrapper('x')\n"
        "print(one.__name__, Wrapper.__name__, vars(Wrapper)['__name__'].__doc__)\n"
        "one.__name__ = 'y'\n"
        "print(one.__name__, Pretends().__class__ is Other, type(Pretends()) is Pretends)\n"
        "print(Pretends().__mro__, type(Pretends))\n"
    )
    scope = define({"__name__": "__main__"}, SHADOWS)
    data = dumps_whole([scope[name] for name in ("Wrapper", "Pretends", "Other")])
    done = subprocess.run(
        [sys.executable, "-c", program], input=data, capture_output=True, check=True, text=False
    )
    assert done.stdout.decode().splitlines() == [
        "xWrapper Wrapper That of what is wrapped.",
        "yWrapper True True",
        "no mro <class 'type'>",
    ]


class Hidden:
    """Nothing of it can be looked at."""

    def __reduce_ex__(self, _):
        raise ValueError("will not go")

    def __getattribute__(self, name):
        raise SystemExit(name)

    def __repr__(self):
        raise SystemExit("repr")


class Listed(list):
    def __getitem__(self, place):
        raise SystemExit("looked at")


class Likened:
    __class__ = list


def test_a_part_whose_own_code_lets_nobody_look_at_it_is_named_all_the_same():
    check([Hidden()], "Hidden at value[0] cannot be pickled")
    check({Hidden(): 1}, "Hidden at value, key <Hidden> cannot be pickled")
    check(Listed([threading.Lock()]), "Listed at value cannot be pickled")
    refused = "pickle refuses: give it a __reduce__"
    check([unittest.mock.Mock(spec=list)], "Mock at value[0] cannot be pickled", refused)
    check(Likened(), "Likened at value cannot be pickled", "its __class__ is not Likened", refused)


SCRIPT = """
    import enum, functools
    class Planet(enum.Enum):
        EARTH = (5.976e24, 6.378e6)
        MARS = (6.421e23, 3.397e6)
        def __init__(self, mass, radius):
            self.mass, self.radius = mass, radius
        @property
        def gravity(self):
            return round(6.673e-11 * self.mass / self.radius**2, 2)
    class Steps(enum.IntFlag):
        ONE = 1
        TWO = 2
    class Table:
        @functools.cached_property
        def rows(self):
            return [type(self) is Table]
    class Outer:
        class Inner:
            pass
"""


def test_what_classes_of_a_script_make_when_they_are_made():
    """The attributes of an enumeration's members, properties that keep their values, full names."""
    program = (
        "import pickle, sys\n"
        "Planet, member, Steps, table, inner = pickle.load(sys.stdin.buffer)\n"
        "print(member is Planet.MARS, member.gravity, Planet.EARTH.mass)\n"
        "print(list(Steps), table.rows, vars(table))\n"
        "print(type(inner))\n"
    )
    scope = define({"__name__": "__main__"}, SCRIPT)
    planet = scope["Planet"]
    data = dumps_whole(
        [planet, planet.MARS, scope["Steps"], scope["Table"](), scope["Outer"].Inner()]
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=data, capture_output=True, check=True
    )
    assert done.stdout.decode().splitlines() == [
        "True 3.71 5.976e+24",
        f"{list(scope['Steps'])} [True] {{'rows': [True]}}",
        "<class '__main__.Outer.Inner'>",
    ]
