"""Children that say what makes no sense: they are replaced, and nobody else is harmed."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest
from lanes import Lane, on_a_lane
from seats import PATIENCE, call, output, record, seat

from armoflow.agent import lane_frames
from armoflow.agent.lane_shapes import BrokenStreamError, read
from armoflow.codec.entry_count import EntryCount
from armoflow.codec.failure import ErrorRecord
from armoflow.codec.payload import Settings
from armoflow.config import LANE_ENTRIES
from armoflow.worker import heard

ONCE = Settings(crash_retries=0)


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*arguments: Any, **values: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*arguments, **values), PATIENCE))

    return run


def speaks() -> Callable[..., Any]:
    def speak(number: int, data: bytes) -> str:
        """Write something into one of this process's sockets to its owner."""
        import os
        import sys

        os.write(int(sys.argv[number]), data)
        import time

        time.sleep(60)  # its owner ends it meanwhile
        return "not reached"

    return speak


def squares() -> Callable[..., Any]:
    def square(number: int) -> int:
        return number * number

    return square


def pids() -> Callable[..., Any]:
    def pid() -> int:
        import os

        return os.getpid()

    return pid


def packed(*message: Any) -> bytes:
    data: bytes = msgpack.packb(list(message))
    return data


BROKEN = {
    "no message": b"\xc1\xc1",
    "text": b"Traceback (most recent call last):\n",
    "too long": b"\xdd\xff\xff\xff\xff",
    "too deep": b"\x91" * 5000,
    "a number": packed()[:0] + b"\x05",
    "an empty list": packed(),
    "an unknown kind": packed(99, 1),
    "the owner's kind": packed(lane_frames.STOP),
    "short": packed(lane_frames.DONE, 1),
    "a negative time": packed(lane_frames.DONE, 1, -5, {}),
    "a huge serial": packed(lane_frames.DONE, 2**63, 5, {}),
    "an unknown serial": packed(lane_frames.DONE, 999, 5, {}),
    "no map": packed(lane_frames.DONE, 1, 5, [b"data"]),
    "a result of others": packed(lane_frames.DONE, 1, 5, {"other": b"data"}),
    "two results of others": packed(lane_frames.DONE, 1, 5, {"a": b"", "b": b""}),
    "a bad id": packed(lane_frames.DONE, 1, 5, {"output-0-0": b""}, [["../up", "name"]], []),
    "a file elsewhere": packed(lane_frames.DONE, 1, 5, {"output-0-0": ["/etc/passwd", 5]}),
    "a payload without data": packed(lane_frames.DONE, 1, 5, {}, [], [["~1", [], [], None]]),
    "options without meaning": packed(
        lane_frames.DONE, 1, 5, {"~1": b""}, [], [["~1", [], [], {"priority": 2**40}]]
    ),
    "failed with a number": packed(lane_frames.FAILED, 1, 5, "kind", 5),
    "a part of an unknown task": packed(lane_frames.PART, 999, {}, [], []),
    "a part with a result of others": packed(lane_frames.PART, 1, {"other": b"data"}, [], []),
    "a part without children": packed(lane_frames.PART, 1, {}, []),
    "partial of nothing": packed(lane_frames.PARTIAL, 999, 0, b"", b""),
    "odd lengths": packed(lane_frames.PARTIAL, 1, 0, b"abc", b""),
    "items of nonsense": packed(lane_frames.PARTIAL, 1, 0, b"\x01\x00\x00\x10", b"\xc1"),
    "items that are none": packed(lane_frames.PARTIAL, 1, 0, b"\x01\x00\x00\x10", b"\x05"),
    "an unknown wish": packed(lane_frames.REQUEST, 1, 1, "remove", "x"),
    "a wish without sense": packed(lane_frames.REQUEST, 1, 1, "fetch", ["x"]),
    "a wish of another task": packed(lane_frames.REQUEST, 1, 999, "fetch", "x"),
}


def test_what_a_message_holds_is_bounded_before_it_is_in_memory() -> None:
    """Of empty lists it takes sixty times its bytes, though none by itself is too long."""
    count = EntryCount(LANE_ENTRIES)
    unpacker = lane_frames.unpacker(count)
    piece = packed(*[[]] * 50_000)
    parts = 200
    unpacker.feed(b"\x94" + packed(lane_frames.DONE, 1, 5)[1:] + b"\xdc\x00" + bytes([parts]))
    told, fed = "", 0
    while not told and fed < parts:
        fed += 1
        unpacker.feed(piece)
        try:
            assert list(read(unpacker, count)) == []
        except BrokenStreamError as error:
            told = str(error)
    assert "more than" in told
    assert fed <= LANE_ENTRIES // 50_000
    small = packed(lane_frames.FAILED, 1, 5, "kind", "text")
    unpacker = lane_frames.unpacker(few := EntryCount(6))
    unpacker.feed(small * 100)  # each is counted by itself
    assert len(list(read(unpacker, few))) == 100


