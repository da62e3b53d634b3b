"""``armoflow cache``: what is kept of earlier runs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import rich_click as click

from armoflow.cache.key_parts import KeyParts, decode_parts
from armoflow.catalogue import KeptResult, numbered, parts_of, results_of, summaries
from armoflow.cli.endpoint import endpoint_options, state_option
from armoflow.cli.printing import json_option, print_facts, print_json, print_table
from armoflow.client.caching import find_index
from armoflow.errors import OptionError, UnknownIdError
from armoflow.index import Index
from armoflow.protocol.settings import ConnectionSettings
from armoflow.report.wording import age, counted, length, size

_SHOWN = 20


class _CacheLocation(NamedTuple):
    """Whose cache it is."""

    settings: ConnectionSettings
    state: Path | None

    @property
    def path(self) -> Path:
        return find_index(self.settings.endpoint, self.state)

    @property
    def engine(self) -> str:
        return self.settings.endpoint if self.state is None else str(self.state)

    @contextmanager
    def opened(self) -> Iterator[Index]:
        """The index, which must be there."""
        if not self.path.exists():
            raise UnknownIdError(f"nothing is kept of {self.engine}: there is no {self.path}")
        index = Index(self.path)
        try:
            yield index
        finally:
            index.close()

    def remove(self, results: Sequence[KeptResult]) -> int:
        from armoflow.client.cached_data import remove_cached

        return remove_cached(self.settings, self.state, [found.opaque_id for found in results])


def _place_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say whose cache is meant; the command gets ``place``."""

    @functools.wraps(command)
    def with_place(settings: ConnectionSettings, state: Path | None, **chosen: Any) -> Any:
        place = _CacheLocation(settings, None if state is None else state.resolve())
        return command(place=place, **chosen)

    return endpoint_options(state_option(json_option(with_place)))


@click.group()
def cache() -> None:
    """What is kept of earlier runs, at an engine that stays."""


@cache.command()
@_place_options
def ls(place: _CacheLocation, *, as_json: bool) -> None:
    """List the tasks of which values are kept, with their size and the time they took."""
    found = []
    if place.path.exists():
        with place.opened() as index:
            found = summaries(index)
    if as_json:
        rows = [_dated(summary._asdict()) for summary in found]
        print_json({"engine": place.engine, "index": str(place.path), "tasks": rows})
        return
    print_table(
        ["TASK", "VERSION", "VALUES", "RESULTS", "SIZE", "TOOK", "NEWEST", "USED"],
        [
            [
                *(one.task, one.version, one.values, one.results, size(one.size)),
                *(length(one.seconds), _ago(one.made), _ago(one.used)),
            ]
            for one in found
        ],
    )


@cache.command()
@click.argument("name")
@_place_options
def show(place: _CacheLocation, name: str, *, as_json: bool) -> None:
    """Show what is kept of a task, NAME or NAME@VERSION, and what its keys were made of."""
    with place.opened() as index:
        found = results_of(index, name)
        newest = found[:_SHOWN]
        parts = [[decode_parts(data) for data in parts_of(index, one.number)] for one in newest]
    if as_json:
        rows = [
            {**_told(one), "keys": list(map(_parts, told))}
            for one, told in zip(newest, parts, strict=True)
        ]
        print_json({"results": rows, "total": len(found)})
        return
    for one, told in zip(newest, parts, strict=True):
        facts = {
            "version": one.version,
            "values": f"{one.values:,}, {size(one.size)}, took {length(one.seconds)}",
            "made": f"{_ago(one.made)}, used {_ago(one.used)}",
        }
        for made_of in told[:1]:
            facts.update(_parts_told(made_of))
        print_facts(f"{one.task} {one.number}", facts)
    if len(found) > _SHOWN:
        click.echo(f"... and {len(found) - _SHOWN:,} older")


