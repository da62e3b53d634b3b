"""Faults of disk and memory around child processes: told, waited for, never a loop of crashes."""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import resource
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from seats import call, output, record, seat

from armoflow.errors import WorkerDiedError
from armoflow.worker.troubles import Troubles

if TYPE_CHECKING:
    from tests.conftest import SmallDisk


def on_a_loop(function: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @functools.wraps(function)
    def run(*arguments: Any, **values: Any) -> None:
        asyncio.run(asyncio.wait_for(function(*arguments, **values), 100))

    return run


@on_a_loop
async def test_without_room_for_a_process_work_is_refused_and_taken_later(
    small_disk: SmallDisk,
) -> None:
    small_disk.take_all_inodes()
    async with seat(small_disk.root / "seat") as host:
        with pytest.raises(WorkerDiedError, match=r"cannot be started: .*no space left on device"):
            await host.supervisor.start()
        (outcome,) = await host.run(call(int))
        assert record(outcome).kind == "died"
        assert str(small_disk.root) in record(outcome).message
        assert " 0 files free" in record(outcome).message
        small_disk.make_room()
        (outcome,) = await host.run(call(int))
        assert output(outcome) == [0]


def test_a_limit_of_processes_is_told_with_what_to_do() -> None:
    troubles = Troubles()
    error = BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    told = [troubles.cannot_make(error) for _ in range(3)]
    assert told[-1] is not None and "(ulimit -u)" in told[-1] and "(pids.max)" in told[-1]


@on_a_loop
async def test_what_a_task_prints_onto_a_full_disk_is_lost_alone(small_disk: SmallDisk) -> None:
    def talk() -> int:
        import sys

        for _ in range(1000):
            print("x" * 1000)
            sys.stderr.write("y" * 1000)
        return 1

    async with seat(small_disk.root / "seat") as host:
        (outcome,) = await host.run(call(int))
        small_disk.fill()
        (outcome,) = await host.run(call(talk))
        assert output(outcome) == [1]
        small_disk.make_room()


@on_a_loop
async def test_a_process_whose_directory_is_gone_is_replaced(tmp_path: Path) -> None:
    def die() -> None:
        import os

        os._exit(3)

    async with seat(tmp_path / "seat") as host:
        (outcome,) = await host.run(call(int))
        for directory in (tmp_path / "seat").iterdir():
            shutil.rmtree(directory)
        (outcome,) = await host.run(call(die))
        assert f"exited with status 3, on host {os.uname().nodename}" in record(outcome).message
        (outcome,) = await host.run(call(int))
        assert output(outcome) == [0]


@on_a_loop
async def test_an_output_without_room_is_an_error_of_its_task(small_disk: SmallDisk) -> None:
    def large(size: int) -> bytes:
        return bytes(size)

    async with seat(small_disk.root / "seat") as host:
        (outcome,) = await host.run(call(large, 16_000_000))
        assert record(outcome).type_name.endswith("OSError")
        assert "No space left on device" in record(outcome).message
        assert str(small_disk.root) in record(outcome).message
        (outcome,) = await host.run(call(large, 1_000_000))
        assert output(outcome) == [bytes(1_000_000)]


@on_a_loop
async def test_no_memory_is_an_ordinary_exception(tmp_path: Path) -> None:
    def take_all() -> None:
        limit = resource.getrlimit(resource.RLIMIT_AS)
        try:
            resource.setrlimit(resource.RLIMIT_AS, (2**31, limit[1]))
            bytearray(2**32)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, limit)

    async with seat(tmp_path / "seat") as host:
        (outcome,) = await host.run(call(take_all))
        assert record(outcome).type_name.endswith("MemoryError")
        (outcome,) = await host.run(call(int))
        assert output(outcome) == [0]
