"""Files as arguments that count by what they hold."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

_PIECE: Final = 1024 * 1024


class File(os.PathLike[str]):
    """The path of a file that a cached task knows by its content, not by its name.

    It can be given to ``open`` and to whatever else takes a path. What travels is the path: workers
    must reach the file under it.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as one, tempfile.NamedTemporaryFile() as other:
        ...     File(one.name).__armoflow_key__() == File(other.name).__armoflow_key__()
        True
    """

    __slots__ = ("path",)

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)

    def __fspath__(self) -> str:
        return self.path

    def __armoflow_key__(self) -> bytes:
        """A digest of what the file holds now."""
        hasher = hashlib.blake2b(digest_size=32)
        with Path(self.path).open("rb") as file:
            while piece := file.read(_PIECE):
                hasher.update(piece)
        return hasher.digest()

    def __eq__(self, other: object) -> bool:
        return self.path == other.path if isinstance(other, File) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.path)

    def __repr__(self) -> str:
        return f"File({self.path!r})"
