"""Tracebacks as data: the user's own frames, and how they are printed."""

from __future__ import annotations

import linecache
import os
import traceback
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, NamedTuple

from armoflow import config
from armoflow.codec.bare import (
    attribute,
    cause_of,
    earlier_of,
    is_a,
    looked,
    path_of,
    set_traceback,
    traceback_of,
)
from armoflow.codec.clipping import clip
from armoflow.errors import ArmoflowError
from armoflow.interrupts import is_interrupt

_OWN = os.path.abspath(f"{__file__}/../..") + "/"  # noqa: PTH100 - pathlib is not imported in children
_ASYNCIO = f"{os.path.dirname(os.__file__)}/asyncio/"  # noqa: PTH120
_MACHINERY = (
    *(f"{_OWN}{part}/" for part in ("worker", "codec", "agent", "replay")),
    f"{_OWN}system/coroutines.py",
    *(f"{_ASYNCIO}{part}.py" for part in ("runners", "base_events")),  # of a task's coroutine
)
_IMPORT = "<frozen importlib"
_LATEST, _FIRST = 400, 100  # exceptions of a chain that are described, from each end
_CHAIN_FRAMES = 3
_GROUP_ENDS = (50, 10, 5, 2)  # parts of a group that are described, from each end, by depth
_SHORTEST = 2000  # characters of each exception of a long chain
_SOURCE = 1000  # characters of a source line
_OUTERMOST, _INNERMOST = 16, 48  # frames of a deep stack that are printed

_BECAUSE = "The above exception was the direct cause of the following exception:"
_DURING = "During handling of the above exception, another exception occurred:"


class TraceFrame(NamedTuple):
    """One line of a traceback; the source line may be empty."""

    file: str
    line: int
    function: str
    source: str


class Earlier(NamedTuple):
    """An exception that another one was raised from, or while it was handled.

    Attributes:
        text: What stands below its frames.
        frames: The last ones.
        direct: The other one was raised from it.
        omitted: How many exceptions between the two were left out.
    """

    text: str
    frames: Sequence[TraceFrame]
    direct: bool
    omitted: int = 0


def frames_of(trace: TracebackType | None, last: int = 0) -> list[TraceFrame]:
    """The frames of a traceback, outermost first, without those of armoflow's own machinery.

    When there are no others, the error is armoflow's, and they are kept.

    Args:
        trace: The traceback.
        last: How many of them, the innermost; 0: all.
    """
    frames = list(_walk(trace))
    own = list(filter(_is_own, frames))
    return [
        TraceFrame(code.co_filename, line, code.co_name, _source(code.co_filename, line, scope))
        for code, line, scope in (own or frames)[-last:]
    ]


def reaches_own_code(trace: TracebackType | None) -> bool:
    """Whether code other than armoflow's machinery, as the user's, was run on the way."""
    return any(map(_is_own, _walk(trace)))


def _is_own(frame: tuple[Any, int, dict[str, Any]]) -> bool:
    return not frame[0].co_filename.startswith((*_MACHINERY, _IMPORT))


def drop_own_frames(error: BaseException) -> None:
    """Begin an error's traceback with the first frame that is not armoflow's own.

    What plans and carries out a graph holds its errors; a traceback that holds that in turn keeps
    all of it, until garbage is looked for. Where all frames are armoflow's they stay, for they say
    where its fault is, unless it meant the error.
    """
    trace = traceback_of(error)
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OWN):
        trace = trace.tb_next
    if trace is not None or is_a(error, ArmoflowError):
        set_traceback(error, trace)


def _walk(trace: TracebackType | None) -> Iterator[tuple[Any, int, dict[str, Any]]]:
    while trace is not None:
        frame = trace.tb_frame
        yield frame.f_code, trace.tb_lineno or 0, frame.f_globals
        trace = trace.tb_next


def _source(file: str, line: int, scope: dict[str, Any] | None = None) -> str:
    return clip(linecache.getline(file, line, scope).strip(), _SOURCE)


def describe(error: BaseException, depth: int = 0) -> str:
    """What Python prints after the frames: type, message, notes; the parts of a group."""
    text = _printed(error)
    parts = attribute(error, "exceptions")
    if not isinstance(parts, tuple) or depth == len(_GROUP_ENDS):
        return text
    ends = _GROUP_ENDS[depth]
    if len(parts) <= 2 * ends:
        return text + "".join(_part(part, depth) for part in parts)
    first = "".join(_part(part, depth) for part in parts[:ends])
    last = "".join(_part(part, depth) for part in parts[-ends:])
    return f"{text}{first}\n  + [{len(parts) - 2 * ends} more exceptions]{last}"


