"""Faults of disk and memory: which of them pass, and how they are told.

A fault that passes (no space, no inodes, a quota, a file system that is read-only for a while) is a
state: what met it is kept or refused, and goes on when it is over. Any other one, a file that is
gone for example, ends what met it.
"""

from __future__ import annotations

import errno
import os
import resource
from contextlib import suppress
from pathlib import Path
from typing import Final

from armoflow.system.descriptors import open_limit

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""There is no room, or no more is allowed."""

_IO_ERROR: Final = "disk I/O error"

_LITTLE: Final = 1 << 20
"""Bytes: with less free, what SQLite keeps beside a database may have no room."""

_REMEDIES: Final = {
    errno.EFBIG: "raise that limit",
    errno.EMFILE: "raise that limit",
    errno.EROFS: "make it writable",
    errno.EACCES: "give its user the right to write there",
    errno.EPERM: "give its user the right to write there",
}
"""What to do about it, where that is not to make room."""

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
    reason, facts, first = _explain(error, path)
    reason = reason[:1].lower() + reason[1:] if isinstance(error, OSError) else reason
    text = f"cannot write {os.fspath(path)}: {reason}"
    if facts:
        text += f" ({facts})"
    remedies = [each for each in (first, remedy) if each]
    return f"{text}; {', or '.join(remedies)}" if remedies else text


def located(error: OSError, path: str) -> OSError:
    """The same error with what a message should say: where, why, and what to do."""
    reason, facts, remedy = _explain(error, path)
    if remedy:
        told = [facts, f"{remedy}, or set TMPDIR or the state elsewhere"]
        reason += f" ({'; '.join(filter(None, told))})"
    return OSError(error.errno, reason, path)


def why_unwritable(directory: str | os.PathLike[str]) -> str:
    """Why no file can be made in a directory; empty if that is not known before it is tried.

    Example:
        >>> why_unwritable("/tmp"), why_unwritable("/nowhere")
        ('', '')
    """
    try:
        read_only = os.statvfs(directory).f_flag & os.ST_RDONLY
    except OSError:
        return ""
    if read_only:
        return f"its file system is read-only; {_REMEDIES[errno.EROFS]}, or choose another place"
    if not os.access(directory, os.W_OK | os.X_OK):
        return f"{_REMEDIES[errno.EACCES]}, or choose another place"
    return ""


def _explain(error: BaseException, path: str | os.PathLike[str]) -> tuple[str, str, str]:
    """What an error says, what is to be known of it, and what to do about it."""
    if not isinstance(error, OSError):
        reason, code = str(error) or "no memory left", None
    else:
        reason, code = error.strerror or str(error), error.errno
    remedy = _REMEDIES.get(code or 0, "")
    if code == errno.EFBIG:
        return reason, _size_limit(), remedy
    if code == errno.EMFILE:
        return reason, open_limit(), remedy
    if "full" in reason or code in FULL:
        return reason, _free(path), "make room there"
    if _IO_ERROR in reason:  # SQLite says no more
        if _largest_file() is not None:
            return reason, _size_limit(), _REMEDIES[errno.EFBIG]
        if _is_nearly_full(path):
            return reason, _free(path), "make room there"
    return reason, "", remedy


def _size_limit() -> str:
    """How large a file may be: by this process's limit, or by the file system's."""
    largest = _largest_file()
    if largest is None:
        return "the file system takes no larger one"
    return f"this process may write files of up to {largest:,} bytes: ulimit -f"


def _largest_file() -> int | None:
    """The largest file that this process may write, if that is limited."""
    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return None if soft == resource.RLIM_INFINITY else soft


def _is_nearly_full(path: str | os.PathLike[str]) -> bool:
    """Whether there may be too little room on the file system of a path."""
    found = _file_system(path)
    return found is not None and found.f_bavail * found.f_frsize < _LITTLE


def _free(path: str | os.PathLike[str]) -> str:
    """What is free on the file system of a path."""
    found = _file_system(path)
    if found is None:
        return "how much is free cannot be told"
    free = f"{found.f_bavail * found.f_frsize:,} bytes"
    if found.f_files:
        free += f" and {found.f_favail:,} files"
    return f"{free} free"


def _file_system(path: str | os.PathLike[str]) -> os.statvfs_result | None:
    """That of a path, which need not exist."""
    place = Path(path).absolute()
    for directory in (place, *place.parents):
        with suppress(OSError):
            return os.statvfs(directory)
    return None
