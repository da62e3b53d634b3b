"""The index of a cache: what is entered is found, by several at once, until it is forgotten."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from armoflow import config
from armoflow.catalogue import every_result, results_of
from armoflow.departures import Departure, depart, departures
from armoflow.errors import EngineError
from armoflow.index import CachedPlace, Data, Expected, Index
from armoflow.index_files import directory, path_of
from armoflow.index_makings import Making
from armoflow.recipes import keep_recipes, recipe_of, recipes_among

ONE = Data(b"one", 100, 7, 1.5, "load", None, 10.0)
TWO = Data(b"two", 200, 8, 0.5, "train", "2", 20.0)


def test_what_was_entered_is_found_by_another_until_it_is_forgotten(tmp_path: Path) -> None:
    mine, other = (Index(tmp_path / "deep" / "index.sqlite") for _ in range(2))
    mine.add([(ONE, [((b"a", 0), 0), ((b"b", 0), 1)]), (TWO, [((b"a", 1), 0)])])
    asked = [(b"a", 0), (b"b", 0), (b"a", 1), (b"b", 1), (b"c", 0)]
    known = {
        (b"a", 0): CachedPlace(ONE, 0),
        (b"b", 0): CachedPlace(ONE, 1),
        (b"a", 1): CachedPlace(TWO, 0),
    }
    assert other.find(asked) == known
    other.forget([ONE.opaque_id, b"unknown"])
    assert mine.find(asked) == {(b"a", 1): CachedPlace(TWO, 0)}
    assert mine.clear() == 1
    assert other.find(asked) == {}


def test_a_key_leads_to_what_was_entered_last(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.sqlite")
    index.add([(ONE, [((b"a", 0), 0)])])
    index.add([(TWO, [((b"a", 0), 3)]), (ONE, [((b"b", 0), 1)])])
    found = index.find((bytes([letter]), 0) for letter in b"ab" * 600)
    assert found == {(b"a", 0): CachedPlace(TWO, 3), (b"b", 0): CachedPlace(ONE, 1)}


def test_two_keys_of_one_number_are_never_taken_for_each_other(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.sqlite")
    one, other = b"8 bytes!" + b"1" * 24, b"8 bytes!" + b"2" * 24
    index.add([(ONE, [((one, 0), 4)])])
    assert index.find([(one, 0), (other, 0), (one, 1)]) == {(one, 0): CachedPlace(ONE, 4)}
    index.add([(TWO, [((other, 0), 5)])])
    assert index.find([(one, 0)]) == {}  # a miss, and no wrong value
    assert index.find([(other, 0), (one, 0)]) == {(other, 0): CachedPlace(TWO, 5)}
    depart(index, [ONE.opaque_id], Departure.GONE)
    assert departures(index, [one, other]) == {}
    depart(index, [TWO.opaque_id], Departure.GONE)
    assert departures(index, [one, other]) == {other: Departure.GONE}
    assert index.find([(other, 0), (one, 0)]) == {}


def test_what_the_first_format_knew_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    keys = [((bytes([at]) * 32, at % 3 - 1), at) for at in range(20)]
    index = Index(path)
    index.add([(ONE, keys[:15]), (TWO, keys[15:])])
    index.close()
    with sqlite3.connect(path) as database:
        numbers = dict(database.execute("SELECT opaque, id FROM data"))
        database.executescript(
            "DROP TABLE entries; DROP TABLE keys; UPDATE facts SET value = x'31'"
            " WHERE name = 'format'; CREATE TABLE entries (key BLOB NOT NULL,"
            " item INTEGER NOT NULL, data INTEGER NOT NULL, slot INTEGER NOT NULL,"
            " PRIMARY KEY (key, item)) WITHOUT ROWID;"
            " CREATE INDEX entries_of_data ON entries (data)"
        )
        for (key, item), slot in keys:
            data = numbers[b"one" if slot < 15 else b"two"]
            database.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", (key, item, data, slot))
    database.close()
    for _ in range(2):
        index = Index(path)
        found = index.find(key for key, _ in keys)
        assert found == {key: CachedPlace(ONE if slot < 15 else TWO, slot) for key, slot in keys}
        assert [results_of(index, name)[0].values for name in ("load", "train")] == [15, 5]
        index.close()


def test_what_is_expected_is_known_to_others_until_it_is_settled(tmp_path: Path) -> None:
    mine, other = (Index(tmp_path / "index.sqlite") for _ in range(2))
    one = Expected("mine", "r1", [((b"a", 0), 3), ((b"b", -1), 4)], "load", None, 10.0)
    two = Expected("other", "r2", [((b"c", 0), 0)], "train", "2", 20.0)
    mine.expect([one, two])
    assert other.expected(besides="other") == [one]
    assert other.expected(besides="") == [one, two]
    other.settle([("mine", "r1"), ("mine", "r2")])
    assert mine.expected(besides="") == [two]


def test_what_took_the_fewest_seconds_for_a_byte_is_the_cheapest(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.sqlite")
    quick, slow, large = (
        ONE._replace(opaque_id=name, size=size, seconds=seconds)
        for name, size, seconds in ((b"q", 100, 0.1), (b"s", 100, 10.0), (b"l", 1000, 0.5))
    )
    index.add([(data, [((data.opaque_id, 0), 0)]) for data in (quick, slow, large)])
    assert index.size() == 1200
    assert index.cheapest(1, time.time()) == [large]
    assert index.cheapest(1001, time.time()) == [large, quick]
    assert index.cheapest(5000, time.time()) == [large, quick, slow]
    index.find([(b"l", 0)])  # which counts as a use
    assert index.cheapest(5000, time.time() - 60) == [quick, slow]
    assert index.cheapest(0, time.time()) == []


def test_what_is_no_index_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "index.sqlite"
    file.write_text("something else, and long enough to be read as a header of a database\n" * 9)
    with pytest.raises(EngineError, match="ARMOFLOW_CACHE may name another directory"):
        Index(file)
    index = Index(tmp_path / "other.sqlite")
    index.set_fact("format", b"99")
    with pytest.raises(EngineError, match="index of another armoflow"):
        Index(tmp_path / "other.sqlite")


def test_what_explains_entries_is_shared_and_goes_with_the_last_of_them(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.sqlite")
    first = Making("m:f", b"1", b"code", b"def f")
    second, without = first._replace(parts=b"2"), Making("m:f", b"3")
    entries = [(ONE, [((b"a", 0), 0)]), (TWO, [((b"b", 0), 0)])]
    index.add(entries, [(ONE.opaque_id, first), (TWO.opaque_id, second), (TWO.opaque_id, without)])
    index.add([], [(TWO.opaque_id, first)])
    kept = [making._replace(code_parts=b"") for making in (without, second, first)]
    assert index.makings("m:f", before=2e9 * 2) == kept
    assert index.makings("m:f", before=0) == index.makings("m:g", before=4e9) == []
    index.forget([ONE.opaque_id])
    assert (len(index.makings("m:f", 4e9)), index.code_parts(b"code")) == (3, b"def f")
    index.forget([TWO.opaque_id])
    assert (index.makings("m:f", 4e9), index.code_parts(b"code")) == ([], None)


def test_of_many_keys_the_newest_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "CACHE_MAKINGS", 2)
    index = Index(tmp_path / "index.sqlite")
    makings = [Making("m:f", bytes([at]), bytes([at]), b"text") for at in range(4)]
    index.add([(ONE, [])], [(ONE.opaque_id, making) for making in makings])
    assert [making.parts for making in index.makings("m:f", 4e9)] == [b"\3", b"\2"]
    assert [index.code_parts(bytes([at])) for at in range(4)] == [None, None, b"text", b"text"]


def test_each_engine_has_a_file_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ARMOFLOW_CACHE", str(tmp_path))
    assert path_of("http://one:5001") != path_of("http://other:5001")
    assert path_of("http://one:5001").parent == tmp_path
    monkeypatch.delenv("ARMOFLOW_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert directory() == tmp_path / "xdg" / "armoflow"


def test_a_file_that_cannot_be_used_any_more_is_told(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.sqlite", "engine")
    index._connection.close()
    with pytest.raises(EngineError, match=r"index\.sqlite cannot be used: .*ARMOFLOW_CACHE"):
        index.find([(b"key", 0)])


def test_what_fails_leaves_no_transaction_behind(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.sqlite", "engine")
    with pytest.raises(EngineError):
        index.add([(ONE._replace(size=None), [((b"key", 0), 0)])])  # type: ignore[arg-type]
    index.add([(ONE, [((b"key", 0), 0)])])
    assert index.find([(b"key", 0)])[b"key", 0].data == ONE


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE keys SET records = x'00ff'",
        "UPDATE keys SET records = 'text'",
        "UPDATE entries SET place = place + 1",
        "UPDATE entries SET place = 'text'",
        "DELETE FROM keys",
        "DELETE FROM data",
        "INSERT INTO expected VALUES ('session', 'result', 'task', 'version', x'ff', 1.0)",
    ],
)
def test_rows_that_make_no_sense_are_told(tmp_path: Path, edit: str) -> None:
    index = Index(tmp_path / "index.sqlite", "engine")
    index.add([(ONE, [((b"key", 0), 0)])])
    index._connection.execute(edit)
    for _ in range(2):  # no transaction is left behind
        with pytest.raises(
            EngineError, match=r"index\.sqlite has a row that makes no sense .*: remove"
        ):
            index.find([(b"key", 0)])
            index.expected(besides="")


WRITER = """
import sys
import subprocess
import sys
from pathlib import Path
from armoflow.index import Data, Index
index = Index(Path(sys.argv[1]), "engine")
for number in range(100):
    name = f"{sys.argv[2]} {number}".encode()
    index.add([(Data(name, 1, 2, 0.5, "f", None, 1.0), [((name, 0), 0)])])
    index.find([(name, 0)])
    if number % 2:
        index.forget([name])
