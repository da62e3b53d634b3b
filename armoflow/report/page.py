"""A session's report: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from functools import cache
from importlib.resources import files

from armoflow.report import flow, sections
from armoflow.report.chart import chart
from armoflow.report.critical_path import critical_path
from armoflow.report.failures import group_failures
from armoflow.report.html import Html, tag
from armoflow.report.lanes import place
from armoflow.report.statistics import by_name, by_worker, efficiency, slowest
from armoflow.report.trace import SessionTrace
from armoflow.report.wording import moment_of

SLOWEST = 20

UNITS = (
    "What is counted are engine tasks: small calls of armoflow travel in packs, which are one each."
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
    runs = trace.runs
    lanes = place(runs)
    used = efficiency(runs)
    rows = by_name(runs)
    made = moment_of(time.time() if now is None else now)
    body = [
        sections.header(trace),
        tag(
            "main",
            sections.progress(trace.counts),
            sections.overview(used, rows),
            sections.timeline(),
            sections.tasks_by_name(rows),
            sections.failures(group_failures(runs)),
            sections.graph(flow.picture(runs)),
            sections.efficiency(used),
            sections.critical_path(critical_path(runs)),
            sections.slowest(slowest(runs, SLOWEST)),
            sections.workers(by_worker(runs, lanes), used.wall),
        ),
        sections.about(trace, note=f"Made by armoflow on {made}. {UNITS}"),
    ]
    # In a script element only a less-than sign can end it, or begin a comment.
    data = json.dumps(chart(runs, lanes)).replace("<", "\\u003c")
    return _document(f"{trace.application or 'session'} · armoflow", body, Html(data))


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
