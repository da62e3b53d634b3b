"""The keys of values: the same everywhere, and others for other values."""

from __future__ import annotations

import copy
import functools
import json
import os
import pathlib
import pickle
import socket
import subprocess
import sys
import threading
import types
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from armoflow import File
from armoflow.cache import key_of
from armoflow.cache.fingerprints import Fingerprints
from armoflow.errors import UnkeyableError

PROGRAM = Path(__file__).parent / "values.py"
ELSEWHERE = """
import base64, json, sys
from armoflow.codec.functions import CodeCache
data = base64.b64decode(json.load(sys.stdin)[1])
json.dump(CodeCache().function("keys", data)(), sys.stdout)
"""


def run(*arguments: str, text: str = "", seed: str, locale: str) -> Any:
    environment = {**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": locale, "LANG": locale}
    done = subprocess.run(
        [sys.executable, *arguments],
        input=text,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


def test_keys_are_the_same_in_a_script_and_where_its_code_is_sent() -> None:
    told = run(str(PROGRAM), seed="1", locale="C")
    elsewhere = run("-c", ELSEWHERE, text=json.dumps(told), seed="2", locale="C.UTF-8")
    keys = told[0]
    assert {name for name in keys if keys[name] != elsewhere[name]} == set()
    assert len(set(keys.values())) == len(keys) > 75


# --- what is equal ------------------------------------------------------------------------------


def strided() -> Any:
    return numpy.arange(48.0).reshape(6, 8)[::2, ::2]


def records(fill: int) -> Any:
    """Records with bytes between their fields that hold anything."""
    dtype = numpy.dtype([("a", "i1"), ("b", "f8")], align=True)
    data = numpy.full(2 * dtype.itemsize, fill, dtype="u1").view(dtype)
    data["a"], data["b"] = [1, 2], [3.0, 4.0]
    return data


class Costly:
    def __init__(self, number: int) -> None:
        self.number = number

    @functools.cached_property
    def double(self) -> int:
        return 2 * self.number


def asked(costly: Costly) -> Costly:
    assert costly.double == 10
    return costly


def circle(first: int) -> list[Any]:
    values: list[Any] = [first]
    values.append(values)
    return values


def shared() -> list[Any]:
    part = [1, int]
    return [part, part]


EQUAL: dict[str, tuple[Any, Any]] = {
    "orders of a dict": ({"a": 1, "b": [2]}, {"b": [2], "a": 1}),
    "orders of keys of many kinds": ({"a": 1, 2: "b"}, {2: "b", "a": 1}),
    "orders of a set": (set("abcdefgh"), set("hgfedcba")),
    "a part that is shared, and copies of it": (shared(), [[1, int], [1, int]]),
    "orders of an array in memory": (strided(), numpy.asfortranarray(strided())),
    "an array and a view of a larger one": (strided(), strided().copy()),
    "bytes between the fields of records": (records(0), records(255)),
    "kinds of paths": (pathlib.PurePosixPath("a/b"), pathlib.PurePosixPath("a") / "b"),
    "what is only remembered": (Costly(5), asked(Costly(5))),
    "bits of nothing": (numpy.array([1, None]), numpy.array([1, None])),
}


@pytest.mark.parametrize("name", EQUAL)
def test_what_is_equal_has_one_key(name: str) -> None:
    one, other = EQUAL[name]
    assert key_of(one) == key_of(other)


DIFFERENT: dict[str, list[Any]] = {
    "types of numbers": [1, 1.0, True, "1", b"1", 1 + 0j, numpy.int64(1), numpy.float64(1), [1]],
    "zeros": [0.0, -0.0],
    "kinds of nothing": [None, "", b"", (), [], {}, set(), frozenset(), 0, False, bytearray()],
    "kinds of sequences": [(1, 2), [1, 2], {1, 2}, frozenset({1, 2}), numpy.array([1, 2])],
    "nesting": [[[1], 2], [1, [2]], [[1, 2]], [1, 2], [[1], [2]]],
    "nesting of other things": [[[int], str], [int, [str]], [[int, str]], [int, str]],
    "orders": [[1, 2], [2, 1]],
    "orders of an ordered dict": [OrderedDict(a=1, b=2), OrderedDict(b=2, a=1), {"a": 1, "b": 2}],
    "keys and values": [{"a": "b"}, {"b": "a"}, {"a": "a", "b": "b"}],
    "pairs": [{("a", int): 1, ("b", int): 2}, {("a", int): 2, ("b", int): 1}],
    "lengths of texts": [["ab", "c"], ["a", "bc"], ["abc"]],
    "types of arrays": [numpy.zeros(2, dtype) for dtype in ("f4", "f8", ">f8", "i8", "M8[s]", "O")],
    "shapes": [numpy.zeros((2, 3)), numpy.zeros((3, 2)), numpy.zeros(6), numpy.zeros((0, 6))],
    "orders of an array": [numpy.array([[1, 2], [3, 4]]), numpy.array([[1, 3], [2, 4]])],
    "paths and texts": [pathlib.PurePosixPath("a"), "a"],
    "attributes": [Costly(1), Costly(2)],
    "functions": [lambda x: x, lambda x: -x, lambda x, y=1: x, len, json.dumps, json.loads],
    "circles": [circle(1), circle(2), [1, [1]]],
    "classes": [int, Costly, type("Costly", (), {}), type("Costly", (), {"a": 1})],
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_differs_has_other_keys(name: str) -> None:
    values = DIFFERENT[name]
    assert len({key_of(value) for value in values}) == len(values)
    assert len({key_of([value, int]) for value in values}) == len(values)


ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=9)
HASHABLE = ATOMS | st.tuples(ATOMS, ATOMS) | st.frozensets(ATOMS, max_size=3)
VALUES = st.recursive(
    HASHABLE | st.sampled_from([int, json.dumps, Costly]),
    lambda parts: (
        st.lists(parts, max_size=4)
        | st.tuples(parts, parts)
        | st.dictionaries(HASHABLE, parts, max_size=4)
        | st.builds(Costly, parts)
    ),
    max_leaves=12,
)


KEYS = Fingerprints()  # reads the classes once


@given(VALUES)
def test_a_copy_has_the_same_key(value: Any) -> None:
    key = KEYS.of(value)
    assert key == KEYS.of(copy.deepcopy(value)) == KEYS.of(pickle.loads(pickle.dumps(value)))
    assert KEYS.of([value]) != key


@given(VALUES, VALUES)
def test_values_have_one_key_only_if_they_are_equal_in_all_parts(one: Any, two: Any) -> None:
    if KEYS.of(one) == KEYS.of(two):
        assert plain(one) == plain(two)


def plain(value: Any) -> Any:
    """A value to be compared: types count, orders of sets and dicts do not."""
    if isinstance(value, (list, tuple)):
        return type(value), [plain(part) for part in value]
    if isinstance(value, frozenset):
        return frozenset, sorted(map(repr, value))
    if isinstance(value, dict):
        return dict, sorted((repr(plain(key)), repr(plain(part))) for key, part in value.items())
    if isinstance(value, Costly):
        return Costly, plain(value.number)
    return type(value), repr(value)


# --- classes of the user's own ------------------------------------------------------------------


@pytest.mark.parametrize("head", ["", "from dataclasses import dataclass\n@dataclass\n"])
def test_an_instance_counts_with_the_code_of_its_class(head: str) -> None:
    def make(body: str) -> Any:
        scope = {"__name__": "__main__"}
        exec(f"{head}class Shape:\n  def area(self): return {body}\nshape = Shape()", scope)
        return scope["shape"]

    assert key_of(make("1 + x")) == key_of(make("(1 +  x)  # the same"))
    assert key_of(make("1 + x")) != key_of(make("2 + x"))
    assert key_of({"shapes": [make("1 + x")]}) != key_of({"shapes": [make("2 + x")]})


def test_a_type_says_itself_what_its_objects_are_known_by() -> None:
    class Connection:
        def __init__(self, address: str) -> None:
            self.address = address
            self.lock = threading.Lock()

        def __armoflow_key__(self) -> object:
            return {"address": self.address}

    assert key_of(Connection("a")) == key_of(Connection("a"))
    assert key_of([Connection("a")]) != key_of([Connection("b")])


def test_a_file_counts_by_what_it_holds(tmp_path: Path) -> None:
    one, other = File(tmp_path / "one"), File(str(tmp_path / "other"))
    (tmp_path / "one").write_text("1")
    (tmp_path / "other").write_text("1")
    before = key_of([one])
    assert before == key_of([other]) != key_of([one.path])
    (tmp_path / "one").write_text("2")
    assert key_of([one]) != before
    assert Path(one).read_text() == "2"
    assert one == pickle.loads(pickle.dumps(one)) != other
    with pytest.raises(UnkeyableError, match=r"File raised FileNotFoundError.*nowhere"):
        key_of(File("nowhere"))


# --- what has none ------------------------------------------------------------------------------


class Bad:
    def __reduce__(self) -> str:
        raise ValueError("not today")


class BadKey:
    def __armoflow_key__(self) -> str:
        raise ValueError("not today")


def holder(**attributes: Any) -> types.SimpleNamespace:
    return types.SimpleNamespace(**attributes)


UNKEYABLE: dict[str, tuple[Callable[[], Any], str]] = {
    "a lock": (threading.Lock, "value: _thread.lock has no key: cannot pickle"),
    "an open file": (lambda: [open(os.devnull)], r"value, at \[0\]: _io.TextIOWrapper has no key"),  # noqa: PTH123, SIM115
    "a socket": (lambda: {"s": socket.socket()}, r"value, at \['s'\]: socket.socket has no key"),
    "a generator": (lambda: (part for part in "ab"), "value: generator has no key"),
    "an attribute's part": (
        lambda: {"db": [holder(name=1, inner=holder(connection=threading.Lock()))]},
        r"value, at \['db'\]\[0\].inner.connection: _thread.lock",
    ),
    "an element of a set": (lambda: {(1, threading.Lock())}, r"value, in the set\[1\]: _thread"),
    "a key": (lambda: {threading.Lock(): 1}, "value, key <_thread.lock>: _thread.lock has no key"),
    "an array's element": (
        lambda: numpy.array([1, threading.Lock()], dtype=object),
        "value, element 1: _thread.lock has no key",
    ),
    "what pickle refuses": (lambda: [Bad()], "Bad has no key: not today. Leave the argument out"),
    "a method that fails": (lambda: [BadKey()], "__armoflow_key__ of .*BadKey raised ValueError"),
}


@pytest.mark.parametrize("name", UNKEYABLE)
def test_what_has_no_key_is_named_with_its_place(name: str) -> None:
    make, message = UNKEYABLE[name]
    with pytest.raises(UnkeyableError, match=message):
        key_of(make())


def test_deep_values_need_no_stack() -> None:
    def nested(last: Any) -> Any:
        for _ in range(5_000):
            last = {"a": [last]}
        return last

    assert key_of(nested(1)) != key_of(nested(2))


# --- data frames --------------------------------------------------------------------------------


def test_how_pandas_keeps_its_columns_makes_no_difference() -> None:
    pandas = pytest.importorskip("pandas")
    whole = pandas.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    kind = type("Frame", (pandas.DataFrame,), {"_constructor": property(type)})
    assert key_of(kind(whole)) == key_of(kind(whole).copy()) != key_of(whole)
    pieces = whole[["a"]].copy()
    pieces["b"] = [3.0, 4.0]
    assert key_of(whole) == key_of(pieces) == key_of(whole.iloc[::-1].iloc[::-1])
    masked = pandas.array([1, 2, 3], dtype="Int64")
    masked[1] = None
    assert key_of(masked) == key_of(pandas.array([1, None, 3], dtype="Int64"))
    others = [
        whole,
        whole.rename(columns={"b": "c"}),
        whole.set_index("a"),
        whole.astype("float32"),
        whole[["b", "a"]],
        whole.iloc[::-1],
        whole.assign(b=[3.0, None]),
        whole["a"],
        pandas.Series(["a", "b"]),
        pandas.Series(["a", "b"], dtype="category"),
        pandas.Series(pandas.to_datetime(["2024-01-01", None])),
        pandas.Series(pandas.to_datetime(["2024-01-01", None], utc=True)),
    ]
    assert len({key_of(frame) for frame in others}) == len(others)


def test_how_polars_and_arrow_keep_their_columns_makes_no_difference() -> None:
    polars = pytest.importorskip("polars")
    arrow = pytest.importorskip("pyarrow")
    whole = polars.DataFrame({"a": [1, None, 3], "b": ["x", "y", None]})
    pieces = polars.concat([whole[:1], whole[1:]], rechunk=False)
    assert key_of(whole) == key_of(pieces)
    table = arrow.table({"a": [1, None, 3], "b": ["x", "y", None]})
    cut = arrow.concat_tables([table.slice(0, 1), table.slice(1)])
    assert key_of(table) == key_of(cut)
    others = [whole, whole[:2], whole.rename({"a": "c"}), whole.fill_null(0), whole["a"], table]
    others.extend([table.slice(1), table.column("a"), table.schema, arrow.array([1.0, None])])
    assert len({key_of(frame) for frame in others}) == len(others)
