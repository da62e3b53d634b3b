"""Where files go that arrive in this process."""

from __future__ import annotations

import os

_directory: str | None = None


def arrive_in(directory: str) -> None:
    """Have what arrives go into a directory that somebody removes when this process has ended.

    Args:
        directory: Of this process; who started it removes it, also if it was killed.
    """
    global _directory  # noqa: PLW0603 - one place for the process, said at its start
    _directory = os.path.abspath(directory)  # noqa: PTH100 - no pathlib in children


def arrivals() -> str | None:
    """That directory; None: where temporary files go."""
    return _directory