@in_loop
async def test_what_a_task_has_made_in_parts_is_bounded_altogether(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heard, "LANE_ENTRIES", 100)
    part = packed(lane_frames.PART, 1, {}, [["created", "name"]] * 10, [])
    async with seat(tmp_path) as host:
        works = [
            host.work(call(speaks(), 1, part * 4, settings=ONCE)),
            host.work(call(squares(), 3)),
        ]
        host.supervisor.send(works)
        await host.wait_for(works)
        assert "its parts hold more than 100 entries" in record(host.outcomes[0]).message
        assert output(host.outcomes[1]) == [9]


@pytest.mark.parametrize("names", [list(BROKEN)[first::4] for first in range(4)])
@in_loop
async def test_a_child_that_breaks_its_stream_is_replaced(tmp_path: Path, names: list[str]) -> None:
    async with seat(tmp_path) as host:
        (before,) = await host.run(call(pids()))
        for name in names:
            works = [host.work(call(speaks(), 1, BROKEN[name], settings=ONCE))]
            works += [host.work(call(squares(), number)) for number in range(3)]
            host.supervisor.send(works)
            await host.wait_for(works)
            broken, *squared = (host.outcomes[work.key] for work in works)
            assert record(broken).kind == "died", name
            assert "made no sense" in record(broken).message, name
            assert [output(outcome) for outcome in squared] == [[0], [1], [4]], name
            (after,) = await host.run(call(pids()))
            assert output(after) != output(before), name
            before = after


@pytest.mark.parametrize(
    "message", [b"\xc1", packed(lane_frames.RETURNED, [1]), packed(lane_frames.RETURNED), packed(5)]
)
@in_loop
async def test_the_control_channel_is_believed_as_little(tmp_path: Path, message: bytes) -> None:
    async with seat(tmp_path) as host:
        works = [
            host.work(call(speaks(), 2, message, settings=ONCE)),
            host.work(call(squares(), 3)),
        ]
        host.supervisor.send(works)
        await host.wait_for(works)
        assert "made no sense" in record(host.outcomes[0]).message
        assert output(host.outcomes[1]) == [9]


@in_loop
async def test_a_crash_by_a_broken_stream_is_tried_again(tmp_path: Path) -> None:
    marker = tmp_path / "marker"

    def once(path: str) -> str:
        import os
        import sys
        import time
        from pathlib import Path as Place

        if not Place(path).exists():
            Place(path).touch()
            os.write(int(sys.argv[1]), b"\xc1")
            time.sleep(60)
        return "done"

    async with seat(tmp_path / "seat") as host:
        (outcome,) = await host.run(call(once, str(marker)))
        assert output(outcome) == ["done"]


@in_loop
async def test_a_message_that_ends_early_is_the_end_of_its_sender(tmp_path: Path) -> None:
    def cut() -> None:
        import os
        import sys

        os.write(int(sys.argv[1]), b"\x94\x07\x01")
        os._exit(3)

    async with seat(tmp_path) as host:
        works = [host.work(call(cut, settings=ONCE)), host.work(call(squares(), 4))]
        host.supervisor.send(works)
        await host.wait_for(works)
        assert record(host.outcomes[0]).kind == "died"
        assert output(host.outcomes[1]) == [16]


@in_loop
async def test_no_child_can_shorten_the_memory_that_it_shares(tmp_path: Path) -> None:
    """Its owner would be ended by the kernel for reading behind the end."""

    def shorten() -> str:
        import os
        import sys

        try:
            os.ftruncate(int(sys.argv[3]), 0)
        except OSError:
            return "refused"
        return "done"

    async with seat(tmp_path) as host:
        (outcome,) = await host.run(call(shorten))
        assert output(outcome)[0] != "done"


@in_loop
async def test_a_log_that_became_a_pipe_holds_up_nobody(tmp_path: Path) -> None:
    def swap() -> None:
        import os
        import sys
        from pathlib import Path as Place

        print("last words", flush=True)
        log = f"{sys.argv[4]}/output.log"
        Place(log).unlink()
        os.mkfifo(log)
        os._exit(3)

    async with seat(tmp_path) as host:
        (outcome,) = await host.run(call(swap, settings=ONCE))
        assert record(outcome).output == "last words"


