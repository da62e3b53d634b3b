from __future__ import annotations

import asyncio
import contextlib
import functools
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine_support import Running, in_loop

from armoflow.agent.effects import Effects
from armoflow.engine import checkpoints, journal, schema
from armoflow.engine.core import Engine
from armoflow.engine.engine_options import EngineOptions, decode_options, encode_options
from armoflow.engine.records import ApiOptions, Changes, NewResult
from armoflow.errors import EngineError, OptionError


@in_loop
async def test_a_corrupt_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_bytes(b"this is not a database" * 1000)
    for _ in range(2):  # and the directory is free again
        with pytest.raises(EngineError, match=r"journal\.db is damaged") as caught:
            await Engine(EngineOptions(tmp_path)).start()
        assert caught.value.code == "DATA_LOSS"


@in_loop
async def test_a_truncated_journal_is_refused(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        running.open_session()
        for _ in range(200):
            running.submit()
    path = tmp_path / "journal.db"
    data = bytearray(path.read_bytes())
    for start in range(4096, len(data), 4096):
        data[start : start + 512] = b"\xff" * 512
    path.write_bytes(data)
    with pytest.raises(EngineError, match="damaged"):
        await Engine(EngineOptions(tmp_path)).start()


@in_loop
async def test_a_newer_journal_is_refused(tmp_path: Path) -> None:
    async with Running(tmp_path):
        pass
    with sqlite3.connect(tmp_path / "journal.db") as connection:
        connection.execute(f"PRAGMA user_version={schema.VERSION + 1}")
    connection.close()
    with pytest.raises(EngineError, match="newer armoflow"):
        await Engine(EngineOptions(tmp_path)).start()


@in_loop
async def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "journal.db") as connection:
        connection.execute("CREATE TABLE other(x)")
    connection.close()
    with pytest.raises(EngineError, match="another program"):
        await Engine(EngineOptions(tmp_path)).start()


@pytest.mark.parametrize("durability", ["normal", "full"])
@in_loop
async def test_both_durabilities(tmp_path: Path, durability: str) -> None:
    async with Running(tmp_path, durability=durability) as running:
        running.open_session()
        task = running.submit(b"x" * 100_000)
        await running.engine.committed()
    async with Running(tmp_path, durability=durability) as running:
        payload = running.engine.state.results[task.payload_id]
        path = await running.engine.objects.read(payload.opaque_id)
        assert isinstance(path, Path)
        assert path.read_bytes() == b"x" * 100_000


def test_an_unknown_durability_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="durability"):
        EngineOptions(tmp_path, durability="eventual")  # type: ignore[arg-type]


