"""Faults of the disk, real ones: what meets them is kept, refused or ended, never lost."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from armonik.protogen.common import agent_common_pb2
from engine_support import Changes, Running, in_loop

from armoflow.agent.effects import ChildTask, CreatedResult, Effects, StagedFile
from armoflow.engine import postponed, room
from armoflow.engine.address import Address, check_free
from armoflow.engine.agents.agent_service import AgentService, Execution
from armoflow.engine.faults import StorageError, passes
from armoflow.engine.records import NewTask, ResultStatus, SessionStatus, StateError, TaskStatus
from armoflow.engine.room import Room
from armoflow.engine.uploads import ObjectWriter
from armoflow.errors import EngineError, OptionError
from armoflow.index import Index
from armoflow.system.disk_faults import describe

if TYPE_CHECKING:
    from tests.conftest import SmallDisk

LARGE = 100_000


def staged(running: Running, name: str = "staged") -> StagedFile:
    """A large output as an agent leaves it."""
    path = running.engine.objects.staging / name
    path.write_bytes(b"s" * LARGE)
    return StagedFile(str(path), LARGE)


async def is_faulty(running: Running) -> None:
    engine = running.engine
    if engine.admission.fault is None:
        await engine.admission._faulty


def status_of(running: Running, task: NewTask) -> ResultStatus:
    return running.engine.state.results[task.outputs[0]].status


# --- a full disk ----------------------------------------------------------------------------------


@in_loop
async def test_a_full_disk_is_waited_for(small_disk: SmallDisk) -> None:
    state = small_disk.root / "state"
    async with Running(state) as running:
        engine = running.engine
        running.open_session()
        tasks = [running.submit() for _ in range(50)]
        running.take()
        await engine.committed()
        small_disk.fill()
        payload = b"x" * 60_000
        data = [(task.id, Effects(data={task.outputs[0]: payload})) for task in tasks]
        committed = engine.complete(data)
        await is_faulty(running)
        with pytest.raises(StorageError, match=r"journal\.db: .*full") as caught:
            await engine.admission.admit()
        assert caught.value.code == "RESOURCE_EXHAUSTED"
        assert "0 bytes and" in str(caught.value) and "make room there" in str(caught.value)
        with pytest.raises(StorageError):
            await engine.admission.promise(engine.committed())
        assert not committed.done() and not engine.failed.done()
        assert all(status_of(running, task) is ResultStatus.COMPLETED for task in tasks)
        small_disk.make_room()
        await committed
        await engine.admission.admit()
        await engine.admission.promise(engine.committed())
    async with Running(state) as running:
        for task in tasks:
            result = running.engine.state.results[task.outputs[0]]
            assert await running.engine.objects.read(result.opaque_id) == payload


@in_loop
async def test_new_work_leaves_room_to_delete_what_is_there(
    small_disk: SmallDisk, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "LOOKS", 0.0)
    async with Running(small_disk.root / "state", room=10**12) as running:
        engine = running.engine
        kept = []
        with pytest.raises(StorageError, match=r"less than 0.5 MiB are free.*armoflow purge") as no:
            while True:
                await engine.admission.admit()
                kept.append(running.open_session())
                running.submit(bytes(LARGE))
                await engine.committed()
        assert no.value.code == "RESOURCE_EXHAUSTED" and "make room there" in str(no.value)
        assert not engine.admission.is_open
        for session in kept:
            engine.apply(engine.state.delete_session(engine.now(), session))
            await engine.admission.promise(engine.committed())
        while not engine.admission.is_open:  # files go after the commit
            await asyncio.sleep(0.001)
        await engine.admission.admit()
        assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


@in_loop
async def test_new_work_is_refused_while_the_journal_is_not_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could be written, and would be lost: what is under way ends all the same."""
    monkeypatch.setattr(room, "LOOKS", 0.0)
    state, elsewhere = tmp_path / "state", tmp_path / "elsewhere"
    async with Running(state, room=1) as running:
        engine = running.engine
        running.open_session()
        task = running.submit()
        running.take()
        await engine.admission.admit()
        for replaced in (False, True):
            state.rename(elsewhere)
            if replaced:
                state.mkdir()
                (state / "journal.db").touch()
            with pytest.raises(StateError, match=r"journal\.db was removed, moved") as caught:
                await engine.admission.admit()
            assert caught.value.code == "FAILED_PRECONDITION" and "--state" in str(caught.value)
            if replaced:
                engine.complete([(task.id, Effects(data={task.outputs[0]: b"1"}))])
                await engine.admission.promise(engine.committed())
                assert status_of(running, task) is ResultStatus.COMPLETED
                shutil.rmtree(state)
            elsewhere.rename(state)
            await engine.admission.admit()


