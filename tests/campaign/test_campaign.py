"""A few rounds of the campaign, and that it would notice what it looks for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.campaign import __main__ as campaign
from tests.campaign import checks, cluster
from tests.campaign.rounds import Verdict, play
from tests.campaign.stage import Seen
from tests.campaign.workload import union


@pytest.mark.parametrize("kind", ["engine", "worker"])  # ``make campaign`` plays them all
def test_a_round_costs_nothing(kind: str) -> None:
    verdict = play(kind, "full", seed=1)
    assert not verdict.problems


def test_a_cluster_that_does_what_the_real_one_did_costs_nothing() -> None:
    verdict = cluster.play(seed=1)
    assert not verdict.problems
    assert verdict.values > 50
    assert verdict.counts["tasks lost"]
    assert verdict.counts["calls in the outage"]


def test_what_goes_wrong_on_a_cluster_is_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def played(seed: int) -> cluster.Verdict:
        problems = ["a value is wrong"] if seed == 8 else []
        return cluster.Verdict(seed, 100, problems, Counter({"tasks lost": 2}))

    monkeypatch.setattr(cluster, "play", played)
    assert cluster.main(["--rounds", "1", "--seed", "7"]) == 0
    assert cluster.main(["--rounds", "2", "--seed", "7"]) == 1
    printed = capsys.readouterr()
    assert "seed 8, 100 values, 0 s: a value is wrong" in printed.err
    table = printed.out.splitlines()
    assert "| tasks lost | 4 |" in table
    assert table[-2:] == [
        "| values and errors seen | 200 |",
        "| rounds with a wrong value, a hang or a stuck task | 1 |",
    ]


def seen(*values: dict[str, str], at: int = 100) -> Seen:
    found = Seen()
    for number, runs in enumerate(values):
        found.take({"event": "seen", "name": str(number), "runs": runs, "at": at})
    return found


def test_a_call_that_ran_after_it_was_seen_is_found(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("early a 50\nlate b 60\nlate c 1000100\n")
    assert checks.run_again(tmp_path, seen({"early": "a", "late": "b"})) == [
        "late ran again 1 ms after its value was seen"
    ]
    assert checks.run_again(tmp_path / "nowhere", seen({"early": "a"})) == []


def test_two_values_of_one_call_are_found() -> None:
    """Whether one reader saw both of them, or each of two saw another one."""
    assert checks.doubled(seen({"x": "a"}, {"x": "a", "y": "b"})) == []
    assert checks.doubled(seen({"x": "a"}, {"x": "b"})) == ["x was seen with two values"]
    assert checks.doubled(seen(union({"x": "a"}, {"x": "b"}))) == ["x was seen with two values"]


def test_data_that_changed_is_found() -> None:
    before: dict[str, Any] = {"kept": (b"1", 5), "deleted": (b"2", 5), "changed": (b"3", 5)}
    after: dict[str, Any] = {"kept": (b"1", 5), "changed": (b"4", 5), "new": (b"5", 5)}
    assert checks.changed(before, after) == ["result changed has other data than before"]


def test_what_is_left_is_found(tmp_path: Path) -> None:
    from armoflow.engine.schema import open_journal

    connection = open_journal(tmp_path / "journal.db", "normal")
    assert checks.left_in_state(tmp_path) == []
    connection.execute("INSERT INTO sessions(id, status) VALUES('s', 1)")
    connection.execute("INSERT INTO tasks(id, status) VALUES('t', 9)")
    connection.execute("INSERT INTO results(id, status) VALUES('r', 2)")
    connection.close()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "1").touch()
    assert checks.left_in_state(tmp_path) == [
        "session s has not ended",
        "1 tasks in the journal",
        "1 results with data (of ) in the journal",
        "file data/1",
    ]
    assert checks.left_in(tmp_path / "data") == ["1 in TMPDIR"]


def test_the_table_counts_and_the_exit_code_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def played(kind: str, durability: str, seed: int) -> Verdict:
        verdict = Verdict(kind, durability, "up", seed, recovery=0.5)
        if seed == 8 and kind == "engine":
            verdict.lost = ["x", "y"]
        return verdict

    monkeypatch.setattr(campaign, "play", played)
    arguments = ["--only", "engine", "--only", "child", "--only", "full", "--seed", "7"]
    assert campaign.main([*arguments, "--rounds", "2"]) == 0
    assert campaign.main([*arguments, "--rounds", "4"]) == 1
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "| engine | full | 2 | 2 | 0 | 0 | 0 | 0.50 s |",
        "| child | full | 2 | 0 | 0 | 0 | 0 | 0.50 s |",
        "| all |  | 4 | 2 | 0 | 0 | 0 |  |",
    ]
