"""A session's report: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from functools import cache
from heapq import nlargest
from importlib.resources import files
from typing import Any

from armoflow.report import sections
from armoflow.report.chart import Interval, NumberedNames, Scale, frame, pack
from armoflow.report.digest import Digest, by_start
from armoflow.report.html import Html, tag
from armoflow.report.statistics import Efficiency
from armoflow.report.trace import SessionTrace
from armoflow.report.wording import moment_of

SHOWN = 150_000
"""Intervals that a page holds at most: of more, the longest."""

UNITS = (
    "Tasks are the engine's: small calls travel in packs, which are one task each. Calls are "
    "counted where the data of a task's result is there to tell of them; elsewhere a task is one."
)


@cache
def asset(name: str) -> str:
    """A script or style sheet."""
    return (files("armoflow.report") / "assets" / name).read_text("utf-8")


def report(trace: SessionTrace, now: float | None = None) -> str:
    """The page.

    Args:
        trace: What is known.
        now: When it is made, in seconds since the epoch.
    """
    runs = by_start(trace.runs)
    digest = Digest()
    lanes = digest.add(runs)
    used = digest.usage.efficiency()
    rows = digest.names.rows()
    made = moment_of(time.time() if now is None else now)
    body = [
        sections.header(trace),
        tag(
            "main",
            sections.progress(trace.counts),
            sections.overview(used, rows),
            sections.timeline(),
            sections.tasks_by_name(rows),
            sections.failures(digest.failures.groups()),
            sections.graph(digest.flow.picture()),
            sections.efficiency(used),
            sections.critical_path(digest.lineage.critical_path()),
            sections.slowest(digest.slowest.runs()),
            sections.workers(digest.lanes.sorted(), used.wall),
        ),
        sections.about(trace, note=f"Made by armoflow on {made}. {UNITS}"),
    ]
    ran = [Interval(run, lane) for run, lane in zip(runs, lanes, strict=True) if lane >= 0]
    data = _chart(ran, digest, [row.name for row in rows], used)
    # In a script element only a less-than sign can end it, or begin a comment.
    text = json.dumps(data).replace("<", "\\u003c")
    return _document(f"{trace.application or 'session'} · armoflow", body, Html(text))


def _chart(
    ran: list[Interval], digest: Digest, titles: list[str], used: Efficiency
) -> dict[str, Any]:
    if len(ran) > SHOWN:
        kept = nlargest(SHOWN, ran, key=lambda each: each.run.seconds or 0.0)
        ran = sorted(kept, key=lambda each: each.run.started or 0.0)
    names = NumberedNames(titles)
    scale = Scale.of(used.begun or 0.0, used.wall)
    drawn = frame(names, digest.lanes.rows, digest.lanes.order(), scale)
    return {**drawn, "chunks": [pack(ran, names, scale)]}


def _document(title: str, body: list[Html], data: Html) -> str:
    script = asset("timeline.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    head = [
        tag("meta", charset="utf-8"),
        # Nothing is fetched from anywhere, and no script runs but this page's own.
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Html(asset("page.css"))),
    ]
    closing = [
        tag("script", data, type="application/json", id="timeline-data"),
        tag("script", Html(script)),
    ]
    page = tag("html", tag("head", head), tag("body", body, closing), lang="en")
    return f"<!doctype html>\n{page}\n"