KINDS = ("link", "pipe", "directory", "device", "size")


def announces() -> Callable[..., Any]:
    def announce(kind: str) -> None:
        """End with an output in a file that is none, in this process's own directory."""
        import os
        import sys
        import time
        from pathlib import Path as Place

        import msgpack as m

        from armoflow.agent import lane_frames as f

        frame = sys._getframe()
        while "task" not in frame.f_locals or not hasattr(frame.f_locals["task"], "serial"):
            frame = frame.f_back  # type: ignore[assignment]
        task = frame.f_locals["task"]
        path = f"{sys.argv[4]}/{task.outputs[0]}"
        size = 5
        if kind == "link":
            Place(path).symlink_to("/etc/hostname")
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "directory":
            Place(path).mkdir()
        elif kind == "device":
            Place(path).symlink_to("/dev/zero")
        elif kind == "size":
            Place(path).write_bytes(b"123456789")
        os.write(
            int(sys.argv[1]), m.packb([f.DONE, task.serial, 5, {task.outputs[0]: [path, size]}])
        )
        time.sleep(60)

    return announce


@pytest.mark.parametrize("kind", KINDS)
def test_a_lane_takes_plain_files_only(tmp_path: Path, kind: str) -> None:
    @on_a_lane(workers=2)
    async def test(lane: Lane) -> None:
        bad = lane.submit(call(announces(), kind))
        good = lane.submit(*(call(squares(), number) for number in range(20)))
        (error,) = await lane.ended(bad)
        text = error.message if isinstance(error, ErrorRecord) else error
        assert "plain file" in text
        assert await lane.ended(good) == [number * number for number in range(20)]
        objects = lane.engine.objects
        assert not [path for path in objects._directory.rglob("*") if path.is_file()]
        (directory,) = (lane.directory / "state" / "agents").iterdir()
        assert not [path for path in directory.rglob("output*") if path.is_symlink()]

    test(tmp_path)


SAVED = ("pipe", "directory", "link", "garbage", "garbage inline", "odd items", "odd slots")


def saves() -> Callable[..., Any]:
    def save(kind: str, mark: str) -> None:
        """Wait for a retry with what makes no sense as what was saved; then die in the next run."""
        import os
        import signal
        import sys
        import time
        from pathlib import Path as Place

        import msgpack as m

        from armoflow.agent import lane_frames as f

        if Place(mark).exists():
            os.kill(os.getpid(), signal.SIGKILL)
        Place(mark).touch()
        frame = sys._getframe()
        while "task" not in frame.f_locals or not hasattr(frame.f_locals["task"], "serial"):
            frame = frame.f_back  # type: ignore[assignment]
        task = frame.f_locals["task"]
        saved: object = [f"{sys.argv[4]}/saved", 5]
        path = Place(f"{sys.argv[4]}/saved")
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "directory":
            path.mkdir()
            (path / "file").touch()
        elif kind == "link":
            path.symlink_to("/dev/zero")
        elif kind == "garbage":
            path.write_bytes(b"\xc1\xc1")
        elif kind == "odd items":
            path.write_bytes(m.packb([[[[1], 2]], None]))
        elif kind == "odd slots":
            path.write_bytes(m.packb([[[0, [[99, 1, 2]]]], [0, 5, 0]]))
        else:
            saved = b"\xc1\xc1"
        due = time.monotonic_ns()
        os.write(int(sys.argv[1]), m.packb([f.PAUSED, task.serial, 5, due, [[0, 1, due]], saved]))
        time.sleep(60)

    return save


@pytest.mark.parametrize("kind", SAVED)
def test_what_a_child_saves_is_read_only_where_it_makes_sense(tmp_path: Path, kind: str) -> None:
    """By the next process, and by the owner when that one dies; nobody waits for it."""

    @on_a_lane(workers=1)
    async def test(lane: Lane) -> None:
        bad = lane.submit(call(saves(), kind, str(tmp_path / "mark"), settings=ONCE))
        good = lane.submit(*(call(squares(), number) for number in range(9)))
        (error,) = await lane.ended(bad)
        assert isinstance(error, ErrorRecord) and error.kind == "died"
        assert await lane.ended(good) == [number * number for number in range(9)]

    test(tmp_path)
