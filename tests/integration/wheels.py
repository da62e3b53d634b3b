"""Packages made for a test: nobody has them, and no network is needed to install them."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import zipfile
from pathlib import Path


def make_wheel(
    directory: Path, name: str, version: str = "1.0", text: str = "", *needs: str
) -> Path:
    """A wheel of a package of one module.

    Args:
        directory: Where it is put.
        name: The package, and its module.
        version: Its version, which the module tells.
        text: More of the module.
        needs: What it requires.
    """
    facts = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"]
    facts += [f"Requires-Dist: {need}\n" for need in needs]
    information = f"{name}-{version}.dist-info"
    files = {
        f"{name}/__init__.py": f"__version__ = {version!r}\n{text}\n",
        f"{information}/METADATA": "".join(facts),
        f"{information}/WHEEL": (
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
    }
    record = "".join(f"{file},{_digest(content)},\n" for file, content in files.items())
    files[f"{information}/RECORD"] = f"{record}{information}/RECORD,,\n"
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in files.items():
            archive.writestr(file, content)
    return path


def wheel_of(directory: Path, name: str) -> Path:
    """A wheel of a package of pure Python that is installed here: no index is asked for it."""
    distribution = importlib.metadata.distribution(name)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}-{distribution.version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file in distribution.files or ():
            if file.suffix != ".pyc" and ".." not in file.parts:
                archive.writestr(str(file), file.read_binary())
    return path


def _digest(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return f"sha256={base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
