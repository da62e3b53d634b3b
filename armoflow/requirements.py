"""What a task needs to have installed: requirements as users write them, checked where they are.

``requirements=["numpy>=2", "polars"]`` names packages as pip does (PEP 508), or by a URL. Workers
install them beside what they have; see :mod:`armoflow.worker.virtual_environments`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from urllib.parse import unquote

from armoflow.errors import OptionError, shown
from armoflow.texts import read_json

LABEL = "armoflow.requirements"
"""The option of an ArmoniK task that tells workers, before they read it, what it needs."""

_TOTAL = 8_000
"""Characters of all of them: they stand in the options of each task."""

_PATHS = (".whl", ".tar.gz", ".zip")
_SCHEMES = ("https", "http", "file", "git+https", "git+ssh", "git+file")


def check_requirements(value: object) -> tuple[str, ...]:
    """Requirements in the one order in which they name an environment.

    Args:
        value: Several texts; none: what is installed is enough.

    Raises:
        OptionError: If one of them is none.

    Example:
        >>> check_requirements(["polars", "NumPy >= 2", "Polars"])
        ('numpy>=2', 'polars')
        >>> check_requirements("numpy")
        Traceback (most recent call last):
        armoflow.errors.OptionError: requirements must be a list of texts such as 'numpy>=2', not \
'numpy': write ['numpy']
    """
    if isinstance(value, str):
        raise OptionError(
            f"requirements must be a list of texts such as 'numpy>=2', not {shown(value)}: "
            f"write [{shown(value)}]"
        )
    if not isinstance(value, Iterable) or isinstance(value, (Mapping, bytes, bytearray)):
        raise OptionError(
            f"requirements must be a list of texts such as 'numpy>=2', not {shown(value)}"
        )
    found = tuple(sorted({_checked(one) for one in value}))
    if sum(map(len, found)) > _TOTAL:
        raise OptionError(
            f"requirements has {sum(map(len, found)):,} characters, and may have {_TOTAL:,}: name "
            "a package of your own that depends on these"
        )
    return found


def _checked(value: object) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not isinstance(value, str) or not text or len(text.splitlines()) > 1:
        raise OptionError(f"requirements must hold texts such as 'numpy>=2', not {shown(value)}")
    if text.startswith("-"):
        raise OptionError(
            f"requirements must hold packages, not options such as {text!r}: which index is asked "
            "is said where workers run, by UV_INDEX_URL and UV_FIND_LINKS (pip's: PIP_INDEX_URL)"
        )
    if "://" in text and not unquote(text).isprintable():
        raise OptionError(
            f"requirements holds {text!r}, and what it names cannot be printed: give that another "
            "name"
        )
    if "://" in text.partition("@")[0]:
        return _checked_url(text)
    if text.startswith((".", "/", "~")) or (text.endswith(_PATHS) and "@" not in text):
        raise OptionError(
            f"requirements holds the path {text!r}: write a URL, file:///..., of a file that is "
            "there where workers run"
        )
    one, reason = _parsed(text)
    if reason:
        raise OptionError(
            f"requirements holds {text!r}, which is no requirement ({reason}): write a package's "
            "name, and versions after it, as in 'numpy>=2,<3', or a URL"
        )
    return one


@functools.lru_cache(maxsize=1024)
def _parsed(text: str) -> tuple[str, str]:
    """A requirement as all who mean it write it, or why a text is none."""
    from packaging.requirements import InvalidRequirement, Requirement  # few name any
    from packaging.utils import canonicalize_name

    try:
        found = Requirement(text)
    except InvalidRequirement as error:
        return "", str(error).splitlines()[0]
    found.name = canonicalize_name(found.name)
    return str(found), ""


def _checked_url(text: str) -> str:
    scheme = text.partition("://")[0]
    if scheme not in _SCHEMES:
        raise OptionError(
            f"requirements holds {text!r}: URLs begin with one of {', '.join(_SCHEMES)}"
        )
    return text


def to_label(requirements: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """The options of an ArmoniK task that needs them: none, if it needs none.

    Example:
        >>> to_label(("numpy",)), to_label(())
        ((('armoflow.requirements', '["numpy"]'),), ())
    """
    texts = list(requirements)
    if not texts:
        return ()
    import json  # which children need not import

    return ((LABEL, json.dumps(texts)),)


@functools.lru_cache(maxsize=256)
def from_label(text: str) -> tuple[str, ...]:
    """What was written by :func:`to_label`; nothing where that makes no sense.

    Example:
        >>> from_label('["numpy"]'), from_label("numpy")
        (('numpy',), ())
    """
    values = read_json(text)
    try:
        return check_requirements(values) if isinstance(values, list) else ()
    except OptionError:  # others may write what they like
        return ()
