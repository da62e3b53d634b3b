"""Faults of disk and memory: which of them pass, and how they are told.

A fault that passes (no space, no inodes, a quota, a file system that is read-only for a while) is a
state: what met it is kept or refused, and goes on when it is over. Any other one, a file that is
gone for example, ends what met it.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""There is no room, or no more is allowed."""

PASSING: Final = FULL | {
    *(errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.EBUSY, errno.EAGAIN),
    *(errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ETIMEDOUT),
}
"""What an administrator, or time, can put right while the program runs."""


def passes(error: BaseException) -> bool:
    """Whether the same may succeed later.

    Example:
        >>> passes(OSError(errno.ENOSPC, "no space left")), passes(FileNotFoundError("gone"))
        (True, False)
    """
    if isinstance(error, OSError):
        return error.errno in PASSING
    return isinstance(error, MemoryError)


def describe(error: BaseException, path: str | os.PathLike[str], remedy: str = "") -> str:
    """What is wrong, where, how much is free there, and what to do.

    Args:
        error: The fault.
        path: The file or directory that met it.
        remedy: What else to do than to make room.

    Example:
        >>> describe(IsADirectoryError(21, "Is a directory"), "/", "name a file")
        'cannot write /: is a directory; name a file'
    """
    if not isinstance(error, OSError):
        reason = str(error) or "no memory left"
    else:
        reason = error.strerror or str(error)
        reason = reason[:1].lower() + reason[1:]
    remedies = [remedy] if remedy else []
    if _is_full(error, reason):
        reason += f" ({_free(path)})"
        remedies.insert(0, "make room there")
    text = f"cannot write {os.fspath(path)}: {reason}"
    return f"{text}; {', or '.join(remedies)}" if remedies else text


def located(error: OSError, path: str) -> OSError:
    """The same error with what a message should say: where, and how much is free there."""
    reason = error.strerror or str(error)
    if _is_full(error, reason):
        reason += f" ({_free(path)}; make room there, or set TMPDIR or the state elsewhere)"
    return OSError(error.errno, reason, path)


def _is_full(error: BaseException, reason: str) -> bool:
    return "full" in reason or (isinstance(error, OSError) and error.errno in FULL)


def _free(path: str | os.PathLike[str]) -> str:
    """What is free on the file system of a path, which need not exist."""
    place = Path(path).absolute()
    for directory in (place, *place.parents):
        try:
            found = os.statvfs(directory)
            break
        except OSError:
            continue
    else:
        return "how much is free cannot be told"
    free = f"{found.f_bavail * found.f_frsize:,} bytes"
    if found.f_files:
        free += f" and {found.f_favail:,} files"
    return f"{free} free"
