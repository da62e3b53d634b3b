"""Clients, engines and workers on disks that are full, or may only be read."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from armoflow import Client, task
from armoflow.errors import EngineError
from tests.conftest import SmallDisk, running_engine

LARGE = bytes(300_000)


@task
def double(number: int) -> int:
    return 2 * number


@task
def large(size: int) -> bytes:
    return bytes(size)


@task
def length(data: bytes) -> int:
    return len(data)


@pytest.fixture(params=["batch", "standard", "worker"])
def client_on(request: Any, small_disk: SmallDisk) -> Iterator[Callable[[], Client]]:
    arguments = []
    if request.param == "worker":
        arguments = ["--worker", f"{sys.executable} -m armoflow.cli.main worker"]
    with running_engine(small_disk.root / "state", *arguments) as endpoint:
        yield lambda: Client(endpoint, extensions=request.param == "batch")


def test_a_full_disk_refuses_new_work_and_goes_on(
    client_on: Callable[[], Client], small_disk: SmallDisk
) -> None:
    with client_on() as client:
        assert client.compute(double(1)) == 2
        small_disk.fill()
        with pytest.raises(EngineError) as caught:
            while True:  # what fits into the room that files have already is taken
                client.compute([double(number) for number in range(200)])
        assert caught.value.code == "RESOURCE_EXHAUSTED"
        assert str(small_disk.root) in str(caught.value)
        small_disk.make_room()
        assert client.compute(double.map(range(100))) == [2 * number for number in range(100)]


def test_an_output_that_does_not_fit_fails_its_task_alone(
    client_on: Callable[[], Client], small_disk: SmallDisk
) -> None:
    with client_on() as client:
        assert client.compute(double(1)) == 2
        big, small = client.submit(large(16_000_000)), client.submit(double(4))
        assert small.result(60) == 8
        with pytest.raises(OSError, match="No space left on device") as caught:
            big.result(60)
        assert str(small_disk.root) in str(caught.value)
        assert caught.value.errno == errno.ENOSPC
        assert client.compute(length(large(1_000_000))) == 1_000_000


def test_an_argument_that_does_not_fit_fails_its_call_alone(
    client_on: Callable[[], Client], small_disk: SmallDisk
) -> None:
    with client_on() as client:
        assert client.compute(double(1)) == 2
        big, small = client.submit(length(bytes(16_000_000))), client.submit(double(4))
        assert small.result(60) == 8
        with pytest.raises(EngineError, match="no space left on device") as caught:
            big.result(60)
        assert caught.value.code == "RESOURCE_EXHAUSTED"
        assert str(small_disk.root) in str(caught.value)
        with pytest.raises(EngineError, match="no space left on device"):
            client.put(bytes(16_000_000))
        assert client.compute(length(bytes(1_000_000))) == 1_000_000


def test_a_state_that_may_only_be_read_refuses_what_needs_a_file_and_goes_on(
    client_on: Callable[[], Client], small_disk: SmallDisk
) -> None:
    with client_on() as client:
        assert client.compute(double(1)) == 2
        with small_disk.read_only("state/staging") as place:
            for ask in (lambda: client.compute(length(bytes(300_000))), lambda: client.put(LARGE)):
                with pytest.raises(EngineError) as caught:
                    ask()
                told = str(caught.value).splitlines()[0]
                assert f"cannot write {place}/" in told
                assert "read-only file system; make it writable, or start with the state" in told
            small = client.submit(double(4))  # of a worker service, it waits until that is over
        assert small.result(60) == 8
        assert client.compute(length(bytes(300_000))) == 300_000


def test_a_worker_whose_folder_may_only_be_read_fails_what_needs_it_and_goes_on(
    small_disk: SmallDisk,
) -> None:
    with running_engine(small_disk.root / "state") as endpoint, Client(endpoint) as client:
        assert client.compute(double(1)) == 2
        with small_disk.read_only("state/agents") as place:
            with pytest.raises(OSError, match="Read-only file system") as caught:
                client.compute(large(300_000))
            assert "make it writable, or set TMPDIR or the state elsewhere" in str(caught.value)
            assert str(place) in str(caught.value)
            assert client.compute(double.map(range(9))) == [2 * number for number in range(9)]
        assert client.compute(length(large(300_000))) == 300_000
