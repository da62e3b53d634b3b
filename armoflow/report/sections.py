"""The parts of a page about a session: each is HTML made of numbers, and stands alone. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from armoflow.graph.render import Picture
from armoflow.graph.svg import draw
from armoflow.report.critical_path import Step
from armoflow.report.failure_groups import FailureGroup
from armoflow.report.html import Html, table, tag
from armoflow.report.lanes import Lane
from armoflow.report.statistics import Efficiency, NameRow, Quantiles
from armoflow.report.trace import SessionTrace, TaskRun
from armoflow.report.wording import length, moment_of, share, size

ROWS = 100
"""Rows of a table at most; how many more there are is said below it."""

STEPS = 40
"""Steps of the critical path that are listed: the longest."""

GROUPS = 50
"""Kinds of failures that are shown."""

SHOWN_STATES = ("done", "running", "queued", "waiting", "failed", "cancelled")
"""In this order; what was tried again is counted apart."""

TaskLink: TypeAlias = Callable[[TaskRun], Html]
"""How a task is named: where there is more to see of it, as a link to that."""


def plain_id(run: TaskRun) -> Html:
    """A task's id alone."""
    return tag("code", run.id)


def section(id: str, title: str, *children: Any, note: str = "") -> Html:
    """A part of the page with its heading."""
    aside = tag("p", note, class_="note") if note else None
    heading = tag("h2", title, id=f"{id}-title")
    return tag("section", heading, aside, children, id=id, aria_labelledby=f"{id}-title")


def header(trace: SessionTrace) -> Html:
    """What session this is."""
    facts: list[Any] = [tag("code", trace.id)]
    if trace.created is not None:
        facts.append(moment_of(trace.created))
    if trace.partitions:
        word = "partition" if len(trace.partitions) == 1 else "partitions"
        facts.append(f"{word} {', '.join(trace.partitions)}")
    facts.append(trace.endpoint)
    pill = tag("span", trace.status, class_=f"pill {trace.status}")
    return tag(
        "header",
        tag("h1", trace.application or "Session", " ", pill),
        tag("p", [tag("span", fact) for fact in facts if fact], class_="facts"),
        id="head",
    )


def bar(counts: Mapping[str, int]) -> Html:
    """How many tasks are in which state, as a bar; the numbers stand beside it."""
    total = sum(counts[state] for state in SHOWN_STATES)
    parts = [
        tag("span", class_=f"part {state}", style=f"width:{100 * counts[state] / total:.3f}%")
        for state in SHOWN_STATES
        if counts[state]
    ]
    return tag("div", parts, class_="bar", aria_hidden="true")


def progress(counts: Mapping[str, int], pace: str = "") -> Html:
    """How many tasks are in which state; how fast it goes, where that is known."""
    there = [state for state in SHOWN_STATES if counts[state]] or ["done"]
    words = [
        tag("li", tag("span", class_=f"dot {state}"), tag("b", f"{counts[state]:,}"), f" {state}")
        for state in there
    ]
    if counts["retried"]:
        words.append(tag("li", tag("b", f"{counts['retried']:,}"), " tried again"))
    if pace:
        words.append(tag("li", pace, class_="pace"))
    states = tag("ul", words, class_="states", aria_label="Tasks by state")
    return tag("div", bar(counts), states, id="progress")


def overview(used: Efficiency, rows: Sequence[NameRow]) -> Html:
    """The numbers that are asked for first."""
    figures = [
        ("Lasted", length(used.wall)),
        ("Work", length(used.busy)),
        ("Workers", f"{used.workers:,}"),
        ("Workers busy", share(used.share, 1.0)),
        ("Median wait", length(used.queued.half) if used.queued else "none"),
        ("Bytes out", size(sum(row.bytes_out for row in rows))),
    ]
    return tag(
        "dl",
        [tag("div", tag("dt", name), tag("dd", value)) for name, value in figures],
        class_="figures",
        id="overview",
    )


def timeline() -> Html:
    """Where the timeline is drawn, by a script; the table of workers says the same in words."""
    buttons = [
        tag("button", sign, type="button", data_zoom=action, aria_label=label, title=label)
        for action, sign, label in (
            ("in", "+", "Zoom in"),
            ("out", "\N{MINUS SIGN}", "Zoom out"),
            ("all", "Show all", "Show all"),
        )
    ]
    canvas = tag(
        "canvas",
        "When which task ran where: the table of workers says it in numbers.",
        tabindex=0,
        role="img",
        aria_label="Timeline of tasks by worker. Plus and minus zoom, arrows move, Home shows all.",
        aria_describedby="workers-title",
    )
    return section(
        "timeline",
        "Timeline",
        tag("div", tag("ul", class_="legend"), tag("div", buttons, class_="tools"), class_="row"),
        tag("div", canvas, tag("div", class_="tip", hidden=True), class_="chart"),
        note="A row for each worker. Drag to move; Ctrl and the wheel, or "
        "pinch, to zoom; with the keyboard plus, minus, the arrows and Home.",
    )


def tasks_by_name(rows: Sequence[NameRow]) -> Html:
    """What ran, by name."""
    columns = ("Task", "Calls", "Tasks", "Failed", "Retries", "Total", "Median", "95 %", "Longest")
    shown = table(
        "Tasks by name",
        [*columns, "Bytes in", "Bytes out"],
        [
            [
                row.name,
                f"{row.calls:,}",
                f"{row.count:,}" if row.count else "",
                _failed(row.failed),
                f"{row.retries:,}" if row.retries else "",
                length(row.seconds.total) if row.seconds.total else "",
                *_spread(row.seconds.quantiles()),
                size(row.bytes_in) if row.bytes_in else "",
                size(row.bytes_out) if row.bytes_out else "",
            ]
            for row in rows[:ROWS]
        ],
    )
    body = shown if rows else _nothing("No task is known yet.")
    return section("tasks", "Tasks by name", body, _more(len(rows) - ROWS, "names"))


