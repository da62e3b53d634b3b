"""Tracebacks as data: the user's own frames, and how they are printed."""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

_PACKAGE = Path(__file__).absolute().parent.parent
_MACHINERY = tuple(str(_PACKAGE / part) + "/" for part in ("worker", "codec", "agent"))
_IMPORT = "<frozen importlib"
_LONGEST_CHAIN = 5
_CHAIN_FRAMES = 3
_GROUP_WIDTH = 5

_BECAUSE = "The above exception was the direct cause of the following exception:"
_DURING = "During handling of the above exception, another exception occurred:"


class Frame(NamedTuple):
    """One line of a traceback; the source line may be empty."""

    file: str
    line: int
    function: str
    source: str


class Earlier(NamedTuple):
    """An exception that another one was raised from, or while it was handled."""

    text: str
    frames: Sequence[Frame]
    direct: bool


def frames_of(trace: TracebackType | None) -> list[Frame]:
    """The frames of a traceback, outermost first, without those of armoflow's own machinery.

    When there are no others, the error is armoflow's, and they are kept.
    """
    frames = [
        Frame(code.co_filename, line, code.co_name, _source(code.co_filename, line, scope))
        for code, line, scope in _walk(trace)
    ]
    own = [frame for frame in frames if not frame.file.startswith((*_MACHINERY, _IMPORT))]
    return own or frames


def _walk(trace: TracebackType | None) -> Iterator[tuple[Any, int, dict[str, Any]]]:
    while trace is not None:
        frame = trace.tb_frame
        yield frame.f_code, trace.tb_lineno or 0, frame.f_globals
        trace = trace.tb_next


def _source(file: str, line: int, scope: dict[str, Any] | None = None) -> str:
    return linecache.getline(file, line, scope).strip()


def describe(error: BaseException) -> str:
    """What Python prints after the frames: type, message, notes; the parts of a group."""
    try:
        lines = traceback.format_exception_only(type(error), error)
    except Exception:  # the error cannot even be printed
        return type_name(error)
    text = "".join(lines).rstrip("\n")
    parts = getattr(error, "exceptions", None)
    if isinstance(parts, tuple):
        text += "".join(_part(part) for part in parts[:_GROUP_WIDTH])
        if len(parts) > _GROUP_WIDTH:
            text += f"\n  + {len(parts) - _GROUP_WIDTH} more"
    return text


def _part(error: Any) -> str:
    frames = frames_of(error.__traceback__)
    place = f" ({frames[-1].file}:{frames[-1].line})" if frames else ""
    return "\n  + " + describe(error).replace("\n", "\n    ") + place


def type_name(error: BaseException) -> str:
    """The type's import path; builtins without their module."""
    kind = type(error)
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def message_of(error: BaseException) -> str:
    """The error's text, whatever its ``__str__`` does."""
    try:
        return str(error)
    except Exception as failure:
        return f"<its message cannot be made: {type(failure).__name__}>"


def chain_of(error: BaseException) -> list[Earlier]:
    """What led to an error, latest first, as Python would print it above the error."""
    chain: list[Earlier] = []
    seen = {id(error)}
    current = error
    while len(chain) < _LONGEST_CHAIN:
        direct = current.__cause__ is not None
        earlier = current.__cause__
        if earlier is None and not current.__suppress_context__:
            earlier = current.__context__
        if earlier is None or id(earlier) in seen:
            break
        seen.add(id(earlier))
        frames = frames_of(earlier.__traceback__)[-_CHAIN_FRAMES:]
        chain.append(Earlier(describe(earlier), frames, direct))
        current = earlier
    return chain


def format_trace(
    text: str, frames: Sequence[Frame], omitted: int = 0, chain: Sequence[Earlier] = ()
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
    blocks.append(_block(text, frames, omitted))
    return "\n\n".join(blocks)


def _block(text: str, frames: Sequence[Frame], omitted: int) -> str:
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
