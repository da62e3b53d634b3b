"""Error records: why an item failed, small enough to be copied into every dependent.

A record travels as bytes in error slots, and as text in the error of an ArmoniK task, which
engines wrap in prose of their own. Either form stays within ``config.ERROR_RECORD_LIMIT``: what
does not fit is shortened, the least useful first.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import re
import signal
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import msgpack

from armoflow import config
from armoflow.codec.exceptions import (
    is_raisable,
    load_exception,
    pickle_exception,
    pickle_state,
    revive_exception,
)
from armoflow.codec.pickling import dumps_whole
from armoflow.codec.traces import (
    Earlier,
    Frame,
    chain_of,
    describe,
    format_trace,
    frames_of,
    message_of,
    type_name,
)
from armoflow.errors import (
    DataLostError,
    EnvelopeError,
    RemoteTaskError,
    RemoteTraceback,
    TaskCancelledError,
    TaskError,
    TaskTimeoutError,
    WorkerDiedError,
)

_FORMAT = 1
_MARK = "armoflow-error"
_FIND = re.compile(rf"\[{_MARK}\s+([A-Za-z0-9+/=\s]+)\]")
_FAULT = "Fatal Python error: "  # how faulthandler begins
_SUMMARY = 300  # characters of a message in the readable line
_LONGEST = 8192  # characters of a message looked at; far more than fits
_PATH = 12  # node names kept, half of them from each end

KINDS = ("raised", "timeout", "died", "lost", "skipped", "cancelled")

_ERRORS: dict[str, type[TaskError]] = {
    "timeout": TaskTimeoutError,
    "died": WorkerDiedError,
    "lost": DataLostError,
    "skipped": TaskError,
    "cancelled": TaskCancelledError,
}


@dataclass(slots=True)
class ErrorRecord:
    """Why an item failed.

    Attributes:
        kind: ``raised`` (by the task), ``timeout``, ``died`` (its process), ``lost`` (its data),
            ``skipped`` (something that it needs), ``cancelled`` (in the engine).
        type_name: Import path of the exception's type.
        message: The exception's text, or what happened.
        frames: The traceback's frames in the user's code, outermost first.
        node: Name of the node that failed.
        item: Position of the item in its collection, or None.
        attempts: How often it was tried.
        path: Names of the nodes from the failed one on, as far as it is known.
        pickled: The exception, where that can be read back.
        state: Otherwise its arguments and attributes, where these can.
        detail: What Python prints after the frames, where it is more than type and message.
        chain: What led to the exception, latest first.
        omitted: How many frames were left out in the middle.
    """

    kind: str
    type_name: str
    message: str
    frames: Sequence[Frame] = ()
    node: str = ""
    item: int | None = None
    attempts: int = 1
    path: list[str] = field(default_factory=list)
    pickled: bytes | None = None
    state: bytes | None = None
    detail: str = ""
    chain: Sequence[Earlier] = ()
    omitted: int = 0

    @property
    def name(self) -> str:
        """The failed node, with its item where it has one."""
        return self.node if self.item is None else f"{self.node}[{self.item}]"

    @property
    def summary(self) -> str:
        """One readable line."""
        lines = self.message.strip().splitlines()
        message = _clip(lines[0], _SUMMARY) if lines else ""
        kind = self.type_name.rpartition(".")[2]
        place = ""
        if self.frames:
            file = self.frames[-1].file.replace("\\", "/").rpartition("/")[2]
            place = f" ({file}:{self.frames[-1].line})"
        line = f"{kind}{': ' if message else ''}{message} in task {self.name!r}{place}"
        return line.encode("utf-8", "replace").decode()  # a message may hold lone surrogates

    def encode(self) -> bytes:
        """The record as bytes, within the limit."""
        return _fit(self)[1]

    @staticmethod
    def decode(data: bytes | memoryview) -> ErrorRecord:
        """Read a record back.

        Raises:
            EnvelopeError: If the data is not an error record.
        """
        try:
            version, *values = msgpack.unpackb(zlib.decompress(data), raw=False)
            if version != _FORMAT:
                raise EnvelopeError(
                    f"error record has format {version!r}, this armoflow reads {_FORMAT}"
                )
            record = ErrorRecord(*values)
            record.frames = [Frame(*frame) for frame in record.frames]
            record.chain = [
                Earlier(text, [Frame(*frame) for frame in frames], direct)
                for text, frames, direct in record.chain
            ]
            _check(record)
        except (ValueError, TypeError, zlib.error, msgpack.UnpackException) as error:
            if isinstance(error, EnvelopeError):
                raise
            raise EnvelopeError(f"stored data is not an error record: {error}") from error
        return record

    def to_text(self) -> str:
        """The record as text: a line to read, and a marked line that :meth:`find` finds.

        Example:
            >>> record = ErrorRecord("raised", "ValueError", "bad x", node="f", item=3)
            >>> record.to_text().splitlines()[0]
            "ValueError: bad x in task 'f[3]'"
            >>> ErrorRecord.find(f"Task x failed with [{record.to_text()}].").message
            'bad x'
        """
        record, data = _fit(self)
        return f"{record.summary}\n[{_MARK} {base64.b64encode(data).decode()}]"

    @staticmethod
    def find(text: str) -> ErrorRecord | None:
        """The first whole record in a text, or None."""
        for match in _FIND.finditer(text):
            record = _read_text(match[1])
            if record is not None:
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
            skipped: How many items did not run because of this failure.

        Returns:
            A new exception of the original type where it can be rebuilt, else a
            :class:`~armoflow.errors.RemoteTaskError`; its cause says what happened where.
        """
        error = self._rebuild()
        trace = format_trace(self.detail or self._headline(), self.frames, self.omitted, self.chain)
        has_trace = self.kind == "raised" and bool(self.frames or self.detail or self.chain)
        error.__cause__ = RemoteTraceback(
            self.name,
            trace if has_trace else "",
            path or self.path or [self.name],
            skipped,
            self.attempts,
        )
        return error

    def _headline(self) -> str:
        return f"{self.type_name}: {self.message}" if self.message else self.type_name

    def _rebuild(self) -> BaseException:
        if self.kind != "raised":
            return _ERRORS[self.kind](self.message)
        for rebuild in (self._from_pickle, self._from_state):
            try:
                error = rebuild()
            except Exception:  # its type is not here, or differs: what follows says what it was
                continue
            if error is not None and is_raisable(type(error)):
                return error
        return RemoteTaskError(self._headline(), self.type_name)

    def _from_pickle(self) -> BaseException | None:
        return None if self.pickled is None else load_exception(self.pickled)

    def _from_state(self) -> BaseException | None:
        return None if self.state is None else revive_exception(self.type_name, self.state)


