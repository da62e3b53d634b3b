"""Data goes when nothing needs it any more, and not before."""

from __future__ import annotations

import gc
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from armonik.protogen.client import (
    events_service_pb2_grpc,
    results_service_pb2_grpc,
    sessions_service_pb2_grpc,
)
from armonik.protogen.common import (
    events_common_pb2,
    result_status_pb2,
    results_common_pb2,
    session_status_pb2,
    sessions_common_pb2,
)

from armoflow import Client, config, items, task
from armoflow.protocol.filter_fields import RESULTS, add_filters, sort_upwards
from tests.integration.engines import Up, up

COMPLETED = result_status_pb2.RESULT_STATUS_COMPLETED
DELETED = result_status_pb2.RESULT_STATUS_DELETED


@task
def first(size: int) -> bytes:
    return bytes(size)


@task
def second(data: bytes) -> bytes:
    return data + b"2"


@task
def third(data: bytes) -> int:
    return len(data)


@task
def broken(data: bytes) -> int:
    raise ZeroDivisionError


@task
def wait_for_ever(begun: Path, data: bytes) -> None:
    begun.touch()
    while True:
        time.sleep(1)


@task
def leaf(number: int) -> int:
    return number


@task
def add(one: int, other: int) -> int:
    return one + other


Result = tuple[str, int]
"""Name and status."""


class Ledger:
    """The results of a client's session; reads them again after each event."""

    def __init__(self, engine: Up, client: Client) -> None:
        self._session_id = client._backend._orchestrator.last_session  # type: ignore[attr-defined]
        self._events_seen = 0
        self._changed = threading.Condition()
        self._channel = grpc.insecure_channel(
            engine.endpoint, [("grpc.default_authority", "localhost")]
        )
        request = events_common_pb2.EventSubscriptionRequest(session_id=self._session_id)
        self._events = events_service_pb2_grpc.EventsStub(self._channel).GetEvents(request)
        self._sessions = sessions_service_pb2_grpc.SessionsStub(self._channel)
        self._results = results_service_pb2_grpc.ResultsStub(self._channel)
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def outputs(self, *names: str) -> list[int]:
        """The statuses of the outputs of nodes with these names."""
        wanted = {
            f"{prefix}{name}"
            for name in names
            for prefix in ("output/", "output.wanted/", "output.kept/")
        }
        return [status for name, status in self.read() if name in wanted]

    def payloads(self) -> list[int]:
        """The statuses of all results that are neither outputs nor constants."""
        return [
            status for name, status in self.read() if not name.startswith(("output", "shared/"))
        ]

    def constants(self) -> list[int]:
        """The statuses of code and of ``put`` data."""
        return [status for name, status in self.read() if name.startswith("shared/")]

    def read(self) -> list[Result]:
        """All results."""
        request = results_common_pb2.ListResultsRequest(page_size=10_000)
        add_filters(request.filters, RESULTS, [[("session_id", "==", self._session_id)]])
        sort_upwards(request, RESULTS, "id")
        reply = self._results.ListResults(request)
        return [(result.name, result.status) for result in reply.results]

    def stored(self) -> list[str]:
        """What has data; a payload that tasks share is called after the one that needs it still."""
        names = [name for name, status in self.read() if status == COMPLETED]
        return sorted(re.sub(r"^payload/.*\bbroken$", "payload/broken", name) for name in names)

    def session_status(self) -> int:
        """The status of the session."""
        request = sessions_common_pb2.GetSessionRequest(session_id=self._session_id)
        return int(self._sessions.GetSession(request).session.status)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds; it is tried after each event."""
        while True:
            with self._changed:
                seen = self._events_seen
            if condition():
                return
            with self._changed:
                assert self._changed.wait_for(
                    lambda: self._events_seen > seen,  # noqa: B023
                    timeout=50,
                ), self.read()

    def close(self) -> None:
        self._events.cancel()
        self._thread.join()
        self._channel.close()

    def _follow(self) -> None:
        try:
            for _ in self._events:
                with self._changed:
                    self._events_seen += 1
                    self._changed.notify_all()
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.CANCELLED:
                raise


@pytest.fixture(
    scope="module",
    params=[("--delete-payload",), ("--no-extensions",), ("--no-extensions", "--delete-payload")],
    ids=["extension", "standard", "standard-deletes"],
)
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("engine"), "--workers", "2", *request.param) as started:
        yield started


@pytest.fixture
def client(engine: Up) -> Iterator[Client]:
    with Client(engine.endpoint, workers=2, fuse=False) as connected:
        connected.compute(leaf(0))  # so that there is a session
        yield connected


@pytest.fixture
def ledger(engine: Up, client: Client) -> Iterator[Ledger]:
    opened = Ledger(engine, client)
    yield opened
    opened.close()


@pytest.mark.parametrize("size", [10, 300_000])
def test_intermediates_go(client: Client, ledger: Ledger, size: int) -> None:
    future = client.submit(third(second(first(size))))
    assert future.result() == size + 1
    ledger.wait_for(lambda: ledger.outputs("first", "second") == [DELETED] * 2)
    assert ledger.outputs("third") == [COMPLETED]
    del future
    gc.collect()
    ledger.wait_for(lambda: ledger.outputs("third") == [DELETED])


def test_payloads_go(client: Client, ledger: Ledger) -> None:
    assert client.compute([third(first(number)) for number in range(10)]) == list(range(10))
    ledger.wait_for(lambda: set(ledger.payloads()) == {DELETED})


def test_what_a_future_holds_stays(client: Client, ledger: Ledger) -> None:
    held = client.submit(first(100))
    assert client.compute(third(second(held))) == 101
    ledger.wait_for(lambda: ledger.outputs("second", "third") == [DELETED] * 2)
    assert ledger.outputs("first") == [COMPLETED]
    assert client.compute(third(held)) == 100
    del held
    gc.collect()
    ledger.wait_for(lambda: ledger.outputs("first") == [DELETED])


def test_what_is_to_be_kept_stays(client: Client, ledger: Ledger) -> None:
    kept = first.with_options(keep=True)
    assert client.compute(third(second(kept(10)))) == 11
    ledger.wait_for(lambda: ledger.outputs("second", "third") == [DELETED] * 2)
    assert ledger.outputs("first") == [COMPLETED]


def test_put_data_stays_while_its_reference_does(client: Client, ledger: Ledger) -> None:
    reference = client.put(bytes(200_000))
    assert client.compute(third(second(reference))) == 200_001
    ledger.wait_for(lambda: ledger.outputs("second", "third") == [DELETED] * 2)
    assert client.compute(third(reference)) == 200_000
    constants = ledger.constants()
    assert constants
    assert set(constants) == {COMPLETED}
    del reference
    gc.collect()
    ledger.wait_for(lambda: set(ledger.constants()) == {DELETED})
    client.close()
    assert {status for _, status in ledger.read()} == {DELETED}


def test_put_data_stays_for_tasks_under_way(client: Client, ledger: Ledger) -> None:
    """The reference is let go before the tasks that take it have run."""
    future = client.submit(third(second(client.put(bytes(100_000)))))
    gc.collect()
    assert future.result() == 100_001
    ledger.wait_for(lambda: set(ledger.constants()) == {DELETED})


def test_an_argument_that_tasks_share_goes_with_them(client: Client, ledger: Ledger) -> None:
    shared = "x" * 100_000
    assert client.compute([third(shared) for _ in range(5)]) == [100_000] * 5
    ledger.wait_for(lambda: set(ledger.constants()) == {DELETED})


def test_children_use_what_their_parent_was_given(client: Client, ledger: Ledger) -> None:
    """A graph that a task returns may take its put value, long after the task itself has ended."""

    @task
    def parent(data: bytes) -> Any:
        return add(third(second(first(10))), third(data))

    future = client.submit(parent(client.put(bytes(100_000))))
    gc.collect()
    assert future.result() == 100_011
    ledger.wait_for(lambda: set(ledger.constants()) == {DELETED})


def test_code_goes_when_much_has_come_after_it(
    client: Client, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "CODE_BOOK_BYTES", 250_000)

    def counting(ballast: bytes) -> Callable[[], int]:
        return lambda: len(ballast)

    for number in range(6):
        assert client.submit(counting(bytes(100_000 + number))).result() == 100_000 + number
    ledger.wait_for(lambda: ledger.constants().count(DELETED) >= 4)
    assert client.submit(counting(bytes(100_000))).result() == 100_000  # sent again


def test_what_stays_when_a_client_has_ended(client: Client, ledger: Ledger) -> None:
    """What failed tasks were given, and what was to be kept; what is known of all the rest."""
    needed, other = client.put(bytes(200_000)), client.put(bytes(100_000))
    kept = first.with_options(keep=True)
    assert client.compute([third(second(kept(10))), third(other)]) == [11, 100_000]
    for failing in (broken(second(first(20))), broken(needed)):
        with pytest.raises(ZeroDivisionError):
            client.compute(failing)
    held = client.submit(first(30))
    held.result()
    client.close()
    assert ledger.stored() == [
        *("output.kept/first", "output/second", "payload/broken", "payload/broken", "shared/put")
    ]
    assert ledger.session_status() == session_status_pb2.SESSION_STATUS_CLOSED


def test_all_data_goes_when_a_client_ends_well(client: Client, ledger: Ledger) -> None:
    reference = client.put(bytes(100_000))
    held = client.submit(second(first(30)))
    held.result()
    client.close()
    assert {status for _, status in ledger.read()} == {DELETED}
    assert ledger.session_status() == session_status_pb2.SESSION_STATUS_CLOSED
    del reference


def test_what_is_cut_short_is_cancelled_and_leaves_what_failed_needed(
    client: Client, ledger: Ledger, tmp_path: Path
) -> None:
    with pytest.raises(ZeroDivisionError):
        client.compute(broken(second(first(20))))
    future = client.submit(wait_for_ever(tmp_path / "begun", second(first(10))))
    while not (tmp_path / "begun").exists():
        ledger.read()
    client.close()
    assert future.cancelled()
    assert ledger.stored() == ["output/second", "payload/broken"]
    assert ledger.session_status() == session_status_pb2.SESSION_STATUS_CANCELLED


def test_a_shared_result_stays_until_the_last_has_used_it(client: Client, ledger: Ledger) -> None:
    shared = first(50)
    values: list[Any] = [third(shared) for _ in range(5)]
    values.append(third(second(second(shared))))
    assert client.compute(values) == [50] * 5 + [52]
    ledger.wait_for(lambda: set(ledger.outputs("first", "second")) == {DELETED})


def test_live_data_stays_bounded_while_a_collection_is_reduced(
    client: Client, ledger: Ledger
) -> None:
    """Later items are made only when the data of earlier ones has gone, but for a few."""
    peak = 0

    def numbers() -> Iterator[int]:
        nonlocal peak
        for number in range(300):
            if number % 30 == 0:
                peak = max(peak, ledger.outputs("leaf", "add").count(COMPLETED))
                ledger.wait_for(
                    lambda: ledger.outputs("leaf").count(DELETED) >= number - 10  # noqa: B023
                )
            yield number

    one = leaf.with_options(batch_size=1)
    numbers_made = one.map(items(numbers()))
    assert client.compute(numbers_made.reduce(add.with_options(batch_size=1))) == sum(range(300))
    assert peak < 100
