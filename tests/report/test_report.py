"""A report is made of records alone: what it counts, and what its page holds."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import random
import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from armoflow.codec.failure import ErrorRecord
from armoflow.protocol.states import STATES
from armoflow.report import page as pages
from armoflow.report import statistics
from armoflow.report.digest import Digest, by_start
from armoflow.report.page import report
from armoflow.report.trace import SessionTrace, TaskRun

HOSTILE = "<script>alert(1)</script>&\"'\0\ud800"


def run(id: str, name: str, start: float, seconds: float, **more: Any) -> TaskRun:
    end = start + seconds
    times = {"created": start - 1, "queued": start - 0.5, "taken": start - 0.25}
    known = {"state": "done", "pod": "pod-1", **times, "stopped": end, "ended": end + 0.25}
    return TaskRun(id, name, **{**known, "started": start, **more})


def failed(id: str, start: float, message: str, **more: Any) -> TaskRun:
    error = ErrorRecord("raised", "ValueError", message, node="clean").to_text()
    return run(id, "clean", start, 0.1, state="failed", error=error, **more)


def trace_of(runs: list[TaskRun]) -> SessionTrace:
    counts = {state: sum(run.state == state for run in runs) for state in STATES}
    return SessionTrace("s" * 36, "forest", "running", counts=counts, runs=runs)


def digest_of(runs: list[TaskRun]) -> Digest:
    digest = Digest()
    digest.add(by_start(runs))
    return digest


def many(count: int) -> Iterator[TaskRun]:
    chance = random.Random(7)
    for number in range(count):
        start = 1e9 + chance.random() * 600
        yield run(
            f"{chance.getrandbits(128):032x}",
            chance.choice(["load", "clean", "train", "best"]),
            start,
            chance.expovariate(20),
            state="failed" if chance.random() < 0.01 else "done",
            error=f"no row {number}",
            pod=f"pod-{number % 100}",
            outputs=(f"r{number}",),
            inputs=(f"r{number // 2}",),
        )


class Page(html.parser.HTMLParser):
    """What a page holds."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "br", "col", "hr", "input", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"]:
            self.scripts.append(data)


def test_a_hundred_thousand_tasks_are_less_than_two_megabytes() -> None:
    text = report(trace_of(list(many(100_000))))
    assert len(text.encode()) < 2_000_000
    assert text.count("<details") == 4  # of each name one: they differ in numbers only
    data = json.loads(Page(text).scripts[0])
    assert data["chunks"][0]["count"] == 100_000 and len(data["rows"]) >= 100


