"""Commands in this process: most of what a process of a command takes is its start."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from armoflow.cli.main import main


def run_here(
    arguments: Sequence[str], variables: Mapping[str, str], directory: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command, and see what a process of it would have printed.

    Args:
        arguments: What follows ``armoflow``.
        variables: Those of its environment that this process has not, or not so.
        directory: Where it runs; None: here.
    """
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryFile(
            "w+"
        ) as output,  # not of this process alone: a command may start one
        tempfile.TemporaryFile("w+") as errors,
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.setattr(sys, "path", [*sys.path])
        if directory is not None:
            patch.chdir(directory)
        code = main(arguments)
        for file in (output, errors):
            file.seek(0)
        return subprocess.CompletedProcess([*arguments], code, output.read(), errors.read())
