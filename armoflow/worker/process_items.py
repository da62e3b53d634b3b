"""What tasks may change in their process: how each is read, and set to what it was.

Some of it is Python's, some the kernel's, some what modules of the standard library keep for all of
their process. Where a module is not loaded, it keeps nothing: that reads as None, which is also
what stands for a state that is as Python makes it.
"""

from __future__ import annotations

import _locale
import _signal  # type: ignore[import-not-found]
import _socket
import copyreg
import faulthandler
import gc
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

from armoflow.worker import library_registries, library_settings
from armoflow.worker.kernel_settings import kernel_settings, set_kernel_settings
from armoflow.worker.library_functions import LibraryFunctions

_PLACE = getattr(os, "O_PATH", os.O_RDONLY)
"""How a directory is opened only to come back to it."""

STREAMS = ("stdin", "stdout", "stderr")
_SIGNALS = tuple(
    getattr(_signal, name)
    for name in (
        *("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGALRM", "SIGVTALRM", "SIGPROF"),
        *("SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGPIPE", "SIGXCPU", "SIGTSTP", "SIGWINCH"),
    )
    if hasattr(_signal, name)
)
_TIMERS = (_signal.ITIMER_REAL, _signal.ITIMER_VIRTUAL, _signal.ITIMER_PROF)


class Item(NamedTuple):
    """Something: how it is read, and how it is set to what was read before.

    Reading is what every task waits for: much that is read in one go is one item.
    """

    read: Callable[[], Any]
    write: Callable[[Any], None]


# --- Python ------------------------------------------------------------------------------------


class _Modules:
    """Where attributes of modules are found by their paths."""

    gc, os, sys, threading, warnings = gc, os, sys, threading, warnings


def _attributes(*paths: str) -> Item:
    """Attributes of modules."""
    read = attrgetter(*paths)

    def write(values: tuple[Any, ...]) -> None:
        for path, value in zip(paths, values, strict=True):
            module, _, name = path.partition(".")
            setattr(getattr(_Modules, module), name, value)

    return Item(lambda: read(_Modules), write)


def _identities(*paths: str) -> Item:
    """Attributes of modules that are always the same objects, whatever others are equal to them."""
    read = attrgetter(*paths)
    held = _attributes(*paths)
    values = read(_Modules)
    return Item(lambda: tuple(map(id, read(_Modules))), lambda _: held.write(values))


def _lists(*paths: str) -> Item:
    """Lists that others hold, too: they are changed in place."""
    read = attrgetter(*paths)

    def write(values: tuple[list[Any], ...]) -> None:
        for held, value in zip(read(_Modules), values, strict=True):
            held[:] = value

    return Item(lambda: read(_Modules), write)


def _environment() -> Item:
    bytewise = os.environb  # a task may put something else into the place of these
    held: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]

    def write(value: dict[bytes, bytes]) -> None:
        for name in held.keys() - value.keys():
            del bytewise[name]
        for name, content in value.items():
            if held.get(name) != content:
                bytewise[name] = content

    return Item(lambda: held, write)


def _handlers(numbers: Iterable[int]) -> Item:
    """What signals do."""
    numbers = tuple(numbers)

    def write(handlers: tuple[Any, ...]) -> None:
        for number, handler in zip(numbers, handlers, strict=True):
            if _signal.getsignal(number) != handler and handler is not None:
                _signal.signal(number, handler)

    return Item(lambda: tuple(map(_signal.getsignal, numbers)), write)


def _loaded_modules(names: Iterable[str]) -> Item:
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


# --- the kernel --------------------------------------------------------------------------------


def _umask() -> int:
    mask = os.umask(0o77)
    os.umask(mask)
    return mask


def _set_umask(mask: int) -> None:
    os.umask(mask)


def _mask() -> Any:
    return _signal.pthread_sigmask(_signal.SIG_BLOCK, ())


def _set_mask(mask: Any) -> None:
    _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)


