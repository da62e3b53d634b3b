"""Error records that do not fit: shorter and shorter forms, both ends of everything kept."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from armoflow.codec.clipping import clip
from armoflow.codec.exceptions import Form
from armoflow.codec.traces import Earlier, TraceFrame

if TYPE_CHECKING:
    from armoflow.codec.failure import ErrorRecord

_STATE = 20  # a message that is all that is left of the arguments has a 20th of the room


def shorter(record: ErrorRecord, limit: int) -> Iterator[ErrorRecord]:
    """The record, and then ever shorter ones, each without what is missed least.

    Args:
        record: The record.
        limit: Bytes that it shall fit in: a form of the exception that cannot is left out first.
    """
    yield record
    record = _without_large_forms(record, limit)
    yield record
    for length in (262_144, 65_536, 16_384, 4096):
        record = few_earlier(_clip_texts(record, length, 300), length // 256, length // 1024)
        yield record
    steps: list[Callable[[ErrorRecord], ErrorRecord]] = [
        lambda r: few_frames(few_earlier(_clip_texts(r, 1000, 160), 4, 2), 4, 12),
        lambda r: few_earlier(r, 1, 1),
        lambda r: few_frames(_clip_texts(r, 600, 120), 2, 6),
        lambda r: few_earlier(_clip_texts(r, 400, 100), 0, 1),
        lambda r: dataclasses.replace(r, forms=r.forms[1:]) if len(r.forms) > 1 else r,
        lambda r: dataclasses.replace(r, forms=_state_of_message(r, limit)),
        lambda r: few_frames(_clip_texts(r, 300, 80), 1, 3),
        lambda r: dataclasses.replace(
            _clip_texts(r, 200, 40),
            frames=[],
            path=[],
            detail="",
            forms=(),
            chain=_root_of(r),
            output="",
        ),
    ]
    for step in steps:
        record = step(record)
        yield record


def few_frames(record: ErrorRecord, outermost: int, innermost: int) -> ErrorRecord:
    """The record with only so many frames, from both ends."""
    frames = record.frames
    surplus = len(frames) - outermost - innermost
    if surplus <= 0:
        return record
    kept = [*frames[:outermost], *frames[-innermost:]]
    return dataclasses.replace(record, frames=kept, omitted=record.omitted + surplus)


def few_earlier(record: ErrorRecord, latest: int, first: int) -> ErrorRecord:
    """The record with only so many of the exceptions that led to it, from both ends."""
    chain = record.chain
    surplus = len(chain) - latest - first
    if surplus <= 0:
        return record
    dropped, kept = chain[latest : len(chain) - first], chain[len(chain) - first :]
    omitted = surplus + sum(earlier.omitted for earlier in dropped) + kept[0].omitted
    kept = [*chain[:latest], kept[0]._replace(omitted=omitted), *kept[1:]]
    return dataclasses.replace(record, chain=kept)


def _root_of(record: ErrorRecord) -> Sequence[Earlier]:
    return [
        earlier._replace(text=clip(earlier.text, 80), frames=[]) for earlier in record.chain[-1:]
    ]


def _without_large_forms(record: ErrorRecord, limit: int) -> ErrorRecord:
    forms = [form for form in record.forms if len(zlib.compress(form.pickle)) <= limit * 5 // 8]
    if record.forms and not forms:
        forms = list(_state_of_message(record, limit))
    return dataclasses.replace(record, forms=forms)


def _state_of_message(record: ErrorRecord, limit: int) -> Sequence[Form]:
    """A shortened message alone: who catches the type still does."""
    if not record.forms:
        return ()
    from armoflow.codec.pickling import dumps_whole  # who passes errors on goes without

    return [Form("state", dumps_whole(((clip(record.message, limit // _STATE),), {})))]


def _clip_texts(record: ErrorRecord, message: int, line: int) -> ErrorRecord:
    return dataclasses.replace(
        record,
        message=clip(record.message, message),
        type_name=clip(record.type_name, line * 4),
        detail=clip(record.detail, message),
        node=clip(record.node, line),
        path=[clip(name, line) for name in record.path],
        frames=[_clip_frame(frame, line) for frame in record.frames],
        chain=[_clip_earlier(earlier, message // 2, line) for earlier in record.chain],
        output=_last_lines(record.output, message),
    )


def _last_lines(output: str, length: int) -> str:
    """The end of some lines, whole ones."""
    return output if len(output) <= length else output[-length:].partition("\n")[2]


def _clip_earlier(earlier: Earlier, text: int, line: int) -> Earlier:
    frames = [_clip_frame(frame, line) for frame in earlier.frames]
    return earlier._replace(text=clip(earlier.text, text), frames=frames)


def _clip_frame(frame: TraceFrame, line: int) -> TraceFrame:
    file = frame.file if len(frame.file) <= line else "..." + frame.file[3 - line :]
    return TraceFrame(file, frame.line, clip(frame.function, line), clip(frame.source, line))
