"""What is known, as parts of a page: each is made anew when it may have changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from armoflow.dashboard.feed import MOST, SessionFeed
from armoflow.dashboard.processes import ProcessRow
from armoflow.dashboard.sources import RUNNING
from armoflow.protocol.states import STATES
from armoflow.report import sections
from armoflow.report.failure_groups import NOT_KEPT
from armoflow.report.html import Html, table, tag
from armoflow.report.page import UNITS
from armoflow.report.trace import SessionTrace, TaskRun
from armoflow.report.wording import length, moment_of, short_ids, size

ITEMS = 100
"""Failed calls of one task that are listed."""

SHOWN = 12
"""Running tasks that are listed."""


class PageParts:
    """PageParts of a page with the version in which each changed last.

    Attributes:
        version: Of the last change.
    """

    def __init__(self) -> None:
        self.version = 0
        self._parts: dict[str, tuple[int, Html]] = {}

    def set(self, parts: Mapping[str, Html]) -> None:
        """Put some parts in their places; what is the same as before has not changed."""
        changed = {
            name: part
            for name, part in parts.items()
            if name not in self._parts or self._parts[name][1] != part
        }
        if changed:
            self.version += 1
            self._parts |= {name: (self.version, part) for name, part in changed.items()}

    def since(self, version: int) -> dict[str, str]:
        """What has changed after a version."""
        return {name: part for name, (changed, part) in self._parts.items() if changed > version}


def task_link(run: TaskRun) -> Html:
    """A task's id as a link to what is known of it."""
    return tag("a", tag("code", run.id), href=f"#task={run.id}", data_task=run.id)


def quick(feed: SessionFeed, now: float) -> dict[str, Html]:
    """What changes all the time, and costs little."""
    trace = feed.trace
    return {
        "head": sections.header(trace),
        "progress": sections.progress(trace.counts, _pace(feed)),
        "running": _running(feed, now),
    }


def slow(feed: SessionFeed) -> dict[str, Html]:
    """What is made of all tasks."""
    digest = feed.digest
    used = digest.usage.efficiency()
    rows = digest.names.rows()
    note = UNITS
    if feed.ended > MOST:
        note = (
            f"Timeline, stream, edges of the graph and critical path are of the first {MOST:,} "
            f"tasks that ended, the numbers of all. {UNITS}"
        )
    return {
        "overview": sections.overview(used, rows),
        "tasks": sections.tasks_by_name(rows),
        "failures": sections.failures(digest.failures.groups(), task_link),
        "graph": sections.graph(digest.flow.picture(feed.running)),
        "efficiency": sections.efficiency(used),
        "path": sections.critical_path(digest.lineage.critical_path(), task_link),
        "slowest": sections.slowest(digest.slowest.runs(), task_link),
        "workers": sections.workers(digest.lanes.sorted(), used.wall),
        "data": _data(feed),
        "about": sections.about(feed.trace, note=note),
    }


def _pace(feed: SessionFeed) -> str:
    said = []
    if feed.live and feed.rate:
        said.append(f"{feed.rate:,.3g} tasks/s, about {length(feed.live / feed.rate)} left")
    failed = sum(feed.item_failures.counts.values())
    if failed:
        said.append(
            f"{failed:,} {'item' if failed == 1 else 'items'} failed in tasks that are done"
        )
    if feed.behind:
        said.append(f"{feed.behind:,} are still to be read")
    return ", ".join(said)


def _running(feed: SessionFeed, now: float) -> Html:
    runs, total = feed.running, feed.trace.counts["running"]
    shown = runs[:SHOWN]
    tells = any(run.id in feed.progress for run in shown)
    rows = [
        [
            run.name,
            task_link(run),
            *([_told(run, feed.progress.get(run.id))] if tells else ()),
            run.pod,
            length(now - (run.started or now)),
        ]
        for run in shown
    ]
    columns = ["Task", "Id", *(["Progress"] if tells else ()), "Worker", "For"]
    listed = table("Running tasks", columns, rows, numbers=len(columns) - 1)
    nothing = tag("p", "Nothing runs.", class_="nothing")
    more = total - min(len(runs), SHOWN, RUNNING)
    rest = tag("p", f"and {more:,} more", class_="note") if more > 0 else None
    return sections.section("running", "Running now", listed if runs else nothing, rest)


def _told(run: TaskRun, told: tuple[str, str] | None) -> Html | str:
    """How far a task is, as it told last: of one that runs several items, with the item's name."""
    if told is None:
        return ""
    item, line = told
    part, _, text = line.partition(" ")
    words = " ".join(word for word in (item if item != run.name else "", part, text) if word)
    percent = part.removesuffix("%")
    if not percent.isdecimal():
        return words
    bar = tag("progress", value=percent, max="100", aria_label=f"{run.name}: {part}")
    return tag("span", bar, f" {words}", class_="told")


def _data(feed: SessionFeed) -> Html:
    rows = feed.digest.names.rows()
    facts = [
        ("Read by tasks", size(sum(row.bytes_in for row in rows))),
        ("Written by tasks", size(sum(row.bytes_out for row in rows))),
        *((f"Results {status}", f"{count:,}") for status, count in feed.results.items()),
    ]
    shown = table("Data", ["", "Amount"], facts)
    return sections.section("data", "Data", shown)


def trouble(words: str) -> Html:
    """Why nothing is heard of the engine, if that is so."""
    return tag("div", words, id="trouble", role="alert", hidden=not words)


def machine(rows: Sequence[ProcessRow]) -> Html:
    """What an engine's processes take of this machine."""
    shown = table(
        "Processes of the engine",
        ["Process", "Id", "Processor", "Memory"],
        [
            [
                row.role,
                row.pid,
                "" if row.share is None else f"{100 * row.share:.0f} %",
                size(row.memory),
            ]
            for row in rows
        ],
    )
    return sections.section("machine", "This machine", shown)


def sessions(traces: Sequence[SessionTrace], total: int, endpoint: str) -> dict[str, Html]:
    """The sessions of an engine, the newest first."""
    ids = short_ids([trace.id for trace in traces])
    rows = [
        [
            tag("a", trace.application or "session", href=f"/sessions/{trace.id}"),
            tag("code", ids[trace.id]),
            tag("span", trace.status, class_=f"pill {trace.status}"),
            moment_of(trace.created) if trace.created is not None else "",
            _bar(trace.counts),
            *(f"{trace.counts[state]:,}" for state in ("running", "done")),
            tag("span", f"{trace.counts['failed']:,}", class_="failed")
            if trace.counts["failed"]
            else "0",
            f"{trace.counts['cancelled']:,}",
        ]
        for trace in traces
    ]
    columns = [
        "Session",
        "Id",
        "Status",
        "Opened",
        "Tasks",
        "Running",
        "Done",
        "Failed",
        "Cancelled",
    ]
    shown = table("Sessions", columns, rows, numbers=5)
    nothing = tag(
        "p", "There is no session yet. Run a script: it will appear here.", class_="nothing"
    )
    more = total - len(traces)
    rest = tag("p", f"and {more:,} older", class_="note") if more > 0 else None
    head = tag(
        "header", tag("h1", "Sessions"), tag("p", tag("span", endpoint), class_="facts"), id="head"
    )
    return {
        "head": head,
        "sessions": tag(
            "section", shown if rows else nothing, rest, id="sessions", aria_label="Sessions"
        ),
    }


def partitions(counts: Mapping[str, Mapping[str, int]], pods: Mapping[str, int]) -> Html:
    """What each partition does."""
    shown_states = [state for state in STATES if state != "retried"]
    rows = [
        [name, f"{pods.get(name, 0):,}", *(f"{found[state]:,}" for state in shown_states)]
        for name, found in counts.items()
    ]
    columns = ["Partition", "Pods at most", *(state.capitalize() for state in shown_states)]
    return sections.section("partitions", "Partitions", table("Partitions", columns, rows))


def _bar(counts: Mapping[str, int]) -> Html:
    return tag("div", sections.bar(counts), class_="small")


def task_facts(facts: Mapping[str, Any]) -> Html:
    """All that is known of one task."""
    shown = {name: facts[name] for name in facts if name not in ("traceback", "failed items")}
    rows = [
        tag("div", tag("dt", name), tag("dd", _fact(value)))
        for name, value in shown.items()
        if value not in (None, "", [], {})
    ]
    trace = facts.get("traceback")
    return tag(
        "article",
        tag("h2", facts.get("name") or "Task", id="task-title"),
        tag("pre", trace, tabindex=0) if trace else None,
        _failed_items(facts.get("failed items") or ()),
        tag("dl", rows, class_="facts-list"),
    )


def _failed_items(items: Sequence[Mapping[str, Any]]) -> Any:
    """The calls that have failed of those that a task ran: the first one is open."""
    shown = [
        tag(
            "details",
            tag("summary", tag("b", item["name"], " ", class_="failed"), item["error"] or NOT_KEPT),
            tag("p", f"Tried {item['attempts']} times.") if item["attempts"] > 1 else None,
            tag("pre", item["traceback"], tabindex=0) if item["traceback"] else None,
            open=number == 0,
        )
        for number, item in enumerate(items[:ITEMS])
    ]
    more = len(items) - len(shown)
    return [*shown, tag("p", f"and {more:,} more", class_="note") if more > 0 else None]


def _fact(value: Any) -> Any:
    if isinstance(value, Mapping):
        return [
            tag("div", tag("code", str(key)), f" {each}" if each else "")
            for key, each in value.items()
        ]
    if isinstance(value, (list, tuple)):
        return [tag("div", tag("code", str(each))) for each in value]
    if isinstance(value, float):
        return length(value)
    return value
