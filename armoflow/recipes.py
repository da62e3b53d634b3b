"""What an index keeps to have some of its values computed again: read, written, chosen."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import NamedTuple

from armoflow import config
from armoflow.index import Index


class KeptRecipe(NamedTuple):
    """What a result can be computed again from.

    Attributes:
        number: The result's number in the index.
        opaque_id: The engine's name for its data.
        size: Its bytes.
        checksum: What its header must say.
        task: The task's name.
        version: What stands for its code, if something does.
        output: Which output of the task it is.
        recipe: The task, encoded.
        modules: The user's modules, with their digest; None: it needs none.
    """

    number: int
    opaque_id: bytes
    size: int
    checksum: int
    task: str
    version: str | None
    output: int
    recipe: bytes
    modules: tuple[str, bytes] | None


def keep_recipes(
    index: Index, recipes: Iterable[tuple[bytes, int, bytes, str | None, bytes]]
) -> None:
    """Keep what some data can be computed again from; of a task, that of the newest stays.

    Args:
        index: The index, which has the data already.
        recipes: The opaque id, which output it is, the recipe, and the user's modules by their
            digest, if it needs some.
    """
    with index.writing() as execute:
        tasks = set()
        for opaque_id, output, recipe, modules, bundle in recipes:
            query = "SELECT id, task FROM data WHERE opaque = ?"
            row = execute(query, (opaque_id,)).fetchone()
            if row is None:
                continue
            tasks.add(row[1])
            entry = (row[0], output, recipe, modules)
            is_new = execute("INSERT OR IGNORE INTO recipes VALUES (?, ?, ?, ?)", entry).rowcount
            if is_new and modules is not None:
                execute("INSERT OR IGNORE INTO bundles VALUES (?, ?)", (modules, bundle))
        for task in tasks:
            _keep_newest(execute, task)


def _keep_newest(execute: Callable[..., sqlite3.Cursor], task: str) -> None:
    query = (
        "DELETE FROM recipes WHERE data IN (SELECT recipes.data FROM recipes"
        " JOIN data ON data.id = recipes.data WHERE task = ? ORDER BY data.id DESC"
        " LIMIT -1 OFFSET ?)"
    )
    execute(query, (task, config.CACHE_RECIPES))


def recipes_among(index: Index, numbers: Iterable[int]) -> list[int]:
    """The numbers of those results that have what they can be computed again from."""
    wanted = set(numbers)
    with index.reading() as execute:
        rows = execute("SELECT data FROM recipes ORDER BY data")
        return [number for (number,) in rows if number in wanted]


def recipe_of(index: Index, number: int) -> KeptRecipe | None:
    """What a result can be computed again from; None: that is gone."""
    query = (
        "SELECT id, opaque, size, checksum, task, version, output, recipe, recipes.modules,"
        " bundles.data FROM recipes JOIN data ON data.id = recipes.data"
        " LEFT JOIN bundles ON bundles.modules = recipes.modules WHERE recipes.data = ?"
    )
    with index.reading() as execute:
        row = execute(query, (number,)).fetchone()
    if row is None:
        return None
    known, (digest, bundle) = row[:-2], row[-2:]
    return KeptRecipe._make((*known, None if digest is None else (digest, bundle)))
