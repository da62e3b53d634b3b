"""Fused chains on real engines: what a crash, a timeout or a retry costs is one step."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from armoflow import Client, task
from armoflow.errors import RemoteTraceback, TaskTimeoutError, WorkerDiedError


@task
def begin(log: str) -> str:
    note(log, "begin")
    return log


@task
def die_once(log: str) -> str:
    note(log, "die")
    if noted(log).count("die") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return log


@task
def end(log: str) -> list[str]:
    note(log, "end")
    return noted(log)


@task
def same(value: int) -> int:
    return value


@task
def die_on_two(value: int) -> int:
    if value == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return value


def note(log: str, line: str) -> None:
    with Path(log).open("a") as file:
        file.write(f"{line}\n")


def noted(log: str) -> list[str]:
    return Path(log).read_text().split()


def test_a_crash_costs_one_attempt_of_one_step(client: Client, tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    assert client.compute(end(die_once(begin(log)))) == ["begin", "die", "die", "end"]


def test_a_step_that_always_dies_is_named(client: Client) -> None:
    with pytest.raises(WorkerDiedError, match="SIGKILL") as caught:
        client.compute(same(die_on_two(same(2))))
    cause = caught.value.__cause__
    assert isinstance(cause, RemoteTraceback)
    assert cause.path == ["die_on_two", "same"]


def test_what_a_failed_input_skips_is_told_step_by_step(client: Client) -> None:
    failing = die_on_two.with_options(crash_retries=0)(2)  # other options: a task of its own
    with pytest.raises(WorkerDiedError) as caught:
        client.compute(same(same(failing)))
    cause = caught.value.__cause__
    assert isinstance(cause, RemoteTraceback)
    assert cause.path == ["die_on_two", "same", "same"]
    assert cause.skipped == 2


def test_a_dying_item_of_a_fused_map_leaves_its_siblings(client: Client) -> None:
    mapped = same.map(range(4)).map(die_on_two).map(same)
    outcomes = client.gather(client.submit(mapped), return_exceptions=True)
    assert [outcomes[0], outcomes[1], outcomes[3]] == [0, 1, 3]
    assert isinstance(outcomes[2], WorkerDiedError)
    assert outcomes[2].__cause__.path == ["die_on_two[2]", "same[2]"]  # type: ignore[union-attr]


def test_a_timeout_is_of_one_step(client: Client, tmp_path: Path) -> None:
    fifo = tmp_path / "never"
    os.mkfifo(fifo)

    @task(timeout=2)
    def quick(value: int) -> int:
        return value

    @task(timeout=2)
    def stuck(value: int) -> str:
        return fifo.read_text()

    with pytest.raises(TaskTimeoutError) as caught:
        client.compute(stuck(quick(1)))
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert caught.value.__cause__.node == "stuck"


def test_stored_code_of_every_step_is_found(client: Client) -> None:
    table = bytes(range(256)) * 200  # too large to ride in payloads

    @task
    def first(index: int) -> int:
        return table[index]

    @task
    def second(value: int) -> int:
        return table[value] + 1

    assert client.compute(second(first(second(first(7))))) == 9
    assert client.compute(first.map(range(5)).map(second)) == [1, 2, 3, 4, 5]
