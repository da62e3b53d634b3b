"""Whose code something is: the user's own, or a package's."""

from __future__ import annotations

import sys
import types
from collections.abc import Mapping
from typing import Any

from armoflow.codec.modules import is_user_module
from armoflow.system.importing import MAIN, is_importable


def is_own(module: str) -> bool:
    """Whether a module's functions and classes are the user's own code: it may be a script."""
    return module in MAIN or is_user_module(module) or not is_importable(module)


def is_patch(value: Any) -> bool:
    """Whether the user, or a test, has put something in the place of a package's own."""
    if isinstance(value, types.FunctionType):
        module = value.__globals__.get("__name__") or ""
    else:
        module = (value if isinstance(value, type) else type(value)).__module__
    return module == "unittest.mock" or module in MAIN or is_user_module(str(module))


def home_of(module: str, scope: Mapping[str, Any]) -> str:
    """The name of a module, if this is what is loaded under that name."""
    loaded = sys.modules.get(module)
    return module if loaded is not None and vars(loaded) is scope else ""
