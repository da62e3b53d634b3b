"""Values that were computed before are taken, by whatever door, and nothing is run for them."""

from __future__ import annotations

import dataclasses
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import armoflow
from armoflow import Client, config, task
from armoflow.errors import EngineError, OptionError, UnkeyableError
from armoflow.index import Index
from armoflow.index_files import path_of
from tests.integration.engines import Up
from tests.processes import running


class Counter:
    """Tells how many calls ran; each leaves a file."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._seen = 0

    def __armoflow_key__(self) -> str:
        return "counter"

    def ran(self, number: object) -> None:
        (self.directory / f"{number}-{time.monotonic_ns()}").touch()

    def new(self) -> int:
        """How many ran since it was asked last."""
        count = len(list(self.directory.iterdir()))
        new, self._seen = count - self._seen, count
        return new


@task(cache=True)
def double(number: int, counter: Counter) -> int:
    counter.ran(number)
    return 2 * number


@task(cache=True)
def add(first: int, second: int) -> int:
    return first + second


@task(cache=True)
def is_even(number: int, counter: Counter) -> bool:
    counter.ran(number)
    return number % 2 == 0


@task(cache=True, outputs=2)
def split(number: int, counter: Counter) -> tuple[int, int]:
    counter.ran(number)
    return divmod(number, 10)


@task(cache=True)
def fragile(number: int, counter: Counter) -> int:
    counter.ran(number)
    if number == 2:
        raise ValueError(number)
    return number


@task
def plain(number: int, counter: Counter) -> int:
    counter.ran(number)
    return number + 1


@task(cache=True)
def outer(number: int, counter: Counter) -> int:
    return double(number, counter)  # type: ignore[return-value]


@pytest.fixture
def counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counter:
    monkeypatch.setenv("ARMOFLOW_CACHE", str(tmp_path / "cache"))
    directory = tmp_path / "ran"
    directory.mkdir()
    return Counter(directory)


def _doors(counter: Counter) -> dict[str, tuple[int, Callable[[Client], object]]]:
    """Ways to ask for values, each of other numbers, and how many calls they are."""
    ten, many = range(10, 20), range(100, 130)

    def iterated(client: Client) -> list[int]:
        collection = double.map(range(200, 207), counter=counter)
        return sorted(future.result() for future in client.as_completed(collection))

    return {
        "compute": (1, lambda client: client.compute(double(1, counter))),
        "side by side": (
            3,
            lambda client: client.compute(*[double(n, counter) for n in (2, 3, 4)]),
        ),
        "submit": (1, lambda client: client.submit(double(5, counter)).result()),
        "map": (10, lambda client: client.compute(double.map(ten, counter=counter))),
        "futures": (
            9,
            lambda client: client.gather(client.map(double, range(30, 39), [counter] * 9)),
        ),
        "as_completed": (7, iterated),
        "reduce": (
            30,
            lambda client: client.compute(double.map(many, counter=counter).reduce(add)),
        ),
        "fold": (
            8,
            lambda client: client.compute(
                double.map(range(40, 48), counter=counter).fold(add, initial=5)
            ),
        ),
        "filter": (
            6,
            lambda client: client.compute(
                armoflow.items(range(50, 56)).filter(is_even, counter=counter)
            ),
        ),
        "outputs": (1, lambda client: client.compute(*split(12, counter))),
        "graph": (1, lambda client: client.compute(outer(60, counter))),
        "put": (1, lambda client: client.compute(double(client.put(61), counter))),
    }


def test_a_second_client_runs_nothing_by_whatever_door(engine: Up, counter: Counter) -> None:
    doors = _doors(counter)
    values = {}
    with Client(engine.endpoint, workers=2) as client:
        for door, (ran, ask) in doors.items():
            values[door] = ask(client)
            assert (door, counter.new()) == (door, ran)
    with Client(engine.endpoint, workers=2) as client:
        assert {door: ask(client) for door, (_, ask) in doors.items()} == values
    assert counter.new() == 0


def test_what_is_not_kept_takes_what_is_as_its_input(engine: Up, counter: Counter) -> None:
    with Client(engine.endpoint, workers=2) as client:
        assert client.compute(plain(double(1, counter), counter)) == 3
    assert counter.new() == 2
    with Client(engine.endpoint, workers=2) as client:
        assert client.compute(plain(double(1, counter), counter)) == 3
    assert counter.new() == 1


def test_only_new_items_of_a_map_run_whatever_is_between_them(engine: Up, counter: Counter) -> None:
    with Client(engine.endpoint, workers=2) as client:
        client.compute(double.map([3, 4, 8, 9, 15], counter=counter))
    assert counter.new() == 5
    with Client(engine.endpoint, workers=2) as client:
        values = client.compute(double.map(range(20), counter=counter))
        assert values == [2 * number for number in range(20)]
        assert counter.new() == 15
        total = client.compute(double.map(range(20), counter=counter).reduce(add))
        assert (total, counter.new()) == (380, 0)


def test_what_failed_is_tried_again_and_its_neighbours_are_not(
    engine: Up, counter: Counter
) -> None:
    for ran in (4, 1):
        with Client(engine.endpoint, workers=2) as client:
            collection = fragile.with_options(batch_size=4).map(range(4), counter=counter)
            values = client.gather(client.submit(collection), return_exceptions=True)
            assert values[:2] + values[3:] == [0, 1, 3]
            assert isinstance(values[2], ValueError)
        assert counter.new() == ran


def test_options_say_what_is_kept_by_every_door(engine: Up, counter: Counter) -> None:
    with Client(engine.endpoint, workers=2, cache=True) as client:
        client.compute(plain(1, counter))
        assert counter.new() == 1
        client.compute(plain(1, counter))
        assert counter.new() == 0
        client.compute(plain.with_options(cache=False)(1, counter))
        assert counter.new() == 1
        client.compute(plain.with_options(version=2)(1, counter))
        assert counter.new() == 1
        client.compute(plain.with_options(version=2, expires=1e-9)(1, counter))
        assert counter.new() == 1
    with Client(engine.endpoint, workers=2) as client, armoflow.options(cache=True):
        client.compute(plain(1, counter))
        assert counter.new() == 0


def test_data_that_is_gone_or_another_is_computed_anew_with_one_warning(
    engine: Up, counter: Counter, caplog: pytest.LogCaptureFixture
) -> None:
    run = double.with_options(batch_size=1).map(range(6), counter=counter)
    with Client(engine.endpoint, workers=2) as client:
        client.compute(run)
    assert counter.new() == 6
    path = path_of(engine.endpoint)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE data SET opaque = x'00ff00ff00ff00f1' WHERE id = 2")
        database.execute("UPDATE data SET checksum = checksum + 1 WHERE id = 4")
    database.close()
    with Client(engine.endpoint, workers=2) as client:
        assert client.compute(run) == [0, 2, 4, 6, 8, 10]
        assert counter.new() == 2
        assert len(caplog.records) == 1
        assert "2 results in the cache have lost their data" in caplog.text
        client.compute(run)
    assert counter.new() == 0


def test_an_engine_that_has_lost_everything_begins_anew(
    engine: Up, counter: Counter, caplog: pytest.LogCaptureFixture
) -> None:
    with Client(engine.endpoint, workers=2) as client:
        client.compute(double(1, counter))
    index = Index(path_of(engine.endpoint))
    index.set_fact("canary", b"\0\1\2\3\4\5\6\7")
    index.close()
    for ran in (1, 0):
        counter.new()
        with Client(engine.endpoint, workers=2) as client:
            assert client.compute(double(1, counter)) == 2
        assert counter.new() == ran
    assert len(caplog.records) == 1
    assert "1 values are computed anew" in caplog.text


def _spoil(engine: Up, task_name: str, change: str) -> None:
    with sqlite3.connect(path_of(engine.endpoint)) as database:
        database.execute(f"UPDATE data SET {change} WHERE task = ?", (task_name,))
    database.close()


@pytest.mark.parametrize("change", ["checksum = checksum + 1", "size = size + 1"])
def test_a_worker_that_is_given_something_else_has_it_computed_anew(
    engine: Up, counter: Counter, caplog: pytest.LogCaptureFixture, change: str
) -> None:
    doors: dict[str, Callable[[Client], object]] = {
        "compute": lambda client: client.compute(plain(double(1, counter), counter)),
        "submit": lambda client: client.submit(plain(double(1, counter), counter)).result(),
        "side by side": lambda client: client.compute(
            *[plain(double(1, counter), counter) for _ in range(3)]
        )[0],
        "map": lambda client: client.compute(plain.map([double(1, counter)], counter=counter))[0],
        "futures": lambda client: client.map(plain, [double(1, counter)], [counter])[0].result(),
    }
    with Client(engine.endpoint, workers=2) as client:
        client.compute(double(1, counter))
    for door, ask in doors.items():
        _spoil(engine, "double", change)
        caplog.clear()
        with Client(engine.endpoint, workers=2) as client:
            assert (door, ask(client)) == (door, 3)
        assert (door, caplog.text.count("is not what was kept in the cache")) == (door, 1)


class Fleeting:
    """Cannot be read back while there is a file at some place."""

    def __init__(self, number: int, place: Path) -> None:
        self.number, self.place = number, place

    def __reduce__(self) -> object:
        return read_back, (self.number, self.place)


def read_back(number: int, place: Path) -> Fleeting:
    if place.exists():
        raise AttributeError("there is no such class any more")
    return Fleeting(number, place)


@task(cache=True, ignore=["place"], version=1)
def make_fleeting(number: int, place: Path) -> Fleeting:
    place.unlink(missing_ok=True)
    return Fleeting(number, place)


@task
def read_fleeting(value: Fleeting) -> int:
    return value.number


def test_what_cannot_be_read_any_more_is_computed_anew(
    engine: Up, counter: Counter, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    place = tmp_path / "gone"
    doors: dict[str, Callable[[Client], object]] = {
        "a task reads it": lambda client: client.compute(read_fleeting(make_fleeting(1, place))),
        "compute": lambda client: client.compute(make_fleeting(1, place)).number,
        "submit": lambda client: client.submit(make_fleeting(1, place)).result().number,
        "map": lambda client: client.compute(make_fleeting.map([1], place=place))[0].number,
        "futures": lambda client: client.map(make_fleeting, [1], [place])[0].result().number,
    }
    with Client(engine.endpoint, workers=2) as client:
        client.compute(make_fleeting(1, place))
    for door, ask in doors.items():
        place.touch()
        caplog.clear()
        with Client(engine.endpoint, workers=2) as client:
            assert (door, ask(client)) == (door, 1)
        assert (door, caplog.text.count("and is computed anew")) == (door, 1)


@task(cache=True, batch_size=1)
def slow(number: int, seconds: float, counter: Counter) -> bytes:
    counter.ran(number)
    time.sleep(seconds)
    return bytes([number]) * 100_000


def test_how_long_it_took_is_known(engine: Up, counter: Counter) -> None:
    with Client(engine.endpoint, workers=2) as client:
        client.compute(slow(0, 0.02, counter))
        client.submit(slow(1, 0.03, counter)).result()
        client.compute(slow.map([2, 3], seconds=0.04, counter=counter))
    with sqlite3.connect(path_of(engine.endpoint)) as database:
        took = [row[0] for row in database.execute("SELECT seconds FROM data ORDER BY seconds")]
    database.close()
    assert [least <= seconds for seconds, least in zip(took, (0.02, 0.03, 0.04, 0.04), strict=True)]


def test_what_is_worth_least_goes_where_it_is_too_much(
    engine: Up, counter: Counter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    quick = slow.with_options(version="quick").map(range(4), seconds=0.0, counter=counter)
    long = slow.with_options(version="long").map(range(4), seconds=0.0, counter=counter)
    with Client(engine.endpoint, workers=2, cache_limit="650kB") as client:
        client.compute(quick, long)
    assert "more than its limit of 650000" in caplog.text  # it was used just now
    with sqlite3.connect(path_of(engine.endpoint)) as database:
        database.execute("UPDATE data SET seconds = CASE version WHEN 'quick' THEN 1 ELSE 9 END")
    database.close()
    monkeypatch.setattr(config, "CACHE_SPARED", 0.0)
    with Client(engine.endpoint, workers=2, cache_limit="650kB") as client:
        client.compute(double(1, counter))  # what is entered has others removed
    index = Index(path_of(engine.endpoint))
    assert 400_000 < index.size() < 650_000
    index.close()
    counter.new()
    caplog.clear()
    with Client(engine.endpoint, workers=2, cache_limit="none") as client:
        client.compute(long)
        assert counter.new() == 0
        (told,) = client.explain(quick).tasks
        assert (told.hits, told.misses) == (1, 3)
        assert [(why.kind, why.calls) for why in told.reasons] == [("evicted", 3)]
        client.compute(quick)
        assert counter.new() == 3
        assert client.explain(quick).misses == 0
    assert not caplog.records


KILLED = """
import asyncio, sys, time
from pathlib import Path
from armoflow import Client
from armoflow.orchestrator.caching.keeping import Keeper
from tests.integration.test_caching import Counter, double

