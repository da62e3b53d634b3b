"""What the kernel keeps for a process and tasks may change: how each is read, and set back."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import faulthandler
import os
import sys
from typing import Any

from armoflow.worker.process_item import Item

_PLACE = getattr(os, "O_PATH", os.O_RDONLY)
"""How a directory is opened only to come back to it."""

_TIMERS = (_signal.ITIMER_REAL, _signal.ITIMER_VIRTUAL, _signal.ITIMER_PROF)


def _umask() -> int:
    mask = os.umask(0o77)
    os.umask(mask)
    return mask


def _set_umask(mask: int) -> None:
    os.umask(mask)


UMASK = Item(_umask, _set_umask)


def _mask() -> Any:
    return _signal.pthread_sigmask(_signal.SIG_BLOCK, ())


def _set_mask(mask: Any) -> None:
    _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)


BLOCKED_SIGNALS = Item(_mask, _set_mask)


def _wakeup() -> int:
    fd: int = _signal.set_wakeup_fd(-1)
    if fd >= 0:
        _signal.set_wakeup_fd(fd)
    return fd


WAKEUP = Item(_wakeup, _signal.set_wakeup_fd)


def _put_back_faults(enabled: bool) -> None:
    faulthandler.cancel_dump_traceback_later()
    if enabled and not faulthandler.is_enabled():
        faulthandler.enable()


FAULTS = Item(faulthandler.is_enabled, _put_back_faults)


def _stop_timers(_: None) -> None:
    for timer in _TIMERS:
        _signal.setitimer(timer, 0)


TIMERS = Item(lambda: None, _stop_timers)


def directory() -> Item:
    """The working directory: it may be gone, or not be read."""
    known, place = _path(), os.open(".", _PLACE)

    def write(path: str | None) -> None:
        nonlocal known, place
        if path != known:  # an import has changed it for good
            os.close(place)
            known, place = path, os.open(path or ".", _PLACE)
        try:
            os.fchdir(place)  # quicker than to ask where this is
        except OSError:
            if _path() != path:
                raise

    return Item(_path, write)


def _path() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - pathlib is not imported in children
    except OSError:  # it was removed
        return None


def _share() -> tuple[Any, ...]:
    """How much of the processors this process gets: its niceness, which ones, and by what rule."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    return niceness, *((None, None) if affinity is None else (affinity(0), _rule()))


def _rule() -> tuple[int, int]:
    return os.sched_getscheduler(0), os.sched_getparam(0).sched_priority


def _set_share(share: tuple[Any, ...]) -> None:
    niceness, processors, rule = share
    if os.getpriority(os.PRIO_PROCESS, 0) != niceness:
        os.setpriority(os.PRIO_PROCESS, 0, niceness)  # which an ordinary user may not lower
    if processors is not None:
        os.sched_setaffinity(0, processors)
    if rule is not None and _rule() != rule:
        os.sched_setscheduler(0, rule[0], os.sched_param(rule[1]))


SHARE = Item(_share, _set_share)


def _user() -> Any:
    """Who this process is, and where its file system begins: root may change that."""
    if not hasattr(os, "getresuid"):  # macOS
        return None
    root = os.stat("/")  # noqa: PTH116 - pathlib is not imported in children
    return os.getresuid(), os.getresgid(), os.getgroups(), root.st_dev, root.st_ino


def _set_user(value: Any) -> None:
    users, groups, more, *_ = value
    os.setresuid(-1, 0, -1)  # as it may, if it was root
    os.setgroups(more)
    os.setresgid(*groups)
    os.setresuid(*users)
    if _user() != value:
        raise OSError("its root directory is another one")


USER = Item(_user, _set_user)


def limits(owner: int) -> Item:
    """Limits of resources, that differ from those of the process that started this one."""
    usual: dict[int, tuple[int, int]] = {}

    def read() -> Any:
        resource: Any = sys.modules.get("resource")
        if not hasattr(resource, "prlimit"):  # macOS, or nobody has asked for it
            return None
        if not usual:
            numbers = {getattr(resource, name) for name in dir(resource) if name[:7] == "RLIMIT_"}
            usual.update({number: resource.prlimit(owner, number) for number in numbers})
        now = {number: resource.getrlimit(number) for number in usual}
        return None if now == usual else now

    def write(value: Any) -> None:
        resource = sys.modules["resource"]
        for number, limits in (value or usual).items():
            if resource.getrlimit(number) != limits:
                resource.setrlimit(number, limits)

    return Item(read, write)


_MOST_ADOPTED = 100
"""Processes that have ended and nobody waits for: a system has room for some thousands."""


def _adopted() -> int:
    """How many there are that tasks have left to themselves, if they are many."""
    wait = getattr(os, "waitid", None)
    if wait is None:  # macOS, where this process adopts none
        return 0
    try:
        if wait(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return 0
    except ChildProcessError:
        return 0
    # Imported here: mostly there is none.
    from armoflow.system.descendants import children_of, has_ended

    children = children_of(os.getpid())
    return sum(map(has_ended, children)) if len(children) >= _MOST_ADOPTED else 0


def _give_up(_: object) -> None:
    """Which of them are the user's to wait for, nobody can tell: they go with the process.

    Raises:
        RuntimeError: If there are too many.
    """
    count = _adopted()
    if count >= _MOST_ADOPTED:
        raise RuntimeError(
            f"{count} processes that it started have ended, and nobody waits for them"
        )


ADOPTED = Item(lambda: _adopted() >= _MOST_ADOPTED, _give_up)
