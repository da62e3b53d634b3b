"""Failed calls of tasks that ran several and ended well, as the dashboard finds and tells them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from armoflow import Client, task
from armoflow.codec.failure import ErrorRecord
from armoflow.codec.item_log import ItemRecord, ItemState
from armoflow.dashboard import item_failures, views
from armoflow.dashboard.feed import SessionFeed
from armoflow.dashboard.item_failures import ItemFailures
from armoflow.protocol.inspection import Inspection
from armoflow.protocol.item_inspection import ToldItems
from armoflow.protocol.settings import ConnectionSettings
from armoflow.report.facts import task_facts
from armoflow.report.failure_groups import NOT_KEPT
from armoflow.report.trace import TaskRun
from tests.engine.serving import serve

PATIENCE = 60
BEGIN = datetime(2030, 1, 1, tzinfo=timezone.utc)
FAILED = ItemRecord("f", 1, 0.1, ItemState.FAILED)


class Logs:
    """An engine with logs of items, and values."""

    def __init__(self) -> None:
        self.logs: list[Any] = []
        self.asked: list[datetime | None] = []
        self.now = 0.0
        self.values: dict[str, ToldItems] = {}

    def fail(self, number: int, *, value: bool = True) -> TaskRun:
        """A task whose second call has failed."""
        at = BEGIN + timedelta(seconds=number)
        self.logs.append(
            SimpleNamespace(result_id=f"log{number}", created_by=f"t{number}", created_at=at)
        )
        records = [ItemRecord("f", 0, 0.1), FAILED]
        self.values[f"log{number}"] = ToldItems(records, [])
        if value:
            error = ErrorRecord("raised", "ValueError", "no", node="f", item=1)
            inherited = ErrorRecord("raised", "ValueError", "other", node="g", item=7)
            self.values[f"out{number}"] = ToldItems(records, [inherited, error])
        return TaskRun(f"t{number}", "f", "done", outputs=(f"out{number}",))

    def failed(self, session_id: str, since: datetime | None) -> Iterator[Any]:
        self.asked.append(since)
        return iter([log for log in self.logs if since is None or log.created_at >= since])

    def told(self, session_id: str, ids: list[str]) -> dict[str, ToldItems]:
        return {id: self.values[id] for id in ids if id in self.values}


@pytest.fixture
def engine() -> Logs:
    return Logs()


def failures_of(engine: Any) -> ItemFailures:
    return ItemFailures(engine, "s", lambda: engine.now)


def by_id(*runs: TaskRun) -> dict[str, TaskRun]:
    return {run.id: run for run in runs}


def test_each_is_told_once_with_its_own_error(engine: Logs) -> None:
    run, failures = engine.fail(1), failures_of(engine)
    (told,) = failures.ask(by_id(run), live=True)
    assert [headline for headline, _ in told.faults] == ["ValueError: no in task 'f[1]'"]
    assert told.items[1] == FAILED and failures.counts == {"t1": 1}
    engine.now += 100
    assert failures.ask(by_id(run), live=True) == []
    assert engine.asked == [None, BEGIN + timedelta(seconds=1) - item_failures.OVERLAP]


def test_what_is_not_known_yet_waits_for_its_task(engine: Logs) -> None:
    run, failures = engine.fail(1), failures_of(engine)
    assert failures.ask({}, live=False) == []
    assert [told.id for told in failures.ask(by_id(run), live=False)] == ["t1"]


def test_an_error_that_was_not_kept_is_said(engine: Logs) -> None:
    run, failures = engine.fail(1, value=False), failures_of(engine)
    (told,) = failures.ask(by_id(run), live=False)
    assert told.faults == [(f"f[1] failed: {NOT_KEPT}", "")]


def test_it_is_asked_seldom_while_tasks_run_and_twice_at_the_end(engine: Logs) -> None:
    failures = failures_of(engine)
    for _ in range(10):
        engine.now += 0.5
        failures.ask({}, live=True)
    assert 2 <= len(engine.asked) <= 4
    engine.asked.clear()
    runs = by_id(TaskRun("t", "f", "done"))
    for _ in range(10):
        failures.ask(runs, live=False)
    assert len(engine.asked) == 2


def test_a_run_that_has_just_begun_is_left_alone(engine: Logs) -> None:
    failures = failures_of(engine)
    failures.ask({}, live=False)
    engine.now += 60.0
    failures.ask({}, live=True)
    assert len(engine.asked) == 1
    engine.now += item_failures.LEAST
    failures.ask({}, live=True)
    assert len(engine.asked) == 2


def test_many_are_read_by_and_by(engine: Logs) -> None:
    runs = by_id(*(engine.fail(number) for number in range(50)))
    failures = failures_of(engine)
    counts = [len(failures.ask(runs, live=False)) for _ in range(4)]
    assert counts == [20, 20, 10, 0]


@task(batch_size=6)
def odd(number: int) -> int:
    print(f"looking at {number}")
    if number % 2:
        return number
    raise ValueError(f"{number} is <even>")


def test_they_are_shown_with_traceback_and_last_output(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with serve(tmp_path_factory.mktemp("engine"), workers=1) as serving:
        settings = ConnectionSettings(f"unix:{serving.target.removeprefix('unix:')}")
        with Inspection(settings) as inspection:
            with Client(settings.endpoint, progress=False, logs=False) as client:
                future = client.submit(odd.map(range(6)).gather())
                assert isinstance(future.exception(PATIENCE), ValueError)
                feed = SessionFeed(inspection, inspection.sessions(1)[1][0])
                feed.glance()
                while feed.read():
                    pass
                assert feed.ask_items()
            parts = views.slow(feed) | views.quick(feed, 0.0)
            assert "ValueError: 0 is &lt;even&gt;" in parts["failures"]
            assert "Traceback" in parts["failures"] and "looking at 0" in parts["failures"]
            assert "3 items failed" in parts["graph"] and "3 items failed" in parts["progress"]
            (task_id,) = feed.item_failures.counts
            found: Any = inspection.find(task_id)
            opened = views.task_facts(task_facts(inspection, found))
            assert opened.count("<details") == 3 and "odd[4]" in opened