def _read_text(text: str) -> ErrorRecord | None:
    try:
        return ErrorRecord.decode(base64.b64decode("".join(text.split())))
    except (EnvelopeError, binascii.Error):  # cut off, or not written by this version
        return None


# --- making records -----------------------------------------------------------------------------


def record_exception(
    error: BaseException, *, node: str, item: int | None = None, attempts: int = 1
) -> ErrorRecord:
    """Describe an exception that a task raised.

    Args:
        error: The exception, with its traceback.
        node: Name of the node that ran.
        item: Position of the item in its collection.
        attempts: How often it was tried.

    Example:
        >>> record_exception(KeyError("x"), node="f").summary
        "KeyError: 'x' in task 'f'"
    """
    message = _clip(message_of(error), _LONGEST)
    kind = type_name(error)
    detail = _clip(describe(error), _LONGEST)
    record = ErrorRecord(
        kind="raised",
        type_name=kind,
        message=message,
        frames=frames_of(error.__traceback__),
        node=node,
        item=item,
        attempts=attempts,
        detail="" if detail in (f"{kind}: {message}", kind) else detail,
        chain=chain_of(error),
    )
    record = _fewer_frames(record, 16, 48)
    if is_raisable(type(error)):
        record.pickled = pickle_exception(error)
        if record.pickled is None:
            record.state = pickle_state(error)
    return record


def record_timeout(
    seconds: float, *, node: str, item: int | None = None, attempts: int = 1
) -> ErrorRecord:
    """An attempt ran longer than its timeout and was killed."""
    return ErrorRecord(
        "timeout",
        f"{TaskTimeoutError.__module__}.{TaskTimeoutError.__qualname__}",
        f"task {_named(node, item)!r} ran longer than its timeout of {seconds:g} s and was killed",
        node=node,
        item=item,
        attempts=attempts,
    )


def record_death(
    status: int,
    *,
    node: str,
    item: int | None = None,
    attempts: int = 1,
    output: str = "",
) -> ErrorRecord:
    """The process that ran the task died.

    Args:
        status: As :attr:`subprocess.Popen.returncode`: an exit code, or minus a signal.
        node: Name of the node that it ran.
        item: Position of the item in its collection.
        attempts: How often it was tried.
        output: What the process last wrote.
    """
    message = f"the process of task {_named(node, item)!r} {_ending(status)}"
    before, fault, after = output.partition(_FAULT)
    lines = before.strip().splitlines()[-10:]
    if lines:
        message += "; its last output:\n" + "\n".join(_clip(line, 200) for line in lines)
    if fault:  # where it happened stands first
        lines = (fault + after).splitlines()[:12]
        message += "; its stack:\n" + "\n".join(_clip(line, 200) for line in lines)
    return ErrorRecord(
        "died",
        f"{WorkerDiedError.__module__}.{WorkerDiedError.__qualname__}",
        message,
        node=node,
        item=item,
        attempts=attempts,
    )


