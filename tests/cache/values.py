"""Values of many kinds, made anew by whoever imports this; run as a program, it tells their keys.

As a program it is what the user wrote: its functions and classes are those of ``__main__``.
"""

from __future__ import annotations

import base64
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import json
import math
import operator
import pathlib
import random
import re
import sys
import types
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy

from armoflow import task
from armoflow.cache import Keys, key_of
from armoflow.codec.functions import encode_function
from armoflow.policies import make_policy

WORDS = {"alpha", "beta", "gamma", "delta"}


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: float = 0.5


@dataclasses.dataclass
class Config:
    name: str
    tags: set[str] = dataclasses.field(default_factory=lambda: {"one", "two", "three"})
    colour: Colour = Colour.RED

    def describe(self) -> str:
        return f"{self.name} {len(WORDS)}"


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    a: int
    b: str


class Plain:
    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)

    def method(self) -> int:
        return helper(1)


class Stated:
    def __init__(self) -> None:
        self.cache = object()

    def __getstate__(self) -> dict[str, Any]:
        return {"kept": WORDS}


class Keyed:
    def __init__(self, name: str) -> None:
        self.name = name
        self.handle = iter(())

    def __armoflow_key__(self) -> str:
        return self.name


class Words(set[str]):
    pass


class Table(dict[str, int]):
    pass


def helper(x: int) -> int:
    return x + len(WORDS)


def plain(x: int, y: tuple[str, ...] = ("a",)) -> int:
    return helper(x) + operator.add(1, math.floor(2))


def make_adder(amount: int) -> Any:
    def add(x: int) -> int:
        return x + amount

    return add


@functools.lru_cache(maxsize=7)
def remembered(x: int) -> int:
    return helper(x)


@functools.singledispatch
def shown(x: object) -> str:
    return "object"


@shown.register
def _(x: int) -> str:
    return "int"


@task(retries=2)
def work(x: int) -> int:
    return plain(x)


def cyclic() -> list[Any]:
    first: list[Any] = [1, {"a": 2}]
    first.append(first)
    return first


def nested(depth: int) -> Any:
    value: Any = object
    for _ in range(depth):
        value = [value, 1]
    return value


