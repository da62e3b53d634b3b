"""The journal knows whether its rows are in the order of their creation."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from engine_support import Running, in_loop

from armoflow.engine.records import NewResult
from armoflow.engine.schema import CREATION_ORDER, KEPT

NOW = 1_700_000_000.0


def started(directory: Path, now: float = NOW) -> Running:
    """An engine that is started when its clock tells a date."""
    running = Running(directory)
    running.engine.clock.read = lambda: now
    return running


async def create(running: Running, *dates: float) -> None:
    """Results, as the clock tells these dates."""
    engine = running.engine
    for date in dates:
        engine.clock.read = lambda date=date: date  # type: ignore[misc]
        new = NewResult(engine.new_id(), "result")
        engine.apply(engine.state.create_results(engine.now(), running.session, [new]))
    await engine.committed()


def noted(directory: Path) -> str:
    """What the journal says."""
    with sqlite3.connect(directory / "journal.db") as connection:
        (value,) = connection.execute("SELECT value FROM meta WHERE name=?", (CREATION_ORDER,))
    return str(value[0])


def forget(directory: Path) -> None:
    """As in a journal of an earlier armoflow."""
    with sqlite3.connect(directory / "journal.db") as connection:
        connection.execute("DELETE FROM meta WHERE name=?", (CREATION_ORDER,))


@in_loop
async def test_time_stands_still_where_the_clock_is_set_back_a_little(tmp_path: Path) -> None:
    async with started(tmp_path) as running:
        running.open_session()
        await create(running, NOW, NOW - 0.5, NOW + 1)
        results = (await running.engine.queries.results(sort="created_at")).items
        assert [result.created_at for result in results] == [NOW, NOW, NOW + 1]
        assert running.engine.creation_order.holds
    assert noted(tmp_path) == KEPT


@in_loop
async def test_an_order_that_is_lost_stays_so_until_the_rows_are_gone(tmp_path: Path) -> None:
    async with started(tmp_path) as running:
        running.open_session()
        await create(running, NOW)
        kept = running.session
        running.open_session()
        await create(running, NOW - 10, NOW)
        assert not running.engine.creation_order.holds
        assert noted(tmp_path) != KEPT
    async with started(tmp_path) as running:
        engine = running.engine
        await engine.creation_order.looked()
        assert not engine.creation_order.holds
        engine.apply(engine.state.delete_session(engine.now(), kept))
        while (await engine.queries.results(page_size=0)).total > 2:
            await asyncio.sleep(0.001)
    async with started(tmp_path) as running:
        await running.engine.creation_order.looked()
        assert running.engine.creation_order.holds
    assert noted(tmp_path) == KEPT


@in_loop
async def test_a_clock_that_was_set_back_while_no_engine_ran(tmp_path: Path) -> None:
    async with started(tmp_path) as running:
        running.open_session()
        await create(running, NOW)
    async with started(tmp_path, NOW - 10) as running:
        assert not running.engine.creation_order.holds


@pytest.mark.parametrize(("dates", "in_order"), [((0, 1, 1, 2, 3), True), ((0, 1, 2, 1, 3), False)])
@in_loop
async def test_a_journal_that_says_nothing_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dates: tuple[int, ...], in_order: bool
) -> None:
    monkeypatch.setattr("armoflow.engine.creation_order.AT_ONCE", 2)
    async with started(tmp_path) as running:
        running.open_session()
        await create(running, *(NOW + 100 * date for date in dates))
    forget(tmp_path)
    async with started(tmp_path, NOW + 1000) as running:
        await running.engine.creation_order.looked()
        assert running.engine.creation_order.holds == in_order