def test_what_a_page_holds_is_escaped_and_nothing_is_fetched() -> None:
    runs = [
        run("a", HOSTILE, 1.0, 1.0, pod=HOSTILE, outputs=("x",)),
        run(HOSTILE, "b", 3.0, 1.0, inputs=("x",), state="failed", error=HOSTILE),
    ]
    trace = trace_of(runs)
    trace.application = trace.endpoint = HOSTILE
    trace.versions = {HOSTILE: HOSTILE}
    text = report(trace)
    page = Page(text)
    assert not page.open and "alert(1)</script>" not in text
    assert len(page.scripts) == 2 and json.loads(page.scripts[0])["names"][0] == HOSTILE
    assert not re.search(r"(?:src|href)=|url\(|@import", text)
    (policy,) = (
        attributes["content"] or ""
        for _, attributes in page.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert policy.startswith("default-src 'none'") and f"script-src 'sha256-{digest}'" in policy


def test_a_session_without_tasks_has_a_page() -> None:
    text = report(trace_of([]))
    assert not Page(text).open and "Nothing has failed." in text
    waiting = report(trace_of([TaskRun("a", "f", "waiting", created=1.0)]))
    assert "Nothing has run yet." in waiting


def test_headings_and_tables_can_be_read_aloud() -> None:
    page = Page(report(trace_of([run("a", "f", 1.0, 1.0), failed("b", 2.0, "no")])))
    kinds = [tag for tag, _ in page.tags]
    assert kinds.count("h1") == 1 and kinds.count("table") == kinds.count("caption")
    ids = {attributes.get("id") for _, attributes in page.tags}
    labels = [a["aria-labelledby"] for tag, a in page.tags if tag == "section"]
    assert labels and set(labels) <= ids
    assert all("scope" in attributes for tag, attributes in page.tags if tag == "th")
    (canvas,) = (attributes for tag, attributes in page.tags if tag == "canvas")
    assert canvas["tabindex"] == "0" and canvas["aria-describedby"] in ids


def test_numbers_by_name() -> None:
    runs = [
        run("a", "load", 0.0, 1.0, bytes_in=5, bytes_out=7),
        run("b", "load", 1.0, 3.0, state="retried"),
        run("b###1", "load", 4.0, 2.0, tries=1),
        failed("c", 7.0, "no"),
        TaskRun("d", "load", "queued"),
    ]
    digest = digest_of(runs)
    load, clean = digest.names.rows()
    assert (load.name, load.count, load.seconds.total, load.retries) == (
        "load",
        3,
        6.0,
        1,
    )
    assert (load.bytes_in, load.bytes_out) == (5, 7)
    assert (clean.count, clean.states["failed"]) == (1, 1)
    assert [each.id for each in digest.slowest.runs()] == ["b", "b###1", "a", "c"]


def test_how_well_workers_were_used() -> None:
    runs = [run("a", "f", 0.0, 4.0), run("b", "f", 1.0, 1.0), run("c", "f", 2.0, 2.0, pod="pod-2")]
    digest = digest_of(runs)
    used = digest.usage.efficiency()
    assert (used.wall, used.busy, used.workers) == (4.0, 7.0, 3)
    assert used.share == pytest.approx(7 / 12)
    assert used.queued is not None and used.queued.half == 0.5
    assert used.overhead is not None and used.overhead.longest == 0.5
    assert [(row.label, row.tasks, row.busy) for row in digest.lanes.sorted()] == [
        ("pod-1", 1, 4.0),
        ("pod-1 (2)", 1, 1.0),
        ("pod-2", 1, 2.0),
    ]


def test_rows_of_pods_are_in_the_order_of_their_numbers() -> None:
    runs = [run(pod, "f", 0.0, 1.0, pod=pod) for pod in ("pod-10", "pod-2", "node")]
    assert [row.label for row in digest_of(runs).lanes.sorted()] == ["node", "pod-2", "pod-10"]


def test_the_critical_path_follows_what_ended_last() -> None:
    runs = [
        run("quick", "load", 0.0, 1.0, outputs=("q",)),
        run("lost", "load", 0.0, 1.0, outputs=("s",), state="retried"),
        run("slow", "load", 2.0, 5.0, outputs=("s",), tries=1),
        run("grown", "train", 8.0, 2.0, inputs=("q", "s"), outputs=("g",)),
        run("child", "best", 11.0, 1.0, parent="grown", outputs=("g",)),
        run("other", "best", 3.0, 1.0),
    ]
    steps = digest_of(runs).lineage.critical_path()
    assert [step.run.id for step in steps] == ["slow", "grown", "child"]
    assert [step.waited for step in steps] == [1.0, 0.75, 0.75]
    assert Digest().lineage.critical_path() == []


def test_very_many_durations_are_told_of_some_that_stand_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(statistics, "MANY", 1_000)
    durations = statistics.DurationSample()
    seconds = [number / 1000 for number in range(20_001)]
    random.Random(7).shuffle(seconds)
    for each in seconds:
        durations.add(each)
    half, most, longest = durations.quantiles() or pytest.fail("there are some")
    assert half == pytest.approx(10, rel=0.1) and most == pytest.approx(19, rel=0.1)
    assert longest == 20 and durations.total == pytest.approx(sum(seconds))
    assert len(durations._values) <= 1_000


def test_a_record_that_cannot_be_read_is_not_shown() -> None:
    error = "ValueError: no 3 in task 'f'\n[armoflow-error A+/CJgbXS1xK]"
    (group,) = digest_of([run("a", "f", 1.0, 1.0, state="failed", error=error)]).failures.groups()
    assert group.headline == group.trace == "ValueError: no 3 in task 'f'"


def test_failures_that_differ_in_ids_and_addresses_are_one_group() -> None:
    ids = ("a" * 8 + "-0000-4000-8000-" + each * 12 for each in "abc")
    runs = [
        failed(name, start, f"{id} at 0x{name * 8} is gone")
        for name, start, id in zip("abc", (1.0, 2.0, 3.0), ids, strict=True)
    ]
    (group,) = digest_of(runs).failures.groups()
    assert group.count == 3


def test_what_repeats_the_error_of_its_input_as_its_own_did_not_run_because_of_it() -> None:
    first = failed("a", 1.0, "no", outputs=("x",))
    gathered = failed("b", 2.0, "no", inputs=("x",))._replace(name="gather")
    (group,) = digest_of([first, gathered]).failures.groups()
    assert (group.count, group.skipped) == (1, 1)
    fused = gathered._replace(inputs=("y",))  # it ran itself what failed
    assert [each.count for each in digest_of([first, fused]).failures.groups()] == [1, 1]


def test_failures_are_grouped_with_what_they_kept_from_running() -> None:
    first = failed("a", 1.0, "row 7 is empty")
    prose = f"Task z depends on a task that failed: {first.error}"
    runs = [
        first,
        failed("b", 2.0, "row 8 is empty"),
        run("c", "train", 3.0, 0.0, state="failed", error=prose),
        run("d", "train", 3.0, 0.0, state="failed", error="exit code 9"),
    ]
    rows, code = digest_of(runs).failures.groups()
    assert (rows.count, rows.skipped, [each.id for each, _ in rows.examples]) == (2, 1, ["a", "b"])
    assert rows.headline == "ValueError: row 7 is empty in task 'clean'"
    assert (code.count, code.trace) == (1, "exit code 9")
    (one,) = digest_of([runs[2], first]).failures.groups()  # what was skipped came before
    assert (one.count, one.skipped) == (1, 1)


def test_a_graph_in_a_circle_is_drawn_from_what_began_first() -> None:
    runs = [
        run("a", "grow", 0.0, 1.0, outputs=("x",)),
        run("b", "grow", 2.0, 1.0, parent="a"),
        run("c", "best", 3.0, 1.0, inputs=("x",), outputs=("y",), parent="a"),
        TaskRun("d", "grow", "queued", inputs=("y",)),
    ]
    drawn = digest_of(runs).flow.picture()
    assert [(shape.title, shape.state) for shape in drawn.shapes] == [
        ("grow", "queued"),
        ("best", "done"),
    ]
    assert drawn.edges == [(0, 1)] and "submits itself" in drawn.shapes[0].caption


def test_a_timeline_is_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [run("a", "f", 100.0, 2.0), run("b", "g", 101.0, 3.0), failed("c", 90.0, "no")]
    data = json.loads(Page(report(trace_of(runs))).scripts[0])
    (chunk,) = data["chunks"]
    columns = zlib.decompress(base64.b64decode(chunk["data"]))
    starts = struct.unpack_from("<3I", columns)
    lengths = struct.unpack_from("<3I", columns, 12)
    assert data["origin"] == 90.0 and chunk["count"] == 3
    assert [round(start * data["tick"], 3) for start in starts] == [0.0, 10.0, 1.0]
    assert [round(length * data["tick"], 3) for length in lengths] == [0.1, 2.0, 3.0]
    assert [data["names"][name] for name in struct.unpack_from("<3H", columns, 30)] == [
        *("clean", "f", "g")
    ]
    assert data["rows"] == [[0, "pod-1"], [1, "pod-1 (2)"]]
    assert list(columns[36:]) == [1, 0, 0]
    monkeypatch.setattr(pages, "SHOWN", 1)
    data = json.loads(Page(report(trace_of(runs))).scripts[0])
    (chunk,) = data["chunks"]
    assert chunk["count"] == 1 and len(data["names"]) == 3
