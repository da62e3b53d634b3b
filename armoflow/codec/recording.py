"""Making error records: of exceptions, and of what ends a task from outside."""

from __future__ import annotations

import signal

from armoflow import config
from armoflow.codec.absences import note_absence
from armoflow.codec.bare import looked, traceback_of
from armoflow.codec.clipping import clip
from armoflow.codec.exceptions import forms_of
from armoflow.codec.failure import ErrorRecord
from armoflow.codec.shortening import few_frames
from armoflow.codec.traces import chain_of, describe, frames_of, message_of, type_name
from armoflow.errors import (
    DataLostError,
    MemoryLimitError,
    TaskError,
    TaskTimeoutError,
    WorkerDiedError,
)

_FAULT = "Fatal Python error: "  # how faulthandler begins
_CURRENT = "Current thread "


def record_exception(
    error: BaseException,
    *,
    node: str,
    item: int | None = None,
    attempts: int = 1,
    output: str = "",
    packages: str = "",
) -> ErrorRecord:
    """Describe an exception that a task raised.

    Args:
        error: The exception, with its traceback.
        node: Name of the node that ran.
        item: Position of the item in its collection.
        attempts: How often it was tried.
        output: What the item wrote.
        packages: What is to be told of the packages that it ran with.

    Example:
        >>> record_exception(KeyError("x"), node="f").summary
        "KeyError: 'x' in task 'f'"
    """
    message = _bounded(message_of(error))
    looked(lambda: note_absence(error), None)
    kind = type_name(error)
    detail = _bounded(looked(lambda: describe(error), kind))
    record = ErrorRecord(
        kind="raised",
        type_name=kind,
        message=message,
        frames=looked(lambda: frames_of(traceback_of(error)), []),
        node=node,
        item=item,
        attempts=attempts,
        forms=looked(lambda: forms_of(error), []),
        detail="" if detail in (f"{kind}: {message}", kind) else detail,
        chain=looked(lambda: chain_of(error), []),
        output=_last_lines(output),
        packages=packages,
    )
    return few_frames(record, 16, 48)


def _bounded(text: str) -> str:
    return clip(
        text, config.ERROR_MESSAGE_LIMIT if text.isascii() else config.ERROR_MESSAGE_LIMIT // 4
    )


def record_timeout(
    seconds: float,
    *,
    node: str,
    item: int | None = None,
    attempts: int = 1,
    output: str = "",
) -> ErrorRecord:
    """An attempt ran longer than its timeout and was killed."""
    named = _named(node, item)
    message = f"task {named!r} ran longer than its timeout of {seconds:g} s and was killed"
    return _record_end(
        "timeout", TaskTimeoutError, message, node=node, item=item, attempts=attempts, output=output
    )


def record_overrun(
    reason: str,
    *,
    node: str,
    item: int | None = None,
    attempts: int = 1,
    output: str = "",
) -> ErrorRecord:
    """The process of a task took more memory than it may and was killed; ``reason`` has both."""
    message = (
        f"task {_named(node, item)!r} {reason}, and was killed: give it more, or less to do at a "
        "time"
    )
    return _record_end(
        "memory", MemoryLimitError, message, node=node, item=item, attempts=attempts, output=output
    )


def record_death(
    status: int,
    *,
    node: str,
    item: int | None = None,
    attempts: int = 1,
    output: str = "",
    reason: str = "",
    host: str = "",
) -> ErrorRecord:
    """The process that ran the task died.

    Args:
        status: As :attr:`subprocess.Popen.returncode`: an exit code, or minus a signal.
        node: Name of the node that it ran.
        item: Position of the item in its collection.
        attempts: How often it was tried.
        output: What the process last wrote.
        reason: How it ended, where that is known better.
        host: Where it ran, if that is known.
    """
    message = f"the process of task {_named(node, item)!r} {reason or _ending(status)}"
    if host:
        message += f", on host {host}"
    before, fault, after = output.partition(_FAULT)
    if fault:  # where it happened stands first
        lines = _stack(fault + after).splitlines()[:12]
        message += "; its stack:\n" + "\n".join(clip(line, 200) for line in lines)
    return _record_end(
        "died", WorkerDiedError, message, node=node, item=item, attempts=attempts, output=before
    )


def _stack(text: str) -> str:
    r"""What faulthandler writes, without the other threads, which it shows first.

    Example:
        >>> print(_stack("Fault\n\nThread 1:\n  idle\n\nCurrent thread 2:\n  f"))
        Fault
        Current thread 2:
          f
    """
    first, _, threads = text.partition("\n")
    _, current, frames = threads.partition(_CURRENT)
    return f"{first}\n{current}{frames}" if current else text


def removed(name: str, why: object) -> str:
    """What is told of a value that was stored under a name, wherever it is missed."""
    return (
        f"what was stored as {name!r} was removed or replaced since it was referred to: take "
        f"client.refer({name!r}) again ({why})"
    )


def record_loss(what: str, *, node: str, item: int | None = None, attempts: int = 1) -> ErrorRecord:
    """Data that the task or its caller needs is no longer stored; ``what`` says which."""
    message = f"data of task {_named(node, item)!r} is lost: {what}"
    return _record_end("lost", DataLostError, message, node=node, item=item, attempts=attempts)


def _record_end(
    kind: str,
    error: type[TaskError],
    message: str,
    *,
    node: str,
    item: int | None,
    attempts: int,
    output: str = "",
) -> ErrorRecord:
    """What ended a task from outside: the caller is raised ``error``."""
    return ErrorRecord(
        kind,
        f"{error.__module__}.{error.__qualname__}",
        message,
        node=node,
        item=item,
        attempts=attempts,
        output=_last_lines(output),
    )


def _last_lines(output: str) -> str:
    lines = output.strip("\n").split("\n")[-config.OUTPUT_LINES :]
    return "\n".join(clip(line, config.OUTPUT_LINE) for line in lines)


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
