"""The report that a client leaves when it ends."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from armoflow.client import streams
from armoflow.client.loop import LoopThread
from armoflow.errors import ArmoflowError, OptionError, shown
from armoflow.protocol.settings import ConnectionSettings

if TYPE_CHECKING:
    from armoflow.graph.render import Picture

logger = logging.getLogger(__name__)

T = TypeVar("T")


def check_report(value: object, *, local: object) -> Path | None:
    """The file that a report goes to, None if there is to be none.

    Raises:
        OptionError: If it is no path, cannot be written, or would tell of nothing.
    """
    if value is None:
        return None
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise OptionError(
            f"report must be the path of a file such as 'run.html', not {shown(value)}"
        )
    if local:
        raise OptionError(
            f"local=True runs in the caller's thread, on no engine: leave out report={value!r}"
        )
    path = Path(os.fspath(value)).absolute()
    if path.is_dir() or not path.parent.is_dir():
        raise OptionError(f"report={value!r} cannot be written: {path.parent} must be a directory")
    return path


@contextmanager
def able_to_report(loop: LoopThread) -> Iterator[None]:
    """A report can be written meanwhile, at the interpreter's end too.

    From Python 3.12 on no thread can be started there, and gRPC crashes where it cannot start its
    own: it is started now.
    """
    from grpc import aio  # takes longer than all that most clients import

    loop.run(aio.init_grpc_aio)
    try:
        yield
    finally:
        loop.run(aio.shutdown_grpc_aio)


def write_report(settings: ConnectionSettings, session_id: str, path: Path, told: str = "") -> None:
    """Ask an engine for all that it knows of a session, and write it; what fails is logged.

    Args:
        settings: Where the engine is.
        session_id: Which session.
        path: Where to write.
        told: What is said at the end before where the report is.
    """

    def write() -> None:
        from armoflow.protocol.inspection import Inspection
        from armoflow.report.collect import collect
        from armoflow.report.page import report

        try:
            with Inspection(settings) as inspection:
                page = report(collect(inspection, inspection.session(session_id)))
            path.write_text(page, encoding="utf-8")
        except (ArmoflowError, OSError) as error:
            logger.warning("the report could not be written to %s: %s", path, error)
            tell(told)
        else:
            tell(f"{told}; report in {path}" if told else f"armoflow: report in {path}")

    _aside(write)


def session_picture(settings: ConnectionSettings, session_id: str) -> Picture:
    """Ask an engine what a session has run, and draw it: a box for all tasks of a name."""
    from armoflow.protocol.inspection import Inspection
    from armoflow.report.collect import collect
    from armoflow.report.digest import Digest

    def look() -> Picture:
        with Inspection(settings) as inspection:
            trace = collect(inspection, inspection.session(session_id))
        digest = Digest()
        digest.add(trace.runs)
        return digest.flow.picture()

    return _aside(look)


def _aside(call: Callable[[], T]) -> T:
    """Make a call that runs a loop of its own: in a thread, where the caller's runs one."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return call()  # at the interpreter's end no thread can be started any more
    with concurrent.futures.ThreadPoolExecutor(1, "armoflow-look") as thread:
        return thread.submit(call).result()


def tell(text: str) -> None:
    """Say a line at the end: on the standard error, in a notebook among what is shown."""
    stream = sys.stdout if streams.is_notebook(sys.stdout) else sys.stderr
    if text:
        streams.tell(stream, text)
