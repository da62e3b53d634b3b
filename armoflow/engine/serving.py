"""Runs a server as a process: says when it is ready, and ends it when told, cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from armoflow import config
from armoflow.config import KIB
from armoflow.engine.garbage import THRESHOLDS, Collector, nothing_collected
from armoflow.engine.presence import Presence, attend
from armoflow.engine.server import Server, ServerOptions
from armoflow.errors import ArmoflowError, EngineError
from armoflow.system.descendants import MARK, new_mark
from armoflow.system.descriptors import require_files
from armoflow.system.ending import ending_at_once, watch_signals
from armoflow.system.first_process import bury_adopted
from armoflow.system.guardian import Guardian
from armoflow.system.interpreter import interpreter_identity
from armoflow.system.meeting import leave
from armoflow.system.new_threads import lacks_thread, thread_limit
from armoflow.system.threads import Threads

EXIT_FAILED = 1
EXIT_USAGE = 2

_M_MMAP_THRESHOLD = -3
_MAPPED_FROM = 256 * KIB
"""Bytes of a block from which it is mapped: more than most messages have."""


def print_error(text: str) -> None:
    """Say it for people, on the standard error."""
    print(f"armoflow: error: {text}", file=sys.stderr, flush=True)


def run_server(
    options: ServerOptions,
    *,
    alive: int | None = None,
    presence: Presence | None = None,
    stays: bool = False,
    temporary: Sequence[Path] = (),
    companion: Callable[[str], Sequence[str]] | None = None,
    tell: Callable[[str], None] = print_error,
) -> int:
    """Serve until a signal comes, the parent or all clients are gone, or the journal fails.

    Prints ``ready: ADDRESS`` on the standard output once the server serves.

    Args:
        options: What to serve.
        alive: A descriptor, inherited from the parent, that is read to its end when it is gone.
        presence: The clients for as long as which it serves.
        stays: It serves without any, and lets those of its state directory find it.
        temporary: Directories to remove once neither this process nor its parent has them.
        companion: Makes of the server's address the command of a process that is there as long as
            the server is.
        tell: Told why it ends, where it fails.

    Returns:
        The exit code: 0 after a signal or the parent's end, 1 if the engine failed, 2 if it could
        not start.
    """
    workers = sum(options.workers.values())
    needed = config.ENGINE_FILES + config.WORKER_FILES * workers
    try:
        require_files(needed, f"an engine with {workers} workers", raising=True)
    except EngineError as error:
        _say(error, alive, tell)
        return EXIT_USAGE
    gc.set_threshold(*THRESHOLDS)
    _return_large_blocks()
    # The journal's thread holds the lock no longer than a reply may wait for it.
    sys.setswitchinterval(0.0005)
    mark = new_mark()
    guardian = Guardian(mark, temporary)
    options = replace(options, environment={**options.environment, MARK: mark})
    try:
        return _run_loop(_run(options, alive, presence, companion, tell, stays=stays))
    except RuntimeError as error:  # the loop itself needs a thread to end in order
        if not lacks_thread(error):
            raise
        _say(error, alive, tell)
        return EXIT_USAGE
    finally:
        guardian.stop()


def _run_loop(main: Coroutine[Any, Any, int]) -> int:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    code: int = uvloop.run(main)
    return code


def _return_large_blocks() -> None:
    """Keep glibc from putting tables into its heap, where each that grows leaves a hole behind.

    It raises the size from which memory is mapped, and given back when it is freed, with each such
    block that is freed, unless it is told one. The holes were 7 MB for 100,000 queued tasks.
    """
    # Not glibc, or not Linux: then it is no matter.
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM)


async def _run(
    options: ServerOptions,
    alive: int | None,
    presence: Presence | None,
    companion: Callable[[str], Sequence[str]] | None,
    tell: Callable[[str], None],
    *,
    stays: bool,
) -> int:
    try:
        asyncio.get_running_loop().set_default_executor(Threads(None, "armoflow"))
        server = Server(options)
    except (ArmoflowError, OSError, RuntimeError) as error:
        _say(error, alive, tell)
        return EXIT_USAGE
    reload = None if options.access.users_file is None else server.reload_users
    told = watch_signals(options.address.remove_socket, hangup=reload)
    bury_adopted()
    if alive is not None:
        _watch_parent(asyncio.get_running_loop(), alive, told)
    if stays:
        presence = attend(options.engine.state_directory)
    try:
        return await _live(
            *(server, told), alive=alive, presence=presence, companion=companion, tell=tell
        )
    finally:
        if presence is not None:
            presence.close()
            leave(options.engine.state_directory)


async def _live(
    server: Server,
    told: asyncio.Event,
    *,
    alive: int | None,
    presence: Presence | None,
    companion: Callable[[str], Sequence[str]] | None,
    tell: Callable[[str], None],
) -> int:
    """Start the server, serve, and stop it; the exit code."""
    try:
        collector = Collector(server.engine.count_records)
        if not await _start(server, told):
            return 0
    except (ArmoflowError, OSError) as error:
        _say(error, alive, tell)
        return EXIT_USAGE
    collector.start()
    if presence is not None:
        told_of = {"endpoint": server.address.url, **interpreter_identity()}
        presence.begin(told_of, server.engine.busy, told.set)
    try:
        # A reader that has gone is no reason to fail: it shows by the descriptor.
        with contextlib.suppress(BrokenPipeError):
            _announce(f"ready: {server.address.url}")
            if server.web is not None:
                _announce(f"web: {server.web.url}")
            if server.metrics_url:
                _announce(f"metrics: {server.metrics_url}")
        with _beside(companion and companion(server.address.url), server.options.environment):
            return await _serve(server, told, alive, tell)
    finally:
        collector.stop()
        await server.stop()


@contextlib.contextmanager
def _beside(command: Sequence[str] | None, environment: Mapping[str, str]) -> Iterator[None]:
    """A process meanwhile; should this one be killed, the mark ends it."""
    if command is None:
        yield
        return
    with subprocess.Popen(command, env={**os.environ, MARK: environment[MARK]}) as process:
        try:
            yield
        finally:
            process.terminate()


async def _start(server: Server, told: asyncio.Event) -> bool:
    """Start the server; False if it was told to end meanwhile."""
    reloads = server.options.access.users_file is not None
    with ending_at_once(hangup=not reloads), nothing_collected():
        await server.recover()
    waiting = asyncio.ensure_future(told.wait())
    starting = asyncio.ensure_future(server.start())
    await asyncio.wait([waiting, starting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not starting.done():
        starting.cancel()
        await asyncio.wait([starting])
    if starting.cancelled():
        return False
    starting.result()
    return True


async def _serve(
    server: Server, told: asyncio.Event, alive: int | None, tell: Callable[[str], None]
) -> int:
    """Wait until the server must stop; the exit code."""
    failed = server.engine.failed
    waiting: list[asyncio.Future[Any]] = [asyncio.ensure_future(told.wait()), failed]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    waiting[0].cancel()
    if failed.done():
        _say(failed.exception(), alive, tell)
        return EXIT_FAILED
    return 0


def _say(error: BaseException | None, alive: int | None, tell: Callable[[str], None]) -> None:
    """Why it ends: on the standard error, and to the parent, whose file that is, on its pipe.

    The file may be on the very disk that is full.
    """
    if error is not None and lacks_thread(error):
        error = thread_limit(error, "serve")
    with contextlib.suppress(OSError):
        tell(str(error))
    if alive is not None:
        with contextlib.suppress(OSError):
            _announce("failed: " + " ".join(str(error).splitlines()))


def _announce(line: str) -> None:
    """Say a line on the standard output, whose reader is mostly a program.

    Paths are what the file system has, in whatever encoding Python would print.
    """
    if sys.stdout is None:
        return
    try:
        content = os.fsencode(line)
    except UnicodeEncodeError:  # of what is in no path
        content = line.encode("ascii", "backslashreplace")
    sys.stdout.buffer.write(content + b"\n")
    sys.stdout.buffer.flush()


def _watch_parent(loop: asyncio.AbstractEventLoop, alive: int, told: asyncio.Event) -> None:
    os.set_blocking(alive, False)
    os.set_inheritable(alive, False)  # a child that held it open would keep the parent "alive"

    def read() -> None:
        if not os.read(alive, 64):
            loop.remove_reader(alive)
            told.set()

    loop.add_reader(alive, read)
