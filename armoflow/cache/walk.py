"""The digest of a value, made of the digests of its parts; deep values use no Python stack.

What a value's parts are is told by rules (:mod:`armoflow.cache.value_keys`), which give either its
digest or its :class:`Parts`. Values that are equal in structure have the same digest, whatever they
share: a part that is met again is looked up, and one that contains itself is told by how far up.
"""

from __future__ import annotations

import hashlib
import marshal
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final, TypeAlias

DIGEST_SIZE: Final = 32

_MARSHAL = 2  # without references: what is equal is written equally
_DEEPEST = 6  # levels of lists and tuples that are looked at for something else than scalars
_MOST = 4_000_000  # elements, all levels together, that are written in one go
_ATOMS = frozenset({type(None), bool, int, float, complex, str})
_PLAIN = _ATOMS | {list, tuple}
_SEQUENCES = (list, tuple)

_blake2b = hashlib.blake2b
_dumps = marshal.dumps


def digest_of(*pieces: bytes) -> bytes:
    """The digest of pieces whose lengths are known, or told by what comes before them."""
    return _blake2b(b"".join(pieces), digest_size=DIGEST_SIZE).digest()


def text_digest(tag: str, *texts: str) -> bytes:
    """The digest of some texts."""
    return digest_of(b"text", _dumps((tag, *texts), _MARSHAL))


def atom_digest(value: Any) -> bytes:
    """The digest of a scalar, or of lists and tuples that hold nothing else."""
    return _blake2b(b"p" + _dumps(value, _MARSHAL), digest_size=DIGEST_SIZE).digest()


def is_atom(value: object) -> bool:
    """Whether :func:`atom_digest` is the digest of a value, whatever it is."""
    return type(value) in _ATOMS


def is_plain(value: Any) -> bool:
    """Whether a list or tuple holds scalars, and lists and tuples of them, only."""
    level: list[Any] = [value]
    left = _MOST
    for _ in range(_DEEPEST):
        kinds = set(map(type, level))
        if not kinds <= _PLAIN:
            return False
        if kinds.isdisjoint(_SEQUENCES):
            return True
        if not kinds <= {list, tuple}:
            level = [part for part in level if type(part) in _SEQUENCES]
        left -= sum(map(len, level))
        if left < 0:
            return False
        level = list(chain.from_iterable(level))
    return False


class Parts:
    """What a value is made of.

    Attributes:
        tag: Says what kind of value it is; of a fixed form, so that no two are taken for another.
        parts: Values, or ``Parts``.
        label: How a part is reached from the value, by its position; for errors.
        ordered: Whether the order of the parts matters.
    """

    __slots__ = ("label", "ordered", "parts", "tag")

    def __init__(
        self,
        tag: str,
        parts: Sequence[Any],
        label: Callable[[int], str] | None = None,
        *,
        ordered: bool = True,
    ) -> None:
        self.tag = tag
        self.parts = parts
        self.label = label
        self.ordered = ordered


RuleResult: TypeAlias = "Parts | bytes"
"""What a rule makes of a value."""


class NoKey(Exception):
    """A value has no key; it never leaves this package.

    Attributes:
        reason: Which value, and why.
        place: How it is reached from the value that was asked about.
    """

    def __init__(self, reason: str, place: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.place = place


class _ValueFrame:
    """A value whose parts are being looked at."""

    __slots__ = ("digests", "lowest", "parts", "rest", "value")

    def __init__(self, parts: Parts, value: Any, depth: int) -> None:
        self.parts = parts
        self.value = value  # None: there is none
        self.digests: list[bytes] = []
        self.rest: Iterator[Any] = iter(parts.parts)
        self.lowest = depth  # the outermost value that something in it refers to

    def place(self) -> str:
        label = self.parts.label
        return "" if label is None else label(len(self.digests))

    def digest(self) -> bytes:
        digests: Iterable[bytes] = self.digests
        parts = self.parts
        if not parts.ordered:
            digests = sorted(digests)
        return digest_of(b"v", parts.tag.encode(), b"\0", *digests)


class Walk:
    """Makes digests of values.

    Args:
        rule: Tells what a value is made of; raises :class:`NoKey`.
        replace: Gives the digest that stands for a value without a key; None: it is an error.
    """

    def __init__(
        self, rule: Callable[[Any], RuleResult], replace: Callable[[Any], bytes] | None = None
    ) -> None:
        self._rule = rule
        self._replace = replace

    def digest(self, value: Any) -> bytes:
        """The digest of a value.

        Raises:
            NoKey: If it, or a part of it, has none.
        """
        kind = type(value)
        if kind in _ATOMS or (kind in _SEQUENCES and is_plain(value)):
            return atom_digest(value)
        return _Descent(self._rule, self._replace).digest(value)


class _Descent:
    """One way down a value and up again."""

    def __init__(
        self, rule: Callable[[Any], RuleResult], replace: Callable[[Any], bytes] | None
    ) -> None:
        self._rule = rule
        self._replace = replace
        self._stack: list[_ValueFrame] = []
        self._open: dict[int, int] = {}  # values on the stack, and how deep they are
        self._known: dict[int, tuple[Any, bytes]] = {}  # values, so that no address comes again

    def digest(self, value: Any) -> bytes:
        stack = self._stack
        found = self._enter(value)
        while stack:
            frame = stack[-1]
            for part in frame.rest:
                found = atom_digest(part) if type(part) in _ATOMS else self._enter(part)
                if found is None:
                    break  # it is on the stack now
                frame.digests.append(found)
            else:
                found = frame.digest()
                self._leave(found)
        assert found is not None
        return found

    def _enter(self, value: Any) -> bytes | None:
        """The digest of a value, or None when its parts are to be looked at first."""
        kind = type(value)
        depth = len(self._stack)
        if kind is Parts:
            self._stack.append(_ValueFrame(value, None, depth))
            return None
        if kind in _SEQUENCES and is_plain(value):
            return atom_digest(value)
        known = self._known.get(id(value))
        if known is not None:
            return known[1]
        above = self._open.get(id(value))
        if above is not None:
            self._stack[-1].lowest = min(self._stack[-1].lowest, above)
            return digest_of(b"up", (depth - above).to_bytes(8, "big"))
        found = self._apply(value)
        if isinstance(found, bytes):
            self._known[id(value)] = value, found
            return found
        self._open[id(value)] = depth
        self._stack.append(_ValueFrame(found, value, depth))
        return None

    def _leave(self, digest: bytes) -> None:
        frame = self._stack.pop()
        depth = len(self._stack)
        value = frame.value
        if value is not None:
            del self._open[id(value)]
            if frame.lowest >= depth:  # else it is something else where it is met from outside
                self._known[id(value)] = value, digest
        if self._stack:
            above = self._stack[-1]
            above.digests.append(digest)
            above.lowest = min(above.lowest, frame.lowest)

    def _apply(self, value: Any) -> RuleResult:
        try:
            return self._rule(value)
        except NoKey as error:
            if self._replace is not None:
                return self._replace(value)
            place = "".join(frame.place() for frame in self._stack)
            raise NoKey(error.reason, place) from error.__cause__
