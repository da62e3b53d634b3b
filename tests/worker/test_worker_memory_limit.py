"""A task that may have so much memory: its process is ended when it takes more, and no other's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace

from seats import PATIENCE, call, collection, output, record, seat, values

from armoflow.codec.payload import Operation, Settings
from armoflow.config import MIB


def on_the_loop(test: Callable[[Path], Awaitable[None]]) -> Callable[[Path], None]:
    return lambda tmp_path: asyncio.run(asyncio.wait_for(test(tmp_path), PATIENCE))


LIMIT = Settings(memory=128 * MIB)
PACKED = Settings(memory=128 * MIB, packed=True)


def functions() -> SimpleNamespace:
    """What tasks run here: made in a function, so that it travels by value."""

    def fill(number: int) -> int:
        if number != 3:
            return number
        blocks = []
        while True:
            blocks.append(bytearray(1024**2))

    def leave() -> None:
        import types

        types.left = bytearray(200 * 1024**2)  # type: ignore[attr-defined]

    def process() -> int:
        import os

        return os.getpid()

    def stay_beside() -> int:
        """Stay until the process is ended, where :func:`leave` has run."""
        import os
        import time
        import types

        if hasattr(types, "left"):
            time.sleep(3600)
        return os.getpid()

    def reserve() -> int:
        """Numerical libraries reserve much that they never touch."""
        import mmap

        with mmap.mmap(-1, 8 * 1024**3) as area:
            return len(area)

    def spawn() -> int:
        import subprocess
        import sys

        code = "block = [bytearray(1024**2) for _ in range(4096)]"
        return subprocess.run([sys.executable, "-c", code], check=False).returncode

    def map_file(path: str) -> int:
        import mmap
        from pathlib import Path

        with (
            Path(path).open("rb") as file,
            mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view,
        ):
            return sum(view[place] for place in range(0, len(view), 4096))

    return SimpleNamespace(**locals())


RUN = functions()


@on_the_loop
async def test_the_item_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    async with seat(tmp_path) as host:
        items = collection(Operation.MAP, RUN.fill, values(*range(6)), settings=PACKED)
        (outcome,) = await host.run(items)
        *_, failed = results = output(outcome)[:4]
        assert [*results[:3], *output(outcome)[4:]] == [0, 1, 2, 4, 5]
        assert (failed.kind, failed.name, failed.attempts) == ("memory", "fill[3]", 1)
        assert failed.message.startswith("task 'fill[3]' took 1")
        assert "more than its limit, memory=128 MiB, and was killed" in failed.message


@on_the_loop
async def test_what_others_left_is_nobody_s_fault(tmp_path: Path) -> None:
    async with seat(tmp_path) as host:
        limited = call(RUN.stay_beside, settings=LIMIT)
        calls = call(RUN.leave), call(RUN.process), limited, call(RUN.process)
        _, before, ended, after = await host.run(*calls)
        first, second, third = (output(one)[0] for one in (before, ended, after))
        assert first != second == third  # it was run again, in a new process


@on_the_loop
async def test_what_is_reserved_or_read_of_files_does_not_count(tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(256 * MIB)
    async with seat(tmp_path / "seat") as host:
        reserved, mapped = await host.run(
            call(RUN.reserve, settings=LIMIT), call(RUN.map_file, str(large), settings=LIMIT)
        )
        assert (output(reserved), output(mapped)) == ([8 * 1024**3], [0])


@on_the_loop
async def test_what_a_task_starts_counts(tmp_path: Path) -> None:
    async with seat(tmp_path) as host:
        (outcome,) = await host.run(call(RUN.spawn, settings=LIMIT))
        assert record(outcome).kind == "memory"


@on_the_loop
async def test_a_task_of_no_limit_takes_what_it_likes(tmp_path: Path) -> None:
    def much() -> int:
        return len(bytearray(200 * 1024**2))

    async with seat(tmp_path) as host:
        limited, free = await host.run(call(RUN.process, settings=LIMIT), call(much))
        assert output(free) == [200 * 1024**2]
        assert limited.effects is not None
