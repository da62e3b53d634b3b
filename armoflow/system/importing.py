"""Which modules of this process others can import by their names."""

from __future__ import annotations

import sys

MAIN = frozenset({"__main__", "__mp_main__"})

RUN_PATH = "<run_path>"
"""What ``runpy.run_path`` calls a script unless it is told another name: none to import it by."""


def is_importable(name: str | None) -> bool:
    """Whether another process can import a module that this process has under this name.

    Example:
        >>> is_importable("json"), is_importable("__main__")
        (True, False)
    """
    if name is None or name in MAIN or name == RUN_PATH:
        return False
    module = sys.modules.get(name)
    if module is None:
        return False
    return (
        getattr(module, "__spec__", None) is not None
        or getattr(module, "__file__", None) is not None
        or name in sys.builtin_module_names
    )
