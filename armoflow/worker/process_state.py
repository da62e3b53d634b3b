"""What a task may change in its process and must not leave to the next one.

After each engine task the working directory, the environment, ``sys.path``, standard streams,
signal handlers and so on are put back; a process in which that cannot be done is replaced. The
calls that share an engine task share these, and random seeds are nobody's business. Checks that ask
the kernel are left out after a task whose code reaches nothing of the process (see
:mod:`armoflow.worker.reach`). What a module sets when it is imported, for all that use it, stays.
"""

from __future__ import annotations

import contextvars
import io
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from armoflow.worker.lasting_hooks import LastingHooks
from armoflow.worker.output import Output
from armoflow.worker.process_item import STREAMS, Item
from armoflow.worker.process_items import all_items

T = TypeVar("T")

_SELDOM_NANOSECONDS = 1_000_000
"""How often is looked at what it costs most to look at, at most."""

_RARELY_NANOSECONDS = 5_000_000
"""How often is looked at what costs still more."""

_CHECK_NANOSECONDS = 2_000_000
"""How often is looked after tasks whose code reaches nothing of the process, but was given objects,
at most: it can change something only through a method of one."""


def _copy(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_copy, value))
    return value.copy() if isinstance(value, (list, dict)) else value


def _followed(base: Any, old: Any, now: Any) -> Any:
    """What is there without a task, after an import changed what is there while it runs.

    Example:
        >>> base, given = {b"HOME": b"/"}, {b"HOME": b"/", b"MODE": b"fast"}
        >>> _followed(base, given, {**given, b"THREADS": b"1"})
        {b'HOME': b'/', b'THREADS': b'1'}
        >>> _followed((28, ["a"]), (28, ["by task", "a"]), (50, ["new", "by task", "a"]))
        (50, ['new', 'a'])
    """
    if now == old:
        return base
    kinds = {type(base), type(old), type(now)}
    if kinds == {dict}:
        changed = {name: content for name, content in now.items() if old.get(name) != content}
        return {name: base[name] for name in base if name in now or name not in old} | changed
    if kinds == {list} and old and len(now) > len(old):
        if now[-len(old) :] == old:
            return now[: -len(old)] + base
        if now[: len(old)] == old:
            return base + now[len(old) :]
    if kinds == {tuple} and len(base) == len(old) == len(now):
        return tuple(map(_followed, base, old, now))
    return _copy(now) if old == base else base  # what the task itself has changed is its own


