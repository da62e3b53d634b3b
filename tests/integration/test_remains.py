"""What calls were given that fail stays, by every door, so that they can be run again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from armonik.common import ResultStatus, TaskStatus

from armoflow import Client
from armoflow.codec.item_log import PREFIX as LOG_PREFIX
from armoflow.codec.item_log import tells_of_failures
from armoflow.codec.task_needs import constants_of
from armoflow.orchestrator.pack_sizes import PackSizer
from tests.integration.engines import STOCK, Up, up
from tests.integration.failing import LARGE, ODD, add, even, item, outer, table
from tests.integration.looking import Looking


def compute(client: Client, given: Any) -> None:
    client.compute([even(given, LARGE, number) for number in range(20)])


def submit(client: Client, given: Any) -> None:
    with all_at_once(client):
        futures = [client.submit(even(b"", b"", number)) for number in range(40)]
    for future in futures:
        future.exception()
    futures[1].result()


@contextmanager
def all_at_once(client: Client) -> Iterator[None]:
    """What is submitted meanwhile goes together, however slow this machine is."""
    assert client.compute(add(1, 2)) == 3  # its session is open
    go_on = threading.Event()
    client._backend._loop.loop.call_soon_threadsafe(go_on.wait)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        go_on.set()


def mapped(client: Client, given: Any) -> None:
    client.compute(item.map(range(8), table=given, large=LARGE))


def subgraph(client: Client, given: Any) -> None:
    client.compute(add(*[even(given, LARGE, number) for number in range(20)]))


def returned(client: Client, given: Any) -> None:
    client.compute([outer(given, LARGE, number) for number in range(8)])


@pytest.fixture(autouse=True)
def measured_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """As quick as ``know`` says that calls are, they are when they are measured."""
    ended = PackSizer.ended

    def quick(sizer: PackSizer, count: int, size: int, seconds: float | None) -> None:
        ended(sizer, count, size, 1e-6 * count)

    monkeypatch.setattr(PackSizer, "ended", quick)


def know(client: Client) -> None:
    """Calls are quick, whatever was measured on this machine: so they share tasks."""
    paces = client._backend._settings.paces  # type: ignore[attr-defined]
    for one in (even, add, outer, item):
        for _ in range(50):
            paces.note(one.function, 1e-6, 1000)


class Left:
    """What the client has left that used an engine last.

    Attributes:
        stored: The results with data, by name, but logs.
        needed: What its tasks were given that have failed, or have failed items.
        packs: How many of these have ended well.
    """

    def __init__(self, engine: Up) -> None:
        looking = Looking(engine)
        session_id = [*looking.sessions()][-1]
        everything = looking.results_of(session_id)
        stored = [each for each in everything if each.status is ResultStatus.COMPLETED]
        self.stored = {each.result_id for each in stored if not each.name.startswith(LOG_PREFIX)}
        makers = {each.created_by for each in everything if tells_of_failures(each.name)}
        packs = [each for each in looking.tasks(session_id) if each.id in makers]
        failed = [each for each in looking.tasks(session_id) if each.status is TaskStatus.ERROR]
        self.packs = len(packs)
        self.needed = set[str]()
        for each in (*packs, *(each for each in failed if each.started_at)):
            self.needed.update((each.payload_id, *each.data_dependencies))
            self.needed.update(constants_of(looking.data(session_id, each.payload_id)))
        looking.close()


@pytest.mark.parametrize(
    ("door", "seconds"),
    [(compute, 10), (submit, 10), (mapped, 10), (subgraph, 10), (returned, 10), (returned, 0)],
    ids=["compute", "submit", "map", "subgraph", "returned, inline", "returned, children"],
)
def test_what_failed_calls_were_given_stays(
    engine: Up, door: Callable[[Client, Any], None], seconds: float
) -> None:
    with Client(engine.endpoint, workers=2, inline_seconds=seconds) as client:
        know(client)
        with pytest.raises(ValueError, match=ODD):
            door(client, table(10))
        assert client.compute(add(3, 4)) == 7
    left = Left(engine)
    assert left.packs
    assert left.needed == left.stored


def test_inputs_stay_where_the_engine_deletes_the_payloads_of_failed_tasks(tmp_path: Path) -> None:
    """As a cluster with ``Submitter__DeletePayload`` does."""
    with up(tmp_path, *STOCK, "--strict") as engine:
        with Client(engine.endpoint, workers=2) as client:
            know(client)
            with pytest.raises(ValueError, match=ODD):
                compute(client, table(10))
            with pytest.raises(ValueError, match=ODD):
                client.compute(even.with_options(batch_size=1)(table(11), LARGE, 1))
        looking = Looking(engine)
        (session_id,) = looking.sessions()
        everything = looking.results_of(session_id)
        makers = {each.created_by for each in everything if tells_of_failures(each.name)}
        failed = [
            each
            for each in looking.tasks(session_id)
            if each.id in makers or (each.status is TaskStatus.ERROR and each.started_at)
        ]
        inputs = {key for each in failed for key in each.data_dependencies}
        assert makers and len(failed) > len(makers) and len(inputs) == 2
        stored = {
            each.result_id
            for each in everything
            if each.status is ResultStatus.COMPLETED and not each.name.startswith(LOG_PREFIX)
        }
        assert stored == inputs
        looking.close()
