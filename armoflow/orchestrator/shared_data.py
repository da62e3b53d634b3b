"""Large data inside arguments, sent once: files, arrays and bytes are known by what they hold.

Who sends the same again, in another call or another graph, refers to what the engine has. What is
not that large goes along with the first call that has it, and is stored for the second. Data is
compared by a digest of its bytes as they are when a call is sent, so nothing is taken for what it
was before it was written to.
"""

from __future__ import annotations

import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pickle import PickleBuffer
from typing import Any, NamedTuple, Protocol
from weakref import WeakValueDictionary

from armoflow import config
from armoflow.content import FileContent, digest_of
from armoflow.files import FileCopy
from armoflow.orchestrator.constant import Constant

_LOOKED_AT = 4096
"""Bytes at both ends of data by which it seems to be the same as other data."""

KINDS = frozenset({PickleBuffer, FileCopy})
"""What may be sent so."""


class Shared(NamedTuple):
    """Data as arguments refer to it.

    Attributes:
        constant: Where it is.
        digest: What it must be, when it arrives.
        readonly: It cannot be written to.
    """

    constant: Constant
    digest: bytes
    readonly: bool = True


class SharedData:
    """The large data that a session has sent; used by all threads that plan.

    Data goes with the last task that needs it, but for what was used last.

    Args:
        limit: Bytes that stay in the engine though no task needs them.
    """

    def __init__(self, limit: int = config.SHARED_DATA_KEPT) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._constants: WeakValueDictionary[bytes, Constant] = WeakValueDictionary()
        self._kept: OrderedDict[bytes, Constant] = OrderedDict()
        self._size = 0
        self._met: OrderedDict[tuple[int, int], None] = OrderedDict()

    def meet(self, view: memoryview) -> bool:
        """Note data that a call takes; whether an earlier one took the same, as it seems.

        A digest would cost more than to send what nobody else takes.
        """
        ends = zlib.crc32(view[-_LOOKED_AT:], zlib.crc32(view[:_LOOKED_AT]))
        with self._lock:
            known = (view.nbytes, ends) in self._met
            self._met[view.nbytes, ends] = None
            self._met.move_to_end((view.nbytes, ends))
            if len(self._met) > config.SHARED_DATA_MET:
                self._met.popitem(last=False)
            return known

    def find(self, digest: bytes, make: Callable[[], Constant], *, steady: bool = True) -> Constant:
        """The constant that holds certain data.

        Args:
            digest: Of the data.
            make: Makes the constant, if there is none.
            steady: Nobody can change the data until it is stored.
        """
        with self._lock:
            constant = self._constants.get(digest)
            if constant is None or constant.error is not None:
                constant = make()
                if not steady:
                    return constant
                self._constants[digest] = constant
            self._keep(digest, constant)
            return constant

    def keep(self, digest: bytes, constant: Constant) -> None:
        """Data was stored that could have changed until then."""
        with self._lock:
            self._keep(digest, self._constants.setdefault(digest, constant))

    def forget_stored(self) -> None:
        """A new session holds nothing: all is sent again."""
        with self._lock:
            self._constants.clear()
            self._kept.clear()
            self._met.clear()
            self._size = 0

    def _keep(self, digest: bytes, constant: Constant) -> None:
        before = self._kept.pop(digest, None)
        if before is not None:
            self._size -= before.size
        self._kept[digest] = constant
        self._size += constant.size
        while self._size > self._limit and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._size -= oldest.size


class DataReferences(Protocol):
    """Knows how arguments refer to data that is stored, or will be."""

    def clear(self) -> None:
        """The plan is at its end."""

    def expect(self, value: Any) -> None:
        """A call of the plan takes this, and no part of it."""

    def refer(
        self, value: PickleBuffer | FileCopy, *, copy: bool, recall: bool, often: bool = False
    ) -> Shared | None:
        """How arguments refer to data; None: it travels with them.

        Args:
            value: The data.
            copy: The caller goes on meanwhile, and may write to it.
            recall: What was seen before in this plan is what it was then.
            often: Many tasks get these arguments.
        """


class ReceivedData:
    """In a worker: files that came with a task are not sent again to those that it returns."""

    def clear(self) -> None:
        """The plan is at its end."""

    def expect(self, value: Any) -> None:
        """Nothing: what is no file is not referred to."""

    def refer(
        self, value: PickleBuffer | FileCopy, *, copy: bool, recall: bool, often: bool = False
    ) -> Shared | None:
        """How arguments refer to a file that came from a result; nothing else."""
        origin = value.origin if isinstance(value, FileCopy) else None
        if origin is None:
            return None
        result_id, digest = origin
        return Shared(Constant.stored(f"file {digest.hex()[:12]}", result_id), digest)


class PlanData:
    """What one plan sends of it.

    Args:
        data: What the session has sent.
    """

    def __init__(self, data: SharedData) -> None:
        self._data = data
        self._seen: dict[int, tuple[Any, Shared]] = {}
        self._own: WeakValueDictionary[bytes, Constant] = WeakValueDictionary()
        self._expected: dict[int, tuple[Any, int]] = {}

    def clear(self) -> None:
        """The plan is at its end."""
        self._seen.clear()
        self._expected.clear()

    def expect(self, value: Any) -> None:
        """A call of the plan takes this, and no part of it."""
        _, uses = self._expected.get(id(value), (value, 0))
        self._expected[id(value)] = value, uses + 1  # held, so that its id stays its own

    def refer(
        self, value: PickleBuffer | FileCopy, *, copy: bool, recall: bool, often: bool = False
    ) -> Shared | None:
        """How arguments refer to data; None: it is small."""
        if isinstance(value, FileCopy):
            return self._file(value.content()) if value.nbytes >= FILE_LIMIT else None
        view = value.raw()
        if view.nbytes <= config.SHARED_ARGUMENT_LIMIT:
            return None
        whole: Any = memoryview(value).obj
        known = self._seen.get(id(whole)) if recall else None
        if known is not None and known[1].constant.size == view.nbytes:
            return known[1]
        if view.nbytes < config.SHARED_BUFFER_LIMIT:
            met = self._data.meet(view)
            if not (met or often or self._expected.get(id(whole), (None, 0))[1] > 1):
                return None
        shared = self._buffer(view, copy=copy)
        if recall:  # held, so that its id stays its own
            self._seen[id(whole)] = whole, shared
        return shared

    def _file(self, content: FileContent) -> Shared:
        name = f"file {content.digest.hex()[:12]}"
        constant = self._data.find(content.digest, lambda: Constant(name, [content]))
        return Shared(constant, content.digest)

    def _buffer(self, view: memoryview, *, copy: bool) -> Shared:
        digest = digest_of(view)
        name = f"data {digest.hex()[:12]}"
        own = self._own.get(digest)
        if own is not None and own.error is None:
            return Shared(own, digest, view.readonly)
        steady = view.readonly or copy

        def make() -> Constant:
            return Constant(name, [view if view.readonly else bytes(view) if copy else view])

        constant = self._own[digest] = self._data.find(digest, make, steady=steady)
        if not steady:
            constant.on_stored = partial(self._data.keep, digest)
        return Shared(constant, digest, view.readonly)


FILE_LIMIT = config.OUT_OF_BAND_LIMIT
"""Bytes of a file up to which it travels with the arguments."""
