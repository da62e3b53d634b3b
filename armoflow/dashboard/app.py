"""What the dashboard serves: a page, its scripts, and streams of what changes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import cache
from importlib.resources import files
from typing import Any

from armonik.common import Task
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from armoflow.dashboard import views
from armoflow.dashboard.page_access import ReaderGuard
from armoflow.dashboard.watch import Hub, Watch
from armoflow.errors import ArmoflowError, UnknownIdError
from armoflow.report.collect import collect
from armoflow.report.facts import task_facts
from armoflow.report.page import report

ROWS = 500
"""Tasks that are given at once."""

ASSETS = {
    "page.css": ("armoflow.report", "text/css"),
    "timeline.js": ("armoflow.report", "text/javascript"),
    "dashboard.css": ("armoflow.dashboard", "text/css"),
    "dashboard.js": ("armoflow.dashboard", "text/javascript"),
}


def make_app(hub: Hub, token: str) -> ReaderGuard:
    """The application.

    Args:
        hub: What can be watched.
        token: What viewers must know.
    """
    routes = [
        Route("/", _page),
        Route("/sessions/{session}", _page),
        Route("/assets/{name}", _asset),
        Route("/api/overview", _overview),
        Route("/api/sessions/{session}", _session),
        Route("/api/sessions/{session}/tasks", _tasks),
        Route("/api/sessions/{session}/report", _report),
        Route("/api/tasks/{task}", _task),
    ]
    app = Starlette(routes=routes, exception_handlers={ArmoflowError: _refused})
    app.state.hub = hub
    return ReaderGuard(app, token)


def _hub(request: Request) -> Hub:
    hub: Hub = request.app.state.hub
    return hub


async def _refused(request: Request, error: Exception) -> Response:
    status = 404 if isinstance(error, UnknownIdError) else 502
    return JSONResponse({"error": str(error)}, status)


@cache
def _read(package: str, name: str) -> str:
    return (files(package) / "assets" / name).read_text("utf-8")


async def _page(request: Request) -> Response:
    return Response(_read("armoflow.dashboard", "dashboard.html"), media_type="text/html")


async def _asset(request: Request) -> Response:
    found = ASSETS.get(request.path_params["name"])
    if found is None:
        return Response("no such file\n", 404, media_type="text/plain")
    package, kind = found
    return Response(_read(package, request.path_params["name"]), media_type=kind)


async def _overview(request: Request) -> Response:
    return _stream(_hub(request).overview)


async def _session(request: Request) -> Response:
    return _stream(await _hub(request).session(request.path_params["session"]))


def _stream(watch: Watch) -> Response:
    async def events() -> AsyncIterator[str]:
        with watch.viewed():
            async for message in watch.messages():
                yield ":\n\n" if message is None else f"data: {json.dumps(message)}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


async def _tasks(request: Request) -> Response:
    watch = await _hub(request).session(request.path_params["session"])
    query = request.query_params
    numbers = watch.feed.select(query.get("state", ""), query.get("name", ""))
    first, count = _number(request, "from"), min(_number(request, "count", 100), ROWS)
    runs = watch.feed.trace.runs
    newest = len(numbers) - 1 - first  # the last one comes first
    shown = [runs[numbers[at]] for at in range(newest, max(newest - count, -1), -1)]
    rows = [
        {
            "id": run.id,
            "name": run.name,
            "state": run.state,
            "pod": run.pod,
            "ran": run.seconds,
            "ended": run.ended,
            "failed": watch.feed.item_failures.counts.get(run.id, 0),
        }
        for run in shown
    ]
    kept = len(runs) if watch.feed.known > len(runs) else None  # of more, the first ones
    return JSONResponse({"total": len(numbers), "kept": kept, "rows": rows})


async def _task(request: Request) -> Response:
    inspection = _hub(request).inspection

    def ask() -> Any:
        found = inspection.find(request.path_params["task"])
        return task_facts(inspection, found) if isinstance(found, Task) else None

    facts = await asyncio.to_thread(ask)
    if facts is None:
        raise UnknownIdError("this is the id of something else")
    return JSONResponse({"html": views.task_facts(facts)})


async def _report(request: Request) -> Response:
    inspection = _hub(request).inspection

    def make() -> str:
        return report(collect(inspection, inspection.session_of(request.path_params["session"])))

    return Response(await asyncio.to_thread(make), media_type="text/html")


def _number(request: Request, name: str, default: int = 0) -> int:
    text = request.query_params.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 10 else default
