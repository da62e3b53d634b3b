"""What a task may change in its process and must not leave to the next one.

After each engine task the working directory, the environment, ``sys.path``, standard streams,
signal handlers and so on are put back; a process in which that cannot be done is replaced. The
calls that share an engine task share these, and random seeds are nobody's business. Checks that ask
the kernel are left out after a task whose code reaches nothing of the process (see
:mod:`armoflow.worker.reach`).
"""

from __future__ import annotations

import _locale
import _signal  # type: ignore[import-not-found]
import _socket
import faulthandler
import gc
import io
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

from armoflow.worker.output import Output

_STREAMS_NANOSECONDS = 1_000_000
"""How often the files behind standard streams are looked at, at most: that costs most."""

_PLACE = getattr(os, "O_PATH", os.O_RDONLY)
"""How a directory is opened only to come back to it."""

_CHECK_NANOSECONDS = 1_000_000
"""How often is looked after tasks whose code reaches nothing of the process, at most: they can
change something only through a method of what they are given."""

_STREAMS = ("stdin", "stdout", "stderr")
_SIGNALS = tuple(
    getattr(_signal, name)
    for name in (
        *("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGALRM", "SIGVTALRM", "SIGPROF"),
        *("SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGPIPE", "SIGXCPU", "SIGTSTP", "SIGWINCH"),
    )
    if hasattr(_signal, name)
)


_TIMERS = (_signal.ITIMER_REAL, _signal.ITIMER_VIRTUAL, _signal.ITIMER_PROF)


class _Item(NamedTuple):
    """Something: how it is read, and how it is set to what was read before.

    Reading is what every task waits for: much that is read in one go is one item.
    """

    read: Callable[[], Any]
    write: Callable[[Any], None]


class _Modules:
    """Where attributes of modules are found by their paths."""

    sys, threading, warnings = sys, threading, warnings


def _attributes(*paths: str) -> _Item:
    """Attributes of modules."""
    read = attrgetter(*paths)

    def write(values: tuple[Any, ...]) -> None:
        for path, value in zip(paths, values, strict=True):
            module, _, name = path.partition(".")
            setattr(getattr(_Modules, module), name, value)

    return _Item(lambda: read(_Modules), write)


def _lists(*paths: str) -> _Item:
    """Lists that others hold, too: they are changed in place."""
    read = attrgetter(*paths)

    def write(values: tuple[list[Any], ...]) -> None:
        for held, value in zip(read(_Modules), values, strict=True):
            held[:] = value

    return _Item(lambda: read(_Modules), write)


def _environment() -> _Item:
    held: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]

    def write(value: dict[bytes, bytes]) -> None:
        for name in held.keys() - value.keys():
            del os.environb[name]
        for name, content in value.items():
            if held.get(name) != content:
                os.environb[name] = content

    return _Item(lambda: held, write)


def _handlers() -> list[Any]:
    return list(map(_signal.getsignal, _SIGNALS))


def _set_handlers(handlers: list[Any]) -> None:
    for number, handler in zip(_SIGNALS, handlers, strict=True):
        if _signal.getsignal(number) != handler:
            _signal.signal(number, handler)


def _own_modules() -> _Item:
    """The program's own modules, those of armoflow and ``__main__``, as they were imported."""
    held = {
        name: module
        for name, module in sys.modules.items()
        if name == "__main__" or name.partition(".")[0] == "armoflow"
    }
    names = itemgetter(*held)

    def read() -> Any:
        try:
            return names(sys.modules)
        except KeyError:
            return None

    return _Item(read, lambda _: sys.modules.update(held))


def _switches() -> tuple[Any, ...]:
    return (
        sys.getrecursionlimit(),
        sys.getswitchinterval(),
        gc.isenabled(),
        gc.get_threshold(),
        sys.gettrace(),
        sys.getprofile(),
        _socket.getdefaulttimeout(),
    )


