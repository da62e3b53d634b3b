"""Code that travels: a task's function and the user's modules, inline at first, then stored once.

A few tasks carry their code in the payload, which costs no round trip; once a piece of code has
travelled often enough it is stored as a result of its own, and payloads only name it.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from types import CodeType
from typing import Any, Protocol
from weakref import WeakKeyDictionary, WeakSet

from armoflow import config
from armoflow.codec.functions import EncodedFunction, ModuleBundle, encode_function
from armoflow.codec.live import LiveState
from armoflow.codec.payload import CodeReference, Payload
from armoflow.codec.references import uses_nothing
from armoflow.orchestrator.constant import Constant
from armoflow.orchestrator.package_versions import NamedPackages
from armoflow.orchestrator.shared_data import SharedData
from armoflow.system.importing import MAIN


class _Piece:
    """One piece of code: its bytes until they are stored, and how much of it went inline."""

    __slots__ = ("__weakref__", "constant", "data", "digest", "inline", "size")

    def __init__(self, digest: str, data: bytes) -> None:
        self.digest = digest
        self.data = data
        self.size = max(len(data), config.SENT_CODE_LEAST)
        self.inline = 0
        self.constant: Constant | None = None


class KnownCode(Protocol):
    """Where a worker finds code that it has loaded already, so as not to pickle it again."""

    def reference(self, function: Any) -> CodeReference | None:
        """How this function came here, or None."""


class CodeBook:
    """What code a session has sent, by content; all that plan have one, so it is under a lock.

    The least recently used goes when there is too much: what is stored of it goes too, once no
    plan and no task needs it.

    Args:
        known: In a worker, the code that came with its tasks.

    Attributes:
        data: The large data that it has sent; None: in a worker, where nobody frees what is stored.
    """

    def __init__(self, known: KnownCode | None = None) -> None:
        self._known = known
        self._lock = threading.RLock()
        self._pieces: OrderedDict[str, _Piece] = OrderedDict()
        self._size = 0
        self._used: WeakSet[_Piece] = WeakSet()  # with those that plans still hold
        self.data = None if known is not None else SharedData()
        self._bundle = ModuleBundle()
        self._live = LiveState(self._bundle)
        self._packages = NamedPackages()
        self._bundle_names: frozenset[str] = frozenset()
        self._inherited: CodeReference | None = None
        self._unchanging: WeakKeyDictionary[Any, tuple[CodeType, EncodedFunction]] = (
            WeakKeyDictionary()
        )

    def inherit(self, parent: Payload) -> None:
        """In a worker: children get the modules that their parent got, and are of its packages."""
        self._inherited = parent.modules
        self._packages.inherit(parent.versions)

    @property
    def versions(self) -> str:
        """What pickles are written with: see :mod:`armoflow.codec.compatibility`."""
        return self._packages.versions

    def add_packages(self, names: AbstractSet[str]) -> None:
        """Note that the values of tasks name something of these modules, which do not travel."""
        if names and not self._packages.holds(names):
            with self._lock:
                self._packages.add(names)

    def function(self, function: Any) -> EncodedCode:
        """Encode a function; call it once per plan, for captured values may change between."""
        known = self._known.reference(function) if self._known is not None else None
        if known is not None:
            if known.result_id is not None:
                constant = Constant.stored(known.digest, known.result_id)
                return EncodedCode(self, known.digest, None, constant)
            return EncodedCode(self, known.digest, self._piece(known.digest, known.data or b""))
        with self._lock:
            encoded = self._encode(function)
            self._bundle_modules(encoded.modules)
            self.add_packages(encoded.others)
            return EncodedCode(self, encoded.digest, self._piece(encoded.digest, encoded.data))

    def is_unchanged(self, function: Any, body: object, bundle: object) -> bool:
        """Whether a function is sure to be what it was, and so are the modules that go with it.

        Args:
            function: A function that was encoded.
            body: Its own code object then.
            bundle: ``bundle`` then.
        """
        if not uses_nothing(function) or function.__code__ is not body:
            return False
        with self._lock:
            if self._known is None and function.__module__ not in MAIN:
                self._live.check(function)
            return self._inherited is None and self._bundle.encode() is bundle

    @property
    def bundle(self) -> object:
        """Stands for the user's modules: the same object as long as these do not change."""
        with self._lock:
            return self._bundle.encode()

    def _encode(self, function: Any) -> EncodedFunction:
        nothing = uses_nothing(function)
        if self._known is None and not (nothing and function.__module__ in MAIN):
            self._live.check(function)
        if not nothing:
            return encode_function(function)
        code, encoded = self._unchanging.get(function, (None, None))
        if encoded is None or code is not function.__code__:
            encoded = encode_function(function)
            self._unchanging[function] = (function.__code__, encoded)
        return encoded

    def add_modules(self, names: AbstractSet[str], code: Iterable[Any] = ()) -> None:
        """Note what is among the values of tasks.

        Args:
            names: The user's own modules that these name: instances of their classes.
            code: Functions in them, and classes that travel with them.
        """
        with self._lock:
            self._bundle_modules(names)
            if self._known is None:
                for name in names:
                    if name in sys.modules:
                        self._live.check(sys.modules[name])
                for used in code:
                    self._live.check(used)

    def _bundle_modules(self, names: AbstractSet[str]) -> None:
        # In a worker the client has sent all of them.
        if self._inherited is None and not names <= self._bundle_names:
            self._bundle_names |= names
            self._bundle.add(names)
            self.add_packages(self._bundle.others)

    def modules(self) -> EncodedCode | None:
        """The modules that tasks need, or None when there are none."""
        inherited = self._inherited
        if inherited is None:
            with self._lock:
                encoded = self._bundle.encode()
                if encoded is None:
                    return None
                return EncodedCode(self, encoded[0], self._piece(*encoded))
        if inherited.result_id is not None:
            constant = Constant.stored(inherited.digest, inherited.result_id)
            return EncodedCode(self, inherited.digest, None, constant)
        piece = self._piece(inherited.digest, inherited.data or b"")
        return EncodedCode(self, inherited.digest, piece)

    def code_of(self, digest: str) -> bytes | None:
        """Code by its digest, as long as it is known."""
        with self._lock:
            piece = self._pieces.get(digest)
            return None if piece is None else piece.data

    def forget_stored(self) -> None:
        """A new session holds nothing: code is sent again."""
        if self.data is not None:
            self.data.forget_stored()
        with self._lock:
            for piece in self._used:
                piece.constant = None
                piece.inline = 0

    def _piece(self, digest: str, data: bytes) -> _Piece:
        with self._lock:
            piece = self._pieces.get(digest)
            if piece is not None:
                self._pieces.move_to_end(digest)
                return piece
            piece = self._pieces[digest] = _Piece(digest, data)
            self._used.add(piece)
            self._size += piece.size
            while self._size > config.CODE_BOOK_BYTES and len(self._pieces) > 1:
                _, oldest = self._pieces.popitem(last=False)
                self._size -= oldest.size
            return piece


