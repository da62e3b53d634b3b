"""What modules of the standard library keep for all of their process, beside their functions.

Each pair reads it, and sets it to what was read; of a module that is not loaded it is None.
"""

from __future__ import annotations

import builtins
import copyreg
import sys
from operator import attrgetter
from typing import Any

_LOGGING = (
    *("_loggerClass", "_logRecordFactory", "raiseExceptions", "lastResort"),
    "_warnings_showwarning",
)

_OF_LOGGING = attrgetter(
    *("root.level", "root.handlers", "root.filters", "root.disabled", "_levelToName"), *_LOGGING
)

_OTHER_NAMES = {"WARN": 30, "FATAL": 50}
"""Levels that have another name as well."""


def logging_settings() -> Any:
    """Of the root logger, and of the module; a logger with a name is its module's own."""
    logging: Any = sys.modules.get("logging")
    try:
        return _OF_LOGGING(logging)
    except AttributeError:  # it is not loaded, or not yet
        return None


def set_logging(value: Any) -> None:
    """Set what :func:`logging_settings` has read."""
    if value is None:
        return
    logging: Any = sys.modules["logging"]
    level, handlers, filters, disabled, names, *own = value
    root = logging.root
    root.setLevel(level)
    root.handlers[:], root.filters[:], root.disabled = handlers, filters, disabled
    logging._levelToName.clear()
    logging._nameToLevel.clear()
    for number, name in names.items():
        logging.addLevelName(number, name)
    logging._nameToLevel.update(_OTHER_NAMES)
    for name, held in zip(_LOGGING, own, strict=True):
        setattr(logging, name, held)


def opener() -> Any:
    """What opens URLs, if somebody has said so."""
    return getattr(sys.modules.get("urllib.request"), "_opener", None)


def set_opener(value: Any) -> None:
    """Set what :func:`opener` has read."""
    vars(sys.modules["urllib.request"])["_opener"] = value


_USUAL_FIELD = 131_072


def field_limit() -> int | None:
    """How large a field of a CSV file may be, if it is not as usual."""
    csv: Any = sys.modules.get("_csv")
    found = csv.field_size_limit() if csv is not None else _USUAL_FIELD
    return None if found == _USUAL_FIELD else found


def set_field_limit(value: int | None) -> None:
    """Set what :func:`field_limit` has read."""
    csv: Any = sys.modules["_csv"]
    csv.field_size_limit(value or _USUAL_FIELD)


_extensions: dict[Any, int] = copyreg._extension_registry  # type: ignore[attr-defined]


def extensions() -> dict[Any, int]:
    """Which numbers stand for globals in pickles."""
    return _extensions


def set_extensions(value: dict[Any, int]) -> None:
    """Set what :func:`extensions` has read."""
    for (module, name), code in _extensions.items() - value.items():
        copyreg.remove_extension(module, name, code)
    for (module, name), code in value.items():  # those that are there already stay
        copyreg.add_extension(module, name, code)


def builtin_names() -> dict[str, Any]:
    """The names that all code has."""
    return vars(builtins)


def set_builtin_names(value: dict[str, Any]) -> None:
    """Set what :func:`builtin_names` has read."""
    held = vars(builtins)
    for name in held.keys() - value.keys():
        del held[name]
    held.update(value)