def _printed(error: BaseException) -> str:
    linked = earlier_of(error) is not None or attribute(error, "exceptions") is not None
    if linked and not is_a(error, SyntaxError):
        # Python would prepare all that it is linked to as well: too much in a long chain.
        message = message_of(error)
        text = f"{type_name(error)}: {message}" if message else type_name(error)
        notes = attribute(error, "__notes__")
        return "\n".join([text, *map(message_of, notes)]) if isinstance(notes, list) else text
    return looked(
        lambda: "".join(traceback.format_exception_only(type(error), error)).rstrip("\n"),
        type_name(error),  # the error cannot even be printed
    )


def _part(error: Any, depth: int) -> str:
    """A part of a group, with what led to it."""
    text = (
        "\n  + " + _indent(describe(error, depth + 1)) + _place(frames_of(traceback_of(error), 1))
    )
    for earlier in chain_of(error, depth + 1):
        relation = "raised from" if earlier.direct else "while handling"
        more = f" [{earlier.omitted} more exceptions between]" if earlier.omitted else ""
        text += f"\n    {relation} {_indent(earlier.text)}{_place(earlier.frames)}{more}"
    return text


def _indent(text: str) -> str:
    return text.replace("\n", "\n    ")


def _place(frames: Sequence[TraceFrame]) -> str:
    return f" ({frames[-1].file}:{frames[-1].line})" if frames else ""


def type_name(error: BaseException) -> str:
    """The type's import path; builtins without their module."""
    return path_of(type(error))


def message_of(error: object) -> str:
    """The error's text, or a note's, whatever its ``__str__`` does."""
    try:
        return str.__str__(str(error))  # which may be of a class of its own
    except BaseException as failure:
        if is_interrupt(failure):
            raise
        return f"<its message cannot be made: {type_name(failure)}>"


def chain_of(error: BaseException, depth: int = 0) -> list[Earlier]:
    """What led to an error, latest first, as Python would print it above the error.

    Of a very long chain the latest ones and the first ones: the root cause is always among them.
    """
    links: list[tuple[BaseException, bool]] = []
    seen = {id(error)}
    current = error
    while True:
        direct = cause_of(current) is not None
        earlier = earlier_of(current)
        if earlier is None or id(earlier) in seen:
            break
        seen.add(id(earlier))
        links.append((earlier, direct))
        current = earlier
    omitted = max(len(links) - _LATEST - _FIRST, 0)
    if omitted:
        links = [*links[:_LATEST], *links[-_FIRST:]]
    length = max(_SHORTEST, config.ERROR_MESSAGE_LIMIT // 2 // max(len(links), 1))
    chain = [
        Earlier(
            clip(describe(link, depth), length),
            frames_of(traceback_of(link), _CHAIN_FRAMES),
            direct,
        )
        for link, direct in links
    ]
    if omitted:
        chain[_LATEST] = chain[_LATEST]._replace(omitted=omitted)
    return chain


def format_trace(
    text: str, frames: Sequence[TraceFrame], omitted: int = 0, chain: Sequence[Earlier] = ()
) -> str:
    """A traceback as Python prints it.

    Source lines that the other process did not have are looked up in this one.

    Args:
        text: What stands below the frames.
        frames: Outermost first.
        omitted: How many frames are missing in the middle.
        chain: What led to it, latest first.
    """
    blocks: list[str] = []
    for earlier in reversed(chain):
        blocks.append(_block(earlier.text, earlier.frames, 0))
        blocks.append(_BECAUSE if earlier.direct else _DURING)
        if earlier.omitted:
            blocks.append(f"[{earlier.omitted} more exceptions]")
    blocks.append(_block(text, frames, omitted))
    return "\n\n".join(blocks)


def text_of(error: BaseException, trace: TracebackType | None) -> str:
    """What Python would print of an error, from a frame on, without armoflow's own frames."""
    frames = frames_of(trace)
    omitted = max(len(frames) - _OUTERMOST - _INNERMOST, 0)
    if omitted:
        frames = [*frames[:_OUTERMOST], *frames[-_INNERMOST:]]
    return format_trace(describe(error), frames, omitted, chain_of(error))


def _block(text: str, frames: Sequence[TraceFrame], omitted: int) -> str:
    if not frames:
        return text
    lines = ["Traceback (most recent call last):"]
    for index, (file, line, function, source) in enumerate(frames):
        if omitted and index == len(frames) // 4:  # see where frames are left out
            lines.append(f"  [{omitted} more frames]")
        lines.append(f'  File "{file}", line {line}, in {function}')
        source = source or _source(file, line)  # noqa: PLW2901
        if source:
            lines.append(f"    {source}")
    return "\n".join([*lines, text])