def test_a_disk_that_does_not_tell_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Room(tmp_path / "gone", 10**30).lack() is None
    with monkeypatch.context() as patched:
        patched.setattr(os, "statvfs", lambda _: os.statvfs_result((0,) * 10))
        assert Room(tmp_path, 10**30).lack() is None
    assert Room(tmp_path, 0).lack() is None


@in_loop
async def test_a_session_is_cancelled_when_there_is_room_again(small_disk: SmallDisk) -> None:
    """A command on a whole session says that it waits, as every other one does."""
    async with Running(small_disk.root / "state") as running:
        engine = running.engine
        session = running.open_session()
        tasks = [running.submit(b"x" * 60_000) for _ in range(20)]
        await engine.committed()
        small_disk.fill()
        cancelling = engine.sweeper.change(
            session, lambda: engine.state.cancel_session(engine.now(), session, frozenset())
        )
        with pytest.raises(StorageError, match="make room there"):
            await engine.admission.promise(cancelling)
        small_disk.make_room()
        await engine.sweeper.finished(session)
        await engine.committed()
        assert engine.state.sessions[session].status is SessionStatus.CANCELLED
        assert all(status_of(running, task) is ResultStatus.ABORTED for task in tasks)


@in_loop
async def test_who_waits_for_a_session_is_told_that_the_journal_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        session = running.open_session()
        for _ in range(300):
            running.submit()
        await engine.committed()
        failing = FailingConnection(engine._journal._connection, 1000)
        monkeypatch.setattr(engine._journal, "_connection", failing)
        (tmp_path / "journal.db").rename(tmp_path / "elsewhere.db")
        engine.state.slice_size = 100
        cancel = engine.state.cancel_session
        waiting = [
            asyncio.create_task(
                engine.sweeper.change(session, lambda: cancel(engine.now(), session, frozenset()))
            )
            for _ in range(2)
        ]
        for ended in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(ended, EngineError), ended
        (tmp_path / "elsewhere.db").rename(tmp_path / "journal.db")


