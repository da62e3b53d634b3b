"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import rich_click as click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from armoflow.errors import OptionError

STYLES = {
    "processing": "cyan",
    "running": "cyan",
    "completed": "green",
    "ok": "green",
    "warning": "yellow",
    "paused": "yellow",
    "cancelled": "yellow",
    "error": "red",
    "failed": "red",
    "timeout": "red",
    "aborted": "red",
}


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def output_option(help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option ``--output``: the file that a command writes."""
    path = click.Path(dir_okay=False, path_type=Path)
    return click.option("-o", "--output", type=path, required=True, help=help)


def print_json(value: Any) -> None:
    """Print a value as JSON; times as ISO 8601, durations in seconds."""
    print(json.dumps(value, indent=2, default=str))


def tell_written(session: str, tasks: int, path: Path, *, as_json: bool) -> None:
    """Say what was written about a session."""
    if as_json:
        print_json({"session": session, "tasks": tasks, "output": str(path)})
    else:
        click.echo(f"{tasks:,} tasks in {path}")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under their columns; nothing is cut where it is not read by people."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=1000)
    console.print(make_table(columns, rows))


def make_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """Rows under their columns; numbers to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[number], (int, float)) for row in rows)
        justify: Any = "right" if numeric else "left"
        table.add_column(column, justify=justify, no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(*map(_cell, row))
    return table


def print_facts(title: str, facts: Mapping[str, Any]) -> None:
    """Print what is known of one thing; what is not is left out."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(title, style="bold"))
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        if value not in (None, "", [], {}):
            line = Text(f"  {name.ljust(width)}  ", style="dim")
            console.print(line.append(_cell(value)))


def short(ids: Sequence[str], least: int = 8) -> dict[str, str]:
    """The beginnings of ids that tell them apart.

    Example:
        >>> short(["ef4a23d6-826c", "ef4a23d6-9b9a"])
        {'ef4a23d6-826c': 'ef4a23d6-8', 'ef4a23d6-9b9a': 'ef4a23d6-9'}
    """
    size = least
    while len({id[:size] for id in ids}) < len(set(ids)):
        size += 1
    return {id: id[:size] for id in ids}


def _cell(value: Any) -> Text:
    if value is None:
        return Text("")
    if isinstance(value, datetime):
        return Text(f"{value.astimezone():%Y-%m-%d %H:%M:%S}")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, int):
        return Text(f"{value:,}")
    if isinstance(value, (list, tuple)):
        return Text(", ".join(map(str, value)))
    return Text(str(value), style=STYLES.get(str(value), ""))


def write_file(path: Path, content: bytes) -> None:
    """Write what ``--output`` asks for.

    Raises:
        OptionError: If that cannot be.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        raise OptionError(f"--output {path} cannot be written: {error.strerror}") from error
