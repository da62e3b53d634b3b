"""What a script defines is found under ``__main__`` while its tasks run, as in the script."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from armoflow import Client, task
from tests.integration.engines import Up

SCRIPT = """
from __future__ import annotations
import functools, inspect, json, multiprocessing, os, pickle, sys, typing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from armoflow import Client, task
import beside

@dataclass
class Point:
    x: int
    other: Point | None = None

class Argument:
    def __init__(self, x): self.x = x
    def __eq__(self, other): return type(other) is Argument and other.x == self.x
    def __hash__(self): return self.x

HELD = None
def hold(value):
    global HELD
    HELD = value
def held(x): return HELD, x
def square(x): return x * x
def doubled(x): return 2 * x
def halved(x): return globals()["doubled"](x) / 4
def tripled_here(x): return 3 * x
def moved(point): return Point(point.x + 1, point)
def grown(argument): return type(argument)(argument.x + 1)
def by_argument(x): return x + 1000
def of_module(x): return beside.tripled(x)
def into(queue, value): queue.put(value)

METHODS = ["fork", "spawn", "forkserver"]

@task
def pools(method, function, arguments):
    context = multiprocessing.get_context(method)
    with context.Pool(1, hold, ("set",)) as pool:
        told = {
            "square": pool.map(square, [1, 2]),
            "partial": pool.apply(functools.partial(pow, 2), (3,)),
            "held": pool.apply(held, (1,)),
            "class": pool.map(Point, [1]) == [Point(1)],
            "moved": pool.map(moved, [Point(1)]) == [Point(2, Point(1))],
            "of module": pool.map(of_module, [1, 2]),
            "in module": pool.map(beside.tripled, [1]),
            "argument": pool.map(function, [1]),
            "class of arguments": pool.map(grown, arguments) == [grown(a) for a in arguments],
        }
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        told["executor"] = list(executor.map(square, [3]))
        told["executor's argument"] = executor.submit(function, 1).result()
    queue = context.Queue()
    process = context.Process(target=into, args=(queue, Point(5)))
    process.start()
    told["process"] = queue.get() == Point(5)
    process.join()
    return told

@task
def reflect(argument):
    import __main__
    return {
        "function": pickle.loads(pickle.dumps(square)) is square,
        "class": pickle.loads(pickle.dumps(Point)) is Point,
        "instance": pickle.loads(pickle.dumps(Point(1))) == Point(1),
        "argument": pickle.loads(pickle.dumps(argument)) == argument,
        "hints": typing.get_type_hints(Point)["other"] == (Point | None),
        "of function": inspect.getsource(square),
        "of class": inspect.getsource(Point).splitlines()[0:2],
        "attribute": __main__.square is square,
        "module": sys.modules[Point.__module__].Point is Point,
        "absent": hasattr(__main__, "nothing_of_the_kind"),
        "by text": [globals()[name](2) for name in ("doubled", "halved")],
        "in text": eval("doubled(3)"),
        "of main": __main__.tripled_here(1),
    }

def tell(client):
    one = [Argument(1)]
    told = {method: client.compute(pools(method, by_argument, one)) for method in METHODS}
    told["reflect"] = client.compute(reflect(Argument(3)))
    mapped = client.gather(client.map(reflect, one * 2))
    told["mapped"] = [each["function"] for each in mapped]
    return told

if __name__ == "__main__":
    with open(sys.argv[2], "a") as file:
        file.write("once\\n")
    options = {"local": True} if sys.argv[1] == "local" else {"workers": 1}
    address = [] if sys.argv[1] == "local" else [sys.argv[1]]
    with Client(*address, **options) as client:
        print(json.dumps(tell(client)))
"""

POOL = {
    "square": [1, 4],
    "partial": 8,
    "held": ["set", 1],
    "class": True,
    "moved": True,
    "of module": [3, 6],
    "in module": [3],
    "argument": [1001],
    "class of arguments": True,
    "executor": [9],
    "executor's argument": 1001,
    "process": True,
}
SEEN = {
    "function": True,
    "class": True,
    "instance": True,
    "argument": True,
    "hints": True,
    "of function": "def square(x): return x * x\n",
    "of class": ["@dataclass", "class Point:"],
    "attribute": True,
    "module": True,
    "absent": False,
    "by text": [4, 1.0],
    "in text": 6,
    "of main": 3,
}


def run(directory: Path, endpoint: str) -> None:
    script = directory / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    (directory / "beside.py").write_text("def tripled(x): return 3 * x\n")
    runs = directory / "runs"
    command = [sys.executable, str(script), endpoint, str(runs)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told == {
        **dict.fromkeys(("fork", "spawn", "forkserver"), POOL),
        "reflect": SEEN,
        "mapped": [True, True],
    }
    assert runs.read_text() == "once\n"  # no process that a task started ran the script again


@pytest.mark.skipif(sys.platform == "win32", reason="it has no fork")
def test_a_script_finds_itself_in_its_tasks(engine: Up, tmp_path: Path) -> None:
    run(tmp_path, engine.endpoint)


@pytest.mark.skipif(sys.platform == "win32", reason="it has no fork")
def test_a_script_finds_itself_in_local_mode(tmp_path: Path) -> None:
    run(tmp_path, "local")


def names() -> list[str]:
    import __main__

    return sorted(name for name in vars(__main__) if not name.startswith("__"))


def test_each_task_sees_its_own_script(client: Client) -> None:
    def of(name: str) -> object:
        scope = {"__name__": "__main__", name: 1}
        look = f"import sys\ndef look():\n {name}\n return sorted(vars(sys.modules['__main__']))"
        exec(look, scope)
        return task(scope["look"])

    for name in ("first", "second", "first"):
        seen = client.compute(of(name)())  # type: ignore[operator]
        assert [part for part in seen if part in ("first", "second")] == [name]
    assert client.compute(task(names)()) == []  # a task that is of no script


@pytest.mark.parametrize("body", ["globals()['TWO'.lower()]", "eval('TWO'.lower())"])
def test_a_name_that_is_made_up_is_told_where_it_is_missed(client: Client, body: str) -> None:
    scope = {"__name__": "__main__", "two": 2}
    exec(f"def look(): return {body}", scope)
    error = client.submit(task(scope["look"])()).exception()  # type: ignore[arg-type]
    assert "if the script defines 'two', it did not travel" in str(error.__cause__)  # type: ignore[union-attr]


RUN_BY_RUNPY = """
from dataclasses import dataclass
from armoflow import Client, task

FACTOR = 2

@dataclass
class Point:
    x: int

def moved(point): return Point(FACTOR * point.x)

@task
def move(point): return moved(point)

@task
def parent(point): return move(move(point))

with Client(workers=1) as client:
    FACTOR = 3
    print(client.compute(parent(Point(1))) == Point(9), client.compute(move.map([Point(2)])))
"""


def test_a_script_that_runpy_runs_is_one(tmp_path: Path) -> None:
    """Its name is none to import it by, with which a worker would run the script again."""
    script = tmp_path / "script.py"
    script.write_text(RUN_BY_RUNPY)
    command = [sys.executable, "-c", f"import runpy; runpy.run_path({str(script)!r})"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "True [Point(x=6)]\n", done.stderr
