"""A container whose memory runs short: the child ends before the container does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import psutil
import pytest
from seats import PATIENCE, Seat, call, collection, output, seat, values

from armoflow import config
from armoflow.codec.payload import Operation, Settings
from armoflow.config import MIB
from armoflow.system.memory import ContainerMemory
from armoflow.worker.environment import worker_environment
from armoflow.worker.spares import Spares


class Memory:
    """A container of one GiB, which is full while a file exists: once for each time it is made."""

    def __init__(self, full: Path, limit: int = 1024 * MIB, *, largest: bool = True) -> None:
        self.limit = limit
        self.full = full
        self.asked = asyncio.Event()
        self._largest = largest

    def taken(self, enough: int = 0) -> int:
        assert self.limit - 64 * MIB == enough
        return self.limit if self.full.exists() else 0

    def is_largest(self, pid: int) -> bool:
        self.asked.set()
        if self._largest:
            self.full.unlink()
        return self._largest


def on_a_seat(
    test: Callable[[Seat, Memory, Path], Awaitable[None]], **options: Any
) -> Callable[[Path], None]:
    def run(tmp_path: Path) -> None:
        async def bounded() -> None:
            memory = Memory(tmp_path / "full", **options)
            spares = Spares(
                tmp_path / "spares", worker_environment(), None, cast(ContainerMemory, memory)
            )
            async with seat(tmp_path, spares=spares) as host:
                await test(host, memory, tmp_path)

        asyncio.run(asyncio.wait_for(bounded(), PATIENCE))

    return run


async def _the_item_that_fills_it_is_named(host: Seat, memory: Memory, path: Path) -> None:
    full = str(memory.full)

    def fill(number: int) -> int:
        import time as clock
        from pathlib import Path as Place

        if number == 3:
            Place(full).touch()
            while True:
                clock.sleep(0.01)
        return number

    settings = Settings(packed=True, crash_retries=1)
    (outcome,) = await host.run(
        collection(Operation.MAP, fill, values(*range(5)), settings=settings)
    )
    results = output(outcome)
    assert [results[0], results[4]] == [0, 4]
    assert (results[3].kind, results[3].name, results[3].attempts) == ("died", "fill[3]", 2)
    assert "the memory of its container is used up: 1024 of 1024 MiB" in results[3].message


async def _who_takes_less_than_others_goes_on(host: Seat, memory: Memory, path: Path) -> None:
    memory.full.touch()
    gate = str(path / "gate")

    def wait() -> str:
        import time as clock
        from pathlib import Path as Place

        while not Place(gate).exists():
            clock.sleep(0.01)
        return "done"

    running = asyncio.ensure_future(host.run(call(wait)))
    await memory.asked.wait()
    Path(gate).touch()
    (outcome,) = await running
    assert output(outcome) == ["done"]


test_the_item_that_fills_it_is_named = on_a_seat(_the_item_that_fills_it_is_named)
test_who_takes_less_than_others_goes_on = on_a_seat(
    _who_takes_less_than_others_goes_on, largest=False
)


@pytest.mark.parametrize(
    ("limit", "kept"), [(None, config.FETCHED_BYTES), (512 * MIB, 64 * MIB), (2**40, 256 * MIB)]
)
def test_what_a_child_keeps_follows_the_limit(tmp_path: Path, limit: int | None, kept: int) -> None:
    async def test() -> None:
        memory = None if limit is None else cast(ContainerMemory, Memory(tmp_path, limit))
        spares = Spares(tmp_path / "spares", worker_environment(), None, memory)
        async with seat(tmp_path, spares=spares) as host:
            await host.supervisor.start()
            child = psutil.Process(host.supervisor.pid)
            assert child.cmdline()[-2] == str(kept)

    asyncio.run(test())


def test_where_memory_is_scarce_no_spare_waits(tmp_path: Path) -> None:
    async def test() -> None:
        memory = Memory(tmp_path / "full", config.SPARE_MEMORY - 1)
        spares = Spares(
            tmp_path / "spares", worker_environment(), 0.0, cast(ContainerMemory, memory)
        )
        others = Spares(tmp_path / "others", worker_environment(), 0.0)
        for one in (spares, others):
            one.expect()
        while not (tmp_path / "others").exists():
            await asyncio.sleep(0.01)
        assert not (tmp_path / "spares").exists()
        await spares.stop()
        await others.stop()

    asyncio.run(test())


def test_the_kernel_ends_children_first(tmp_path: Path) -> None:
    own = Path("/proc/self/oom_score_adj")
    if not own.exists():
        pytest.skip("needs Linux")

    async def test() -> None:
        async with seat(tmp_path) as host:
            (outcome,) = await host.run(call(own.read_text))
            (score,) = output(outcome)
            assert int(score) == min(int(own.read_text()) + 200, 1000)

    asyncio.run(test())