def _wakeup() -> int:
    fd: int = _signal.set_wakeup_fd(-1)
    if fd >= 0:
        _signal.set_wakeup_fd(fd)
    return fd


def _put_back_faults(enabled: bool) -> None:
    faulthandler.cancel_dump_traceback_later()
    if enabled and not faulthandler.is_enabled():
        faulthandler.enable()


def _stop_timers(_: None) -> None:
    for timer in _TIMERS:
        _signal.setitimer(timer, 0)


def _directory() -> Item:
    """The working directory: it may be gone, or not be read."""
    known, place = _path(), os.open(".", _PLACE)

    def write(path: str | None) -> None:
        nonlocal known, place
        if path != known:  # an import has changed it for good
            os.close(place)
            known, place = path, os.open(path or ".", _PLACE)
        try:
            os.fchdir(place)  # quicker than to ask where this is
        except OSError:
            if _path() != path:
                raise

    return Item(_path, write)


def _path() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - pathlib is not imported in children
    except OSError:  # it was removed
        return None


def _share() -> tuple[Any, ...]:
    """How much of the processors this process gets: its niceness, which ones, and by what rule."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    return niceness, *((None, None) if affinity is None else (affinity(0), _rule()))


def _rule() -> tuple[int, int]:
    return os.sched_getscheduler(0), os.sched_getparam(0).sched_priority


def _set_share(share: tuple[Any, ...]) -> None:
    niceness, processors, rule = share
    if os.getpriority(os.PRIO_PROCESS, 0) != niceness:
        os.setpriority(os.PRIO_PROCESS, 0, niceness)  # which an ordinary user may not lower
    if processors is not None:
        os.sched_setaffinity(0, processors)
    if rule is not None and _rule() != rule:
        os.sched_setscheduler(0, rule[0], os.sched_param(rule[1]))


def _user() -> Any:
    """Who this process is, and where its file system begins: root may change that."""
    if not hasattr(os, "getresuid"):  # macOS
        return None
    root = os.stat("/")  # noqa: PTH116 - pathlib is not imported in children
    return os.getresuid(), os.getresgid(), os.getgroups(), root.st_dev, root.st_ino


def _set_user(value: Any) -> None:
    users, groups, more, *_ = value
    os.setresuid(-1, 0, -1)  # as it may, if it was root
    os.setgroups(more)
    os.setresgid(*groups)
    os.setresuid(*users)
    if _user() != value:
        raise OSError("its root directory is another one")


def _limits(owner: int) -> Item:
    """Limits of resources, that differ from those of the process that started this one."""
    usual: dict[int, tuple[int, int]] = {}

    def read() -> Any:
        resource: Any = sys.modules.get("resource")
        if not hasattr(resource, "prlimit"):  # macOS, or nobody has asked for it
            return None
        if not usual:
            numbers = {getattr(resource, name) for name in dir(resource) if name[:7] == "RLIMIT_"}
            usual.update({number: resource.prlimit(owner, number) for number in numbers})
        now = {number: resource.getrlimit(number) for number in usual}
        return None if now == usual else now

    def write(value: Any) -> None:
        resource = sys.modules["resource"]
        for number, limits in (value or usual).items():
            if resource.getrlimit(number) != limits:
                resource.setrlimit(number, limits)

    return Item(read, write)


# --- what modules keep ---------------------------------------------------------------------------


def _silenced() -> int:
    """Below which level nothing is logged, whoever logs it."""
    logging = sys.modules.get("logging")
    return logging.root.manager.disable if logging is not None else 0


def _set_silenced(level: int) -> None:
    sys.modules["logging"].disable(level)


def _zone() -> tuple[Any, ...]:
    return time.tzname, time.timezone, time.altzone


def _set_zone(_: tuple[Any, ...]) -> None:
    """As the environment, which was put back before, has it."""
    time.tzset()


def _reducers() -> Item:
    """How values of types are pickled, whoever pickles them."""
    held = copyreg.dispatch_table

    def write(value: dict[Any, Any]) -> None:
        held.clear()
        held.update(value)

    return Item(lambda: held, write)


def _tracing_memory() -> bool:
    tracer: Any = sys.modules.get("_tracemalloc")
    return tracer is not None and bool(tracer.is_tracing())


def _trace_memory(traced: bool) -> None:
    tracer: Any = sys.modules["_tracemalloc"]
    (tracer.start if traced else tracer.stop)()


def _locale_name() -> Any:
    return _locale.setlocale(_locale.LC_ALL)


def _set_locale(name: str) -> None:
    _locale.setlocale(_locale.LC_ALL, name)


_USUAL_DECIMALS = (28, "ROUND_HALF_EVEN", -999999, 999999, 1, 0)
_USUAL_TRAPS = ("InvalidOperation", "DivisionByZero", "Overflow")


def _usual_context(decimal: Any) -> tuple[Any, ...]:
    return (*_USUAL_DECIMALS, [], [getattr(decimal, name) for name in _USUAL_TRAPS])


def _decimal_contexts() -> Any:
    """How decimals are rounded: in this thread, and in new ones."""
    decimal: Any = sys.modules.get("decimal")
    if not hasattr(decimal, "DefaultContext"):
        return None
    here, new = decimal.getcontext().__reduce__()[1], decimal.DefaultContext.__reduce__()[1]
    usual = _usual_context(decimal)
    return None if here == new == usual else (here, new)


def _set_decimal_contexts(value: Any) -> None:
    decimal = sys.modules["decimal"]
    usual = _usual_context(decimal)
    here, new = value or (usual, usual)
    decimal.setcontext(decimal.Context(*here))
    default, template = decimal.DefaultContext, decimal.Context(*new)
    for name in ("prec", "rounding", "Emin", "Emax", "capitals", "clamp"):
        setattr(default, name, getattr(template, name))
    default.traps.update(template.traps)
    default.flags.update(template.flags)


_USUAL_FLOATS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}


def _float_errors() -> Any:
    """What NumPy does where a number overflows, or is divided by nothing."""
    numpy: Any = sys.modules.get("numpy")
    if not hasattr(numpy, "geterr"):
        return None
    found = numpy.geterr()
    return None if found == _USUAL_FLOATS else found


def _set_float_errors(value: Any) -> None:
    sys.modules["numpy"].seterr(**(value or _USUAL_FLOATS))


def _temporary() -> Any:
    """Where temporary files go, if somebody has asked: that is not asked again."""
    return getattr(sys.modules.get("tempfile"), "tempdir", None)


def _set_temporary(value: Any) -> None:
    vars(sys.modules["tempfile"])["tempdir"] = value


def _start_method() -> Any:
    multiprocessing = sys.modules.get("multiprocessing")
    get = getattr(multiprocessing, "get_start_method", None)
    return None if get is None else get(allow_none=True)


def _set_start_method(name: str | None) -> None:
    sys.modules["multiprocessing"].set_start_method(name, force=True)


def _event_loops() -> Any:
    """Asyncio's policy, with the event loop that it has for this thread, and the one that runs."""
    events: Any = sys.modules.get("asyncio.events")
    if not hasattr(events, "_get_running_loop"):
        return None
    found = getattr(events, "_event_loop_policy", None), events._get_running_loop()
    return None if found == (None, None) else found


