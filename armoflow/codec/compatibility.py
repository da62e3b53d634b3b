"""Which versions a payload was written with: code travels as bytecode, which is one Python's own.

Another minor version of Python may end in a crash of its interpreter when it runs it, so a worker
compares before it loads anything.
"""

from __future__ import annotations

import sys

import cloudpickle

from armoflow.errors import VersionMismatchError
from armoflow.version import __version__

OWN = ".".join(map(str, sys.version_info[:3])) + f" {cloudpickle.__version__} {__version__}"
"""Python, cloudpickle, armoflow: as a payload carries them."""

_NAMES = ("Python", "cloudpickle", "armoflow")
_PARTS = (2, 1, 2)
"""How many parts of each must be the same: code of Python 3.11 is another than that of 3.12."""


def described(versions: str = OWN) -> str:
    """Versions in words.

    Example:
        >>> described("3.11.7 3.1.0 0.1.0")
        'Python 3.11.7, cloudpickle 3.1.0, armoflow 0.1.0'
    """
    pairs = zip(_NAMES, versions.split(), strict=True)
    return ", ".join(f"{name} {version}" for name, version in pairs)


def check_versions(theirs: str, own: str = "", *, node: str) -> None:
    """Refuse a payload whose code may not run here.

    Args:
        theirs: What it was written with; empty: before this was noted.
        own: What is here.
        node: Names the task.

    Raises:
        VersionMismatchError: Names both, and what to do.

    Example:
        >>> check_versions("3.12.1 3.1.0 0.1.0", "3.12.4 3.0.0 0.1.7", node="f")
        >>> check_versions("3.12.1 3.1.0 0.1.0", "3.11.7 3.1.0 0.1.0", node="f")
        Traceback (most recent call last):
        armoflow.errors.VersionMismatchError: task 'f' comes from Python 3.12.1, ...
    """
    own = own or OWN
    if theirs == own or not theirs:
        return
    pairs = list(zip(_NAMES, theirs.split(), own.split(), _PARTS, strict=True))
    for name, their, our, parts in pairs:
        if _first(their, parts) != _first(our, parts):
            raise VersionMismatchError(
                f"task {node!r} comes from {name} {their}, but this worker has {name} {our}, "
                f"which cannot run its code: run the client with {name} {_first(our, parts)}, "
                f"or workers (their image) with {name} {_first(their, parts)}"
            )


def _first(version: str, parts: int) -> str:
    return ".".join(version.split(".")[:parts])