@in_loop
async def test_changes_that_come_during_a_commit_are_committed_too(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        session = running.open_session()
        futures = []
        for number in range(300):
            result = NewResult(engine.new_id(), f"result {number}")
            changes = engine.state.create_results(engine.now(), session, [result])
            futures.append(engine.apply(changes))
            if number % 50 == 0:
                await futures[-1]
        assert len(set(futures)) < 60
        for future in futures:
            await future
        assert (await engine.queries.results()).total == 300


@in_loop
async def test_a_few_urgent_rows_are_committed_within_one_turn_of_the_loop(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        session = running.open_session()
        await engine.committed()
        result = NewResult(engine.new_id(), "result")
        committed = engine.apply(
            engine.state.create_results(engine.now(), session, [result]), urgent=True
        )
        await asyncio.sleep(0)
        assert committed.done()
        assert (await engine.queries.results()).total == 1


@in_loop
async def test_many_changes_gather_as_long_as_more_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Running(tmp_path) as running:
        engine, batches = running.engine, running.engine._journal.begun
        session = running.open_session()
        pauses = _Pauses(asyncio.get_running_loop())
        monkeypatch.setattr(engine._journal, "_loop", pauses)

        def create(count: int) -> asyncio.Future[None]:
            many = [NewResult(engine.new_id(), "result") for _ in range(count)]
            return engine.apply(engine.state.create_results(engine.now(), session, many))

        writing = create(journal.BUSY_ROWS)
        await asyncio.sleep(0)
        begun = batches.batches
        gathering = create(journal.STEADY_ROWS)  # while that is written
        await writing
        for _ in range(journal.BUSY_PAUSES - 1):
            pauses.end()
            assert batches.batches == begun
            create(journal.STEADY_ROWS)
        pauses.end()  # the last one
        assert batches.batches == begun + 1
        await gathering
        assert (await engine.queries.results()).total == 448


@pytest.mark.parametrize("told", [False, True])
@in_loop
async def test_what_gathers_is_written_when_no_more_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    async with Running(tmp_path) as running:
        engine, batches = running.engine, running.engine._journal.begun
        session = running.open_session()
        pauses = _Pauses(asyncio.get_running_loop())
        monkeypatch.setattr(engine._journal, "_loop", pauses)
        many = [NewResult(engine.new_id(), "result") for _ in range(journal.BUSY_ROWS)]
        writing = engine.apply(engine.state.create_results(engine.now(), session, many))
        await asyncio.sleep(0)
        begun = batches.batches
        one = [NewResult(engine.new_id(), "result")]
        gathering = engine.apply(engine.state.create_results(engine.now(), session, one))
        await writing
        await asyncio.sleep(0)
        assert batches.batches == begun
        if told:
            engine.hurry()
        else:
            pauses.end()
        await gathering
        assert batches.batches == begun + 1


class _Pauses:
    """A loop in which the pauses of a busy journal last until they are ended."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.end: Callable[[], object]

    def call_later(
        self, delay: float, call: Callable[..., object], *arguments: Any
    ) -> asyncio.TimerHandle:
        if delay == journal.BUSY_PAUSE:
            self.end = functools.partial(call, *arguments)
            delay = 3600.0
        return self._loop.call_later(delay, call, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


@in_loop
async def test_the_log_is_copied_to_the_tables_once_it_is_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "PAGES", 50)
    async with Running(tmp_path) as running:
        engine = running.engine
        session = running.open_session()
        for number in range(60):
            result = NewResult(engine.new_id(), f"result {number}")
            await engine.apply(engine.state.create_results(engine.now(), session, [result]))
        await _until(lambda: not engine._journal._checkpoints.running)
        # A copy of the tables alone, without the log, has those that came before the first copy.
        copy = tmp_path / "copy.db"
        copy.write_bytes((tmp_path / "journal.db").read_bytes())
        with contextlib.closing(sqlite3.connect(copy)) as connection:
            (rows,) = connection.execute("SELECT count(*) FROM results").fetchone()
        assert rows > 5


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # in_loop sees to that this ends
        await asyncio.sleep(0.001)


@in_loop
async def test_nobody_waits_for_a_copy_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "PAGES", 50)
    begun, go_on = threading.Event(), threading.Event()
    copy = checkpoints.Checkpointer.copy

    def slow(self: checkpoints.Checkpointer, connection: sqlite3.Connection) -> None:
        begun.set()
        assert go_on.wait(60)
        copy(self, connection)

    monkeypatch.setattr(checkpoints.Checkpointer, "copy", slow)
    async with Running(tmp_path) as running:
        engine = running.engine
        session = running.open_session()
        try:
            for number in range(60):
                result = NewResult(engine.new_id(), f"result {number}")
                await engine.apply(engine.state.create_results(engine.now(), session, [result]))
            await _until(begun.is_set)  # a thread that was started may not have had its turn yet
            assert engine._journal._checkpoints.running
            many = [NewResult(engine.new_id(), "result") for _ in range(500)]  # by the thread
            await engine.apply(engine.state.create_results(engine.now(), session, many))
        finally:
            go_on.set()
        await _until(lambda: not engine._journal._checkpoints.running)
        assert (await engine.queries.results()).total == 560


@in_loop
async def test_a_log_that_is_never_copied_whole_is_finished_by_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "PAGES", 50)
    monkeypatch.setattr(checkpoints, "MOST_PAGES", 100)
    log = tmp_path / "journal.db-wal"
    copy = checkpoints.Checkpointer.copy

    def outpaced(self: checkpoints.Checkpointer, connection: sqlite3.Connection) -> None:
        if threading.current_thread().name == "armoflow-journal":
            copy(self, connection)
        else:  # the log is as long as if nothing had been copied
            self.length = log.stat().st_size // schema.PAGE_BYTES

    monkeypatch.setattr(checkpoints.Checkpointer, "copy", outpaced)
    async with Running(tmp_path) as running:
        engine = running.engine
        session = running.open_session()
        for _ in range(60):
            many = [NewResult(engine.new_id(), "result") for _ in range(500)]
            await engine.apply(engine.state.create_results(engine.now(), session, many))
            await _until(lambda: not engine._journal._checkpoints.running)
        assert log.stat().st_size < 400 * schema.PAGE_BYTES


@in_loop
async def test_the_file_of_a_long_log_is_given_back_when_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "PAGES", 50)
    monkeypatch.setattr(checkpoints, "MOST_PAGES", 100)
    monkeypatch.setattr(checkpoints, "QUIET", 0.01)
    log = tmp_path / "journal.db-wal"
    async with Running(tmp_path) as running:
        engine = running.engine
        session = running.open_session()
        many = [NewResult(engine.new_id(), "result") for _ in range(20_000)]
        await engine.apply(engine.state.create_results(engine.now(), session, many))
        assert log.stat().st_size > 100 * schema.PAGE_BYTES
        await _until(lambda: log.stat().st_size == 0)
        one = NewResult(engine.new_id(), "after it")
        await engine.apply(engine.state.create_results(engine.now(), session, [one]))
        assert (await engine.queries.results()).total == 20_001


def test_how_long_the_log_is_tells_whether_it_was_begun_anew(tmp_path: Path) -> None:
    checkpointer = checkpoints.Checkpointer(path := tmp_path / "journal.db")
    with contextlib.closing(schema.open_journal(path, "normal")) as connection:
        connection.execute("CREATE TABLE rows (number)")
        checkpointer.copy(connection)
        assert checkpointer.length > 0  # though all of it was copied: somebody may have written
        checkpointer.finish(connection)
        assert checkpointer.length == 0


def test_the_log_is_copied_later_where_the_journal_cannot_be_opened_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.db"
    with contextlib.closing(schema.open_journal(path, "normal")) as connection:
        connection.execute("CREATE TABLE rows (number)")
        checkpointer = checkpoints.Checkpointer(path)
        with monkeypatch.context() as patched:
            patched.setattr(checkpoints.sqlite3, "connect", _refuse_to_open)
            checkpointer.ask()
            while checkpointer.running:
                time.sleep(0.001)
        assert checkpointer.length == 0
        checkpointer.ask()
        while checkpointer.running:
            time.sleep(0.001)
        assert checkpointer.length > 0
        checkpointer.stop()


def _refuse_to_open(*_: object, **__: object) -> None:
    raise sqlite3.OperationalError("unable to open database file")


@in_loop
async def test_text_that_cannot_be_encoded_is_escaped(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        running.open_session()
        task = running.submit()
        running.take()
        await engine.fail(task.id, "bad \ud800 text, null \0 and \U0001f600")
        record = (await engine.queries.read_tasks([task.id]))[task.id]
        assert record.error == "bad \\ud800 text, null \0 and \U0001f600"


@in_loop
async def test_a_journal_that_cannot_be_written_fails_the_engine(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        running.open_session()
        await engine.committed()
        engine._journal._connection.execute("DROP TABLE results")
        running.submit()
        with pytest.raises(EngineError, match="cannot be written"):
            await engine.committed()
        with pytest.raises(EngineError, match="cannot be written"):
            await engine.failed
        with pytest.raises(EngineError, match="cannot be written"):  # nothing new, but not all old
            await engine.admission.promise(engine.committed())
        running.submit()
        with pytest.raises(EngineError, match="cannot be written"):
            await engine.committed()


@in_loop
async def test_a_watcher_that_raises_fails_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine

        def fail(*_: object) -> None:
            raise ValueError("broken")

        monkeypatch.setattr(engine._watchers, "tell", fail)
        running.open_session()
        running.submit()
        with pytest.raises(EngineError, match="broken"):
            await engine.failed
        with pytest.raises(EngineError, match="broken"):
            await engine.committed()  # nothing more is


@in_loop
async def test_a_stopped_engine_leaves_one_file(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        running.open_session()
        await running.engine.committed()
        assert (await running.engine.queries.sessions()).total == 1
    assert not (tmp_path / "journal.db-wal").exists()


@in_loop
async def test_options_are_written_once_and_read_back(tmp_path: Path) -> None:
    options = ApiOptions(
        max_duration=0.1,
        max_retries=3,
        priority=2,
        partition_id="default",
        application_name="name",
        engine_type="engine",
        options={'key "quoted"': "value\n", "empty": ""},
    )
    async with Running(tmp_path) as running:
        engine = running.engine
        for _ in range(3):
            session = engine.new_id()
            engine.apply(engine.state.create_session(engine.now(), session, options, ()))
        await engine.committed()
        page = await engine.queries.sessions()
        assert [session.options for session in page.items] == [options] * 3
        count = engine._journal._connection.execute("SELECT count(*) FROM options").fetchone()
        assert count == (1,)
    async with Running(tmp_path) as running:
        assert {session.options.max_duration for session in page.items} == {0.1}
        assert [s.options for s in running.engine.state.sessions.values()] == [options] * 3


@in_loop
async def test_data_deleted_before_its_commit_is_never_written(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        stored = engine.objects.put(b"short lived")
        engine.objects.delete([stored.opaque_id])
        running.open_session()
        await engine.committed()
        connection = engine._journal._connection
        assert connection.execute("SELECT count(*) FROM objects").fetchone() == (0,)


@in_loop
async def test_a_session_created_and_removed_in_one_batch(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        session = running.open_session()
        running.submit()
        await engine.sweeper.change(
            session, lambda: engine.state.delete_session(engine.now(), session)
        )
        for query in (engine.queries.sessions, engine.queries.tasks, engine.queries.results):
            assert (await query()).total == 0
        await engine.apply(Changes())


@in_loop
async def test_stopping_commits_what_was_applied(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        running.open_session()
        tasks = [running.submit() for _ in range(50)]
        running.take(25)
        running.engine.complete([(t.id, Effects(data={t.outputs[0]: b"1"})) for t in tasks[:25]])
    async with Running(tmp_path) as running:
        assert len(running.engine.state.tasks) == 25


def test_options_as_frames_carry_them() -> None:
    options = ApiOptions(priority=3, options={"a": "b"})
    assert encode_options(options) == {"priority": 3, "options": {"a": "b"}}
    assert decode_options(encode_options(options)) == options
    assert decode_options({"priority": 1}) is decode_options({"priority": 1})
    assert decode_options(None) is None
    with pytest.raises(OptionError, match="'colour'"):
        decode_options({"colour": 1})