def _set_event_loops(value: Any) -> None:
    events = sys.modules["asyncio.events"]
    policy, running = value or (None, None)
    vars(events)["_event_loop_policy"] = policy
    events._set_running_loop(running)


_MOST_ADOPTED = 100
"""Processes that have ended and nobody waits for: a system has room for some thousands."""


def _adopted() -> int:
    """How many there are that tasks have left to themselves, if they are many."""
    wait = getattr(os, "waitid", None)
    if wait is None:  # macOS, where this process adopts none
        return 0
    try:
        if wait(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return 0
    except ChildProcessError:
        return 0
    # Imported here: mostly there is none.
    from armoflow.system.descendants import children_of, has_ended

    children = children_of(os.getpid())
    return sum(map(has_ended, children)) if len(children) >= _MOST_ADOPTED else 0


def _give_up(_: object) -> None:
    """Which of them are the user's to wait for, nobody can tell: they go with the process.

    Raises:
        RuntimeError: If there are too many.
    """
    count = _adopted()
    if count >= _MOST_ADOPTED:
        raise RuntimeError(
            f"{count} processes that it started have ended, and nobody waits for them"
        )


# --- all of it -----------------------------------------------------------------------------------


class ProcessItems(NamedTuple):
    """What a process has around its tasks, by how often it is looked at.

    Attributes:
        cheap: It costs little to look.
        written: It is written without a look, which would cost more.
        compared: Only tasks that reach something can have changed it.
        seldom: It costs much to look.
        rarely: It costs more than that.
    """

    cheap: list[Item]
    written: list[Item]
    compared: list[Item]
    seldom: list[Item]
    rarely: list[Item]


def all_items(owner: int) -> ProcessItems:
    """What this process has around its tasks.

    Args:
        owner: The process that started this one: its limits are these.
    """
    functions = LibraryFunctions()
    own = [name for name in sys.modules if name.partition(".")[0] in ("__main__", "armoflow")]
    rare = sorted(set(map(int, _signal.valid_signals())) - set(map(int, _SIGNALS)))
    return ProcessItems(
        cheap=[
            _identities("os.environ", "os.environb", "sys.modules"),
            _environment(),
            Item(_zone, _set_zone),
            Item(_silenced, _set_silenced),
            _attributes(
                *(f"sys.{name}" for name in STREAMS),
                *("sys.excepthook", "sys.displayhook", "sys.unraisablehook", "sys.breakpointhook"),
                "threading.excepthook",
            ),
            _lists(
                *("sys.path", "sys.meta_path", "sys.path_hooks", "sys.argv", "warnings.filters"),
                "gc.callbacks",
            ),
            Item(_switches, _set_switches),
            _handlers(_SIGNALS),
        ],
        written=[
            Item(_umask, _set_umask),
            Item(_mask, _set_mask),
            Item(lambda: None, _stop_timers),
            Item(_wakeup, _signal.set_wakeup_fd),
            Item(faulthandler.is_enabled, _put_back_faults),
            _directory(),
        ],
        compared=[
            _loaded_modules(own),
            _reducers(),
            Item(_tracing_memory, _trace_memory),
            Item(_locale_name, _set_locale),
            Item(_decimal_contexts, _set_decimal_contexts),
            Item(_float_errors, _set_float_errors),
            Item(_temporary, _set_temporary),
            Item(_printed, _set_printed),
            Item(_start_method, _set_start_method),
            Item(_event_loops, _set_event_loops),
            _limits(owner),
            Item(library_settings.logging_settings, library_settings.set_logging),
        ],
        seldom=[
            _loaded_modules(list(sys.modules)),
            _handlers(rare),
            Item(_stream_forms, _set_stream_forms),
            Item(_monitors, _drop_monitors),
            Item(_share, _set_share),
            Item(_user, _set_user),
            Item(library_settings.opener, library_settings.set_opener),
            Item(library_settings.field_limit, library_settings.set_field_limit),
            Item(library_settings.extensions, library_settings.set_extensions),
            Item(library_registries.dialects, library_registries.set_dialects),
            Item(_of_process, _set_of_process),
            Item(library_settings.builtin_names, library_settings.set_builtin_names),
        ],
        rarely=[
            Item(functions.read, functions.write),
            Item(library_registries.registries, library_registries.set_registries),
            Item(lambda: _adopted() >= _MOST_ADOPTED, _give_up),
            Item(kernel_settings, set_kernel_settings),
        ],
    )