async def keep(self, session_id, batch):
    await asyncio.sleep(1000)

Keeper._keep = keep
client = Client(sys.argv[1], workers=2)
print(client.compute(double.map(range(10), counter=Counter(Path(sys.argv[2])))), flush=True)
time.sleep(1000)
"""


def test_what_a_killed_client_did_not_enter_another_one_does(engine: Up, counter: Counter) -> None:
    command = [sys.executable, "-c", KILLED, engine.endpoint, str(counter.directory)]
    with running(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{list(range(0, 20, 2))}\n"
        process.kill()
    assert counter.new() == 10
    with Client(engine.endpoint, workers=2) as client:
        assert client.compute(double.map(range(10), counter=counter)) == list(range(0, 20, 2))
    assert counter.new() == 0
    index = Index(path_of(engine.endpoint))
    assert index.expected(besides="") == []
    index.close()


NOT_CLOSED = """
from armoflow import task

@task(cache=True)
def double(number):
    return 2 * number

print(double(3).compute())
"""


def test_a_client_that_ends_with_its_script_keeps_what_it_has_computed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(NOT_CLOSED)
    state = tmp_path / "state"
    environment = {**os.environ, "ARMOFLOW_STATE": str(state)}
    done = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, check=True
    )

    assert done.stdout == "6\n"
    assert "Traceback" not in done.stderr
    index = Index(state / "cache.sqlite")
    assert index.measured("double").size is not None
    assert index.expected(besides="") == []
    index.close()


def test_what_is_ignored_has_to_be_an_argument() -> None:
    with pytest.raises(OptionError, match="no argument 'level' to ignore: did you mean 'levels'"):
        task(cache=True, ignore=["level"])(lambda number, levels=(): number)
    with pytest.raises(OptionError, match="'double' has no argument 'level'"):
        double.with_options(ignore=["level"])


@dataclasses.dataclass
class Unkeyable:
    """Holds what has no key."""

    lock: object

    def __reduce__(self) -> object:
        raise TypeError("it has no form")


def test_an_argument_without_a_key_is_named_before_anything_runs(
    client: Client, counter: Counter
) -> None:
    with pytest.raises(UnkeyableError, match="first"):
        client.compute(add(Unkeyable(1), 2))  # type: ignore[arg-type]
    assert counter.new() == 0


def test_what_cannot_be_written_is_noted_as_well_as_it_can_be(
    engine: Up, caplog: pytest.LogCaptureFixture
) -> None:
    """Texts of values are shown beside keys, and a name may come from anywhere."""

    def odd(text: str, **more: str) -> str:
        return text + more["half a \ud83d"]

    odd.__module__ = odd.__name__ = odd.__qualname__ = "\ud800"
    kept = task(odd, cache=True)
    with Client(engine.endpoint) as client:
        for _ in range(2):
            value = client.compute(kept("\udfff", **{"half a \ud83d": "\ud800"}))
            assert value == "\udfff\ud800"
        assert client.explain(kept("\udfff", **{"half a \ud83d": "\ud800"})).tasks[0].hits == 1
    assert not caplog.records


@task(on_failure=-1)
def or_less(number: int, until: str) -> int:
    return _unless(number, until)


@task(on_failure="skip")
def or_skipped(number: int, until: str) -> int:
    return _unless(number, until)


def _unless(number: int, until: str) -> int:
    if number % 2 and not Path(until).exists():
        raise OSError(f"{number} is not there yet")
    return number


@task(cache=True)
def total(numbers: list[int]) -> int:
    return sum(numbers)


@task(cache=True)
def returned(number: int, until: str) -> int:
    return or_less(number, until)  # type: ignore[return-value]


@task(cache=True)
def returned_in_other_words(number: int, until: str) -> int:
    with armoflow.options(on_failure=-2):
        return task(_unless)(number, until)  # type: ignore[return-value]


def test_what_stands_for_a_failure_is_in_no_kept_value(
    engine: Up, counter: Counter, tmp_path: Path
) -> None:
    """The failure may be over the next time, and what was made of it would still be there."""
    until = str(tmp_path / "until")
    rows = [1, 2, 3]
    values = []
    for step in range(2):
        with Client(engine.endpoint) as client:
            skipped = or_skipped.map(rows, until=until)
            graph = (
                double(or_less(1, until), counter),
                double.map(or_less.map(rows, until=until), counter=counter),
                skipped.reduce(add),
                total(skipped),  # type: ignore[arg-type]
                total([or_less(1, until), 5]),  # type: ignore[list-item]
                returned(1, until),
                returned_in_other_words(1, until),
            )
            values.append(client.compute(*graph))
            if step:
                told = client.explain(graph[0]).as_dict()
                assert "on_failure" in str(told)
        Path(until).touch()
    assert values == [
        (-2, [-2, 4, -2], 2, 2, 4, -1, -2),
        (2, [2, 4, 6], 6, 6, 6, 1, 1),
    ]


def no_database(index: Path) -> None:
    index.write_text("this is not a database, " * 100)


def another(index: Path) -> None:
    Index(index).set_fact("format", b"tomorrow's")


@pytest.mark.parametrize("spoil", [no_database, Path.mkdir, another])
@pytest.mark.parametrize("name", [None, "nightly"])
def test_without_an_index_that_can_be_used_all_is_computed(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str | None,
    spoil: Callable[[Path], None],
) -> None:
    with Client(state=tmp_path) as client:
        spoil(tmp_path / "cache.sqlite")
        for _ in range(2):
            graph = add(1, add(2, 3))
            future = client.submit(graph) if name is None else client.submit(graph, name=name)
            assert future.result(timeout=60) == 6
        assert "nothing is taken from the cache, nor kept" in caplog.text
        with pytest.raises(EngineError, match=r"cache\.sqlite"):  # who asks for it is told
            client.explain(add(1, 2))
