"""A name of the script that did not travel to the worker: what is said of it where it is missed."""

from __future__ import annotations

import types
from contextlib import suppress
from typing import Any

from armoflow.codec.bare import arguments_of, attribute, is_a, traceback_of
from armoflow.system.importing import MAIN

_TEXT = "<string>"
"""The file of code that ``eval`` and ``exec`` run."""


def note_absence(error: BaseException) -> None:
    """Add a note where a task has asked for a name of its script that is made up at run time.

    Example:
        >>> scope = {"__name__": "__main__"}
        >>> exec("def f(): return globals()['t' + 'wo']", scope)
        >>> try:
        ...     scope["f"]()
        ... except KeyError as error:
        ...     note_absence(error)
        ...     print(error.__notes__[0][:65])
        if the script defines 'two', it did not travel: of a script, a wo
    """
    name = _missed(error)
    if not name or attribute(error, "__notes__") is not None:
        return
    note = (
        f"if the script defines {name!r}, it did not travel: of a script, a worker has what a "
        "task's code names, and what it spells out in globals()['name'] or eval('name'). Name it "
        "in the code, pass it as an argument, or move it to a module"
    )
    with suppress(TypeError):  # it may have no attributes
        vars(error)["__notes__"] = [note]  # Python 3.10 has no add_note


def _missed(error: BaseException) -> str:
    """The global of a script that was looked up in vain; empty: it was something else."""
    if not (is_a(error, KeyError) or is_a(error, NameError)):
        return ""
    frame = _innermost(traceback_of(error))
    if frame is None or frame.f_globals.get("__name__") not in MAIN:
        return ""
    name: Any
    if is_a(error, KeyError):
        by_text = "globals" in frame.f_code.co_names
        name = next(iter(arguments_of(error)), None)
    else:
        by_text = frame.f_code.co_filename == _TEXT
        name = attribute(error, "name")
    absent = isinstance(name, str) and name.isidentifier() and name not in frame.f_globals
    return str(name) if by_text and absent else ""


def _innermost(traceback: types.TracebackType | None) -> types.FrameType | None:
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return None if traceback is None else traceback.tb_frame
