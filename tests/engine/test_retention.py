"""Sessions that have ended go after a time, with all that is known of them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from engine_support import Running, in_loop

from armoflow.engine.engine_options import EngineOptions
from armoflow.engine.records import SessionStatus
from armoflow.errors import OptionError
from armoflow.protocol.frames import RUN_LABEL


async def until_gone(running: Running, session_id: str) -> None:
    while session_id in running.engine.state.sessions:
        await asyncio.sleep(0.005)


async def end(running: Running) -> str:
    """A session with a failed task, whose payload stays; closed."""
    session_id = running.open_session()
    task = running.submit()
    engine = running.engine
    running.take()
    engine.fail(task.id, "broken")
    await engine.sweeper.change(
        session_id, lambda: engine.state.close_session(engine.now(), session_id)
    )
    return session_id


@in_loop
async def test_an_ended_session_goes_with_its_data_and_rows(tmp_path: Path) -> None:
    async with Running(tmp_path, retention=0.05) as running:
        engine = running.engine
        open_one = running.open_session()
        ended = await end(running)
        await until_gone(running, ended)
        await engine.sweeper.change(ended, lambda: engine.state.delete_session(0.0, ended))
        assert [session.id for session in (await engine.queries.sessions()).items] == [open_one]
        assert (await engine.queries.tasks()).total == (await engine.queries.results()).total == 0
        assert list((tmp_path / "objects").rglob("*.*")) == []


@in_loop
async def test_the_time_goes_on_after_a_restart(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        ended = await end(running)
        running.open_session()
    async with Running(tmp_path, retention=1e6) as running:
        sessions = running.engine.state.sessions
        assert {session.status for session in sessions.values()} == {
            *(SessionStatus.CLOSED, SessionStatus.RUNNING)
        }
    async with Running(tmp_path, retention=0.01) as running:
        await until_gone(running, ended)
        assert len(running.engine.state.sessions) == 1


@in_loop
async def test_a_closed_session_whose_task_runs_stays_until_that_has_ended(tmp_path: Path) -> None:
    async with Running(tmp_path, retention=0.02) as running:
        engine = running.engine
        session_id = running.open_session()
        task = running.submit()
        running.take()
        await engine.sweeper.change(
            session_id, lambda: engine.state.close_session(engine.now(), session_id)
        )
        other = await end(running)
        await until_gone(running, other)
        assert session_id in engine.state.sessions
        engine.fail(task.id, "broken")
        await until_gone(running, session_id)


@in_loop
async def test_deleted_results_of_an_ended_session_are_not_remembered(tmp_path: Path) -> None:
    """A client's batches are not repeated any more: ids would fill memory for the retention."""
    async with Running(tmp_path) as running:
        engine = running.engine
        session_id = running.open_session()
        task = running.submit()
        engine.apply(engine.state.delete_results(engine.now(), [task.payload_id]))
        await engine.committed()
        assert engine.state._members[session_id].knew(task.payload_id)
        await engine.sweeper.change(
            session_id, lambda: engine.state.cancel_session(engine.now(), session_id)
        )
        await engine.sweeper.change(
            session_id, lambda: engine.state.purge_session(engine.now(), session_id)
        )
        assert not engine.state._members[session_id].knew(task.payload_id)
    async with Running(tmp_path) as running:
        assert not running.engine.state._members[session_id].knew(task.payload_id)


def test_a_retention_is_a_number_of_seconds() -> None:
    with pytest.raises(OptionError, match="retention must be a number of seconds"):
        EngineOptions(Path("unused"), retention=-1.0)


@in_loop
async def test_the_session_of_a_named_run_goes_some_time_after_its_last_task(
    tmp_path: Path,
) -> None:
    async with Running(tmp_path, retention=0.05) as running:
        engine = running.engine
        named = running.open_session({RUN_LABEL: "nightly"})
        task = running.submit()
        running.take()
        running.open_session()
        engine.fail(task.id, "broken")
        await until_gone(running, named)
        assert list(engine.state.sessions) == [running.session]


@in_loop
async def test_a_named_run_stays_while_it_has_tasks(tmp_path: Path) -> None:
    async with Running(tmp_path, retention=0.01) as running:
        named = running.open_session({RUN_LABEL: "nightly"})
        running.submit()
        await until_gone(running, await end(running))
        assert list(running.engine.state.sessions) == [named]
