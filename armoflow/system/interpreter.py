"""Commands that run a part of armoflow as a process of its own, wherever this one stands."""

from __future__ import annotations

import sys
from pathlib import Path

from armoflow.version import __version__

ROOT = str(Path(__file__).resolve().parents[2])
_PROGRAM = """import gc, sys
gc.disable()
sys.path[:] = [path for path in sys.path if path]
if {root!r} not in sys.path: sys.path.append({root!r})
from {module} import main
gc.freeze()
gc.enable()
sys.exit(main())
"""
"""The directory where the process happens to stand is no place to import from: it may hold a file
with the name of a standard module. The package is found where this process has found it.

What is imported stays until the end: neither while it is made nor later, least of all when the
process ends, need collections look at it, which would be a fifth of the time of a short life."""


def python_command(module: str, *arguments: str, python: str | None = None) -> list[str]:
    """A command that calls ``main()`` of a module, under the interpreter's present options.

    Args:
        module: The module.
        arguments: Its arguments.
        python: The interpreter; None: that of this process.
    """
    program = _PROGRAM.format(root=ROOT, module=module)
    return [python or sys.executable, *_present_options(), "-c", program, *arguments]


def file_command(path: str, *arguments: str) -> list[str]:
    """A command that runs a file which needs nothing but Python itself."""
    return [sys.executable, *_present_options(), "-I", "-S", path, *arguments]


def _present_options() -> list[str]:
    flags = sys.flags
    options = ["-" + "O" * flags.optimize] if flags.optimize else []
    if flags.isolated:
        return [*options, "-I"]
    if flags.ignore_environment:
        options.append("-E")
    if flags.no_user_site:
        options.append("-s")
    return options


def interpreter_identity() -> dict[str, str]:
    """What two processes must have in common that run each other's code.

    Example:
        >>> sorted(interpreter_identity())
        ['Python', 'armoflow', 'prefix']
    """
    return {
        "Python": f"{sys.implementation.name} {sys.version.split()[0]}",
        "prefix": sys.prefix,
        "armoflow": __version__,
    }