class _ItemGroup:
    """Some of what is around tasks, with what it was."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items
        self.values = self.read()

    def read(self) -> list[Any]:
        """What it is."""
        return [_copy(item.read()) for item in self._items]

    def follow(self, before: list[Any]) -> None:
        """What has changed since then stays."""
        self.values = list(map(_followed, self.values, before, self.read()))

    def write(self) -> None:
        """Set all of it to what it was."""
        for item, value in zip(self._items, self.values, strict=True):
            item.write(value)

    def restore(self) -> bool:
        """Set what has changed to what it was; whether anything has."""
        found = [item.read() for item in self._items]
        if found == self.values:
            return False
        for item, now, value in zip(self._items, found, self.values, strict=True):
            if now != value:
                item.write(value)
        return True


class ProcessState:
    """What this process had around its tasks when it began.

    Args:
        owner: The process that started this one: its limits are these.
        output: Makes standard streams, and tells what cannot be left to the task.

    Attributes:
        due: When is looked again, also after tasks that were given objects and whose code reaches
            nothing of the process, in nanoseconds of CLOCK_MONOTONIC.
    """

    def __init__(self, owner: int, output: Output) -> None:
        self._output = output
        self._loads = False
        self._hooks = LastingHooks(lambda: self._loads)
        self._hooks.install()  # first: what stands there then is what others find
        self._groups = tuple(map(_ItemGroup, all_items(owner)))
        self._cheap, self._written, self._compared, self._seldom, self._rarely = self._groups
        self._fds = [os.dup(fd) for fd in range(3)]
        self._files = [_identity(fd) for fd in range(3)]
        self.due = self._looked = self._looked_closely = 0
        self._threads = set(threading.enumerate())
        self._variables: dict[contextvars.ContextVar[Any], Any] = {}
        self._watch_imports()

    def run(self, function: Callable[[Any], T], argument: Any) -> T:
        """Run a task: context variables that it sets are its own."""
        try:
            return contextvars.copy_context().run(function, argument)
        finally:
            if self._variables:  # but for those that imports have set
                for variable, value in self._variables.items():
                    variable.set(value)
                self._variables.clear()

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Around the import of code: what it changes for all that use it stays."""
        if self._loads:  # what it imports itself
            yield
            return
        self._loads = True
        before = [group.read() for group in self._groups]
        variables = contextvars.copy_context()
        try:
            yield
        finally:
            self._loads = False
            for variable, value in contextvars.copy_context().items():
                if variables.get(variable, self) is not value:
                    self._variables[variable] = value
            for group, values in zip(self._groups, before, strict=True):
                group.follow(values)

    def _watch_imports(self) -> None:
        """See to what modules change that tasks import: they are imported once."""
        machinery: Any = sys.modules["_frozen_importlib"]
        load, thread = machinery._load_unlocked, threading.get_ident()

        def load_and_follow(spec: Any) -> Any:
            if self._loads or threading.get_ident() != thread:
                return load(spec)
            with self.loading():
                return load(spec)

        machinery._load_unlocked = load_and_follow

    def surround(self, variables: Mapping[str, str]) -> None:
        """Set environment variables, until everything is put back."""
        os.environ.update(variables)
        if "TZ" in variables:
            time.tzset()

    def adopt_threads(self) -> None:
        """The threads that run now are the process's own."""
        self._threads.update(threading.enumerate())

    def restore(self, task: str, now: int, *, thorough: bool) -> bool:
        """Put everything back after a task; False if this process cannot be used any more.

        Args:
            task: The task's name.
            now: Nanoseconds of CLOCK_MONOTONIC.
            thorough: Ask the kernel, too.
        """
        self.due = now + _CHECK_NANOSECONDS
        try:
            self._cheap.restore()
            if thorough:
                self._restore_all(now)
                self._tell_threads(task)
        except Exception as error:
            what = f"what task {task!r} changed in its process cannot be put back"
            self._output.say(f"{what}: {error!r}")
            return False
        return True

    def _restore_all(self, now: int) -> None:
        self._hooks.drop()
        self._written.write()
        if self._compared.restore() or now - self._looked > _SELDOM_NANOSECONDS:
            self._looked = now
            self._restore_streams()
            self._seldom.restore()
        if now - self._looked_closely > _RARELY_NANOSECONDS:
            self._looked_closely = now
            self._rarely.restore()

    def _restore_streams(self) -> None:
        for fd, (kept, file) in enumerate(zip(self._fds, self._files, strict=True)):
            if _identity(fd) != file:
                os.dup2(kept, fd)
        for number, name in enumerate(STREAMS):
            stream = getattr(sys, name)
            if stream is not None and stream.closed:
                setattr(sys, name, self._output.reopen(number) if number else _input())
                self._cheap.values = self._cheap.read()

    def _tell_threads(self, task: str) -> None:
        if threading.active_count() <= len(self._threads):
            return
        running = set(threading.enumerate())
        left = running - self._threads
        if left:
            names = ", ".join(sorted(thread.name for thread in left))
            self._output.say(
                f"task {task!r} left threads running: {names}; they go on beside later tasks: "
                "let a task wait for the threads that it starts"
            )
        self._threads = running


def _input() -> io.TextIOWrapper:
    return open(0, encoding="utf-8", closefd=False)


def _identity(fd: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino
