"""What a task changes in its process does not reach the next engine task."""

from __future__ import annotations

import _signal
import asyncio
import builtins
import codecs
import contextlib
import contextvars
import copyreg
import decimal
import faulthandler
import gc
import importlib
import locale
import logging
import os
import random
import signal
import socket
import stat
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from armoflow import Client, task
from tests.integration.engines import STOCK, Up, up


@pytest.fixture(scope="module", params=["embedded", "stock"])
def single(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Up]:
    """An engine with one process for all tasks."""
    arguments = ["--workers", "1"]
    if request.param == "stock":
        arguments += STOCK[2:]
    with up(tmp_path_factory.mktemp(request.param), *arguments) as engine:
        yield engine


def look() -> dict[str, Any]:
    umask = os.umask(0)
    os.umask(umask)
    return {
        "pid": os.getpid(),
        "directory": str(Path.cwd()),
        "environment": sorted(os.environ.items()),
        "umask": umask,
        "path": list(sys.path),
        "hooks": [sys.excepthook is sys.__excepthook__, sys.displayhook is sys.__displayhook__],
        "path hooks": len(sys.path_hooks),
        "arguments": len(sys.argv),
        "limit": sys.getrecursionlimit(),
        "interval": sys.getswitchinterval(),
        "gc": [gc.isenabled(), gc.get_threshold()],
        "zone": [time.tzname, time.localtime(0).tm_hour],
        "silenced": logging.root.manager.disable,
        "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "processors": sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else [],
        "trace": [sys.gettrace() is None, sys.getprofile() is None],
        "handlers": [repr(_signal.getsignal(number)) for number in (1, 10, 12, 14, 15)],
        "alarms": [signal.getitimer(timer)[0] > 0 for timer in range(3)],
        "faults": faulthandler.is_enabled(),
        "own": getattr(sys.modules.get("armoflow.config"), "__name__", None),
        "policy": type(asyncio.get_event_loop_policy()).__name__,
        "timeout": socket.getdefaulttimeout(),
        "filters": len(warnings.filters),
        "locale": locale.setlocale(locale.LC_ALL),
        "streams": [getattr(sys, name).closed for name in ("stdin", "stdout", "stderr")],
        "names": [type(getattr(sys, name)).__name__ for name in ("stdin", "stdout", "stderr")],
        "files": [os.fstat(fd).st_ino for fd in range(3)],
    }


class Policy(asyncio.DefaultEventLoopPolicy):
    """A task's own."""


def dup_over(fd: int) -> None:
    other = os.open("/dev/null", os.O_RDWR)
    os.dup2(other, fd)
    os.close(other)


def move_to_tokyo() -> None:
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()


def take_one_processor() -> None:
    time.sleep(0.002)  # what asks the kernel much is looked at every millisecond
    if sys.platform == "linux":
        os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])


