"""The stopwatches behind the budget, and the table."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.micro import budget, stages
from benchmarks.micro.stopwatch import (
    REST,
    Boundary,
    Overhead,
    Stopwatch,
    Sums,
    difference,
    find,
    measure_overhead,
    net,
    read,
)

STAGES = ["outer", "inner"]


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


@pytest.fixture
def watch(tmp_path: Path) -> Stopwatch:
    return Stopwatch(STAGES, tmp_path / "sums")


def shown(tmp_path: Path) -> dict[str, Sums]:
    return read(tmp_path / "sums", STAGES)


@pytest.mark.parametrize("role", stages.ROLES)
def test_all_boundaries_are_where_they_are_looked_for(role: str) -> None:
    for boundary in stages.ROLES[role]:
        assert callable(find(boundary.place)[2])


def test_a_boundary_that_is_gone_is_named() -> None:
    with pytest.raises(LookupError, match="path:joined is no longer there"):
        find("os.path:joined")


def test_every_stage_has_its_line() -> None:
    lines = {(role, stage) for role, stage, _, _ in budget.ROWS}
    known = {(role, stage) for role in stages.ROLES for stage in stages.names(role)}
    assert known <= lines
    assert len(lines) == len(budget.ROWS)


def test_what_is_inside_counts_once(tmp_path: Path, watch: Stopwatch) -> None:
    inner = watch.wrap(lambda: burn(0.02), "inner")
    with watch.stage("outer"):
        burn(0.01)
        inner()
        time.sleep(0.02)
    sums = shown(tmp_path)
    assert sums["outer"].seconds == pytest.approx(0.01, abs=0.005)
    assert sums["inner"].seconds == pytest.approx(0.02, abs=0.005)
    assert (sums["outer"].entered, sums["outer"].left) == (1, 1)
    assert (sums["inner"].entered, sums["inner"].left) == (1, 0)


def test_a_section_begins_with_nothing(tmp_path: Path, watch: Stopwatch) -> None:
    def around(seconds: float) -> None:
        with watch.stage("outer"):
            pass
        burn(seconds)

    around(0.02)
    watch.resume()
    around(0.0)
    around(0.0)
    assert shown(tmp_path)[REST].seconds < 0.01


def test_only_the_steps_of_a_coroutine_count(tmp_path: Path, watch: Stopwatch) -> None:
    async def work(fail: bool) -> int:
        burn(0.005)
        try:
            await asyncio.sleep(0.03 if not fail else 60)
        except asyncio.CancelledError:
            burn(0.005)
            raise
        burn(0.005)
        return 5

    timed = watch.wrap(work, "inner")

    async def main() -> None:
        assert await timed(False) == 5
        cancelled = asyncio.create_task(timed(True))
        await asyncio.sleep(0.02)
        burn(0.02)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled

    asyncio.run(main())
    assert shown(tmp_path)["inner"].seconds == pytest.approx(0.02, abs=0.008)


def test_functions_are_put_back(watch: Stopwatch) -> None:
    class Owner:
        def method(self) -> int:
            return 1

    import sys

    module: Any = sys.modules[__name__]
    module.Owner = Owner
    plain = Owner.method
    with watch.timing([Boundary(f"{__name__}:Owner.method", "inner")]):
        assert Owner.method is not plain
        assert Owner().method() == 1
    assert Owner.method is plain


def test_reading_the_clock_is_taken_off(tmp_path: Path, watch: Stopwatch) -> None:
    timed = watch.wrap(lambda: None, "inner")
    overhead = measure_overhead(tmp_path)
    assert overhead.inside > 0
    before = shown(tmp_path)
    with watch.stage("outer"):
        for _ in range(10_000):
            timed()
    spent = difference(shown(tmp_path), before)
    assert net(spent, overhead)["inner"] < 0.5 * spent["inner"].seconds


def test_arithmetic() -> None:
    before = {"a": Sums(1.0, 10, 1)}
    after = {"a": Sums(2.0, 20, 3)}
    assert difference(after, before) == {"a": Sums(1.0, 10, 2)}
    assert net(difference(after, before), Overhead(0.01, 0.05))["a"] == pytest.approx(0.8)


def test_readings_tell_roles_apart_and_leave_out_new_processes(tmp_path: Path) -> None:
    def write(stem: str, role: str, seconds: float) -> None:
        watch = Stopwatch(stages.names(role), tmp_path / f"{stem}.sums")
        watch._sums[3] = seconds
        (tmp_path / f"{stem}.overhead").write_text("[0, 0]")

    write("worker-1", "worker", 1.0)
    write("worker-2", "worker", 1.0)
    before = stages.Reading(tmp_path)
    write("worker-1", "worker", 1.5)
    write("worker-2", "worker", 3.0)
    write("worker-3", "worker", 10.0)
    first = stages.names("worker")[0]
    assert stages.Reading(tmp_path).since(before)["worker", first] == pytest.approx(2.5)


def test_the_table_says_what_no_stage_explains() -> None:
    found = {(role, stage): 1.0 for role, stage, _, _ in budget.ROWS}
    counts = {role: sum(where == role for where, _, _, _ in budget.ROWS) for role in stages.ROLES}
    totals = {role: count + 2.0 for role, count in counts.items()}
    printed = budget.table(found, totals).splitlines()
    assert len(printed) == 2 + len(budget.ROWS) + 3 + 1
    assert printed[-4].startswith("| unattributed | client | 2.0 |")
    assert printed[-1].startswith(f"| total | all | {len(found) + 6:.1f} | 100% |")


def test_a_small_budget() -> None:
    found, totals = budget.measure(rounds=1, tasks=300)
    assert set(totals) == set(stages.ROLES)
    assert {(role, stage) for role, stage, _, _ in budget.ROWS} <= set(found)
    # At least these take time that no correction can hide.
    for key in (("client", stages.PLAN), ("engine", stages.WRITER), ("worker", stages.RUN)):
        assert found[key] > 1.0
    assert "| run: task | worker |" in budget.table(found, totals)
