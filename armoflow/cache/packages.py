"""Which installed package a module belongs to, and of which version: what is not the user's own."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from itertools import chain

_UNVERSIONED = frozenset({*sys.stdlib_module_names, *sys.builtin_module_names, "armoflow"})
"""Python's version says which these are; of armoflow, it is the version of its keys."""


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
def _installed(top: str) -> str:
    # Most packages have their module's name; to find out about others, all are looked at.
    for name in chain((top,), _providers(top)):
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:  # noqa: PERF203 - there are two at most
            continue
    version = getattr(sys.modules.get(top), "__version__", "")
    return f"{top} {version}" if isinstance(version, str) and version else ""


def _providers(top: str) -> Iterator[str]:
    yield from sorted(set(_distributions().get(top, ())))


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def forget_versions() -> None:
    """Look at what is installed anew: something was installed meanwhile."""
    _installed.cache_clear()
    _distributions.cache_clear()
