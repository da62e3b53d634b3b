"""Classes by value, pickled once and not again with each of their instances.

A class of ``__main__`` travels by value, which costs a hundred times as much as an instance does.
Here it becomes a pickle of its own, named by its hash: the writer makes it once for each state of
the class, and a reader that has read it before takes the class that it made then. It stays inside
every value's pickle, which is thus complete.
"""

from __future__ import annotations

import operator
import pickle
import re
import weakref
from collections.abc import Callable
from typing import Any

import cloudpickle

from armoflow.codec.ancestry import BASES
from armoflow.codec.class_parts import find_parts
from armoflow.system.importing import MAIN

SHADOWING = frozenset({"__class__", "__name__", "__bases__", "__base__", "__mro__"})
"""What a class may say of its instances, though setting it on the class sets the class's own."""

MEMBERS = "<members>"
"""Stands as a name among the attributes of an enumeration for those of its members."""

_REMEMBERED = 256  # classes by value whose pickles are kept


class ClassPickle:
    """A class by value.

    Attributes:
        digest: Hash of the data.
        data: The pickle.
        names: Modules that it refers to.
    """

    __slots__ = ("_parts", "_values", "data", "digest", "names")

    def __init__(self, cls: type, data: bytes, names: frozenset[Any]) -> None:
        import hashlib  # not imported in children

        self.digest = hashlib.blake2b(data, digest_size=16).digest()
        self.data = data
        self.names = names
        self._parts = find_parts(cls)
        self._values = self._parts.values() if self._parts is not None else []

    def holds(self) -> bool:
        """Whether the class, and what its methods use, is still what was pickled."""
        if self._parts is None:
            return False
        values = self._parts.values()
        return len(values) == len(self._values) and all(map(operator.is_, values, self._values))


_written: dict[type, ClassPickle] = {}
_read: weakref.WeakValueDictionary[bytes, type] = weakref.WeakValueDictionary()
_current: weakref.WeakKeyDictionary[type, tuple[bytes, int]] = weakref.WeakKeyDictionary()
_attributes: weakref.WeakKeyDictionary[type, frozenset[str]] = weakref.WeakKeyDictionary()
_surroundings = [0]  # which modules of the user's are imported

# cloudpickle numbers the classes that it pickles by value, so that they keep their identity between
# processes. But when a value comes home, it would also set the class's attributes again, to copies
# whose functions see other globals. A class that was defined here is therefore left alone.
_own: weakref.WeakSet[type] = weakref.WeakSet()
_foreign: weakref.WeakSet[type] = weakref.WeakSet()


def known_pickle(cls: type) -> ClassPickle | None:
    """The pickle that was made of a class, if the class has not changed since."""
    known = _written.get(cls)
    return known if known is not None and known.holds() else None


def pickle_class(cls: type, data: bytes, names: frozenset[Any]) -> ClassPickle:
    """Remember what a class was pickled as."""
    if len(_written) >= _REMEMBERED:
        del _written[next(iter(_written))]
    pickled = _written[cls] = ClassPickle(cls, data, names)
    _read[pickled.digest] = cls
    _current[cls] = pickled.digest, _surroundings[0]
    return pickled


def load_class(digest: bytes, data: bytes) -> type:
    """The class that a pickle holds; called by pickles."""
    cls = _read.get(digest)
    current = digest, _surroundings[0]
    if cls is None or (cls not in _own and _current.get(cls) != current):
        loaded: type = pickle.loads(data)
        cls = _read[digest] = loaded
        _current[cls] = current
    return cls


def surround_classes(modules: int) -> None:
    """Let what the methods of classes by value use be of these modules, from now on.

    Args:
        modules: Stands for them.
    """
    _surroundings[0] = modules


def loaded_class(name: str) -> type | None:
    """A class by value that came from another process, by its name, if there is just one."""
    found = [cls for cls in _foreign if cls.__qualname__ == name and cls.__module__ in MAIN]
    return found[0] if len(found) == 1 else None


def without_numbers(pickled: bytes) -> bytes:
    """The pickle of a class without cloudpickle's numbers, which tell classes that are alike apart.

    Only of classes that this process has.
    """
    known = cloudpickle.cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID
    return _NUMBER.sub(lambda found: b"" if found[0].decode() in known else found[0], pickled)


_NUMBER = re.compile(rb"[0-9a-f]{32}")


class ClassState:
    """Sets the state of a class pickled by value, unless the class is this process's own."""

    __slots__ = ("_set_state",)

    def __init__(self, set_state: Callable[[type, Any], Any]) -> None:
        self._set_state = set_state

    def __call__(self, cls: type, state: Any) -> None:
        """Called by pickles, in the place of cloudpickle's own function."""
        if cls not in _own:
            _foreign.add(cls)
            bases = state[0].pop(BASES, cls.__bases__)
            if bases != cls.__bases__:  # assigned since it was made here
                cls.__bases__ = bases
            members = state[0].pop(MEMBERS, {})
            for name in SHADOWING & state[0].keys():
                found = state[0].pop(name)
                cls.__dict__[name].__init__(found.fget, found.fset, found.fdel, found.__doc__)
            self._set_state(cls, state)
            for name, attributes in members.items():
                cls.__members__[name].__dict__.update(attributes)  # type: ignore[attr-defined]
            for name in _attributes.get(cls, frozenset()) - state[0].keys():  # deleted since
                if name in cls.__dict__:
                    delattr(cls, name)
            _attributes[cls] = frozenset(state[0])

    def __reduce__(self) -> tuple[Any, ...]:
        return ClassState, (self._set_state,)


def note_class(cls: type) -> None:
    """A class is pickled by value here: it is this process's own, unless it came from another."""
    if cls not in _foreign:
        _own.add(cls)
