"""What a frame may look like, said once and checked where it enters.

A shape checks one value, or many at a time: a long frame holds many of one kind, and a column of a
thousand ids is checked by a few calls into C. Only a frame that is refused is searched, to name
what is wrong with it. Values are as msgpack gives them.
"""

from __future__ import annotations

import reprlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from armoflow.config import ID_LIMIT
from armoflow.errors import MalformedError

_INT64 = 2**63
_FEW = 3  # values that are checked sooner one by one
_show = reprlib.Repr()
_show.maxstring = _show.maxother = 60


class Shape(ABC):
    """What a value may be."""

    @abstractmethod
    def fits(self, value: Any) -> bool:
        """Whether a value is of this shape."""

    def fits_all(self, values: Sequence[Any]) -> bool:
        """Whether all of these values are."""
        return all(map(self.fits, values))

    @abstractmethod
    def blame(self, value: Any, name: str) -> str:
        """What is wrong with a value that is not of this shape: the field, what it is."""

    def check(self, value: Any, name: str) -> None:
        """Refuse a value that is not of this shape.

        Raises:
            MalformedError: Naming the field.
        """
        if not self.fits(value):
            raise MalformedError(self.blame(value, name))


class Text(Shape):
    """A text of at most so many characters; msgpack lets no lone surrogate through.

    Example:
        >>> Text(3).fits("abc"), Text(3).fits_all(["", "abcd"]), Text(3).fits(b"a")
        (True, False, False)
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def fits(self, value: Any) -> bool:
        """Whether a value is of this shape."""
        return type(value) is str and len(value) <= self._limit

    def fits_all(self, values: Sequence[Any]) -> bool:
        """Whether all of these values are."""
        return _are(values, _TEXT) and max(map(len, values), default=0) <= self._limit

    def blame(self, value: Any, name: str) -> str:
        """What is wrong with a value that is not of this shape."""
        return f"{name} is {_show.repr(value)}, not a text of at most {self._limit} characters"


class Id(Shape):
    r"""An id that may become the name of a file.

    Not empty, printable, no separator, not a directory's own name, at most ``ID_LIMIT`` bytes.

    Example:
        >>> Id().fits("a-b"), Id().fits_all(["a-b", "x###1"])
        (True, True)
        >>> [Id().fits(bad) for bad in ("", ".", "..", "a/b", "a\0", "a\nb", "x" * 300, 7)]
        [False, False, False, False, False, False, False, False]
        >>> Id().check("../up", "task id")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        armoflow.errors.MalformedError: task id is '../up', not an id (1 to 200 bytes...
    """

    def fits(self, value: Any) -> bool:
        """Whether a value is of this shape."""
        if type(value) is not str or not 0 < len(value) <= ID_LIMIT or not value.isprintable():
            return False
        return "/" not in value and _is_file_name(value)

    def fits_all(self, values: Sequence[Any]) -> bool:
        """Whether all of these values are."""
        if not _are(values, _TEXT):
            return False
        if max(map(len, values), default=0) > ID_LIMIT or not all(values):
            return False
        joined = "".join(values)
        if joined.isascii() and "." not in joined:
            return not joined.encode().translate(None, _ID_BYTES)
        return joined.isprintable() and "/" not in joined and all(map(_is_file_name, values))

    def blame(self, value: Any, name: str) -> str:
        """What is wrong with a value that is not of this shape."""
        what = f"not an id (1 to {ID_LIMIT} bytes, printable, without '/')"
        return f"{name} is {_show.repr(value)}, {what}"


class Integer(Shape):
    """A whole number within bounds, by default those of 64 bits.

    Example:
        >>> Integer(0).fits_all([0, 5]), Integer(0).fits(-1), Integer(0).fits(True)
        (True, False, False)
    """

    def __init__(self, low: int = -_INT64, high: int = _INT64 - 1) -> None:
        self._low = low
        self._high = high

    def fits(self, value: Any) -> bool:
        """Whether a value is of this shape."""
        return type(value) is int and self._low <= value <= self._high

    def fits_all(self, values: Sequence[Any]) -> bool:
        """Whether all of these values are."""
        if not _are(values, _INTEGER):
            return False
        return not values or (min(values) >= self._low and max(values) <= self._high)

    def blame(self, value: Any, name: str) -> str:
        """What is wrong with a value that is not of this shape."""
        return f"{name} is {_show.repr(value)}, not a whole number from {self._low} to {self._high}"


class Number(Shape):
    """A finite number within bounds.

    Example:
        >>> Number(0, 10).fits_all([0, 2.5]), Number(0, 10).fits(float("nan"))
        (True, False)
    """

    def __init__(self, low: float, high: float) -> None:
        self._low = low
        self._high = high

    def fits(self, value: Any) -> bool:
        """Whether a value is of this shape."""
        return type(value) in _NUMBER and self._low <= value <= self._high

    def fits_all(self, values: Sequence[Any]) -> bool:
        """Whether all of these values are."""
        if not _are(values, _NUMBER):
            return False
        return all(self._low <= value <= self._high for value in values)

    def blame(self, value: Any, name: str) -> str:
        """What is wrong with a value that is not of this shape."""
        return f"{name} is {_show.repr(value)}, not a number from {self._low:g} to {self._high:g}"


class Plain(Shape):
    """A value of one type, whatever it is: bytes, a truth value.

    Example:
        >>> Plain(bool).fits(True), Plain(bool).fits(1)
        (True, False)
    """

    def __init__(self, type_: type) -> None:
        self._type = type_
        self._types = frozenset((type_,))

    def fits(self, value: Any) -> bool:
        """Whether a value is of this shape."""
        return type(value) is self._type

    def fits_all(self, values: Sequence[Any]) -> bool:
        """Whether all of these values are."""
        return _are(values, self._types)

    def blame(self, value: Any, name: str) -> str:
        """What is wrong with a value that is not of this shape."""
        return f"{name} is {_show.repr(value)}, not of type {self._type.__name__}"


class Anything(Shape):
    """A value that is checked where it is used."""

    def fits(self, value: Any) -> bool:
        """Whether a value is of this shape."""
        return True

    def fits_all(self, values: Sequence[Any]) -> bool:
        """Whether all of these values are."""
        return True

    def blame(self, value: Any, name: str) -> str:
        """Never asked."""
        raise AssertionError(name)


class Optional(Shape):
    """A value of a shape, or None.

    Example:
        >>> Optional(Integer()).fits_all([None, 1]), Optional(Integer()).fits("1")
        (True, False)
    """

    def __init__(self, shape: Shape) -> None:
        self._shape = shape

    def fits(self, value: Any) -> bool:
        """Whether a value is of this shape."""
        return value is None or self._shape.fits(value)

    def fits_all(self, values: Sequence[Any]) -> bool:
        """Whether all of these values are."""
        return self._shape.fits_all([value for value in values if value is not None])

    def blame(self, value: Any, name: str) -> str:
        """What is wrong with a value that is not of this shape."""
        return self._shape.blame(value, name)


class Either(Shape):
    """Bytes, or one of these: data, or where it is.

    Example:
        >>> data = Either(Record(path=Text(9), size=Integer()), Record())
        >>> data.fits_all([b"x", ["path", 1], []]), data.fits(["path"])
        (True, False)
    """

    def __init__(self, *others: Shape) -> None:
        self._others = others

    def fits(self, value: Any) -> bool:
        """Whether a value is of this shape."""
        return type(value) is bytes or any(shape.fits(value) for shape in self._others)

    def blame(self, value: Any, name: str) -> str:
        """What is wrong with a value that is not of this shape."""
        if type(value) in _LIST:
            return self._others[0].blame(value, name)
        return f"{name} is {_show.repr(value)}, neither bytes nor a list"


class ListOf(Shape):
    """A list of at most so many values of a shape.

    Example:
        >>> numbers = ListOf(Integer(), 2)
        >>> numbers.fits_all([[], [1, 2]]), numbers.fits([1, 2, 3]), numbers.fits(["a"])
        (True, False, False)
        >>> numbers.blame([1, "a"], "sizes")
        "sizes[1] is 'a', not a whole number from -9223372036854775808 to 9223372036854775807"
    """

    def __init__(self, shape: Shape, limit: int) -> None:
        self._shape = shape
        self._limit = limit

    def fits(self, value: Any) -> bool:
        """Whether a value is of this shape."""
        if type(value) not in _LIST or len(value) > self._limit:
            return False
        if len(value) > _FEW:
            return self._shape.fits_all(value)
        return all(map(self._shape.fits, value))

    def fits_all(self, values: Sequence[Any]) -> bool:
        """Whether all of these values are."""
        if not _are(values, _LIST):
            return False
        if max(map(len, values), default=0) > self._limit:
            return False
        return self._shape.fits_all(list(chain(*values)))

    def blame(self, value: Any, name: str) -> str:
        """What is wrong with a value that is not of this shape."""
        if type(value) not in _LIST:
            return f"{name} is {_show.repr(value)}, not a list"
        if len(value) > self._limit:  # whatever they are: they are not gone through
            return f"{name} has {len(value)} entries: at most {self._limit} are taken"
        index = next(place for place, one in enumerate(value) if not self._shape.fits(one))
        return self._shape.blame(value[index], f"{name}[{index}]")


class Record(Shape):
    """A list with a fixed number of fields, each of its own shape.

    Example:
        >>> entry = Record(id=Id(), size=Integer(0))
        >>> entry.fits_all([["a", 1], ["b", 2]]), entry.fits(["a"])
        (True, False)
        >>> entry.blame(["a", -1], "file")
        'file.size is -1, not a whole number from 0 to 9223372036854775807'
    """

    def __init__(self, **fields: Shape) -> None:
        self._fields = fields
        self._shapes = tuple(fields.values())
        self._tests = tuple(shape.fits for shape in self._shapes)

    def fits(self, value: Any) -> bool:
        """Whether a value is of this shape."""
        if type(value) not in _LIST or len(value) != len(self._shapes):
            return False
        for test, entry in zip(self._tests, value, strict=True):  # noqa: SIM110 - no generator
            if not test(entry):
                return False
        return True

    def fits_all(self, values: Sequence[Any]) -> bool:
        """Whether all of these values are."""
        if not _are(values, _LIST):
            return False
        if set(map(len, values)) - {len(self._shapes)}:
            return False
        return all(
            shape.fits_all(column)
            for shape, column in zip(self._shapes, zip(*values, strict=True), strict=False)
        )

    def blame(self, value: Any, name: str) -> str:
        """What is wrong with a value that is not of this shape."""
        if type(value) not in _LIST:
            return f"{name} is {_show.repr(value)}, not a list"
        if len(value) != len(self._shapes):
            names = ", ".join(self._fields)
            return f"{name} has {len(value)} fields, not {len(self._shapes)}: {names}"
        for (field, shape), entry in zip(self._fields.items(), value, strict=True):
            if not shape.fits(entry):
                return shape.blame(entry, f"{name}.{field}")
        raise AssertionError(name)


class MapOf(Shape):
    """A map of at most so many entries, of which all texts together have a limit.

    Example:
        >>> names = MapOf(Text(9), Text(9), 2, 9)
        >>> names.fits({"a": "b"}), names.fits({"a": "123456789"})
        (True, False)
    """

    def __init__(self, keys: Shape, values: Shape, limit: int, total: int) -> None:
        self._keys = keys
        self._values = values
        self._limit = limit
        self._total = total

    def fits(self, value: Any) -> bool:
        """Whether a value is of this shape."""
        if type(value) is not dict or len(value) > self._limit:
            return False
        keys, entries = list(value), list(value.values())
        return (
            self._keys.fits_all(keys)
            and self._values.fits_all(entries)
            and sum(map(len, keys)) + sum(map(len, entries)) <= self._total
        )

    def blame(self, value: Any, name: str) -> str:
        """What is wrong with a value that is not of this shape."""
        if type(value) is not dict:
            return f"{name} is {_show.repr(value)}, not a map"
        for key, entry in value.items():
            if not self._keys.fits(key):
                return self._keys.blame(key, f"a key of {name}")
            if not self._values.fits(entry):
                return self._values.blame(entry, f"{name}[{_show.repr(key)}]")
        return (
            f"{name} has {len(value)} entries: at most {self._limit} are taken, "
            f"of {self._total} characters all together"
        )


class Named(Shape):
    """A map with some of these entries and no others.

    Example:
        >>> Named({"size": Integer()}).blame({"colour": 1}, "options")
        "options has an unknown entry 'colour'"
    """

    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        self._shapes = shapes
        self._tests = {name: shape.fits for name, shape in shapes.items()}

    def fits(self, value: Any) -> bool:
        """Whether a value is of this shape."""
        if type(value) is not dict:
            return False
        tests = self._tests
        for key, entry in value.items():
            test = tests.get(key)
            if test is None or not test(entry):
                return False
        return True

    def blame(self, value: Any, name: str) -> str:
        """What is wrong with a value that is not of this shape."""
        if type(value) is not dict:
            return f"{name} is {_show.repr(value)}, not a map"
        for key, entry in value.items():
            if key not in self._shapes:
                return f"{name} has an unknown entry {_show.repr(key)}"
            if not self._shapes[key].fits(entry):
                return self._shapes[key].blame(entry, f"{name}.{key}")
        raise AssertionError(name)


ID = Id()
BYTES = Plain(bytes)
FLAG = Plain(bool)
INT32 = Integer(-(2**31), 2**31 - 1)
SIZE = Integer(0)

_ID_BYTES = bytes(byte for byte in range(0x20, 0x7F) if byte not in b"/.")
_TEXT = frozenset((str,))
_INTEGER = frozenset((int,))
_NUMBER = frozenset((int, float))
_LIST = frozenset((list, tuple))


def check_id(value: Any, name: str) -> None:
    """Refuse what cannot be the name of a file or a row: the one check of all ids and names.

    Raises:
        MalformedError: Naming ``name``.
    """
    ID.check(value, name)


def check_ids(values: Sequence[Any], name: str) -> None:
    """The same for many.

    Raises:
        MalformedError: Naming the place in ``name``.
    """
    if not ID.fits_all(values):
        raise MalformedError(ListOf(ID, len(values)).blame(list(values), name))


def _are(values: Sequence[Any], types: frozenset[type]) -> bool:
    return types.issuperset(map(type, values))


def _is_file_name(text: str) -> bool:
    return text not in {".", ".."} and (text.isascii() or len(text.encode()) <= ID_LIMIT)
