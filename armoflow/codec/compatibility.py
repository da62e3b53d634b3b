"""Which versions a payload was written with: code travels as bytecode, which is one Python's own.

Another minor version of Python may end in a crash of its interpreter when it runs it, so a worker
compares before it loads anything.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable

from armoflow.errors import VersionMismatchError
from armoflow.version import __version__

_NAMES = ("Python", "cloudpickle", "armoflow")
_PARTS = (2, 1, 2)
"""How many parts of each must be the same: code of Python 3.11 is another than that of 3.12."""


@functools.cache
def own_versions() -> str:
    """Python, cloudpickle, armoflow: as a payload carries them.

    Behind them may stand packages that its pickles name, each as ``name==version``, or
    ``name==version@module`` where that has another name.
    """
    import cloudpickle  # which engines, who read payloads, go without

    return ".".join(map(str, sys.version_info[:3])) + f" {cloudpickle.__version__} {__version__}"


def described(versions: str = "") -> str:
    """Versions in words: one's own if none are given.

    Example:
        >>> described("3.11.7 3.1.0 0.1.0")
        'Python 3.11.7, cloudpickle 3.1.0, armoflow 0.1.0'
    """
    pairs = zip(_NAMES, (versions or own_versions()).split(), strict=False)
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
    own = own or own_versions()
    if theirs.startswith(own) or not theirs:
        return
    for name, their, our, parts in zip(_NAMES, theirs.split(), own.split(), _PARTS, strict=False):
        if first_parts(their, parts) != first_parts(our, parts):
            raise VersionMismatchError(
                f"task {node!r} comes from {name} {their}, but this worker has {name} {our}, "
                f"which cannot run its code: run the client with {name} {first_parts(our, parts)}, "
                f"or workers (their image) with {name} {first_parts(their, parts)}"
            )


def with_packages(packages: Iterable[tuple[str, str]], own: str = "") -> str:
    """One's own versions, or others, with those of packages: each by its name and its version.

    Example:
        >>> with_packages([("numpy", "2.1.0")], "3.11.7 3.1.0 0.1.0")
        '3.11.7 3.1.0 0.1.0 numpy==2.1.0'
    """
    return " ".join([own or own_versions(), *(f"{name}=={version}" for name, version in packages)])


def packages_in(versions: str) -> list[tuple[str, str]]:
    """The packages that are told behind versions, each with its own.

    Example:
        >>> packages_in("3.11.7 3.1.0 0.1.0 numpy==2.1.0"), packages_in("3.11.7 3.1.0 0.1.0")
        ([('numpy', '2.1.0')], [])
        >>> packages_in("3.11.7 3.1.0 0.1.0 PyYAML==6.0@yaml")
        [('PyYAML', '6.0@yaml')]
    """
    split = (part.partition("==") for part in versions.split())
    return [(name, version) for name, _, version in split if version]


def first_parts(version: str, parts: int) -> str:
    """The first numbers of a version.

    Example:
        >>> first_parts("1.26.4", 2)
        '1.26'
    """
    return ".".join(version.split(".")[:parts])
