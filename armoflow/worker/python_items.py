"""What tasks may change of Python itself: how each is read, and set to what it was."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import gc
import os
import sys
import threading
import warnings
from collections.abc import Iterable
from operator import attrgetter, itemgetter
from typing import Any

from armoflow.worker.process_item import STREAMS, Item


class _Modules:
    """Where attributes of modules are found by their paths."""

    gc, os, sys, threading, warnings = gc, os, sys, threading, warnings


def attributes(*paths: str) -> Item:
    """Attributes of modules."""
    read = attrgetter(*paths)

    def write(values: tuple[Any, ...]) -> None:
        for path, value in zip(paths, values, strict=True):
            module, _, name = path.partition(".")
            setattr(getattr(_Modules, module), name, value)

    return Item(lambda: read(_Modules), write)


def identities(*paths: str) -> Item:
    """Attributes of modules that are always the same objects, whatever others are equal to them."""
    read = attrgetter(*paths)
    held = attributes(*paths)
    values = read(_Modules)
    return Item(lambda: tuple(map(id, read(_Modules))), lambda _: held.write(values))


def lists(*paths: str) -> Item:
    """Lists that others hold, too: they are changed in place."""
    read = attrgetter(*paths)

    def write(values: tuple[list[Any], ...]) -> None:
        for held, value in zip(read(_Modules), values, strict=True):
            held[:] = value

    return Item(lambda: read(_Modules), write)


def environment() -> Item:
    """The variables, however they are written to."""
    bytewise = os.environb  # a task may put something else into the place of these
    held: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]

    def write(value: dict[bytes, bytes]) -> None:
        for name in held.keys() - value.keys():
            del bytewise[name]
        for name, content in value.items():
            if held.get(name) != content:
                bytewise[name] = content

    return Item(lambda: held, write)


def handlers(numbers: Iterable[int]) -> Item:
    """What signals do."""
    numbers = tuple(numbers)

    def write(handlers: tuple[Any, ...]) -> None:
        for number, handler in zip(numbers, handlers, strict=True):
            if _signal.getsignal(number) != handler and handler is not None:
                _signal.signal(number, handler)

    return Item(lambda: tuple(map(_signal.getsignal, numbers)), write)


def loaded_modules(names: Iterable[str]) -> Item:
    """Modules of this process, as they were loaded."""
    get = itemgetter(*names)
    held = dict(zip(names, get(sys.modules), strict=True))

    def read() -> Any:
        try:
            return get(sys.modules)
        except KeyError:
            return None

    def write(value: Any) -> None:
        sys.modules.update(held if value is None else zip(held, value, strict=True))

    return Item(read, write)


def _switches() -> tuple[Any, ...]:
    return (
        sys.getrecursionlimit(),
        sys.getswitchinterval(),
        gc.isenabled(),
        gc.get_threshold(),
        gc.get_debug(),
        sys.gettrace(),
        sys.getprofile(),
        threading.gettrace(),
        threading.getprofile(),
        threading.stack_size(),
        sys.get_asyncgen_hooks(),
        sys.get_coroutine_origin_tracking_depth(),
        sys.dont_write_bytecode,
        _socket.getdefaulttimeout(),
    )


def _set_switches(values: tuple[Any, ...]) -> None:
    limit, interval, collects, thresholds, debug, trace, profile, *rest, timeout = values
    thread_trace, thread_profile, stack, generators, depth, sys.dont_write_bytecode = rest
    sys.setrecursionlimit(limit)
    sys.setswitchinterval(interval)
    (gc.enable if collects else gc.disable)()
    gc.set_threshold(*thresholds)
    gc.set_debug(debug)
    sys.settrace(trace)
    sys.setprofile(profile)
    threading.settrace(thread_trace)
    threading.setprofile(thread_profile)
    threading.stack_size(stack)
    sys.set_asyncgen_hooks(*generators)
    sys.set_coroutine_origin_tracking_depth(depth)
    _socket.setdefaulttimeout(timeout)


SWITCHES = Item(_switches, _set_switches)
"""What makes Python run otherwise."""


def _printed() -> tuple[Any, ...]:
    """How long tracebacks and numbers may be."""
    get = getattr(sys, "get_int_max_str_digits", None)  # not in the first of Python 3.10
    return getattr(sys, "tracebacklimit", None), get() if get is not None else None


def _set_printed(values: tuple[Any, ...]) -> None:
    limit, digits = values
    if limit is None:
        vars(sys).pop("tracebacklimit", None)
    else:
        sys.tracebacklimit = limit
    if digits is not None:
        sys.set_int_max_str_digits(digits)


PRINTED = Item(_printed, _set_printed)


def _stream_forms() -> tuple[Any, ...]:
    """How standard streams turn texts into bytes."""
    return tuple(map(_stream_form, STREAMS))


def _stream_form(name: str) -> Any:
    stream = getattr(sys, name)
    return None if stream is None else (stream.encoding, stream.errors, stream.line_buffering)


def _set_stream_forms(forms: tuple[Any, ...]) -> None:
    for name, form in zip(STREAMS, forms, strict=True):
        if form not in (None, _stream_form(name)):
            encoding, errors, lines = form
            stream = getattr(sys, name)
            stream.reconfigure(encoding=encoding, errors=errors, line_buffering=lines)


STREAM_FORMS = Item(_stream_forms, _set_stream_forms)


def _of_process() -> tuple[Any, ...]:
    """How libraries are loaded, the main thread's name, and whether standard streams block."""
    flags = getattr(sys, "getdlopenflags", int)()
    return flags, threading.main_thread().name, tuple(map(_blocks, range(3)))


def _blocks(fd: int) -> bool | None:
    try:
        return os.get_blocking(fd)
    except OSError:  # a task has closed it
        return None


def _set_of_process(values: tuple[Any, ...]) -> None:
    flags, threading.main_thread().name, blocking = values
    sys.setdlopenflags(flags)
    for fd, blocks in enumerate(blocking):
        if blocks is not None:
            os.set_blocking(fd, blocks)


OF_PROCESS = Item(_of_process, _set_of_process)


def _monitors() -> Any:
    """Tools that are told what Python runs."""
    monitoring = getattr(sys, "monitoring", None)  # from Python 3.12 on
    return None if monitoring is None else tuple(map(monitoring.get_tool, range(6)))


def _drop_monitors(names: Any) -> None:
    monitoring: Any = getattr(sys, "monitoring", None)
    for number, name in enumerate(names):
        if name is None and monitoring.get_tool(number) is not None:
            monitoring.set_events(number, 0)
            monitoring.free_tool_id(number)


MONITORS = Item(_monitors, _drop_monitors)