def efficiency(used: Efficiency) -> Html:
    """How well the workers were used."""
    if not used.wall:
        return section("efficiency", "Efficiency", _nothing("Nothing has run yet."))
    busy = tag(
        "p",
        tag("meter", share(used.share, 1), value=f"{used.share:.3f}", aria_label="Busy share"),
        f" Workers were busy for {share(used.share, 1)} of the time: {length(used.busy)} of work "
        f"in {length(used.wall)} on {used.workers:,} of them.",
    )
    rows = [
        ["Waiting for a worker, with all inputs there", *_spread(used.queued)],
        ["Beside the task's own time: fetching, storing", *_spread(used.overhead)],
    ]
    spent = table("What a task waited for", ["", "Median", "95 %", "Longest"], rows)
    return section("efficiency", "Efficiency", busy, spent)


def critical_path(steps: Sequence[Step], link: TaskLink = plain_id) -> Html:
    """What the session could not be quicker than."""
    if not steps:
        body = _nothing("Nothing has ended yet.")
        return section("path", "Critical path", body)
    ran, waited = sum(step.ran for step in steps), sum(step.waited for step in steps)
    listed = sorted(steps, key=lambda step: -(step.ran + step.waited))[:STEPS]
    shown = [step for step in steps if step in listed] if len(steps) > STEPS else steps
    whole = (ran + waited) or 1.0
    rows = [
        [
            step.run.name,
            link(step.run),
            length(step.waited),
            length(step.ran),
            share(step.ran + step.waited, whole),
        ]
        for step in shown
    ]
    words = (
        f"{len(steps):,} {'task' if len(steps) == 1 else 'tasks, one after the other'}: "
        f"{length(ran)} of running and {length(waited)} of waiting. More workers shorten the "
        "waiting only."
    )
    columns = ["Task", "Id", "Waited", "Ran", "Share"]
    more = _more(len(steps) - len(shown), "shorter steps")
    return section(
        "path",
        "Critical path",
        tag("p", words),
        table("Critical path", columns, rows, numbers=2),
        more,
    )


def failures(groups: Sequence[FailureGroup], link: TaskLink = plain_id) -> Html:
    """What failed, with tracebacks."""
    if not groups:
        return section("failures", "Failures", _nothing("Nothing has failed."))
    shown = [_failure(group, link, number == 0) for number, group in enumerate(groups[:GROUPS])]
    return section("failures", "Failures", shown, _more(len(groups) - GROUPS, "kinds"))


def _failure(group: FailureGroup, link: TaskLink, opened: bool) -> Html:
    count = f"{group.count:,} \N{MULTIPLICATION SIGN} " if group.count > 1 else ""
    skipped = f"{group.skipped:,} more did not run because of it." if group.skipped else ""
    several = len(group.examples) > 1
    examples = table(
        "The first of them",
        ["Task", "Id", "Says"],
        [[run.name, link(run), told] for run, told in group.examples],
        numbers=3,
    )
    only = [tag("p", run.name, " ", link(run)) for run, _ in group.examples]
    return tag(
        "details",
        tag("summary", tag("b", count, class_="failed"), group.headline),
        tag("pre", group.trace, tabindex=0),
        tag("p", skipped) if skipped else None,
        examples if several else only,
        open=opened,
    )


def graph(drawn: Picture) -> Html:
    """The graph, by name."""
    if not drawn.shapes:
        return section("graph", "Graph", _nothing("No task is known yet."))
    picture = tag(
        "div",
        Html(draw(drawn)),
        class_="graph wide",
        tabindex=0,
        role="img",
        aria_label="Graph of tasks by name; the table of tasks lists them.",
    )
    return section(
        "graph",
        "Graph",
        picture,
        note="One box for all tasks of a name. Solid lines: "
        "data. Dashed: tasks that a task has submitted.",
    )


def workers(rows: Sequence[Lane], wall: float) -> Html:
    """What each worker did: the timeline in numbers."""
    shown = table(
        "Workers",
        ["Worker", "Tasks", "Failed", "Busy", "Share of the time"],
        [
            [
                row.label,
                f"{row.tasks:,}",
                _failed(row.failed),
                length(row.busy),
                share(row.busy, wall),
            ]
            for row in rows[:ROWS]
        ],
    )
    body = shown if rows else _nothing("Nothing has run yet.")
    return section("workers", "Workers", body, _more(len(rows) - ROWS, "workers"))


def slowest(runs: Sequence[TaskRun], link: TaskLink = plain_id) -> Html:
    """What ran longest."""
    shown = table(
        "Slowest tasks",
        ["Task", "Id", "State", "Worker", "Ran"],
        [[run.name, link(run), run.state, run.pod, length(run.seconds)] for run in runs],
        numbers=4,
    )
    return section("slowest", "Slowest tasks", shown if runs else _nothing("Nothing has run yet."))


def about(trace: SessionTrace, *, note: str) -> Html:
    """What this page is made of."""
    facts = [
        tag("div", tag("dt", name), tag("dd", version)) for name, version in trace.versions.items()
    ]
    return tag("footer", tag("p", note), tag("dl", facts, class_="versions"), id="about")


def _spread(found: Quantiles | None) -> list[str]:
    return [""] * 3 if found is None else [length(value) for value in found]


def _failed(count: int) -> Any:
    return tag("span", f"{count:,}", class_="failed") if count else ""


def _nothing(words: str) -> Html:
    return tag("p", words, class_="nothing")


def _more(count: int, what: str) -> Html | None:
    return tag("p", f"and {count:,} more {what}", class_="note") if count > 0 else None