"""


def test_several_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    commands = [[sys.executable, "-c", WRITER, str(path), name] for name in ("one", "other")]
    writers = [subprocess.Popen(command) for command in commands]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    keys = [(f"{name} {number}".encode(), 0) for name in ("one", "other") for number in range(100)]
    assert len(Index(path, "engine").find(keys)) == 100


def test_there_may_be_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("ARMOFLOW_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(EngineError, match="set ARMOFLOW_CACHE"):
        path_of("http://engine:5001")


def test_recipes_go_with_their_data_and_of_a_task_the_newest_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "CACHE_RECIPES", 2)
    index = Index(tmp_path / "index.sqlite")
    data = [ONE._replace(opaque_id=bytes([number])) for number in range(4)]
    index.add([(one, [((one.opaque_id, 0), 0)]) for one in data])
    recipes = [
        (one.opaque_id, 0, b"recipe", f"modules {number % 3}", b"code")
        for number, one in enumerate(data)
    ]
    keep_recipes(index, recipes)
    numbers = every_result(index)
    assert recipes_among(index, numbers) == numbers[2:]
    kept = recipe_of(index, numbers[3])
    assert kept is not None and kept.modules == ("modules 0", b"code")
    index.forget([data[3].opaque_id])
    assert recipe_of(index, numbers[3]) is None
    with index.reading() as execute:
        assert execute("SELECT modules FROM bundles").fetchall() == [("modules 2",)]
    index.clear()
    assert recipes_among(index, numbers) == []
    with index.reading() as execute:
        assert execute("SELECT modules FROM bundles").fetchall() == []
    index.close()
