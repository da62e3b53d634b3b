"""What modules of the standard library let anybody register, or choose for all of their process.

Only modules that are loaded are looked at. What a module of the user's registers when it is
imported stays, as all that it sets.
"""

from __future__ import annotations

import sys
from typing import Any

_HELD = {
    "calendar.c": ("firstweekday",),
    "gettext": ("_current_domain", "_localedirs"),
    "json": ("_default_decoder", "_default_encoder"),
    "multiprocessing.spawn": ("_python_exe",),
    "shutil": ("_ARCHIVE_FORMATS", "_UNPACK_FORMATS"),
    "sqlite3": ("adapters", "converters"),
    "subprocess": ("_USE_POSIX_SPAWN", "_USE_VFORK"),
    "sys": ("pycache_prefix", "warnoptions"),
    "urllib.parse": ("uses_netloc", "uses_params", "uses_relative"),
    "xml.etree.ElementTree": ("_namespace_map",),
    "zoneinfo._tzpath": ("TZPATH",),
}
"""Attributes of modules, or of an object in one; lists and dicts are changed in place."""

_ABSENT = object()


def _holder(path: str) -> Any:
    if path == "calendar.c":
        return getattr(sys.modules.get("calendar"), "c", None)
    return sys.modules.get(path)


def registries() -> dict[tuple[str, str], Any]:
    """What is there, by where it is."""
    found: dict[tuple[str, str], Any] = {}
    for path, names in _HELD.items():
        holder = _holder(path)
        if holder is None:
            continue
        for name in names:
            value = getattr(holder, name, _ABSENT)
            if value is not _ABSENT:
                found[path, name] = value.copy() if isinstance(value, (dict, list)) else value
    return found


def set_registries(values: dict[tuple[str, str], Any]) -> None:
    """Set what :func:`registries` has read.

    Example:
        >>> import urllib.parse
        >>> before = registries()
        >>> urllib.parse.uses_netloc.append("own")
        >>> set_registries(before)
        >>> "own" in urllib.parse.uses_netloc
        False
    """
    for (path, name), value in values.items():
        holder = _holder(path)
        now = getattr(holder, name, None)
        if isinstance(now, list) and isinstance(value, list):
            now[:] = value
        elif isinstance(now, dict) and isinstance(value, dict):
            now.clear()
            now.update(value)
        else:
            setattr(holder, name, value)


def dialects() -> dict[str, Any] | None:
    """How files of comma separated values may be written, by name."""
    csv: Any = sys.modules.get("_csv")
    return None if csv is None else {name: csv.get_dialect(name) for name in csv.list_dialects()}


def set_dialects(values: dict[str, Any] | None) -> None:
    """Set what :func:`dialects` has read."""
    csv: Any = sys.modules["_csv"]
    for name in set(csv.list_dialects()).difference(values or ()):
        csv.unregister_dialect(name)
    for name, dialect in (values or {}).items():
        csv.register_dialect(name, dialect)
