"""Hooks that Python keeps for good and lists nowhere: who registers one is heard when it is done.

What finds codecs is taken away again, and what handles their errors is as it was; so are signals
that dump tracebacks, and variables that ``os.environ`` does not know of. What is told of events
(``sys.addaudithook``) or of forks cannot be: the process is replaced. What a module registers when
it is imported stays, as all that it sets.
"""

from __future__ import annotations

import codecs
import faulthandler
import functools
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class LastingHooks:
    """The hooks that tasks of this process have registered.

    Args:
        ignored: Whether what registers one now is an import.
    """

    def __init__(self, ignored: Callable[[], bool]) -> None:
        self._ignored = ignored
        self._finders: list[Any] = []
        self._handlers: list[tuple[str, Any]] = []
        self._dumping: list[Any] = []
        self._variables: list[Any] = []
        self._lasting: list[str] = []

    def install(self) -> None:
        """Be told of them, once for this process."""
        self._register_error = codecs.register_error
        self._listen(codecs, "register", self._finders.append)
        self._listen(codecs, "register_error", self._note_handler)
        self._listen(faulthandler, "register", self._dumping.append)
        self._putenv, self._unsetenv = os.putenv, os.unsetenv
        for name in ("putenv", "unsetenv"):  # os.environ calls them, too
            self._listen(os, name, self._variables.append)
        self._listen(sys, "addaudithook", lambda _: self._lasting.append("sys.addaudithook"))
        self._listen(os, "register_at_fork", lambda _: self._lasting.append("os.register_at_fork"))

    def _listen(self, module: Any, name: str, note: Callable[[Any], None]) -> None:
        register = getattr(module, name)

        @functools.wraps(register)
        def heard(*args: Any, **kwargs: Any) -> Any:
            given = (*args, *kwargs.values())
            if given and not self._ignored():
                note(given[0])
            return register(*args, **kwargs)

        setattr(module, name, heard)

    def _note_handler(self, name: str) -> None:
        with suppress(LookupError, TypeError):  # a new name is of no meaning to others
            self._handlers.append((name, codecs.lookup_error(name)))

    def drop(self) -> None:
        """Take away those that the last task has registered.

        Raises:
            RuntimeError: If that cannot be done.
        """
        while self._finders:
            codecs.unregister(self._finders.pop())
        while self._handlers:
            self._register_error(*self._handlers.pop())
        while self._dumping:
            faulthandler.unregister(self._dumping.pop())
        while self._variables:
            self._put_back_variable(os.fsencode(self._variables.pop()))
        if self._lasting:
            raise RuntimeError(f"{self._lasting[0]} cannot be undone")

    def _put_back_variable(self, name: bytes) -> None:
        """What other programs are started with is what ``os.environ``, put back before, has."""
        content = os.environb.get(name)
        if content is None:
            self._unsetenv(name)
        else:
            self._putenv(name, content)
