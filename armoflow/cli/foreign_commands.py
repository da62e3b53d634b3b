"""What other command lines call things, and what to type here instead."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Final

_INSTEAD: Final = {
    "armoflow --help, or armoflow COMMAND --help": ("help", "commands"),
    "armoflow --version": ("version",),
    "armoflow up": ("start", "serve", "server", "engine", "scheduler", "init", "deploy"),
    "Ctrl-C where armoflow up runs, or send it SIGTERM": ("stop", "down", "shutdown"),
    "armoflow run SCRIPT": ("submit", "exec", "execute", "python", "script"),
    "armoflow ps": ("status", "list", "ls", "sessions", "jobs", "queue"),
    "armoflow show ID": ("tasks", "task", "describe", "inspect", "get", "info", "errors"),
    "armoflow logs SESSION": ("log", "output", "tail"),
    "armoflow top": ("watch", "monitor"),
    "armoflow dashboard": ("ui", "web"),
    "armoflow timeline SESSION -o trace.json": ("trace", "profile"),
    "armoflow graph SESSION -o graph.svg": ("visualize", "draw", "dot"),
    "armoflow attach NAME": ("wait", "join", "result"),
    "armoflow resume NAME, or armoflow replay TASK": ("retry", "rerun", "continue"),
    "armoflow cancel ID": ("kill", "abort"),
    "armoflow purge SESSION": ("rm", "delete", "remove", "clean"),
    "armoflow cache ls": ("clear-cache", "index"),
    "armoflow doctor": ("test", "check", "ping", "diagnose"),
}
"""By what to type, what others call it."""


def instead_of(name: str, commands: Collection[str]) -> str:
    """What to type instead of a command that there is not, or nothing.

    Example:
        >>> instead_of("kill", ["cancel"]), instead_of("pss", ["ps", "show"])
        ('armoflow cancel ID', 'armoflow ps')
    """
    for typed, words in _INSTEAD.items():
        if name in words:
            return typed
    return " or ".join(f"armoflow {near}" for near in difflib.get_close_matches(name, commands))
