"""Where the indexes of caches are: a file for each engine."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from armoflow.errors import EngineError

VARIABLE = "ARMOFLOW_CACHE"
"""Names the directory of the index files."""


def directory() -> Path:
    """Where index files are.

    Raises:
        EngineError: If there is no such place.
    """
    said = os.environ.get(VARIABLE)
    if said:
        return Path(said)
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "armoflow"
    except RuntimeError as error:  # a user without an entry, in a container
        raise EngineError(
            f"there is no home directory for the index of the cache: set {VARIABLE} to a directory"
        ) from error


def path_of(engine: str) -> Path:
    """The index file of an engine, by what it is told by."""
    name = hashlib.blake2b(engine.encode(), digest_size=8).hexdigest()
    return directory() / f"{name}.sqlite"
