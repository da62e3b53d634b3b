"""Error records: why an item failed, as data that anyone may read.

A record travels as bytes in error slots, and as text in the error of an ArmoniK task, which engines
wrap in prose of their own and repeat for every dependent. It is data of checked types and lengths.
Only the exception itself, in one or several forms, is a pickle; it is unpickled by nobody but who
holds the session's key and finds the record's seal whole (see :mod:`armoflow.codec.seal`). Without
that the error is shown as what it says of itself.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import msgpack

from armoflow import config
from armoflow.codec.bare import set_cause
from armoflow.codec.clipping import MARK, clip_line, without_records
from armoflow.codec.entry_count import counting
from armoflow.codec.exceptions import Form, is_raisable, load_exception, revive_exception
from armoflow.codec.seal import SEAL_BYTES, holds, seal
from armoflow.codec.shortening import shorter
from armoflow.codec.traces import Earlier, TraceFrame, format_trace
from armoflow.errors import (
    DataLostError,
    EnvelopeError,
    MemoryLimitError,
    RemoteTaskError,
    RemoteTraceback,
    TaskCancelledError,
    TaskError,
    TaskTimeoutError,
    WorkerDiedError,
)
from armoflow.interrupts import is_interrupt

_FORMAT = 4
_FIND = re.compile(rf"\[{MARK}\s([A-Za-z0-9+/=\s]+)\]")
_SUMMARY = 300  # characters of a message in the readable line
_PATH = 12  # node names kept, half of them from each end
_LARGEST = 8 * config.ERROR_MESSAGE_LIMIT  # bytes of a record that is not compressed
_ENTRIES = 1_000_000  # of all its lists

WHOLE = config.ERROR_TEXT_LIMIT - 2 * config.ERROR_RECORD_LIMIT
"""Bytes of a record where there is room for all of an error: its text holds a short one too."""

_UNSEALED_READ = 8  # records without a valid seal that are looked at in one text
_NO_SEAL = bytes(SEAL_BYTES)

KINDS = ("raised", "timeout", "memory", "died", "lost", "skipped", "cancelled")

_ERRORS: dict[str, type[TaskError]] = {
    "timeout": TaskTimeoutError,
    "memory": MemoryLimitError,
    "died": WorkerDiedError,
    "lost": DataLostError,
    "skipped": TaskError,
    "cancelled": TaskCancelledError,
}


@dataclass(slots=True)
class ErrorRecord:
    """Why an item failed.

    Attributes:
        kind: ``raised`` (by the task), ``timeout``, ``memory`` (it took more than it may),
            ``died`` (its process), ``lost`` (its data), ``skipped`` (something that it needs),
            ``cancelled`` (in the engine).
        type_name: Import path of the exception's type.
        message: The exception's text, or what happened.
        frames: The traceback's frames in the user's code, outermost first.
        node: Name of the node that failed.
        item: Position of the item in its collection, or None.
        attempts: How often it was tried.
        path: Names of the nodes from the failed one on, as far as it is known.
        forms: Pickles of the exception, the most faithful first; none in a record without a seal.
        detail: What Python prints after the frames, where it is more than type and message.
        chain: What led to the exception, latest first.
        omitted: How many frames were left out in the middle.
        task_id: The engine's id of the task whose error holds the whole record, if this is a short
            form of it.
        output: What the item wrote last.
        packages: Those of the worker that differ from the client's.
        trusted: It was made here, or the session's key has confirmed it.
    """

    kind: str
    type_name: str
    message: str
    frames: Sequence[TraceFrame] = ()
    node: str = ""
    item: int | None = None
    attempts: int = 1
    path: Sequence[str] = field(default_factory=list)
    forms: Sequence[Form] = ()
    detail: str = ""
    chain: Sequence[Earlier] = ()
    omitted: int = 0
    task_id: str = ""
    output: str = ""
    packages: str = ""
    trusted: bool = field(default=True, compare=False)

    @property
    def name(self) -> str:
        """The failed node, with its item where it has one."""
        return self.node if self.item is None else f"{self.node}[{self.item}]"

    @property
    def headline(self) -> str:
        """Type and message."""
        return f"{self.type_name}: {self.message}" if self.message else self.type_name

    @property
    def summary(self) -> str:
        """One readable line."""
        message = clip_line(self.message, _SUMMARY)
        kind = self.type_name.rpartition(".")[2]
        place = ""
        if self.frames:
            file = self.frames[-1].file.replace("\\", "/").rpartition("/")[2]
            place = f" ({file}:{self.frames[-1].line})"
        line = f"{kind}{': ' if message else ''}{message} in task {self.name!r}{place}"
        line = " ".join(line.splitlines())  # names may be of several, too
        line = without_records(line)
        return line.encode("utf-8", "replace").decode()  # it may hold lone surrogates

    def encode(self, key: bytes = b"", limit: int = config.ERROR_RECORD_LIMIT) -> bytes:
        """The record as bytes.

        Args:
            key: Seals it, unless it came from somewhere without a valid seal.
            limit: Bytes that it may take as text; what does not fit is shortened.
        """
        for record in shorter(self, limit):
            data = _encode(record, key)
            if data is not None and _text_length(record, data) <= limit:
                return data
        raise AssertionError(f"the smallest form of a record exceeds {limit} bytes")

    @staticmethod
    def decode(data: bytes | memoryview, key: bytes = b"") -> ErrorRecord:
        """Read a record back; without a seal of this key, without the forms of its exception.

        Raises:
            EnvelopeError: If the data is not an error record.
        """
        view = memoryview(data)
        if len(view) < 1 + SEAL_BYTES or view[0] != _FORMAT:
            raise EnvelopeError(
                f"stored data is not an error record of format {_FORMAT}, "
                f"which this armoflow reads: it begins with {bytes(view[:1])!r}"
            )
        body = view[1 + SEAL_BYTES :]
        trusted = holds(key, body, view[1 : 1 + SEAL_BYTES])
        try:
            plain = _decompress(body)
            values = msgpack.unpackb(plain, raw=False, **counting(len(plain), _ENTRIES))
            record = _read(values)
        except (
            ValueError,
            TypeError,
            RecursionError,
            zlib.error,
            msgpack.UnpackException,
        ) as error:
            raise EnvelopeError(f"stored data is not an error record: {error}") from error
        record.trusted = trusted
        if not trusted:
            record.forms = ()
        return record

    def to_text(self, key: bytes = b"", task_id: str = "") -> str:
        """The record as text: a line to read, and a marked line that :meth:`find` finds.

        Where ``ERROR_RECORD_LIMIT`` is too little for it, these two hold a short form, and a third
        line the whole one: an engine that keeps less drops that line (see
        :func:`armoflow.codec.clipping.short_error`).

        Args:
            key: Seals it.
            task_id: The task whose error text this is, if the engine keeps it whole.

        Example:
            >>> record = ErrorRecord("raised", "ValueError", "bad x", node="f", item=3)
            >>> record.to_text().splitlines()[0]
            "ValueError: bad x in task 'f[3]'"
            >>> ErrorRecord.find(f"Task x failed with [{record.to_text()}].").message
            'bad x'
        """
        data = _encode(self, key)
        if data is not None and _text_length(self, data) <= config.ERROR_RECORD_LIMIT:
            return f"{self.summary}\n{_mark(data)}"
        short = dataclasses.replace(self, task_id=task_id).encode(key)
        whole = self.encode(key, WHOLE)
        summary = ErrorRecord.decode(short).summary
        return f"{summary}\n{_mark(short)}\n{_mark(whole)}"

    @staticmethod
    def find(text: str, key: bytes = b"") -> ErrorRecord | None:
        """The record in a text, or None: the last one with a valid seal, else the last one.

        A record that somebody has put into a message stands before the one that tells of it, and
        has no seal of this key.
        """
        found = [data for match in _FIND.finditer(text) if (data := _unmark(match[1]))]
        found.reverse()
        for data in found:
            if _is_sealed(data, key) and (record := _try(data, key)) is not None:
                return record
        for data in found[:_UNSEALED_READ]:
            if (record := _try(data, b"")) is not None:
                return record
        return None

    def via(self, node: str) -> ErrorRecord:
        """The same record, seen from a node that depends on it."""
        path = self.path or [self.name]
        return dataclasses.replace(self, path=[*path, node])

    def exception(self, path: Sequence[str] = (), skipped: int = 0) -> BaseException:
        """The exception to raise in the caller.

        Args:
            path: Node names from the failed node to the one asked for; else the record's own.
            skipped: How many items are known not to have run because of it.

        Returns:
            A new exception each time, of the original type if that can be made here.
        """
        error = self._rebuild()
        set_cause(error, self.cause(path, skipped))
        return error

    def cause(self, path: Sequence[str] = (), skipped: int = 0) -> RemoteTraceback:
        """Where it happened, and all that is known of it; takes what :meth:`exception` does."""
        trace = format_trace(self.detail or self.headline, self.frames, self.omitted, self.chain)
        has_trace = self.kind == "raised" and bool(self.frames or self.detail or self.chain)
        return RemoteTraceback(
            self.name,
            trace if has_trace else "",
            path or self.path or [self.name],
            skipped,
            self.attempts,
            told=self.headline,
            output=self.output,
        )

    def _rebuild(self) -> BaseException:
        if self.kind != "raised":
            return _ERRORS[self.kind](self.message)
        for form in self.forms if self.trusted else ():
            try:
                error = self._from(form)
            except BaseException as broken:
                if is_interrupt(broken):
                    raise
                continue  # its type is not here, or differs: what follows says what it was
            if error is not None and is_raisable(type(error)):
                return error
        return RemoteTaskError(self.headline, self.type_name)

    def _from(self, form: Form) -> BaseException | None:
        if form.kind == "whole":
            return load_exception(form.pickle)
        return revive_exception(self.type_name, form.pickle)


# --- the stored form ----------------------------------------------------------------------------


def _encode(record: ErrorRecord, key: bytes) -> bytes | None:
    """The stored form, or None if it is larger than what would be read back."""
    path = list(record.path)
    if len(path) > _PATH:
        path = [*path[: _PATH // 2], "...", *path[-_PATH // 2 :]]
    values = [getattr(record, name) for name in _STORED]
    values[_STORED.index("path")] = path
    plain = msgpack.packb(values, use_bin_type=True, unicode_errors="replace")
    if len(plain) > _LARGEST:
        return None
    body = zlib.compress(plain)
    tag = seal(key, body) if key and record.trusted else _NO_SEAL
    return b"".join([bytes([_FORMAT]), tag, body])


def _decompress(body: memoryview) -> bytes:
    """What was compressed; no more than a record may have."""
    decompressor = zlib.decompressobj()
    plain = decompressor.decompress(body, _LARGEST)
    if not decompressor.eof:
        raise ValueError("it is cut off, or larger than a record may be")
    return plain


_TEXTS = ("kind", "type_name", "message", "node", "detail", "task_id", "output", "packages")


def _read(values: Any) -> ErrorRecord:
    """A record of values of the right types.

    Raises:
        TypeError: If one is of another type.
        ValueError: If there are more or fewer.
    """
    if type(values) is not list:
        _refuse(values)
    record = ErrorRecord(**dict(zip(_STORED, values, strict=True)))
    for name in _TEXTS:
        _expect(str, getattr(record, name))
    if record.kind not in KINDS:
        _refuse(record.kind)
    _expect(int, 0 if record.item is None else record.item, record.attempts, record.omitted)
    _expect(list, record.path, record.frames, record.forms, record.chain)
    _expect(str, *record.path)
    record.frames = list(map(_read_frame, record.frames))
    record.forms = list(map(_read_form, record.forms))
    record.chain = list(map(_read_earlier, record.chain))
    return record


def _read_frame(values: Any) -> TraceFrame:
    frame = TraceFrame(*values)
    _expect(str, frame.file, frame.function, frame.source)
    _expect(int, frame.line)
    return frame


def _read_form(values: Any) -> Form:
    form = Form(*values)
    _expect(bytes, form.pickle)
    if form.kind not in ("whole", "state"):
        _refuse(form.kind)
    return form


def _read_earlier(values: Any) -> Earlier:
    earlier = Earlier(*values)
    _expect(str, earlier.text)
    _expect(list, earlier.frames)
    _expect(bool, earlier.direct)
    _expect(int, earlier.omitted)
    return earlier._replace(frames=list(map(_read_frame, earlier.frames)))


def _expect(kind: type, *values: Any) -> None:
    for value in values:
        if type(value) is not kind:
            _refuse(value)


def _refuse(value: Any) -> NoReturn:
    raise TypeError(f"a {type(value).__name__} stands where another thing belongs")


_STORED = [entry.name for entry in dataclasses.fields(ErrorRecord) if entry.name != "trusted"]


# --- the form in texts --------------------------------------------------------------------------


def _mark(data: bytes) -> str:
    return f"[{MARK} {base64.b64encode(data).decode()}]"


def _text_length(record: ErrorRecord, data: bytes) -> int:
    return len(record.summary.encode()) + len(f"\n[{MARK} ]") + 4 * ((len(data) + 2) // 3)


def _unmark(text: str) -> bytes | None:
    try:
        return base64.b64decode("".join(text.split()))
    except (ValueError, binascii.Error):  # cut off, or not written by armoflow
        return None


def _is_sealed(data: bytes, key: bytes) -> bool:
    return holds(key, data[1 + SEAL_BYTES :], data[1 : 1 + SEAL_BYTES])


def _try(data: bytes, key: bytes) -> ErrorRecord | None:
    try:
        return ErrorRecord.decode(data, key)
    except EnvelopeError:
        return None
