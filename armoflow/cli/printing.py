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

from armoflow.codec.unprintable import printable, printable_lines
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


def newest_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option ``--limit``: how many rows a list has; :func:`tell_older` says what it leaves."""
    return click.option(
        "--limit",
        default=20,
        show_default=True,
        metavar="N",
        type=click.IntRange(1, 1000),
        help="Show the newest N.",
    )(command)


def tell_older(total: int, shown: int) -> None:
    """Say how many rows a list of the newest has left out, if any."""
    if total > shown:
        click.echo(f"... and {total - shown:,} older; --limit N shows more")


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
    """Print rows under their columns."""
    console = wide_console()
    console.print(make_table(columns, rows, console.width))


def wide_console() -> Console:
    """Where tables are printed: nothing is cut where it is not read by people."""
    console = Console()
    return console if console.is_terminal else Console(width=1000)


def make_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], width: int) -> Table:
    """Rows under their columns; numbers to the right. These, and what a row is of, are not cut.

    Where it is too wide, counts are left out that are nothing in any row.
    """
    columns, rows = _narrow(columns, rows, width)
    table = Table(box=None, pad_edge=False, header_style="bold")
    cells = [[*map(_cell, row)] for row in rows]
    for number, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[number], (int, float)) for row in rows)
        justify: Any = "right" if numeric else "left"
        whole = max((row[number].cell_len for row in cells), default=0)
        least = max(whole, len(column)) if numeric or number == 0 else None
        table.add_column(
            column, justify=justify, no_wrap=True, overflow="ellipsis", min_width=least
        )
    for row_cells in cells:
        table.add_row(*row_cells)
    return table


_GAP = 2
"""Spaces between two columns."""


def _narrow(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], width: int
) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
    """A table without counts that are nothing, the last ones first, until it is narrow enough.

    Example:
        >>> _narrow(["NAME", "DONE", "FAILED"], [["f", 3, 0]], 14)
        (['NAME', 'DONE'], [['f', 3]])
    """
    widths = [
        max(len(column), *(_cell(row[number]).cell_len for row in rows)) if rows else len(column)
        for number, column in enumerate(columns)
    ]
    kept = [*range(len(columns))]
    for number in reversed(kept[1:]):
        if sum(widths[each] + _GAP for each in kept) - _GAP <= width:
            break
        if rows and all(row[number] == 0 for row in rows):
            kept.remove(number)
    return [columns[each] for each in kept], [[row[each] for each in kept] for row in rows]


def print_facts(title: str, facts: Mapping[str, Any]) -> None:
    """Print what is known of one thing; what is not is left out."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(printable(title), style="bold"))
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        if value not in (None, "", [], {}):
            line = Text(f"  {name.ljust(width)}  ", style="dim")
            console.print(line.append(_cell(value, printable_lines)))


def echo(text: str) -> None:
    """Print lines in which there may be what others have written."""
    click.echo(printable_lines(text))


def _cell(value: Any, shown: Callable[[str], str] = printable) -> Text:
    if value is None:
        return Text("")
    if isinstance(value, datetime):
        return Text(f"{value.astimezone():%Y-%m-%d %H:%M:%S}")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, int):
        return Text(f"{value:,}")
    if isinstance(value, (list, tuple)):
        return Text(shown(", ".join(map(str, value))))
    return Text(shown(str(value)), style=STYLES.get(str(value), ""))


def write_file(path: Path, content: bytes) -> None:
    """Write what ``--output`` asks for.

    Raises:
        OptionError: If that cannot be.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        raise OptionError(f"--output {path} cannot be written: {error.strerror}") from error
