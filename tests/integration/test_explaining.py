"""Why a graph runs again, and what it will take: told before and after; nothing runs for it."""

from __future__ import annotations

import sqlite3
import types
from pathlib import Path
from typing import Any

import pytest

from armoflow import Client, task
from armoflow.errors import BudgetError, DryRunError, GraphError, OptionError
from armoflow.explanation import Explanation, Reason
from armoflow.index_files import path_of
from tests.integration.engines import Up

SOURCE = """
import armoflow
FACTOR = 2

def scaled(number):
    return FACTOR * number

@armoflow.task(cache=True)
def load(number, level=0):
    return scaled(number)

@armoflow.task(cache=True)
def add(first, second):
    return first + second

@armoflow.task
def report(total):
    return f"total {total}"
"""


@pytest.fixture(autouse=True)
def cache_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARMOFLOW_CACHE", str(tmp_path / "cache"))


def program(source: str = SOURCE) -> Any:
    """What a script of this text has defined."""
    module = types.ModuleType("__main__")
    exec(source, vars(module))
    return module


def told(explanation: Explanation) -> dict[str, tuple[int, int, int, int]]:
    return {
        found.task: (found.hits, found.misses, found.uncached, found.unneeded)
        for found in explanation.tasks
    }


def reasons(explanation: Explanation, name: str) -> list[Reason]:
    (found,) = (found for found in explanation.tasks if found.task == name)
    return list(found.reasons)


def graph(script: Any, numbers: Any = range(4)) -> Any:
    return script.report(script.load.map(numbers).reduce(script.add))


def test_before_and_after_a_run_hits_and_misses_are_told(engine: Up) -> None:
    script = program()
    with Client(engine.endpoint, workers=2) as client:
        before = client.explain(graph(script))
        future = client.submit(graph(script))
        assert future.result() == "total 12"
        assert str(future.explain()) == str(client.explain()) == str(before)
        assert told(before) == {"load": (0, 4, 0, 0), "add": (0, 1, 0, 0), "report": (0, 0, 1, 0)}
        assert [reason.kind for reason in reasons(before, "load")] == ["new"]
        assert [reason.kind for reason in reasons(before, "report")] == ["not cached"]
    assert str(future.explain()) == str(before)  # also when the client is gone
    with Client(engine.endpoint, workers=2) as client:
        later = client.explain(graph(script))
        assert told(later) == {"add": (1, 0, 0, 0), "report": (0, 0, 1, 0), "load": (0, 0, 0, 4)}
        few = client.submit(script.load.map(range(2, 8)))
        assert few.result() == [4, 6, 8, 10, 12, 14]
        assert told(few.explain()) == {"load": (2, 4, 0, 0)}
        (reason,) = reasons(few.explain(), "load")
        assert reason == Reason("argument", "number", "such as 4 is new", 4)
        items = client.map(script.load, [1, 9])
        assert client.gather(items) == [2, 18]
        assert told(items[0].explain()) == {"load": (1, 1, 0, 0)}


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (("FACTOR = 2", "FACTOR = 3"), ("code", "global __main__:FACTOR", "2 -> 3")),
        (("FACTOR * number", "number * FACTOR"), ("code", "function __main__:scaled", None)),
        (("True)\ndef load", "True, version='2')\ndef load"),
         ("version", "__main__:load", "nothing -> 2")),
    ],
)  # fmt: skip
def test_what_was_edited_is_named(
    engine: Up, edit: tuple[str, str], reason: tuple[str, str, str | None]
) -> None:
    assert edit[0] in SOURCE
    with Client(engine.endpoint, workers=2) as client:
        client.compute(graph(program()))
    with Client(engine.endpoint, workers=2) as client:
        explanation = client.explain(graph(program(SOURCE.replace(*edit))))
        assert told(explanation)["load"] == (0, 4, 0, 0)
        (found,) = reasons(explanation, "load")
        assert (found.kind, found.name, found.calls) == (*reason[:2], 4)
        assert reason[2] is None or found.text == reason[2]
        (upstream,) = reasons(explanation, "add")  # its cone: its own code is what it was
        assert (upstream.kind, upstream.name) == ("argument", "items")
        assert "load" in upstream.text


