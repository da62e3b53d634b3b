"""The report that a client leaves when it ends."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from pathlib import Path

from armoflow.errors import ArmoflowError, OptionError
from armoflow.protocol.settings import ConnectionSettings

logger = logging.getLogger(__name__)


def check_report(value: object, *, local: object) -> Path | None:
    """The file that a report goes to, None if there is to be none.

    Raises:
        OptionError: If it is no path, cannot be written, or would tell of nothing.
    """
    if value is None:
        return None
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise OptionError(f"report must be the path of a file such as 'run.html', not {value!r}")
    if local:
        raise OptionError(
            f"local=True runs in the caller's thread, on no engine: leave out report={value!r}"
        )
    path = Path(os.fspath(value)).absolute()
    if path.is_dir() or not path.parent.is_dir():
        raise OptionError(f"report={value!r} cannot be written: {path.parent} must be a directory")
    return path


def write_report(settings: ConnectionSettings, session_id: str, path: Path) -> None:
    """Ask an engine for all that it knows of a session, and write it; what fails is logged.

    Args:
        settings: Where the engine is.
        session_id: Which session.
        path: Where to write.
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
        else:
            if sys.stderr is not None:
                print(f"armoflow: report in {path}", file=sys.stderr)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        write()  # at the interpreter's end no thread can be started any more
        return
    thread = threading.Thread(target=write, name="armoflow-report")
    thread.start()
    thread.join()