def record_loss(what: str, *, node: str, item: int | None = None, attempts: int = 1) -> ErrorRecord:
    """Data that the task or its caller needs is no longer stored; ``what`` says which."""
    return ErrorRecord(
        "lost",
        f"{DataLostError.__module__}.{DataLostError.__qualname__}",
        f"data of task {_named(node, item)!r} is lost: {what}",
        node=node,
        item=item,
        attempts=attempts,
    )


def _named(node: str, item: int | None) -> str:
    return node if item is None else f"{node}[{item}]"


def _ending(status: int) -> str:
    if status >= 0:
        return f"exited with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"


# --- size ---------------------------------------------------------------------------------------


def _fit(record: ErrorRecord) -> tuple[ErrorRecord, bytes]:
    for shorter in _shorter(record):
        data = _encode(shorter)
        if _text_length(shorter, data) <= config.ERROR_RECORD_LIMIT:
            return shorter, data
    raise AssertionError("the smallest record exceeds the limit")


def _encode(record: ErrorRecord) -> bytes:
    path = record.path
    if len(path) > _PATH:
        path = [*path[: _PATH // 2], "...", *path[-_PATH // 2 :]]
    values = [
        _FORMAT,
        record.kind,
        record.type_name,
        record.message,
        record.frames,
        record.node,
        record.item,
        record.attempts,
        path,
        record.pickled,
        record.state,
        record.detail,
        record.chain,
        record.omitted,
    ]
    return zlib.compress(msgpack.packb(values, use_bin_type=True, unicode_errors="replace"))


def _text_length(record: ErrorRecord, data: bytes) -> int:
    summary = len(record.summary.encode())
    return summary + len(_MARK) + len("\n[ ]") + 4 * ((len(data) + 2) // 3)


def _shorter(record: ErrorRecord) -> Iterator[ErrorRecord]:
    """The record, and then ever shorter ones, each without what is missed least."""
    yield record
    steps: list[Callable[[ErrorRecord], ErrorRecord]] = [
        lambda r: _fewer_frames(_clip_texts(r, 1000, 160), 4, 12),
        lambda r: dataclasses.replace(r, chain=r.chain[:1]),
        lambda r: _fewer_frames(_clip_texts(r, 600, 120), 2, 6),
        lambda r: dataclasses.replace(r, chain=()),
        lambda r: dataclasses.replace(r, pickled=None, state=r.state or _state_of(r.pickled)),
        lambda r: dataclasses.replace(r, state=_state_of_text(r)),
        lambda r: _fewer_frames(_clip_texts(r, 300, 80), 1, 3),
        lambda r: dataclasses.replace(
            _clip_texts(r, 200, 40), frames=(), path=[], detail="", state=None
        ),
    ]
    for step in steps:
        record = step(record)
        yield record


def _state_of(pickled: bytes | None) -> bytes | None:
    """Arguments alone, where the whole exception does not fit (a class pickled by value)."""
    error = None if pickled is None else load_exception(pickled)
    return None if error is None else pickle_state(error)


def _state_of_text(record: ErrorRecord) -> bytes | None:
    """A shortened message alone: who catches the type still does."""
    if record.kind != "raised" or (record.pickled is None and record.state is None):
        return None
    return dumps_whole(((_clip(record.message, 200),), {}))


def _clip_texts(record: ErrorRecord, message: int, line: int) -> ErrorRecord:
    return dataclasses.replace(
        record,
        message=_clip(record.message, message),
        type_name=_clip(record.type_name, line * 4),
        detail=_clip(record.detail, message),
        node=_clip(record.node, line),
        path=[_clip(name, line) for name in record.path],
        frames=[_clip_frame(frame, line) for frame in record.frames],
        chain=[
            Earlier(
                _clip(text, message // 2), [_clip_frame(frame, line) for frame in frames], direct
            )
            for text, frames, direct in record.chain
        ],
    )


def _clip_frame(frame: Frame, line: int) -> Frame:
    file = frame.file if len(frame.file) <= line else "..." + frame.file[3 - line :]
    return Frame(file, frame.line, _clip(frame.function, line), _clip(frame.source, line))


def _fewer_frames(record: ErrorRecord, outermost: int, innermost: int) -> ErrorRecord:
    frames = record.frames
    surplus = len(frames) - outermost - innermost
    if surplus <= 0:
        return record
    kept = [*frames[:outermost], *frames[-innermost:]]
    return dataclasses.replace(record, frames=kept, omitted=record.omitted + surplus)


def _clip(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."


def _check(record: ErrorRecord) -> None:
    texts = (record.type_name, record.message, record.node, record.detail, *record.path)
    if record.kind not in KINDS or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"a record of kind {record.kind!r}")