@cache.command()
@click.argument("numbers", nargs=-1, required=True, type=int, metavar="NUMBER...")
@_place_options
def rm(place: _CacheLocation, numbers: Sequence[int], *, as_json: bool) -> None:
    """Remove results, by the numbers that show tells; their data is deleted at the engine."""
    with place.opened() as index:
        found = numbered(index, numbers)
    _tell_removed(place.remove(found), found, as_json=as_json)


@cache.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME[@VERSION]...")
@_place_options
def invalidate(place: _CacheLocation, names: Sequence[str], *, as_json: bool) -> None:
    """Remove all that is kept of tasks: they run when they are asked for again."""
    with place.opened() as index:
        every = {one.number: one for name in names for one in results_of(index, name)}
    found = list(every.values())
    _tell_removed(place.remove(found), found, as_json=as_json)


@cache.command()
@click.argument("name", required=False)
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    metavar="N",
    help="How many results are computed again.",
)
@_place_options
def verify(place: _CacheLocation, name: str | None, *, sample: int, as_json: bool) -> int:
    """Compute some of what is kept again, of a task or of all, and compare.

    It runs here, each in a process of its own, with the code that was kept with it; what differs is
    computed twice. The code is 1 where something is not as it was kept.
    """
    from armoflow.cli.cache_verify import tell_verified, verify_some

    with place.opened() as index:
        return tell_verified(
            verify_some(index, place.settings, place.state, name, sample), as_json=as_json
        )


@cache.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="The directory to write it to: ARMOFLOW_CACHE may name it, on any machine.",
)
@_place_options
def export(place: _CacheLocation, output: Path, *, as_json: bool) -> None:
    """Write a copy of the index, so that other machines find what this one has computed.

    The data stays with the engine: a client that reaches it at the same endpoint, with the copy's
    directory in ARMOFLOW_CACHE, takes values from there.
    """
    with place.opened() as index:
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OptionError(f"--output {output} cannot be made: {error.strerror}") from error
        path = output / place.path.name
        index.copy(path)
        values = sum(one.values for one in summaries(index))
    if as_json:
        print_json({"output": str(path), "values": values})
    else:
        click.echo(f"{counted(values, 'value')} in {path}; use them: ARMOFLOW_CACHE={output}")


def _tell_removed(gone: int, found: Sequence[KeptResult], *, as_json: bool) -> None:
    values, freed = sum(one.values for one in found), sum(one.size for one in found)
    if as_json:
        print_json({"removed": gone, "values": values, "bytes": freed})
    else:
        click.echo(
            f"{counted(values, 'value')} in {counted(gone, 'result')} removed, {size(freed)}"
        )


def _ago(at: float) -> str:
    return f"{age(datetime.fromtimestamp(at, timezone.utc))} ago"


def _dated(row: dict[str, Any]) -> dict[str, Any]:
    """With times as JSON has them."""
    dates = {name: datetime.fromtimestamp(row[name], timezone.utc) for name in ("made", "used")}
    return {**row, **dates}


def _told(one: KeptResult) -> dict[str, Any]:
    row = one._asdict()
    row["opaque_id"] = one.opaque_id.hex()
    return _dated(row)


def _parts(parts: KeyParts) -> dict[str, Any]:
    """What a key was made of, for programs."""
    return {
        "function": parts.task,
        "operation": parts.operation,
        "version": parts.version,
        "code": None if parts.code is None else parts.code.digest.hex(),
        "arguments": {name: argument.text for name, argument in parts.arguments.items()},
        "environment": dict(parts.environment),
    }


def _parts_told(parts: KeyParts) -> dict[str, str]:
    """The same for people."""
    arguments = ", ".join(f"{name}={told.text}" for name, told in parts.arguments.items())
    return {
        "function": parts.task,
        "code": "" if parts.code is None else parts.code.digest.hex()[:16],
        parts.operation: arguments,
        "environment": ", ".join(f"{name} {text}" for name, text in parts.environment.items()),
    }