@in_loop
async def test_an_engine_stops_while_the_disk_is_full(small_disk: SmallDisk) -> None:
    state = small_disk.root / "state"
    async with Running(state) as running:
        running.open_session()
        task = running.submit()
        running.take()
        await running.engine.committed()
        small_disk.fill()
        running.engine.complete([(task.id, Effects(data={task.outputs[0]: b"x" * 60_000}))])
        await is_faulty(running)
    small_disk.make_room()
    async with Running(state) as running:  # what was not committed is done again
        running.session = next(iter(running.engine.state.sessions))
        assert running.take() == [f"{task.id}###1"]


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file of this process grows beyond this: a fault that needs no rights."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@in_loop
async def test_files_that_may_not_grow_are_waited_for(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        running.open_session()
        task = running.submit()
        running.take()
        await engine.committed()
        with file_size_limit((tmp_path / "journal.db-wal").stat().st_size):
            committed = engine.complete([(task.id, Effects(data={task.outputs[0]: b"1" * 50_000}))])
            await is_faulty(running)
            with pytest.raises(StorageError, match=r"disk I/O error \(.*: ulimit -f\); raise that"):
                await engine.admission.admit()
        await committed
        await engine.admission.admit()


def test_an_error_that_says_little_is_told_with_what_is_free(small_disk: SmallDisk) -> None:
    """SQLite has no other word for want of room in what it keeps beside a database."""
    error = sqlite3.OperationalError("disk I/O error")
    path = small_disk.root / "journal.db"
    assert describe(error, path) == f"cannot write {path}: disk I/O error"
    small_disk.fill()
    assert describe(error, path).endswith("make room there")
    assert "disk I/O error (0 bytes and" in describe(error, path)


@in_loop
async def test_what_the_event_loop_could_not_write_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        failing = FailingConnection(engine._journal._connection, 3)
        monkeypatch.setattr(engine._journal, "_connection", failing)
        running.open_session()
        await engine.committed()
        assert failing.left == 0
        assert engine.admission.fault is None


class FailingConnection:
    """A connection whose commits fail for a while, and whose first rollback does."""

    def __init__(self, connection: sqlite3.Connection, failures: int) -> None:
        self._connection = connection
        self.left = failures

    def execute(self, sql: str, *parameters: Any) -> Any:
        if sql == "COMMIT" and self.left:
            self.left -= 1
            raise sqlite3.OperationalError("database or disk is full")
        if sql == "ROLLBACK":
            self._connection.execute(sql)
            raise sqlite3.OperationalError("disk I/O error")
        return self._connection.execute(sql, *parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


@in_loop
async def test_a_journal_that_is_gone_ends_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        failing = FailingConnection(engine._journal._connection, 1000)
        monkeypatch.setattr(engine._journal, "_connection", failing)
        (tmp_path / "journal.db").rename(tmp_path / "elsewhere.db")
        running.open_session()
        with pytest.raises(EngineError, match="the journal cannot be written"):
            await engine.committed()
        assert engine.failed.done()
        (tmp_path / "elsewhere.db").rename(tmp_path / "journal.db")


@in_loop
async def test_data_that_may_not_be_durable_ends_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async with Running(tmp_path, durability="full") as running:
        running.open_session()
        await running.engine.committed()
        monkeypatch.setattr(os, "fsync", fail)
        running.submit(b"x" * LARGE)
        with pytest.raises(EngineError, match="may be lost"):
            await running.engine.committed()
        monkeypatch.undo()


@in_loop
async def test_files_that_cannot_be_removed_now_are_removed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        running.open_session()
        stored = engine.objects.put(b"x" * LARGE)
        path = await engine.objects.read(stored.opaque_id)
        assert isinstance(path, Path)
        await engine.committed()

        def refuse(path: Path, missing_ok: bool = False) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", refuse)
            engine.objects.delete([stored.opaque_id])
            running.submit()
            await engine.committed()
            assert path.exists()
        running.submit()
        await engine.committed()
        assert not path.exists()


# --- data that cannot be stored -------------------------------------------------------------------


@in_loop
async def test_large_data_is_written_whole_or_refused(small_disk: SmallDisk) -> None:
    async with Running(small_disk.root / "state") as running:
        objects = running.engine.objects
        running.open_session()
        with pytest.raises(StorageError, match="no space left on device") as caught:
            objects.put(b"x" * 16_000_000)
        assert caught.value.code == "RESOURCE_EXHAUSTED"
        assert str(objects.staging) in str(caught.value)
        writer = ObjectWriter(objects)
        with pytest.raises(StorageError, match="no space left on device"):
            for _ in range(64):
                await writer.write(b"x" * 1_000_000)
        writer.abort()
        assert not list(objects.staging.iterdir())
        stored = objects.put(b"x" * 1_000_000)
        with pytest.raises(StorageError, match="no space left on device"):
            for number in range(20):
                await objects.materialize(stored.opaque_id, small_disk.root / f"copy-{number}")


@in_loop
async def test_results_whose_data_cannot_be_written_leave_nothing_with_their_task(
    small_disk: SmallDisk,
) -> None:
    async with Running(small_disk.root / "state") as running:
        engine = running.engine
        running.open_session()
        task = running.submit()
        running.take()
        service, execution = AgentService(engine), Execution(engine, engine.state.tasks[task.id])
        await execution.prepare()
        service.execution = execution
        request = agent_common_pb2.CreateResultsRequest(
            communication_token=execution.token, session_id=running.session
        )
        for name, size in [("small", 10), ("large", LARGE), ("larger", 16_000_000)]:
            request.results.add(name=name, data=bytes(size))
        with pytest.raises(OSError, match="No space left on device"):
            await service.CreateResults(request, None)
        assert execution.effects == Effects()
        assert not execution.notified
        del request.results[2]
        reply = await service.CreateResults(request, None)
        effects = await execution.collect()
        assert [created.name for created in effects.created] == ["small", "large"]
        assert set(effects.data) == {raw.result_id for raw in reply.results}
        await execution.discard()


@in_loop
async def test_a_success_waits_until_its_data_can_be_stored(small_disk: SmallDisk) -> None:
    async with Running(small_disk.root / "state") as running:
        engine = running.engine
        running.open_session()
        first, second = running.submit(), running.submit()
        running.take()
        small, large = engine.new_id(), engine.new_id()
        effects = Effects(
            created=[CreatedResult(small, "small"), CreatedResult(large, "large")],
            # Bytes that become a file of their own, bytes that do not, a file that is there.
            data={
                small: b"1",
                large: b"2" * LARGE,
                first.outputs[0]: staged(running),
            },
        )
        small_disk.take_all_inodes()
        engine.complete([(first.id, effects), (second.id, Effects(data={second.outputs[0]: b"2"}))])
        assert status_of(running, second) is ResultStatus.COMPLETED
        assert status_of(running, first) is ResultStatus.CREATED
        assert engine.state.tasks[first.id].status is TaskStatus.PROCESSING
        small_disk.make_room()
        watcher = Changes(engine, running.session)
        async for changes in watcher:
            if any(record.id == first.outputs[0] for record, _, _ in changes):
                break
        for result_id, expected in ((small, b"1"), (large, b"2"), (first.outputs[0], b"s")):
            data = await engine.objects.read(engine.state.results[result_id].opaque_id)
            content = data if isinstance(data, bytes) else data.read_bytes()
            assert content[:1] == expected
        assert not list(engine.objects.staging.iterdir())


@in_loop
async def test_a_success_does_not_wait_for_ever(
    small_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postponed, "PATIENCE", 0.2)
    async with Running(small_disk.root / "state") as running:
        engine = running.engine
        running.open_session()
        task = running.submit()
        running.take()
        await engine.committed()
        effects = Effects(data={task.outputs[0]: staged(running)})
        small_disk.take_all_inodes()
        watcher = Changes(engine, running.session)
        engine.complete([(task.id, effects)])
        async for changes in watcher:
            if any(record.id == task.outputs[0] for record, _, _ in changes):
                break
        record = await engine.read_task(task.id)
        assert record is not None and record.status is TaskStatus.ERROR
        assert "no space left on device" in record.error and " 0 files free" in record.error
        assert not Path(effects.staged_files()[0].path).exists()


@in_loop
async def test_a_task_whose_success_waits_can_be_cancelled(small_disk: SmallDisk) -> None:
    async with Running(small_disk.root / "state") as running:
        engine = running.engine
        running.open_session()
        task = running.submit()
        running.take()
        effects = Effects(data={task.outputs[0]: staged(running)})
        small_disk.take_all_inodes()
        engine.complete([(task.id, effects)])
        engine.apply(engine.state.cancel_tasks(engine.now(), [task.id]))
        small_disk.make_room()
        watcher = engine.watch(running.session)
        async for events in watcher:
            if any(event.status == TaskStatus.CANCELLED for event in events):
                break
        assert not Path(effects.staged_files()[0].path).exists()


@in_loop
async def test_a_task_is_done_again_whose_output_is_gone(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        running.open_session()
        task, other, parent = running.submit(), running.submit(), running.submit()
        running.take()
        gone = staged(running)
        Path(gone.path).unlink()
        child = ChildTask("~1", [], [parent.outputs[0]])
        engine.complete(
            [
                (task.id, Effects(data={task.outputs[0]: gone})),
                (parent.id, Effects(data={"~1": gone}, children=[child])),
                (other.id, Effects(data={other.outputs[0]: b"2"})),
            ]
        )
        assert status_of(running, other) is ResultStatus.COMPLETED
        assert running.take() == [f"{task.id}###1", f"{parent.id}###1"]
        record = await engine.read_task(task.id)
        assert record is not None and record.status is TaskStatus.RETRIED
        assert f"cannot write {gone.path}: no such file" in record.error


@in_loop
async def test_an_input_is_laid_out_whole_or_not_at_all(small_disk: SmallDisk) -> None:
    async with Running(small_disk.root / "state") as running:
        engine = running.engine
        running.open_session()
        for data in (b"x" * LARGE, b"small"):
            task = running.submit(data)
            await engine.committed()
            record = engine.state.tasks[task.id]
            execution = Execution(engine, record)
            small_disk.fill()
            with pytest.raises(StorageError, match="no space left on device"):
                await execution.prepare()
            assert not (execution.folder / task.payload_id).exists()
            small_disk.make_room()
            await execution.prepare()
            assert (execution.folder / task.payload_id).read_bytes() == data
            await execution.discard()
            assert not list(engine.objects.staging.iterdir())


@in_loop
async def test_two_who_ask_for_an_input_at_once_both_find_it_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        running.open_session()
        task = running.submit(b"x" * LARGE)
        execution = Execution(engine, engine.state.tasks[task.id])
        execution.folder.mkdir()
        result = engine.state.results[task.payload_id]
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def slow(opaque_id: bytes, path: Path) -> None:
            path.write_bytes(b"x")
            begun.set()
            await go_on.wait()
            path.write_bytes(b"x" * LARGE)

        with monkeypatch.context() as patch:
            patch.setattr(engine.objects, "materialize", slow)
            first = asyncio.ensure_future(execution.fetch(result, result.id))
            await begun.wait()
        await execution.fetch(result, result.id)
        assert (execution.folder / result.id).stat().st_size == LARGE
        go_on.set()
        await first
        assert (execution.folder / result.id).stat().st_size == LARGE


@in_loop
async def test_directories_that_were_swept_are_made_again(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        running.open_session()
        engine.objects.staging.rmdir()
        (tmp_path / "objects").rmdir()
        stored = engine.objects.put(b"x" * LARGE)
        path = await engine.objects.read(stored.opaque_id)
        assert isinstance(path, Path) and path.read_bytes() == b"x" * LARGE
        assert path.stat().st_mode & 0o777 == 0o400


@in_loop
async def test_a_folder_that_cannot_be_removed_keeps_no_engine_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker may leave one without rights in its data folder."""
    left = tmp_path / "staging" / "token" / "left"
    async with Running(tmp_path):
        left.mkdir(parents=True)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", lambda *_, **__: None)
        async with Running(tmp_path) as running:
            running.open_session()
            running.engine.objects.put(b"x" * LARGE)
            await running.engine.committed()
    async with Running(tmp_path):
        assert not left.exists()


@in_loop
async def test_data_whose_file_is_no_file_is_lost_alone(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        engine = running.engine
        running.open_session()
        task = running.submit(b"x" * LARGE)
        opaque_id = engine.state.results[task.payload_id].opaque_id
        path = await engine.objects.read(opaque_id)
        assert isinstance(path, Path)
        path.unlink()
        path.mkdir()
        with pytest.raises(Exception, match="is lost"):
            async for _ in engine.objects.chunks(opaque_id, 1000):
                pass
        await engine.committed()
    async with Running(tmp_path) as running:
        assert running.engine.objects.peek(opaque_id) is None


# --- words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (PermissionError(errno.EACCES, "Permission denied"), True),
        (MemoryError(), True),
        (sqlite3.OperationalError("database or disk is full"), True),
        (sqlite3.OperationalError("disk I/O error"), True),
        (sqlite3.OperationalError("attempt to write a readonly database"), True),
        (sqlite3.OperationalError("no such table: tasks"), False),
        (sqlite3.DatabaseError("database disk image is malformed"), False),
        (IsADirectoryError(errno.EISDIR, "Is a directory"), False),
        (ValueError("a defect"), False),
    ],
)
def test_which_faults_pass(error: Exception, passing: bool) -> None:
    assert passes(error) is passing
    assert StorageError(error, "/").passing is passing


def test_a_fault_is_told_with_place_room_and_remedy(tmp_path: Path) -> None:
    path = tmp_path / "not" / "there"
    text = describe(OSError(errno.ENOSPC, "No space left on device"), path, "buy a disk")
    assert text.startswith(f"cannot write {path}: no space left on device (")
    assert text.endswith("free); make room there, or buy a disk")
    assert describe(MemoryError(), "/x") == "cannot write /x: no memory left"


def test_places_that_may_only_be_read_are_told_at_the_start(small_disk: SmallDisk) -> None:
    Index(small_disk.root / "cache" / "index.sqlite").close()
    with small_disk.read_only() as place:
        with pytest.raises(OptionError, match="its file system is read-only; make it writable"):
            check_free(Address(path=str(place / "socket")))
        for folder in ("cache", "new"):
            with pytest.raises(EngineError, match=r"(?i)read-only.*the variable ARMOFLOW_CACHE"):
                Index(place / folder / "index.sqlite")


@in_loop
async def test_a_store_that_may_only_be_read_is_named(small_disk: SmallDisk) -> None:
    async with Running(small_disk.root / "state") as running:
        file = staged(running)
        with small_disk.read_only("state/objects") as place, pytest.raises(StorageError) as caught:
            running.engine.objects.adopt(file.path, file.size)
        assert f"cannot write {place}" in str(caught.value)
        assert Path(file.path).exists()
