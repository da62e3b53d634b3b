"""What a task of many items does not run itself: behind a poison item, and behind slow ones."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from armoflow import Client, task
from armoflow.errors import TaskError
from armoflow.protocol.inspection import Inspection
from armoflow.protocol.settings import ConnectionSettings
from tests.integration.engines import EMBEDDED, STOCK, Up, up

POISON = 7
"""The last one: when it kills an engine, no child has others, which would count as tried too."""


@task(batch_size=8, max_retries=1)
def deadly(number: int) -> int:
    if number == POISON:
        time.sleep(0.5)  # the engine writes down what has begun, and what has ended
        os.kill(os.getppid(), signal.SIGKILL)  # whoever owns this process
        time.sleep(600)
    return number


@task(batch_size=8, max_retries=1)
def outer(number: int) -> Any:
    return deadly(number)


@task
def slow_at_last(number: int) -> int:
    if number >= 560:
        time.sleep(0.02)
    return number


@pytest.fixture(scope="module")
def stock(engine_with: Callable[..., Up]) -> Up:
    return engine_with(*STOCK)


def mapped(client: Client) -> list[Any]:
    return client.map(deadly, range(8))


def returned(client: Client) -> list[Any]:
    return client.map(outer, range(8))


def check(futures: list[Any]) -> None:
    for number, future in enumerate(futures):
        if number == POISON:
            # Of one that was alone in its task at last, the engine says that its worker was lost.
            assert isinstance(future.exception(), TaskError)
        else:
            assert future.result() == number


@pytest.mark.parametrize("door", [mapped, returned])
def test_an_item_that_kills_its_worker_takes_no_neighbours_with_it(
    stock: Up, door: Callable[[Client], list[Any]]
) -> None:
    with Client(stock.endpoint, workers=2) as client:
        check(door(client))


def test_a_batch_that_turns_out_to_be_slow_is_shared(tmp_path: Path) -> None:
    with up(tmp_path, *EMBEDDED) as engine, Client(engine.endpoint, workers=2) as client:
        assert client.compute(slow_at_last.map(range(640))) == list(range(640))
        with Inspection(ConnectionSettings(engine.endpoint)) as inspection:
            (session,) = inspection.sessions(1)[1]
            assert any(each.created_by for each in inspection.tasks(session.session_id))
