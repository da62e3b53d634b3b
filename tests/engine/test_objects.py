from __future__ import annotations

import asyncio
import errno
import os
import random
import threading
from pathlib import Path

import pytest
from engine_support import Running, in_loop

from armoflow.config import INLINE_DATA_LIMIT
from armoflow.engine import uploads
from armoflow.engine.faults import StorageError
from armoflow.engine.objects import READ_AHEAD, READ_AHEAD_BYTES, ObjectStore
from armoflow.engine.records import Changes, NewResult, StateError, Stored
from armoflow.engine.uploads import ObjectWriter, store_all


def name_data(running: Running, *stored: Stored) -> None:
    """Have results name data, so that it is no orphan."""
    engine = running.engine
    results = [NewResult(engine.new_id(), "data", stored=item) for item in stored]
    engine.apply(engine.state.create_results(engine.now(), running.session, results))


@in_loop
async def test_small_and_large_data_read_back_after_a_restart(tmp_path: Path) -> None:
    dice = random.Random(1)
    sizes = [0, 1, 17, INLINE_DATA_LIMIT, INLINE_DATA_LIMIT + 1, 1_000_000]
    values = [dice.randbytes(size) for size in sizes]
    async with Running(tmp_path) as running:
        running.open_session()
        stored = [running.engine.objects.put(value) for value in values]
        name_data(running, *stored)
        assert [item.size for item in stored] == sizes
        opaque_ids = [item.opaque_id for item in stored]
        assert len(set(opaque_ids)) == len(sizes)
    async with Running(tmp_path) as running:
        objects = running.engine.objects
        assert objects.peek(opaque_ids[0]) is None
        found = await objects.read_many([*opaque_ids, b"", b"\xff" * 8, b"../etc/passwd"])
        assert found.keys() == set(opaque_ids)
        for opaque_id, value in zip(opaque_ids, values, strict=True):
            data = found[opaque_id]
            assert (data if isinstance(data, bytes) else data.read_bytes()) == value
            assert await objects.size(opaque_id) == len(value)
            parts = [part async for part in objects.chunks(opaque_id, 1000)]
            assert b"".join(parts) == value


@in_loop
async def test_many_rows_in_one_read(tmp_path: Path) -> None:
    dice = random.Random(2)
    values = [dice.randbytes(dice.randrange(40)) for _ in range(1000)]
    async with Running(tmp_path, memory_limit=1000) as running:
        running.open_session()
        stored = [running.engine.objects.put(value) for value in values]
        name_data(running, *stored)
        found = await running.engine.objects.read_many(item.opaque_id for item in stored)
        assert [found[item.opaque_id] for item in stored] == values
        await running.engine.committed()
        found = await running.engine.objects.read_many(item.opaque_id for item in stored)
        assert [found[item.opaque_id] for item in stored] == values
        assert running.engine.objects._memory_used <= 1000


@in_loop
async def test_memory_does_not_leak(tmp_path: Path) -> None:
    async with Running(tmp_path, memory_limit=100_000) as running:
        objects = running.engine.objects
        stored = [objects.put(b"x" * 100) for _ in range(1000)]
        assert 0 < objects._memory_used <= 100_000
        objects.delete([item.opaque_id for item in stored])
        assert objects._memory_used == 0
        assert not objects._memory


@pytest.mark.parametrize("size", [100, 10_000])
@in_loop
async def test_long_queues_are_read_ahead(tmp_path: Path, size: int) -> None:
    dice = random.Random(3)
    values = [dice.randbytes(size) for _ in range(3000)]
    async with Running(tmp_path, memory_limit=16 * 100_000) as running:
        running.open_session()
        objects = running.engine.objects
        stored = [objects.put(value, queued=True) for value in values]
        assert objects._memory_used <= 100_000
        name_data(running, *stored)
        await running.engine.committed()
        reads = 0
        for item, value in zip(stored, values, strict=True):
            if objects.peek(item.opaque_id) is None:
                reads += 1
            assert await objects.read(item.opaque_id) == value
            objects.delete([item.opaque_id])
            assert objects._memory_used <= 2 * READ_AHEAD_BYTES
        assert 1 < reads <= 3000 * size // READ_AHEAD_BYTES + 3000 // READ_AHEAD + 2
        assert not objects._cold
        assert not objects._memory


