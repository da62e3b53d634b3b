"""Tasks on files, in a module that needs no package but armoflow where it travels to."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import armoflow
from armoflow import FileCopy, FolderCopy, task


@task
def content(path: FileCopy) -> bytes:
    return Path(path).read_bytes()


@task
def sees(path: str) -> bool:
    return Path(path).exists()


@task
def listed(root: FolderCopy) -> dict[str, int]:
    return {str(path.relative_to(root.path)): path.stat().st_size for path in root.path.iterdir()}


@task
def joined(paths: list[FileCopy]) -> FileCopy:
    whole = Path(tempfile.mkdtemp()) / "whole.bin"
    whole.write_bytes(b"".join(Path(path).read_bytes() for path in paths))
    return armoflow.file(whole)


@task
def spread(path: FileCopy) -> Any:
    return joined([path, path])
