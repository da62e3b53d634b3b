"""Which installed package a module belongs to, and of which version: what is not the user's own."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Iterator, Mapping
from itertools import chain

_WHEEL = ".dist-info"

_UNVERSIONED = frozenset(
    {*sys.stdlib_module_names, *sys.builtin_module_names, "armoflow", "__main__", "__mp_main__"}
)
"""Python's version says which these are; of armoflow, it is the version of its keys; a script is in
no package."""


def origin(module: str) -> tuple[str, str]:
    """A module's name, and the package that it came with: ``name version``, or nothing.

    Example:
        >>> origin("json.decoder")
        ('json.decoder', '')
    """
    return module, package_of(module)


def package_of(module: str) -> str:
    """The installed package that a module came with, as ``name version``; else nothing.

    Example:
        >>> package_of("cloudpickle.cloudpickle").partition(" ")[0]
        'cloudpickle'
    """
    top = module.partition(".")[0]
    return "" if top in _UNVERSIONED else _installed(top)


@functools.lru_cache(maxsize=4096)
def version_of(package: str) -> str:
    """The version of a package that is installed here; nothing if it is not.

    Example:
        >>> version_of("cloudpickle")[0].isdigit(), version_of("no-such-package")
        (True, '')
    """
    name = _normalized(package)
    for path in sys.path:
        if found := _wheels(path).get(name):
            return found
    from importlib import metadata  # half of what is imported until then, and mostly not needed

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


@functools.lru_cache(maxsize=64)
def _wheels(path: str) -> Mapping[str, str]:
    """The versions of the packages that were installed as wheels: their directories say them.

    Source: https://packaging.python.org/en/latest/specifications/recording-installed-packages/
    """
    try:
        names = os.listdir(path or ".")  # noqa: PTH208 - a few times as quick, for thousands
    except OSError:
        return {}
    found: dict[str, str] = {}
    for name in names:
        if name.endswith(_WHEEL):
            package, _, version = name.removesuffix(_WHEEL).partition("-")
            found.setdefault(_normalized(package), version)
    return found


def _normalized(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


@functools.lru_cache(maxsize=4096)
def _installed(top: str) -> str:
    # Most packages have their module's name; to find out about others, all are looked at.
    for name in chain((top,), _providers(top)):
        version = version_of(name)
        if version:
            return f"{name} {version}"
    version = getattr(sys.modules.get(top), "__version__", "")
    return f"{top} {version}" if isinstance(version, str) and version else ""


def _providers(top: str) -> Iterator[str]:
    """The packages that have brought files of a module of another name.

    ``metadata.packages_distributions`` answers it for all modules, and takes ten times as long.
    """
    from importlib import metadata
    from pathlib import Path

    owns = re.compile(rb"(?m)^" + re.escape(top.encode("utf-8", "replace")) + rb"(?:[/.]|$)")
    for root in map(Path, sys.path):
        for pattern in ("*.dist-info/RECORD", "*.egg-info/top_level.txt"):
            for listing in sorted(root.glob(pattern)):
                if owns.search(listing.read_bytes()):
                    yield metadata.Distribution.at(listing.parent).metadata["Name"]


def forget_versions() -> None:
    """Look at what is installed anew: something was installed meanwhile."""
    _installed.cache_clear()
    version_of.cache_clear()
    _wheels.cache_clear()
