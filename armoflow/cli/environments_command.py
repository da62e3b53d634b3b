"""``armoflow environments``: what workers of this machine have installed for tasks."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import rich_click as click

from armoflow.cli.printing import json_option, print_json, print_table
from armoflow.errors import OptionError
from armoflow.report.wording import age, size
from armoflow.worker.virtual_environments import VARIABLE, KeptEnvironment, Shelf, environments_root


@click.group()
def environments() -> None:
    """What was installed for tasks with requirements, on this machine."""


@environments.command("ls")
@json_option
def ls(as_json: bool) -> None:
    """List the environments, that which was used longest ago first."""
    kept = _shelf().kept()
    if as_json:
        print_json([_row(one) for one in kept])
        return
    rows = [
        [one.directory.name[:8], one.python, size(one.size), age(_used(one)), _told(one)]
        for one in kept
    ]
    print_table(["NAME", "PYTHON", "SIZE", "USED", "REQUIREMENTS"], rows)


@environments.command()
@json_option
def clear(as_json: bool) -> int:
    """Remove those that no engine or worker has in use; exit code 1 if some are left."""
    shelf = _shelf()
    kept = shelf.kept()
    removed = [one for one in kept if shelf.remove(one.directory)]
    shelf.remove_rest()
    left = [one for one in kept if one not in removed]
    if as_json:
        print_json({"removed": [*map(_row, removed)], "in use": [*map(_row, left)]})
    else:
        freed = size(sum(one.size for one in removed))
        click.echo(f"{len(removed)} removed, {freed} freed; {len(left)} in use")
    return 1 if left else 0


def _shelf() -> Shelf:
    root = environments_root()
    if root.exists() and not root.is_dir():
        raise OptionError(f"{VARIABLE} must name a directory, and {root} is none")
    return Shelf(root)


def _told(one: KeptEnvironment) -> str:
    return ", ".join(one.requirements)


def _used(one: KeptEnvironment) -> datetime:
    return datetime.fromtimestamp(one.used, timezone.utc)


def _row(one: KeptEnvironment) -> dict[str, Any]:
    return {**one._asdict(), "directory": str(one.directory), "used": _used(one).isoformat()}