def _set_switches(values: tuple[Any, ...]) -> None:
    limit, interval, collects, thresholds, trace, profile, timeout = values
    sys.setrecursionlimit(limit)
    sys.setswitchinterval(interval)
    (gc.enable if collects else gc.disable)()
    gc.set_threshold(*thresholds)
    sys.settrace(trace)
    sys.setprofile(profile)
    _socket.setdefaulttimeout(timeout)


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


_IMPORTED = [
    _environment(),
    _Item(_zone, _set_zone),
    _Item(_silenced, _set_silenced),
    _lists("sys.path", "sys.meta_path", "sys.path_hooks", "sys.argv", "warnings.filters"),
]
"""What modules may change for good when they are imported."""

_ATTRIBUTES = _attributes(
    *(f"sys.{name}" for name in _STREAMS),
    *("sys.excepthook", "sys.displayhook", "sys.unraisablehook", "sys.breakpointhook"),
    "threading.excepthook",
)
_ITEMS = [*_IMPORTED, _ATTRIBUTES, _Item(_switches, _set_switches), _Item(_handlers, _set_handlers)]


def _followed(
    base: dict[bytes, bytes], old: dict[bytes, bytes], now: dict[bytes, bytes]
) -> dict[bytes, bytes]:
    """The variables of the process, after what was changed while a task had some of its own.

    Example:
        >>> base, given = {b"HOME": b"/"}, {b"HOME": b"/", b"MODE": b"fast"}
        >>> _followed(base, given, {**given, b"THREADS": b"1"})
        {b'HOME': b'/', b'THREADS': b'1'}
    """
    changed = {name: content for name, content in now.items() if old.get(name) != content}
    return {name: base[name] for name in base if name in now or name not in old} | changed


def _copy(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_copy, value))
    return value.copy() if isinstance(value, (list, dict)) else value