@pytest.mark.parametrize("opaque_id", [b"", b"x", b"\0" * 8, b"\0" * 7 + b"\1", b"\xff" * 8])
@in_loop
async def test_unknown_ids(tmp_path: Path, opaque_id: bytes) -> None:
    async with Running(tmp_path) as running:
        objects = running.engine.objects
        assert objects.peek(opaque_id) is None
        assert await objects.size(opaque_id) is None
        objects.delete([opaque_id])
        with pytest.raises(StateError, match="no data"):
            await objects.read(opaque_id)
        with pytest.raises(StateError, match="no data"):
            await objects.materialize(opaque_id, tmp_path / "file")
        with pytest.raises(StateError, match="no data"):
            _ = [part async for part in objects.chunks(opaque_id, 10)]


@pytest.mark.parametrize("size", [0, 10, INLINE_DATA_LIMIT, INLINE_DATA_LIMIT + 1, 3_000_000])
@in_loop
async def test_uploads_in_chunks(tmp_path: Path, size: int) -> None:
    value = os.urandom(size)
    async with Running(tmp_path) as running:
        objects = running.engine.objects
        writer = ObjectWriter(objects)
        for start in range(0, size, 100_000):
            await writer.write(value[start : start + 100_000])
        stored = await writer.finish()
        writer.abort()
        assert stored.size == size
        data = await objects.read(stored.opaque_id)
        assert isinstance(data, bytes) == (size <= INLINE_DATA_LIMIT)
        assert (data if isinstance(data, bytes) else data.read_bytes()) == value
        assert not list(objects.staging.iterdir())