def test_which_argument_and_which_environment_are_named(
    engine: Up, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = program()
    with Client(engine.endpoint, workers=2) as client:
        client.compute(script.load(1, level=5), script.load.map([1], level=5))
        (reason,) = reasons(client.explain(script.load(1, level=6)), "load")
        assert reason == Reason("argument", "level", "5 -> 6", 1)
        assert told(client.explain(script.load.map([1, 2], level=5))) == {"load": (1, 1, 0, 0)}
        monkeypatch.setattr("armoflow.cache.environment_key.KEY_VERSION", 99)
        (reason,) = reasons(client.explain(script.load(1, level=5)), "load")
        assert (reason.kind, reason.name, reason.text[-5:]) == ("environment", "keys", "-> 99")


def test_what_is_gone_and_what_has_expired_are_told_and_left_as_they_are(engine: Up) -> None:
    script = program()
    with Client(engine.endpoint, workers=2) as client:
        client.compute(script.load.with_options(batch_size=1).map(range(4)))
        (reason,) = reasons(client.explain(script.load.with_options(expires=1e-9)(1)), "load")
        assert (reason.kind, reason.calls) == ("expired", 1)
    with sqlite3.connect(path_of(engine.endpoint)) as database:
        database.execute("UPDATE data SET opaque = x'00ff00ff00ff00f1' WHERE id = 2")
    database.close()
    with Client(engine.endpoint, workers=2) as client:
        for _ in range(2):
            explanation = client.explain(script.load.map(range(4)))
            assert told(explanation) == {"load": (3, 1, 0, 0)}
            (reason,) = reasons(explanation, "load")
            assert (reason.kind, reason.calls) == ("gone", 1)
        future = client.submit(script.load.map(range(4)))
        assert future.result() == [0, 2, 4, 6]
        assert str(future.explain()) == str(explanation)


def test_a_dry_run_runs_nothing_by_whatever_door(engine: Up, tmp_path: Path) -> None:
    @task(cache=True)
    def touch(number: int) -> int:
        (tmp_path / f"ran-{number}").touch()
        return number

    with Client(engine.endpoint, workers=2, dry_run=True) as client:
        for door in (
            lambda: client.compute(touch(1)),
            lambda: client.submit(touch(1)).result(),
            lambda: client.submit(touch, 1).result(),
            lambda: client.gather(client.map(touch, [1, 2])),
            lambda: list(client.as_completed(touch.map([1]))),
            lambda: client.submit(touch(1), name="nightly").result(),
            lambda: client.submit(touch(client.submit(touch(1)))).result(),
            lambda: client.compute(touch(client.put(1))),
        ):
            with pytest.raises(DryRunError, match=r"touch: .*miss") as caught:
                door()
            assert isinstance(caught.value.explanation, Explanation)
        assert told(client.submit(touch(1)).explain()) == {"touch": (0, 1, 0, 0)}
    assert not list(tmp_path.glob("ran-*"))
    with Client(local=True, dry_run=True) as client, pytest.raises(DryRunError, match="keeps"):
        client.compute(touch(1))
    with pytest.raises(OptionError, match="dry_run must be True or False"):
        Client(local=True, dry_run=1)  # type: ignore[arg-type]


def test_what_a_graph_takes_is_estimated_from_what_was_measured(engine: Up) -> None:
    import time

    @task(cache=True)
    def wait(number: int) -> int:
        time.sleep(0.05)
        return number

    @task
    def total(first: int, second: int) -> int:
        return first + second

    values = wait.map(range(40)).reduce(total)
    with Client(engine.endpoint, workers=2) as client:
        unknown = client.plan(values)
        assert unknown.unmeasured == ["wait", "total"]
        assert [(found.task, found.to_run) for found in unknown.tasks] == [
            ("wait", 40),
            ("total", 39),
        ]
        client.compute(wait.map(range(10)))
    with Client(engine.endpoint, workers=2) as client:
        estimate = client.plan(values)
        found = estimate.tasks[0]
        assert (found.calls, found.known, found.to_run) == (40, 10, 30)
        assert 0.05 <= found.seconds_each < 0.5  # type: ignore[operator]
        assert estimate.critical_path < estimate.duration < estimate.seconds
        assert 2 <= found.engine_tasks <= 30
        assert estimate.cached_share == 10 / 79
        assert "30 of 40 calls run" in str(estimate)
    with Client(engine.endpoint, workers=2, budget=1) as client:
        for refused in (
            lambda: client.compute(values),
            lambda: client.submit(values),
            lambda: client.map(wait, range(40)),
            lambda: client.submit(values, name="nightly"),
        ):
            with pytest.raises(BudgetError, match=r"budget is 1 s") as caught:
                refused()
            assert caught.value.estimate.tasks[0].to_run == 30  # type: ignore[attr-defined]
        assert client.compute(wait.map(range(10))) == list(range(10))


def test_what_a_slice_leaves_out_is_told_as_not_needed_and_no_work(engine: Up) -> None:
    script = program()
    with Client(engine.endpoint, workers=2) as client:
        some = script.load.map(range(100))[90:95]
        assert told(client.explain(some)) == {"load": (0, 5, 0, 95)}
        assert client.compute(some) == [2 * number for number in range(90, 95)]
        more = script.load.map(range(100))[88:97]
        assert told(client.explain(more)) == {"load": (5, 4, 0, 91)}
        (planned,) = client.plan(more).tasks
        assert (planned.calls, planned.to_run) == (100, 4)
        uncached = script.report.map(range(100))[::10]
        assert told(client.explain(uncached)) == {"report": (0, 0, 10, 90)}
        (planned,) = client.plan(uncached).tasks
        assert planned.to_run == 10


def test_a_number_that_python_does_not_write_out_is_an_argument_like_others(engine: Up) -> None:
    with Client(engine.endpoint, workers=2) as client:
        assert client.compute(task(int.bit_length, cache=True)(10**5000)) == 16_610


def test_iterators_are_refused_and_not_read(client: Client) -> None:
    script = program()
    numbers = iter([1, 2])
    for ask in (client.explain, client.plan):
        with pytest.raises(GraphError, match=r"list\(\.\.\.\)"):
            ask(script.report(script.load.map(numbers)))
    assert list(numbers) == [1, 2]


def test_why_a_task_is_not_cached_is_said_in_the_same_words(engine: Up) -> None:
    plain = task(name="plain")(lambda number: number)
    refuses = plain.with_options(name="refuses", cache=False)
    kept = plain.with_options(name="kept", cache=True)
    words = ["nothing says cache=True", "it says cache=False"]

    with Client(engine.endpoint, workers=2) as client:
        alone = client.explain(plain(1), refuses(1))
        beside = client.explain(plain(1), refuses(1), kept(1))
        named = client.submit(kept(1), name="explained").explain()

    for explanation in (alone, beside):
        told = {one.task: [reason.text for reason in one.reasons] for one in explanation.tasks}
        assert [told["plain"], told["refuses"]] == [[word] for word in words]
    assert "kept: 1 miss" in str(named)


def test_how_large_values_are_is_not_made_up(engine: Up) -> None:
    make = task(name="make")(lambda number: b"x" * number)

    with Client(engine.endpoint, workers=2) as client:
        client.compute(make.map([100_000] * 4))
        estimate = client.plan(make.map([100_000] * 40))

    assert estimate.unsized == ["make"]
    assert "how large the values are is not known" in str(estimate)


@pytest.mark.parametrize("ask", ["explain", "plan"])
def test_what_holds_nothing_lazy_cannot_be_looked_at(engine: Up, ask: str) -> None:
    with (
        Client(engine.endpoint, workers=2) as client,
        pytest.raises(GraphError, match=r"looks at a graph, and there is none in what it got: 3"),
    ):
        getattr(client, ask)(3)