CHANGES: dict[str, Callable[[], Any]] = {
    "directory": lambda: os.chdir("/"),
    "directory that is gone": lambda: (
        os.chdir(tempfile.mkdtemp()),
        Path.cwd().rmdir(),
    ),
    "environment": lambda: (os.environ.update(ADDED="1", PATH="/x"), os.environ.pop("HOME", None)),
    "umask": lambda: os.umask(0o77),
    "path": lambda: sys.path.insert(0, "/nowhere"),
    "new path": lambda: setattr(sys, "path", ["/nowhere", *sys.path]),
    "stdout": lambda: setattr(sys, "stdout", None),
    "stderr closed": lambda: [stream.close() for stream in (sys.stderr, sys.stdout)],
    "stdin": lambda: setattr(sys, "stdin", sys.stderr),
    "fd 0": lambda: os.close(0),
    "fd 1": lambda: dup_over(1),
    "fd 2": lambda: dup_over(2),
    "handler": lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN),
    "alarm": lambda: signal.alarm(1000),
    "timer": lambda: signal.setitimer(signal.ITIMER_REAL, 1000),
    "virtual timer": lambda: signal.setitimer(signal.ITIMER_VIRTUAL, 1000),
    "profiling timer": lambda: signal.setitimer(signal.ITIMER_PROF, 1000),
    "faults": faulthandler.disable,
    "own module": lambda: sys.modules.update({"armoflow.config": sys}),
    "own module gone": lambda: sys.modules.pop("armoflow.config"),
    "policy": lambda: asyncio.set_event_loop_policy(Policy()),
    "path hooks": lambda: sys.path_hooks.append(str),
    "arguments": lambda: setattr(sys, "argv", ["other"]),
    "zone": move_to_tokyo,
    "silenced": lambda: logging.disable(logging.CRITICAL),
    "mask": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]),
    "interval": lambda: sys.setswitchinterval(1.0),
    "thresholds": lambda: gc.set_threshold(1, 1, 1),
    "processors": take_one_processor,
    "hooks": lambda: (setattr(sys, "excepthook", print), setattr(sys, "displayhook", print)),
    "threads' hook": lambda: setattr(threading, "excepthook", print),
    "limit": lambda: sys.setrecursionlimit(5000),
    "gc": gc.disable,
    "profile": lambda: sys.setprofile(lambda *_: None),
    "timeout": lambda: socket.setdefaulttimeout(5),
    "filters": lambda: warnings.simplefilter("error"),
    "locale": lambda: locale.setlocale(locale.LC_ALL, "C.UTF-8"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_next_task_finds_everything_as_it_was(single: Up, change: str) -> None:
    looking, changing = task(look), task(CHANGES[change])
    with Client(single.endpoint, batch_size=1, fuse=False) as client:
        before = client.compute(looking())
        client.submit(changing()).exception()
        assert client.compute(looking()) == before


@task
def moves_all() -> None:
    for change in ("directory", "umask", "alarm", "environment"):
        CHANGES[change]()


@task
def returns_what_moves() -> Any:
    return moves_all()


def test_what_a_call_of_a_returned_graph_has_changed_is_put_back(single: Up) -> None:
    with Client(single.endpoint) as client:
        before = client.compute(task(look)())
        client.compute(returns_what_moves())
        assert client.compute(task(look)()) == before


def change_more() -> None:
    """What is looked at every millisecond, or in libraries."""
    import resource

    time.sleep(0.002)
    decimal.DefaultContext.prec = 3
    decimal.getcontext().flags[decimal.Inexact] = True
    sys.modules.pop("json", None)
    sys.modules["types"] = sys
    sys.stdout.reconfigure(encoding="ascii", errors="strict")
    for number in (signal.SIGURG, signal.SIGCONT):
        signal.signal(number, signal.SIG_IGN)
    _, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    threading.setprofile(print)
    threading.settrace(print)
    threading.stack_size(65536)
    gc.set_debug(gc.DEBUG_UNCOLLECTABLE)
    gc.callbacks.append(print)
    asyncio.events._set_running_loop(asyncio.new_event_loop())
    tempfile.tempdir = "/nowhere"
    sys.tracebacklimit = 0
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0 if soft else 1, hard))
    os.environ = dict(os.environ)  # type: ignore[assignment]  # noqa: B003


def look_at_more() -> dict[str, Any]:
    import resource
    import types

    return {
        "decimals": [decimal.Context().prec, repr(decimal.getcontext())],
        "modules": types.__name__,
        "encoding": [sys.stdout.encoding, sys.stdout.errors],
        "handlers": [signal.getsignal(number) for number in (signal.SIGURG, signal.SIGCONT)],
        "wakeup": signal.set_wakeup_fd(-1),
        "threads": [threading.gettrace(), threading.getprofile(), threading.stack_size()],
        "gc": [gc.get_debug(), len(gc.callbacks)],
        "loop": asyncio.events._get_running_loop(),
        "temporary": tempfile.gettempdir(),
        "limit": getattr(sys, "tracebacklimit", None),
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "environment": type(os.environ).__name__,
    }