class ProcessState:
    """What this process had around its tasks when it began.

    Args:
        owner: The process that started this one: its limits are these.
        output: Makes standard streams, and tells what cannot be left to the task.
    """

    def __init__(self, owner: int, output: Output) -> None:
        self._owner = owner
        self._output = output
        self._modules = _own_modules()
        self._own = self._modules.read()
        self._faults = faulthandler.is_enabled()
        self._limits: list[tuple[int, tuple[int, int]]] = []
        self._values = [_copy(item.read()) for item in _ITEMS]
        self._umask = os.umask(0o77)
        os.umask(self._umask)
        self._mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
        self._share = _share()
        self._directory = _directory()
        self._directory_fd = os.open(".", _PLACE)  # it may be gone, or not be read
        self._fds = [os.dup(fd) for fd in range(3)]
        self._files = [_identity(fd) for fd in range(3)]
        self._looked = self._checked = 0
        self._locale = _locale.setlocale(_locale.LC_ALL)
        self._threads = set(threading.enumerate())

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Around the import of code: what it changes for all that use it stays."""
        before = [_copy(item.read()) for item in _IMPORTED]
        try:
            yield
        finally:
            for number, old in enumerate(before):
                now = _IMPORTED[number].read()
                if now != old:
                    kept = _copy(now) if number else _followed(self._values[0], old, now)
                    self._values[number] = kept

    def surround(self, variables: Mapping[str, str]) -> None:
        """Set environment variables, until everything is put back."""
        os.environ.update(variables)
        if "TZ" in variables:
            time.tzset()

    def adopt_threads(self) -> None:
        """The threads that run now are the process's own."""
        self._threads.update(threading.enumerate())

    def restore(self, task: str, now: int, *, thorough: bool) -> bool:
        """Put everything back after a task; False if this process cannot be used any more.

        Args:
            task: The task's name.
            now: Nanoseconds of CLOCK_MONOTONIC.
            thorough: Ask the kernel, too.
        """
        if not thorough and now - self._checked < _CHECK_NANOSECONDS:
            return True
        self._checked = now
        try:
            found = [item.read() for item in _ITEMS]
            if found != self._values:
                self._put_back(found)
            if thorough:
                self._restore_process(now)
                self._tell_threads(task)
        except Exception as error:
            what = f"what task {task!r} changed in its process cannot be put back"
            self._output.say(f"{what}: {error!r}")
            return False
        return True

    def _put_back(self, found: list[Any]) -> None:
        for item, now, value in zip(_ITEMS, found, self._values, strict=True):
            if now != value:
                item.write(value)

    def _restore_process(self, now: int) -> None:
        os.umask(self._umask)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self._mask)
        for timer in _TIMERS:
            _signal.setitimer(timer, 0)
        self._restore_directory()
        if now - self._looked > _STREAMS_NANOSECONDS:
            self._looked = now
            self._restore_streams()
            if _share() != self._share:
                _set_share(self._share)
        self._restore_faults()
        self._restore_libraries()

    def _restore_directory(self) -> None:
        try:
            os.fchdir(self._directory_fd)  # quicker than to ask where this is
        except OSError:
            if _directory() != self._directory:
                raise

    def _restore_faults(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        if self._faults and not faulthandler.is_enabled():
            faulthandler.enable()

    def _restore_libraries(self) -> None:
        if self._modules.read() != self._own:
            self._modules.write(self._own)
        modules = sys.modules
        if "locale" in modules and _locale.setlocale(_locale.LC_ALL) != self._locale:
            _locale.setlocale(_locale.LC_ALL, self._locale)
        if "decimal" in modules:
            modules["decimal"].setcontext(modules["decimal"].Context())
        if "multiprocessing" in modules:
            modules["multiprocessing"].set_start_method(None, force=True)
        if "asyncio.events" in modules:  # another policy, or an event loop that was closed
            vars(modules["asyncio.events"])["_event_loop_policy"] = None
        if "resource" in modules:
            self._restore_limits(modules["resource"])

    def _restore_streams(self) -> None:
        for fd, (kept, file) in enumerate(zip(self._fds, self._files, strict=True)):
            if _identity(fd) != file:
                os.dup2(kept, fd)
        for number, name in enumerate(_STREAMS):
            stream = getattr(sys, name)
            if stream is not None and stream.closed:
                setattr(sys, name, self._output.reopen(number) if number else _input())
                self._values[len(_IMPORTED)] = _ATTRIBUTES.read()

    def _restore_limits(self, resource: Any) -> None:
        if not hasattr(resource, "prlimit"):
            return
        if not self._limits:
            numbers = {getattr(resource, name) for name in dir(resource) if name[:7] == "RLIMIT_"}
            self._limits = [(number, resource.prlimit(self._owner, number)) for number in numbers]
        for number, limits in self._limits:
            if resource.getrlimit(number) != limits:
                resource.setrlimit(number, limits)

    def _tell_threads(self, task: str) -> None:
        if threading.active_count() <= len(self._threads):
            return
        running = set(threading.enumerate())
        left = running - self._threads
        if left:
            names = ", ".join(sorted(thread.name for thread in left))
            self._output.say(
                f"task {task!r} left threads running: {names}; they go on beside later tasks: "
                "let a task wait for the threads that it starts"
            )
        self._threads = running


def _share() -> tuple[Any, ...]:
    """How much of the processors this process gets: its niceness, and which ones."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux
    return os.getpriority(os.PRIO_PROCESS, 0), affinity(0) if affinity is not None else None


def _set_share(share: tuple[Any, ...]) -> None:
    niceness, processors = share
    if os.getpriority(os.PRIO_PROCESS, 0) != niceness:
        os.setpriority(os.PRIO_PROCESS, 0, niceness)  # which an ordinary user may not lower
    if processors is not None:
        os.sched_setaffinity(0, processors)


def _input() -> io.TextIOWrapper:
    return open(0, closefd=False)


def _directory() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - pathlib is not imported in children
    except OSError:  # it was removed
        return None


def _identity(fd: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino
