"""The standard streams of the user's program: who reads them, and what they can encode."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

GONE = (OSError, ValueError)
"""What is raised where nobody reads a standard stream any more, or the program has closed it."""


def is_notebook(stream: Any) -> bool:
    """Whether what is written to a standard stream is shown in a notebook."""
    return type(stream).__module__.startswith("ipykernel.")


def cell_of(stream: Any) -> int:
    """Which cell of a notebook runs, of those that write to a standard stream; 0: it shows none."""
    if not is_notebook(stream):
        return 0
    from IPython import get_ipython

    count: int = get_ipython().execution_count
    return count


def is_terminal(stream: Any) -> bool:
    """Whether it is shown in a terminal."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # there is none, one of the user's own, or it is closed
        return False


def write(stream: Any, text: str) -> None:
    """Write to a standard stream, whatever it is and can encode."""
    if stream is not None:
        encoding = getattr(stream, "encoding", None) or "utf-8"
        stream.write(text.encode(encoding, "replace").decode(encoding, "replace"))
        stream.flush()


def tell(stream: Any, text: str) -> None:
    """Say a line, if there is a stream and somebody reads it: the program goes on without."""
    if stream is not None:
        with suppress(*GONE):
            print(text, file=stream)
