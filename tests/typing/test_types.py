"""What a type checker says about scripts; mypy runs once, over one file for each snippet."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest
from mypy import api

ROOT = Path(__file__).parents[2]

PRELUDE = """\
from __future__ import annotations
from typing import Any
from typing_extensions import assert_type
from armoflow.graph.collection import DelayedList, items, zip_items
from armoflow.graph.context import compute
from armoflow.graph.delayed import Delayed
from armoflow.graph.task import Task, task

class Table: ...
class Model: ...

@task
def load(path: str) -> Table:
    return Table()

@task(retries=2, timeout=60, partition="gpu", priority=5)
def train(table: Table, *, depth: int = 3) -> Model:
    return Model()

@task
def better(a: Model, b: Model) -> Model:
    return a

@task
def double(number: int) -> int:
    return 2 * number

@task(outputs=2)
def split(number: int) -> tuple[int, str]:
    return number, ""

def plain(number: int) -> int:
    return number

files: list[str] = []
"""

GOOD = {
    "readme": """
        models = load.map(files).map(train, depth=5)
        winner = models.reduce(better)
        assert_type(models, DelayedList[Model])
        assert_type(winner, Delayed[Model])
        assert_type(winner.compute(), Model)
        assert_type(models.compute(), list[Model])
        assert_type(compute(winner), Model)
        assert_type(compute(models), list[Model])
        assert_type(compute(winner, double(1)), tuple[Model, int])
        winner.visualize("graph.svg")
    """,
    "calls": """
        table = load("a.csv")
        assert_type(table, Delayed[Table])
        assert_type(train(table, depth=2), Delayed[Model])
        assert_type(double(double(1)), Delayed[int])
        assert_type(double.local(1), int)
        assert_type(double.with_options(retries=2, name="other")(1), Delayed[int])
        base: Delayed[object] = table
    """,
    "outputs": """
        left, right = split(1)
        assert_type(left, Delayed[int])
        assert_type(right, Delayed[str])
        lefts, rights = split.map([1])
        assert_type(rights, DelayedList[str])
        lefts, rights = items([1]).map(split)
        assert_type(lefts, DelayedList[int])

        @task(outputs=5)
        def five() -> tuple[int, ...]:
            return (1,) * 5

        assert_type(five()[4], Delayed[Any])
    """,
    "collections": """
        many = double.map(range(3))
        assert_type(many[0], Delayed[int])
        assert_type(many[1:], DelayedList[int])
        assert_type([item for item in many], list[Delayed[int]])
        assert_type(many.filter(lambda number: number > 1), DelayedList[int])
        assert_type(many.gather(), Delayed[list[int]])
        assert_type(many.map(str), DelayedList[str])
        assert_type(many.map(plain), DelayedList[int])
        assert_type(zip_items(many, load.map(files)), DelayedList[tuple[int, Table]])
        assert_type(many.fold(double), Delayed[int])
        assert_type(items(["a"]), DelayedList[str])
    """,
    "coroutines": """
        from armoflow import AsyncClient, Future

        @task
        async def later(number: int) -> int:
            return number

        @task(retries=2)
        async def retried(number: int) -> Table:
            return Table()

        @task(retries=2)
        def plainly(number: int) -> int | Delayed[int]:
            return number

        assert_type(later(1), Delayed[int])
        assert_type(retried(1), Delayed[Table])
        assert_type(plainly(1), Delayed[int])
        assert_type(later.map([1]), DelayedList[int])

        async def main() -> None:
            async with AsyncClient() as client:
                assert_type(await client.compute(later(1)), int)
                assert_type(await client.compute(later.map([1])), list[int])
                async for future in client.as_completed(later.map([1])):
                    assert_type(future, Future[int])
                    assert_type(await future, int)
    """,
    "client": """
        from armoflow import Client, Future, options

        @task
        def grows(number: int) -> int | Delayed[int]:
            return number

        def grows_too(number: int) -> Delayed[int]:
            return double(number)

        with Client(retries=2, timeout=None) as client, options(priority=2):
            assert_type(client.submit(double(1)), Future[int])
            assert_type(client.submit(double.map([1])), Future[list[int]])
            assert_type(client.submit(double, 1), Future[int])
            assert_type(client.submit(split, 1), Future[tuple[int, str]])
            assert_type(client.submit(grows, double(1)), Future[int])
            assert_type(client.submit(plain, number=1), Future[int])
            assert_type(client.submit(grows_too, 1), Future[int])
            assert_type(client.submit(double, 1).result(), int)
    """,
    "signature": """
        reveal_type(train)  # Task[[table: Table, *, depth: int =], Model]
        reveal_type(train.local)  # def (table: Table, *, depth: int =) -> Model
    """,
}

BAD = {
    "delayed_to_plain": ("plain(double(1))", 'incompatible type "Delayed[int]"; expected "int"'),
    "iterate": ("for part in double(1): ...", "not iterable"),
    "calculate": ("double(1) + 1", "Unsupported operand types"),
    "attribute": ("double(1).real", 'has no attribute "real"'),
    "unknown_option": ("task(retrys=1)", 'Unexpected keyword argument "retrys"'),
    "option_type": ('double.with_options(retries="2")', "incompatible type"),
    "not_iterable": ("double.map(5)", "incompatible type"),
    "unpack": ("a, b = double(1)", "not iterable"),
    "local": ('double.local("a")', "incompatible type"),
    "client_argument": (
        "import armoflow; armoflow.Client(n_workers=2)",
        'Unexpected keyword argument "n_workers"',
    ),
    "block": ("import armoflow; armoflow.options(retrys=2)", "Unexpected keyword argument"),
    "result": ("text: str = double(1).compute()", "Incompatible types in assignment"),
}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What mypy --strict says, by snippet."""
    folder = tmp_path_factory.mktemp("snippets")
    snippets = GOOD | {name: code for name, (code, _) in BAD.items()}
    for name, code in snippets.items():
        (folder / f"snippet_{name}.py").write_text(PRELUDE + textwrap.dedent(code))
    # With the project's own settings and cache: what the package is was found out already.
    settings = ("--config-file", str(ROOT / "pyproject.toml"))
    cache = ("--cache-dir", str(ROOT / ".mypy_cache"))
    output, problems, _ = api.run(["--no-error-summary", *settings, *cache, str(folder)])
    assert not problems
    said: dict[str, str] = dict.fromkeys(snippets, "")
    for line in output.splitlines():
        match = re.search(r"snippet_(\w+)\.py:\d+: (.*)", line)
        assert match, line
        said[match[1]] += match[2] + "\n"
    return said


@pytest.mark.parametrize("name", [name for name in GOOD if name != "signature"])
def test_good_scripts(reports: dict[str, str], name: str) -> None:
    assert reports[name] == ""


@pytest.mark.parametrize("name", BAD)
def test_mistakes_are_found(reports: dict[str, str], name: str) -> None:
    assert BAD[name][1] in reports[name]


def test_editors_show_the_signature(reports: dict[str, str]) -> None:
    shown = reports["signature"].replace("snippet_signature.", "")
    assert "Task[[table: Table, *, depth: int =], Model]" in shown
    assert "def (table: Table, *, depth: int =) -> Model" in shown