def test_the_next_task_finds_more_as_it_was(single: Up) -> None:
    with Client(single.endpoint, batch_size=1, fuse=False) as client:
        before = client.compute(task(look_at_more)())
        client.compute(task(change_more)())
        assert client.compute(task(look_at_more)()) == before


MOST: contextvars.ContextVar[int] = contextvars.ContextVar("MOST")


def change_what_modules_keep() -> None:
    import csv
    import urllib.request

    logging.basicConfig(level=1)
    logging.captureWarnings(True)
    logging.setLoggerClass(type("Own", (logging.Logger,), {}))
    logging.setLogRecordFactory(lambda *_, **__: None)  # type: ignore[arg-type, return-value]
    logging.addLevelName(logging.INFO, "told")
    logging.raiseExceptions, logging.lastResort = False, None
    codecs.register(lambda name: codecs.lookup("utf-8") if name == "own" else None)
    codecs.register_error("replace", lambda error: ("x", error.end))
    b"".decode("own")
    urllib.request.install_opener(urllib.request.build_opener())
    csv.field_size_limit(5)
    copyreg.add_extension("own", "name", 77_777)  # type: ignore[arg-type]
    vars(builtins)["own"] = 1
    MOST.set(1)
    time.sleep(0.002)  # what costs more to look at is looked at every millisecond


def look_at_what_modules_keep() -> dict[str, Any]:
    import csv
    import urllib.request

    root = logging.root
    try:
        found = str(codecs.lookup("own"))
    except LookupError:
        found = ""
    return {
        "root": [len(root.handlers), root.level, root.disabled],
        "logging": [
            logging.getLoggerClass().__name__,
            logging.getLogRecordFactory().__name__,
            *(logging.getLevelName(logging.INFO), logging.getLevelName("FATAL")),
            *(logging.raiseExceptions, logging.lastResort is None),
        ],
        "warnings": warnings.showwarning.__module__,
        "codec": found,
        "errors": b"\xff".decode("ascii", "replace"),
        "opener": vars(urllib.request)["_opener"],
        "field": csv.field_size_limit(),
        "extensions": len(copyreg._extension_registry),  # type: ignore[attr-defined]
        "builtins": "own" in vars(builtins),
        "variable": MOST.get(None),
    }


def test_what_modules_keep_is_put_back(single: Up) -> None:
    with Client(single.endpoint, batch_size=1, fuse=False) as client:
        before = client.compute(task(look_at_what_modules_keep)())
        client.compute(task(change_what_modules_keep)())
        assert client.compute(task(look_at_what_modules_keep)()) == before


def register_more() -> None:
    import calendar
    import csv
    import json
    import multiprocessing
    import shutil
    import subprocess
    import urllib.parse
    import xml.etree.ElementTree as ElementTree

    csv.register_dialect("own", delimiter="|")
    shutil.register_archive_format("own", lambda *_: None)
    ElementTree.register_namespace("own", "http://own")
    urllib.parse.uses_netloc.append("own")
    multiprocessing.set_executable("own")
    calendar.setfirstweekday(6)
    json._default_encoder = json.JSONEncoder(indent=4)  # type: ignore[attr-defined]
    json.JSONEncoder.default = lambda *_: "own"  # type: ignore[method-assign, assignment]
    random.Random.random = lambda _: 4.0  # type: ignore[method-assign, assignment]
    vars(subprocess)["_USE_VFORK"] = False
    faulthandler.register(signal.SIGUSR1)
    os.putenv("OWN", "1")
    os.unsetenv("PATH")
    os.set_blocking(1, False)
    threading.current_thread().name = "own"
    sys.pycache_prefix = "own"
    sys.warnoptions.append("error")
    sys.setdlopenflags(sys.getdlopenflags() | os.RTLD_GLOBAL)
    time.sleep(0.006)