class EncodedCode:
    """A piece of code as the tasks of one plan refer to it.

    Every plan announces the constant that it needs before the first task that needs it: another
    plan may have made it, and neither have queued it yet nor ever do so.
    """

    __slots__ = ("_announced", "_constant", "_piece", "digest")

    def __init__(
        self,
        book: CodeBook,
        digest: str,
        piece: _Piece | None,
        constant: Constant | None = None,
    ) -> None:
        self.digest = digest
        self._piece = piece
        self._constant = constant
        self._announced: Constant | None = None

    def refer(self) -> tuple[CodeReference, Constant | None, bool]:
        """A reference for one more payload.

        Returns:
            The reference, the constant that must be stored before (or None when the code is
            inline), and whether that constant has to be announced first.
        """
        piece = self._piece
        if piece is None:
            return CodeReference(self.digest), self._constant, False
        constant = piece.constant
        if constant is None:
            size = len(piece.data)
            if size <= config.INLINE_FUNCTION_LIMIT and (
                piece.inline + size <= config.INLINE_CODE_BUDGET
            ):
                piece.inline += size
                return CodeReference(self.digest, piece.data), None, False
        if constant is None or constant.error is not None:
            constant = piece.constant = Constant(f"code {self.digest[:12]}", [piece.data])
        is_new = not constant.result_id and constant is not self._announced
        self._announced = constant
        return CodeReference(self.digest), constant, is_new
