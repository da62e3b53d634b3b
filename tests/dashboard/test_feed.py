"""Following a session by what an engine lists, whatever order that comes in."""

from __future__ import annotations

import base64
import struct
import zlib
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from armonik.common import Session, Task, TaskStatus

from armoflow.dashboard import feed as feeds
from armoflow.dashboard import sources, views
from armoflow.dashboard.feed import SessionFeed
from armoflow.protocol.engine_info import EngineInfo
from armoflow.protocol.inspection import ResultFacts
from armoflow.protocol.settings import ConnectionSettings

BEGIN = datetime(2030, 1, 1, tzinfo=timezone.utc)


class Engine:
    """What an engine lists of one session."""

    settings = ConnectionSettings("http://here:1")
    info = EngineInfo("0.40.1", ("p",), 1)

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.pages = 0
        self.now = 0.0

    def end(self, seconds: float | None, status: TaskStatus = TaskStatus.COMPLETED) -> None:
        at = None if seconds is None else BEGIN + timedelta(seconds=seconds)
        number = len(self.tasks)
        started = None if at is None else at - timedelta(seconds=0.5)
        times = {"created_at": BEGIN, "started_at": started, "ended_at": at}
        ids = {"expected_output_ids": [f"r{number}"], "data_dependencies": [], "retry_of_ids": []}
        self.tasks.append(
            Task(id=f"t{number}", status=status, pod_hostname="pod", **times, **ids)  # type: ignore[arg-type]
        )

    def session(self, session_id: str) -> Session:
        return Session(session_id=session_id, status=1, created_at=BEGIN, partition_ids=["p"])

    def counts(self, session_id: str) -> dict[TaskStatus, int]:
        found: dict[TaskStatus, int] = {}
        for task in self.tasks:
            found[task.status] = found.get(task.status, 0) + 1
        return found

    def ended(self, session_id: str, since: datetime | None, page: int, size: int) -> list[Task]:
        self.pages += 1
        found = [
            task for task in self.tasks if task.ended_at and (not since or task.ended_at >= since)
        ]
        found.sort(key=lambda task: task.ended_at)
        return found[page * size :][:size]

    def running(self, session_id: str, limit: int) -> list[Task]:
        return [task for task in self.tasks if task.status == TaskStatus.PROCESSING][:limit]

    def results(self, ids: list[str]) -> dict[str, ResultFacts]:
        return {id: ResultFacts("output/f", 1) for id in ids}

    def result_counts(self, session_id: str) -> dict[str, int]:
        return {"completed": len(self.tasks)}

    def versions(self) -> dict[str, str]:
        return {"core": "1"}


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setattr(sources, "PAGE", 10)
    return Engine()


def feed_of(engine: Engine) -> SessionFeed:
    known: Any = engine
    return SessionFeed(known, engine.session("s"), lambda: engine.now)


def read_all(feed: SessionFeed) -> list[str]:
    feed.glance()
    while feed.read():
        pass
    return [run.id for run in feed.trace.runs]


def test_every_end_is_read_once(engine: Engine) -> None:
    for number in range(25):
        engine.end(number * 0.01)
    feed = feed_of(engine)
    assert read_all(feed) == [f"t{number}" for number in range(25)]
    pages = engine.pages
    assert read_all(feed) and engine.pages == pages  # nothing is missing: nothing is asked
    engine.end(9.0)
    engine.end(9.0)
    assert read_all(feed)[25:] == ["t25", "t26"]
    assert feed.trace.counts["done"] == 27 and not feed.behind


def test_what_ended_before_is_found_later(engine: Engine) -> None:
    for number in range(25):
        engine.end(float(number))
    feed = feed_of(engine)
    read_all(feed)
    engine.end(3.5)  # a clock that is behind, or a commit that came late
    assert read_all(feed)[-1] == "t25" and not feed.behind


def test_many_that_end_in_one_moment_are_read(engine: Engine) -> None:
    for _ in range(35):
        engine.end(1.0)
    assert len(read_all(feed_of(engine))) == 35


def test_what_is_counted_and_not_listed_is_asked_for_ever_more_seldom(engine: Engine) -> None:
    engine.end(1.0)
    engine.end(None, TaskStatus.CANCELLED)
    feed = feed_of(engine)
    assert read_all(feed) == ["t0"]
    asked = []
    for _ in range(300):
        engine.now += 1.0
        before = engine.pages
        read_all(feed)
        asked.append(engine.pages > before)
    assert asked[0] or asked[1]
    assert sum(asked) < 12
    engine.end(2.0)
    assert read_all(feed) == ["t0", "t2"]
    engine.tasks[1].ended_at = BEGIN  # the list says it after all
    engine.now += 100.0
    assert read_all(feed) == ["t0", "t2", "t1"]


def test_a_list_that_lags_behind_the_counts_loses_nothing(engine: Engine) -> None:
    engine.end(1.0)
    at, engine.tasks[0].ended_at = engine.tasks[0].ended_at, None
    feed = feed_of(engine)
    assert read_all(feed) == []
    engine.tasks[0].ended_at = at
    engine.now += 3.0
    assert read_all(feed) == ["t0"]


def test_tasks_are_chosen_by_state_and_name(engine: Engine) -> None:
    engine.end(1.0)
    engine.end(2.0, TaskStatus.ERROR)
    feed = feed_of(engine)
    read_all(feed)
    assert feed.select("", "") == [0, 1] and feed.select("failed", "") == [1]
    assert feed.select("", "TASK") == [0, 1] and feed.select("", "other") == []
    engine.end(3.0, TaskStatus.ERROR)
    read_all(feed)
    assert feed.select("failed", "") == [1, 2]
    feed.item_failures.counts["t0"] = 3  # it has ended well
    assert feed.select("failed", "") == [0, 1, 2] and feed.select("done", "") == [0]
    assert feed.select("failed", "other") == []


def test_the_timeline_grows(engine: Engine) -> None:
    engine.end(1.0)
    feed = feed_of(engine)
    read_all(feed)
    engine.end(2.0)
    read_all(feed)
    data = [zlib.decompress(base64.b64decode(chunk["data"])) for chunk in feed.chunks]
    starts = [struct.unpack_from("<I", columns)[0] for columns in data]
    assert starts == [5_000, 15_000]
    assert feed.frame()["rows"] == [[0, "pod"]] and feed.frame()["names"] == ["task"]


def test_what_runs_is_shown_where_its_pod_is(engine: Engine) -> None:
    engine.end(1.0)
    engine.end(4.0, TaskStatus.PROCESSING)
    engine.tasks[-1].ended_at = None
    feed = feed_of(engine)
    read_all(feed)
    now = (BEGIN + timedelta(seconds=5)).timestamp()
    assert feed.now_running(now) == [[35_000, 15_000, 0, 0]]
    parts = views.quick(feed, now) | views.slow(feed)
    assert "1 done" in parts["progress"].replace("<b>", "").replace("</b>", "")
    assert 'data-task="t1"' in parts["running"]


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        (("task", "40% page 2 < 3"), ' value="40" max="100" '),
        (("task", "40% page 2 < 3"), "</progress> 40% page 2 &lt; 3<"),
        (("task[7]", "100%"), "</progress> task[7] 100%<"),
        (("task", "half"), "<td>half</td>"),
    ],
)
def test_how_far_a_task_is_stands_where_it_runs(
    engine: Engine, told: tuple[str, str], shown: str
) -> None:
    engine.end(4.0, TaskStatus.PROCESSING)
    engine.tasks[0].ended_at = None
    feed = feed_of(engine)
    feed.glance()
    now = BEGIN.timestamp()
    assert ">Progress<" not in views.quick(feed, now)["running"]  # nobody tells it
    feed.progress = {"t0": told}
    running = views.quick(feed, now)["running"]
    assert ">Progress<" in running and shown in running


def test_it_is_calm_when_nothing_ran_before_either(engine: Engine) -> None:
    engine.end(1.0)
    feed = feed_of(engine)
    feed.glance()
    assert feed.calm  # it was over before anybody looked
    engine.end(2.0)  # a client has gone on, and this one is over already
    feed.glance()
    assert not feed.calm and not feed.live
    feed.glance()
    assert feed.calm
    engine.end(9.0, TaskStatus.PROCESSING)
    for _ in range(2):
        feed.glance()
        assert not feed.calm


def test_what_has_ended_since_it_was_looked_does_not_run(engine: Engine) -> None:
    engine.end(4.0, TaskStatus.PROCESSING)
    at, engine.tasks[0].ended_at = engine.tasks[0].ended_at, None
    engine.end(4.0)
    feed = feed_of(engine)
    feed.glance()
    assert [run.id for run in feed.running] == ["t0"]
    engine.tasks[0].ended_at = at
    feed.read()
    assert feed.running == []


def test_parts_are_sent_when_they_have_changed(engine: Engine) -> None:
    engine.end(1.0)
    feed = feed_of(engine)
    read_all(feed)
    parts = views.PageParts()
    parts.set(views.slow(feed))
    first = parts.version
    assert "tasks" in parts.since(-1)
    parts.set(views.slow(feed))
    assert parts.version == first and not parts.since(first)
    engine.end(2.0)
    read_all(feed)
    parts.set(views.slow(feed))
    assert {"tasks", "workers"} <= parts.since(first).keys()
    assert "about" not in parts.since(first)


def test_of_more_tasks_than_are_kept_the_numbers_are_those_of_all(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "MOST", 15)
    monkeypatch.setattr(views, "MOST", 15)
    for number in range(25):
        engine.end(number * 0.01, TaskStatus.ERROR if number == 20 else TaskStatus.COMPLETED)
    feed = feed_of(engine)
    assert len(read_all(feed)) == len(feed.digest.lineage.runs) == 15
    assert feed.known == 25 and not feed.behind
    (row,) = feed.digest.names.rows()
    assert (row.calls, row.failed) == (25, 1)
    assert sum(lane.tasks for lane in feed.digest.lanes.rows) == 25
    assert len(feed.digest.failures.groups()) == 1
    assert feed.select("", "") == list(range(15))
    assert "of the first 15 tasks" in views.slow(feed)["about"]