def look_at_registered() -> dict[str, Any]:
    import calendar
    import csv
    import json
    import multiprocessing.spawn
    import shutil
    import subprocess
    import urllib.parse
    import xml.etree.ElementTree as ElementTree

    shown = subprocess.run(
        ["/bin/sh", "-c", "echo $OWN $PATH"], check=True, capture_output=True, text=True
    )
    try:
        other = json.dumps([object()])
    except TypeError:
        other = ""
    return {
        "dialects": csv.list_dialects(),
        "formats": shutil.get_archive_formats(),
        "namespace": "http://own" in vars(ElementTree)["_namespace_map"],
        "schemes": len(urllib.parse.uses_netloc),
        "executable": multiprocessing.spawn.get_executable(),
        "weekday": calendar.firstweekday(),
        "json": [json.dumps([1]), other],
        "random": random.Random(1).random(),
        "fork": vars(subprocess)["_USE_VFORK"],
        "signal": faulthandler.unregister(signal.SIGUSR1),
        "variables": shown.stdout,
        "blocking": os.get_blocking(1),
        "thread": threading.current_thread().name,
        "system": [sys.pycache_prefix, sys.warnoptions, sys.getdlopenflags()],
    }


def test_what_is_registered_with_modules_is_taken_away(single: Up) -> None:
    with Client(single.endpoint, batch_size=1, fuse=False) as client:
        before = client.compute(task(look_at_registered)())
        client.compute(task(register_more)())
        assert client.compute(task(look_at_registered)()) == before


def own_place(change: bool = False) -> list[Any]:
    """What tools show as its name, how it is run, and what it reaches of the disk first."""
    import ctypes
    import platform

    library, name = ctypes.CDLL(None), ctypes.create_string_buffer(16)
    read, write = {"x86_64": (252, 251)}.get(platform.machine(), (31, 30))
    if change:
        library.prctl(15, b"own", 0, 0, 0)
        library.personality(0x0040000)
        library.syscall(write, 1, 0, 3 << 13)
        time.sleep(0.006)
    library.prctl(16, name, 0, 0, 0)
    return [name.value, library.personality(0xFFFFFFFF), library.syscall(read, 1, 0)]


@pytest.mark.skipif(sys.platform != "linux", reason="Linux has prctl")
def test_the_name_and_the_place_of_a_process_are_put_back(single: Up) -> None:
    with Client(single.endpoint, batch_size=1, fuse=False) as client:
        before = client.compute(task(own_place)())
        assert client.compute(task(own_place)(change=True)) != before
        assert client.compute(task(own_place)()) == before


def kernel(change: bool = False) -> list[Any]:
    """Whether it ends with what started it, adopts what its tasks start, and is the first to go."""
    import ctypes

    prctl, number = ctypes.CDLL(None).prctl, ctypes.c_int()
    if change:
        prctl(1, 0, 0, 0, 0)
        prctl(36, 0, 0, 0, 0)
        Path("/proc/self/oom_score_adj").write_text("900")
        time.sleep(0.006)
    found: list[Any] = [Path("/proc/self/oom_score_adj").read_text()]
    for get in (2, 37):
        prctl(get, ctypes.byref(number), 0, 0, 0)
        found.append(number.value)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="Linux has prctl")
def test_what_the_kernel_keeps_is_put_back(single: Up) -> None:
    with Client(single.endpoint, batch_size=1, fuse=False) as client:
        before = client.compute(task(kernel)())
        assert client.compute(task(kernel)(change=True)) != before
        assert client.compute(task(kernel)()) == before


def keep_no_privileges() -> None:
    import ctypes

    ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
    time.sleep(0.006)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda: sys.addaudithook(lambda *_: None), id="audit"),
        pytest.param(lambda: os.register_at_fork(before=list), id="fork"),
        pytest.param(keep_no_privileges, id="privileges"),
    ],
)
def test_a_process_that_keeps_something_for_good_is_replaced(
    single: Up, change: Callable[[], None]
) -> None:
    with Client(single.endpoint, batch_size=1, fuse=False) as client:
        before = client.compute(task(os.getpid)())
        client.compute(task(change, name="change")())
        assert client.compute(task(os.getpid)()) != before


