"""By every door, tasks that ran several items say what became of each, and it can be read later."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from armoflow import Client, task
from armoflow.protocol.inspection import Inspection
from armoflow.protocol.item_inspection import ItemInspection
from armoflow.protocol.resolve import resolve
from tests.integration.engines import Up


@task(batch_size=4)
def even(number: int) -> int:
    if number % 2:
        raise ValueError(number)
    return number


@task(batch_size=4)
def outer(number: int) -> Any:
    return even(number)


def wait(futures: Any) -> list[BaseException | None]:
    return [future.exception() for future in futures]


def compute(client: Client) -> None:
    with pytest.raises(ValueError, match="1"):
        client.compute(even.map(range(8)))


def submit(client: Client) -> None:
    wait([client.submit(even(number)) for number in range(40)])


def mapped(client: Client) -> None:
    wait(client.map(even, range(8)))


def returned(client: Client) -> None:
    with pytest.raises(ValueError, match="1"):
        client.compute(outer.map(range(8)))


@pytest.mark.parametrize("door", [compute, submit, mapped, returned])
def test_failed_items_are_counted_and_named(
    engine: Up, client: Client, door: Callable[[Client], None]
) -> None:
    door(client)
    with Inspection(resolve(engine.endpoint, {}, os.environ)) as inspection:
        session_id = inspection.sessions(1)[1][0].session_id
        alone = inspection.failures(session_id, 100).total
        packs = ItemInspection(inspection).summaries(session_id).values()
    failed = alone + sum(summary.failed for summary in packs)
    names = Counter(name for summary in packs for name in summary.names)
    if door is submit:
        assert failed == 20 and names["even"] == 20 - alone  # as many as found others to go with
    elif door is returned:
        assert failed >= 4 and names["even"] == 4
    else:
        assert failed == 4 and names == Counter(f"even[{number}]" for number in (1, 3, 5, 7))