def values() -> dict[str, Any]:
    """Values by name."""
    zone = datetime.timezone(datetime.timedelta(hours=2))
    shared = [1, object]
    adders = collections.defaultdict(list, {"a": [make_adder(1)], "b": [make_adder(2)]})
    return {
        "none": None,
        "true": True,
        "int": 12345678901234567890,
        "float": 0.1,
        "nan": math.nan,
        "negative zero": -0.0,
        "complex": 1 + 2j,
        "text": "ünï\ud800",
        "bytes": b"\0data",
        "bytearray": bytearray(b"data"),
        "memoryview": memoryview(b"data"),
        "ellipsis": ...,
        "tuple": (1, ("a", 2.0)),
        "list": [1, [2, [3, [None]]]],
        "dict": {"b": 1, "a": [2]},
        "dict of tuples": {(1, "a"): 1, (2, "b"): 2},
        "mixed keys": {1: "a", "1": "b", None: "c"},
        "set": WORDS,
        "set of tuples": {(word, 1) for word in WORDS},
        "frozenset": frozenset({1, "a", None}),
        "set of frozensets": {frozenset(WORDS), frozenset({1})},
        "set subclass": Words(WORDS),
        "dict subclass": Table(a=1, b=2),
        "counter": collections.Counter("banana"),
        "ordered": collections.OrderedDict(b=1, a=2),
        "deque": collections.deque([1, 2], maxlen=5),
        "chain map": collections.ChainMap({"a": 1}, {"b": 2}),
        "defaultdict": adders,
        "proxy": types.MappingProxyType({"a": WORDS}),
        "namespace": types.SimpleNamespace(a=WORDS),
        "range": range(1, 10, 2),
        "slice": slice(1, None, 2),
        "date": datetime.date(2024, 2, 29),
        "datetime": datetime.datetime(2024, 1, 1, 12, tzinfo=zone),
        "timedelta": datetime.timedelta(days=1, microseconds=5),
        "decimal": decimal.Decimal("1.50"),
        "fraction": fractions.Fraction(1, 3),
        "uuid": uuid.UUID(int=5),
        "path": pathlib.Path("a") / "b",
        "pattern": re.compile("a+", re.IGNORECASE),
        "exception": ValueError("wrong", 3),
        "random": random.Random(5),
        "enum": Colour.BLUE,
        "flag": Access.READ | Access.WRITE,
        "namedtuple": Point(1),
        "dataclass": Config("a"),
        "slotted": Slotted(1, "a"),
        "instance": Plain(b=1, a=WORDS),
        "stated": Stated(),
        "keyed": Keyed("n"),
        "generic alias": list[int],
        "class": Config,
        "builtin class": dict,
        "function": plain,
        "lambda": lambda x: x + len(WORDS),
        "closure": make_adder(3),
        "closures": [make_adder(1), make_adder(2)],
        "partial": functools.partial(plain, y=("b",)),
        "bound method": Config("a").describe,
        "bound builtin": [1, 2].append,
        "builtin": len,
        "library function": json.dumps,
        "cached function": remembered,
        "dispatch": shown,
        "operator": operator.itemgetter("a", 1),
        "task": work,
        "module": math,
        "cyclic": cyclic(),
        "shared": [shared, shared],
        "deep": nested(2000),
        "array": numpy.arange(12.0).reshape(3, 4),
        "text array": numpy.array(["a", "bcd"]),
        "dates": numpy.array(["2024-01-01", "NaT"], dtype="M8[s]"),
        "records": numpy.array(
            [(1, 2.0)], dtype=numpy.dtype([("a", "i1"), ("b", "f8")], align=True)
        ),
        "objects": numpy.array([1, "a", WORDS, None], dtype=object),
        "long doubles": numpy.array([1, 2], dtype="g"),
        "masked": numpy.ma.masked_array([1, 2], [True, False]),
        "matrix": numpy.asmatrix([[1, 2]]),
        "scalar": numpy.float32(1.5),
        "dtype": numpy.dtype("f4"),
        "ufunc": numpy.add,
        "generator of numbers": numpy.random.default_rng(5),
        **dict(frames()),
        **dict(models()),
    }


def models() -> Iterator[tuple[str, Any]]:
    """Classes whose methods libraries write, of those that are installed."""
    with_pydantic, with_attrs = _installed("pydantic"), _installed("attrs")
    if with_pydantic:

        class Model(with_pydantic.BaseModel):  # type: ignore[misc, name-defined]
            tags: set[str] = WORDS

        yield "pydantic", Model()
    if with_attrs:

        @with_attrs.frozen
        class Frozen:
            x: int

        yield "attrs", Frozen(1)


def frames() -> Iterator[tuple[str, Any]]:
    """Data frames, of the packages that are installed."""
    columns = {"a": [1, 2, 3], "b": ["x", None, "z"], "c": [0.5, 1.5, None]}
    with_pandas = _installed("pandas")
    if with_pandas:
        frame = with_pandas.DataFrame(columns)
        frame["d"] = with_pandas.Categorical(["u", "v", "u"])
        frame["e"] = with_pandas.array([1, None, 3], dtype="Int64")
        frame["f"] = with_pandas.date_range("2024-01-01", periods=3, tz="UTC")
        yield "pandas.DataFrame", frame
        yield "pandas.Series", frame["b"]
        yield "pandas.MultiIndex", frame.set_index(["a", "b"])
    with_polars = _installed("polars")
    if with_polars:
        yield "polars.DataFrame", with_polars.DataFrame(columns)
        yield "polars.Series", with_polars.Series("n", [[1], [2, 3]])
    with_arrow = _installed("pyarrow")
    if with_arrow:
        yield "pyarrow.Table", with_arrow.table(columns)


def _installed(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


def keys() -> dict[str, str]:
    """The keys of the values, and of a node that needs many of them."""
    found = {name: key_of(value).hex() for name, value in values().items()}
    node = task(plain, name="plain")(found, y=work(1)).node
    made = Keys(lambda node: make_policy(True)).of(node)
    assert made is not None
    return {**found, "node": made.digest.hex()}


if __name__ == "__main__":
    # As a worker gets it: from a pickle, without this file.
    pickled = encode_function(keys)
    json.dump([keys(), base64.b64encode(pickled.data).decode()], sys.stdout)