def patch_library() -> None:
    import json
    import pickle
    import ssl
    import tracemalloc

    json.dumps = pickle.loads = time.time = lambda *_, **__: "patched"  # type: ignore[assignment]
    ssl._create_default_https_context = ssl._create_unverified_context
    copyreg.pickle(complex, lambda _: (complex, ()))
    tracemalloc.start()
    del random.random
    time.sleep(0.006)  # what costs most to look at is looked at every five milliseconds


def use_library() -> tuple[Any, ...]:
    import json
    import ssl
    import tracemalloc

    context = ssl._create_default_https_context
    numbers = (
        json.dumps([1]),
        1 + 2j,
        tracemalloc.is_tracing(),
        time.time() > 1,
        random.random() < 1,
    )
    return *numbers, context is ssl.create_default_context


def test_functions_of_the_standard_library_are_put_back(single: Up) -> None:
    with Client(single.endpoint, batch_size=1, fuse=False) as client:
        before = client.compute(task(use_library)())
        assert before == ("[1]", 1 + 2j, False, True, True, True)
        client.compute(task(patch_library)())
        assert client.compute(task(use_library)()) == before


def become_another() -> None:
    time.sleep(0.002)
    os.setgroups([1])
    os.setresgid(65534, 65534, 0)
    os.setresuid(65534, 65534, 0)


def move_root(path: str) -> None:
    time.sleep(0.002)
    os.chroot(path)


def who() -> tuple[Any, ...]:
    return os.getresuid(), os.getresgid(), os.getgroups(), Path("/proc/self/stat").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root may")
def test_who_a_process_is_and_its_root_are_put_back_or_it_is_replaced(
    single: Up, tmp_path: Path
) -> None:
    with Client(single.endpoint, batch_size=1, fuse=False) as client:
        before = client.compute(task(who)())
        client.submit(task(become_another)()).exception()  # it may not write its result any more
        assert client.compute(task(who)()) == before
        client.submit(task(move_root)(str(tmp_path))).exception()
        assert client.compute(task(who)()) == before


def start_method() -> None:
    import multiprocessing

    multiprocessing.set_start_method("spawn")


def precision() -> Any:
    told = decimal.getcontext().prec
    decimal.getcontext().prec = 3
    return told


def test_what_libraries_keep_for_the_process(single: Up) -> None:
    with Client(single.endpoint, batch_size=1) as client:
        for _ in range(2):
            client.compute(task(start_method)())
        told = [client.compute(task(precision)()) for _ in range(2)]
        assert told[0] == told[1]


def lower_limit() -> int:
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
    return os.getpid()


def open_limit() -> tuple[int, int]:
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of another process are asked for")
def test_limits_are_put_back_or_the_process_is_replaced(single: Up) -> None:
    with Client(single.endpoint, batch_size=1) as client:
        before = client.compute(task(open_limit)())
        client.compute(task(lower_limit)())
        assert client.compute(task(open_limit)()) == before


