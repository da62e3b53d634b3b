"""What stands for pytest in the processes of tasks, which import the modules of their tests.

Only its decorators are met there, and take longer to import than all else that such a process does.
"""

from __future__ import annotations

from typing import Any


class _Nothing:
    """Whatever is asked for, called with anything; what it decorates stays as it is."""

    def __getattr__(self, name: str) -> _Nothing:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        alone = len(arguments) == 1 and not named
        return arguments[0] if alone and callable(arguments[0]) else self


_NOTHING = _Nothing()


def __getattr__(name: str) -> _Nothing:
    if name.startswith("__"):
        raise AttributeError(name)
    return _NOTHING