@in_loop
async def test_an_aborted_upload_leaves_nothing(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        writer = ObjectWriter(running.engine.objects)
        await writer.write(b"x" * 1_000_000)
        assert len(list(running.engine.objects.staging.iterdir())) == 1
        writer.abort()
        assert not list(running.engine.objects.staging.iterdir())


@in_loop
async def test_materialized_files(tmp_path: Path) -> None:
    async with Running(tmp_path / "state") as running:
        objects = running.engine.objects
        small, large = objects.put(b"small"), objects.put(b"l" * 100_000)
        await objects.materialize(small.opaque_id, tmp_path / "small")
        await objects.materialize(large.opaque_id, tmp_path / "large")
        assert (tmp_path / "small").read_bytes() == b"small"
        path = await objects.read(large.opaque_id)
        assert isinstance(path, Path)
        assert not path.samefile(tmp_path / "large")


@in_loop
async def test_orphans_are_removed_at_the_next_start(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        running.open_session()
        objects = running.engine.objects
        kept = [objects.put(b"kept"), objects.put(b"k" * 100_000)]
        name_data(running, *kept)
        objects.put(b"orphan")
        objects.put(b"o" * 100_000)
        (objects.staging / "half written").write_bytes(b"x")
        (tmp_path / "objects" / "00").mkdir(exist_ok=True)
        (tmp_path / "objects" / "00" / "stray").write_bytes(b"x")
    async with Running(tmp_path) as running:
        objects = running.engine.objects
        assert len(list((tmp_path / "objects").glob("*/*"))) == 1
        connection = running.engine._journal._connection
        assert connection.execute("SELECT count(*) FROM objects").fetchone() == (1,)
        assert not list(objects.staging.iterdir())
        for item in kept:
            assert await objects.read(item.opaque_id)


@in_loop
async def test_a_download_goes_on_when_its_data_is_deleted(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        running.open_session()
        objects = running.engine.objects
        stored = objects.put(b"d" * 100_000)
        chunks = objects.chunks(stored.opaque_id, 30_000)
        first = await anext(chunks)
        objects.delete([stored.opaque_id])
        name_data(running, objects.put(b"another change"))
        await running.engine.committed()
        assert objects.peek(stored.opaque_id) is None
        assert not list((tmp_path / "objects").glob("*/*"))
        rest = [chunk async for chunk in chunks]
        assert first + b"".join(rest) == b"d" * 100_000


@in_loop
async def test_reads_do_not_hold_up_the_loop(tmp_path: Path) -> None:
    async with Running(tmp_path, memory_limit=0) as running:
        running.open_session()
        stored = [running.engine.objects.put(b"x") for _ in range(10)]
        name_data(running, *stored)
        await running.engine.committed()
        reads = [running.engine.objects.read(item.opaque_id) for item in stored]
        assert await asyncio.gather(*reads) == [b"x"] * 10


@in_loop
async def test_only_whole_files_from_the_staging_directory_are_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Running(tmp_path / "state") as running:
        objects = running.engine.objects
        secret = tmp_path / "secret"
        secret.write_bytes(b"secret")
        link = objects.staging / "link"
        link.symlink_to(secret)
        staged = objects.staging / "staged"
        staged.write_bytes(b"staged")
        for path, size in ((secret, 6), (link, len(str(secret))), (staged, 5)):
            with pytest.raises(StateError) as caught:
                objects.take_over(str(path), size)
            assert caught.value.code == "INVALID_ARGUMENT"
        with pytest.raises(FileNotFoundError):
            objects.take_over(str(objects.staging / "missing"), 1)
        with monkeypatch.context() as patch:
            patch.setattr(os, "geteuid", lambda: os.getuid() + 1)
            with pytest.raises(StateError) as caught:
                objects.take_over(str(staged), 6)
            assert caught.value.code == "DATA_LOSS"
        stored = objects.take_over(str(staged), 6)
        data = await objects.read(stored.opaque_id)
        assert isinstance(data, Path)
        assert data.read_bytes() == b"staged"
        assert secret.read_bytes() == b"secret"


async def no_commit() -> None:
    raise AssertionError("so little is stored in one go")


@in_loop
async def test_data_of_very_many_results_is_stored_in_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is committed by itself; what is stored when it cannot go on goes again."""
    monkeypatch.setattr(uploads, "SLICE", 10)
    async with Running(tmp_path) as running:
        engine = running.engine
        rows: list[int] = []
        engine._journal.on_begun = lambda batch: rows.append(len(batch.data))

        async def commit() -> None:
            await engine.apply(Changes())

        stored = await store_all(engine.objects, [b"%d" % n for n in range(35)], commit)
        await commit()
        assert rows == [10, 10, 10, 5]
        found = await engine.objects.read_many(each.opaque_id for each in stored)
        assert [found[each.opaque_id] for each in stored] == [b"%d" % n for n in range(35)]

        engine.objects.delete([each.opaque_id for each in stored])

        async def full() -> None:
            await commit()
            raise StorageError(OSError(errno.ENOSPC, "full"), tmp_path)

        with pytest.raises(StorageError):
            await store_all(engine.objects, [b"more"] * 35, full)
        assert engine.objects._memory_used == 0


@pytest.mark.parametrize(("count", "elsewhere"), [(1, False), (3, True)])
@in_loop
async def test_a_thread_writes_what_comes_at_once_if_it_is_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, elsewhere: bool
) -> None:
    writers, write = set(), ObjectStore.write_staged

    def noted(store: ObjectStore, data: bytes) -> Path:
        writers.add(threading.get_ident())
        return write(store, data)

    monkeypatch.setattr(ObjectStore, "write_staged", noted)
    async with Running(tmp_path) as running:
        running.open_session()
        objects = running.engine.objects
        items = [b"small", *[bytes([number]) * 100_000 for number in range(count)]]
        stored = await store_all(objects, items, no_commit)
        name_data(running, *stored)
        found = await objects.read_many(each.opaque_id for each in stored)
        read = [found[each.opaque_id] for each in stored]
        assert [data if isinstance(data, bytes) else data.read_bytes() for data in read] == items
        assert (threading.get_ident() not in writers) == elsewhere


@in_loop
async def test_what_cannot_be_stored_whole_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = ObjectStore.write_staged

    def full(store: ObjectStore, data: bytes) -> Path:
        if data[0]:
            raise StorageError(OSError(errno.ENOSPC, "full"), tmp_path)
        return write(store, data)

    monkeypatch.setattr(ObjectStore, "write_staged", full)
    async with Running(tmp_path) as running:
        objects = running.engine.objects
        with pytest.raises(StorageError):
            await store_all(objects, [b"small", bytes(100_000), b"1" * 100_000], no_commit)
        assert list(objects.staging.iterdir()) == []
        assert objects.stored_bytes()["files"] == 0


@in_loop
async def test_who_leaves_while_data_is_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, begun, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    write = ObjectStore.write_staged

    def slow(store: ObjectStore, data: bytes) -> Path:
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(60)
        return write(store, data)

    monkeypatch.setattr(ObjectStore, "write_staged", slow)
    async with Running(tmp_path) as running:
        objects = running.engine.objects
        storing = asyncio.create_task(store_all(objects, [bytes(100_000)] * 2, no_commit))
        await begun.wait()
        writing = [each for each in asyncio.all_tasks() if each.get_coro().__name__ == "to_thread"]
        storing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await storing
        go_on.set()
        await asyncio.gather(*writing)
        await asyncio.sleep(0)  # its callbacks
        assert list(objects.staging.iterdir()) == []