def close_what_restores(log: str) -> int:
    """The way back to the directory is closed: this process cannot be used any more."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        with contextlib.suppress(OSError):
            if int(name) > 2 and stat.S_ISDIR(os.fstat(int(name)).st_mode):
                os.close(int(name))
    os.chdir("/")
    with Path(log).open("a") as file:
        file.write("ran\n")
    return os.getpid()


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are found through /proc")
def test_a_process_that_cannot_be_put_back_is_replaced(single: Up, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Client(single.endpoint, batch_size=1, fuse=False, crash_retries=0) as client:
        before = client.compute(task(look)())
        futures = [
            client.submit(task(work)(*arguments))
            for _ in range(3)
            for work, arguments in ((close_what_restores, (str(log),)), (look, ()))
        ]
        told = client.gather(futures)
    assert told[0] == before["pid"]
    assert len(set(told[::2])) == 3
    for seen in told[1::2]:
        assert seen["pid"] not in told[::2][: told[1::2].index(seen) + 1]
        assert seen["directory"] == before["directory"]
    assert log.read_text() == "ran\n" * 3  # none of them was run again


def leave_thread() -> None:
    event = threading.Event()
    threading.Thread(target=event.wait, name="left-behind", daemon=True).start()


def output() -> str:
    """What this process has written."""
    return Path(f"/proc/{os.getpid()}/fd/2").resolve().read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="the worker's log is found through /proc")
def test_threads_left_running_are_told_once(single: Up) -> None:
    with Client(single.endpoint, batch_size=1, fuse=False) as client:
        client.compute(task(leave_thread)())
        client.compute(task(look)())
        told = client.compute(task(output)())
    assert told.count("task 'leave_thread' left threads running: left-behind") == 1


def test_what_a_module_of_the_users_sets_when_it_is_imported_stays(
    single: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "sets_for_good"
    (tmp_path / f"{name}.py").write_text(
        "import decimal, os, sys\nos.environ['FOR_GOOD'] = '1'\nsys.path.append('/for/good')\n"
        "decimal.getcontext().prec = 5\n"
        "def seen():\n    third = str(decimal.Decimal(1) / 3)\n"
        "    return os.environ.get('FOR_GOOD'), '/for/good' in sys.path, third\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    with decimal.localcontext():
        module = __import__(name)
    monkeypatch.delenv("FOR_GOOD")
    with Client(single.endpoint, batch_size=1) as client:
        for _ in range(3):
            assert client.compute(task(module.seen)()) == ("1", True, "0.33333")
    del sys.modules[name]


SETS_ALL_FOR_GOOD = """
import contextvars, decimal, locale, logging, multiprocessing, os, signal, sys

VARIABLE = contextvars.ContextVar("VARIABLE")
VARIABLE.set("set")
logging.root.setLevel(5)
sys.addaudithook(lambda *_: None)
os.environ["FOR_GOOD"] = "1"
sys.path.append("/for/good")
sys.setrecursionlimit(3000)
decimal.getcontext().prec = 50
locale.setlocale(locale.LC_ALL, "C.UTF-8")
multiprocessing.set_start_method("spawn", force=True)
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
os.umask(0o27)


def seen():
    os.umask(umask := os.umask(0))
    return [
        *(os.environ.get("FOR_GOOD"), "/for/good" in sys.path, sys.getrecursionlimit()),
        *(str(decimal.Decimal(1) / 3), locale.setlocale(locale.LC_ALL), umask),
        *(multiprocessing.get_start_method(), signal.getsignal(signal.SIGUSR1).name),
        *(VARIABLE.get(None), logging.root.level),
    ]
"""


def test_what_a_module_sets_that_a_task_imports_stays(single: Up, tmp_path: Path) -> None:
    (tmp_path / "sets_all_for_good.py").write_text(SETS_ALL_FOR_GOOD)
    folder = str(tmp_path)

    def seen() -> Any:
        os.environ["ONLY"] = "in this task"
        with warnings.catch_warnings(), contextlib.redirect_stdout(None):
            warnings.simplefilter("ignore")
            sys.path.insert(0, folder)
            return importlib.import_module("sets_all_for_good").seen()

    def others() -> Any:
        return (
            os.environ.get("ONLY"),
            sys.stdout is None,
            warnings.filters[0][0],
            folder in sys.path,
        )

    with Client(single.endpoint, batch_size=1, fuse=False) as client:
        before = client.compute(task(others)())
        process = client.compute(task(os.getpid)())
        told = [client.compute(task(seen)()) for _ in range(3)]
        assert client.compute(task(os.getpid)()) == process
        assert client.compute(task(others)()) == before
    third = "0." + 50 * "3"
    assert told == 3 * [["1", True, 3000, third, "C.UTF-8", 0o27, "spawn", "SIG_IGN", "set", 5]]
