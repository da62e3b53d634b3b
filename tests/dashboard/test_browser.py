"""The dashboard and the report, as a browser shows them."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from armonik.common import Session

from armoflow import Client, current_task, task
from armoflow.dashboard.app import make_app
from armoflow.dashboard.dashboard_server import bind
from armoflow.dashboard.feed import SessionFeed
from armoflow.dashboard.watch import Hub, SessionWatch
from armoflow.report.chart import Interval, pack
from armoflow.report.digest import by_start
from armoflow.report.page import report
from armoflow.system.http_server import web_config
from tests.cli.test_up import PATIENCE, started
from tests.dashboard.browser import CHROMIUM, browser
from tests.dashboard.test_feed import Engine
from tests.report.test_report import failed, many, run, trace_of

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
expect = playwright.expect
expect.set_options(timeout=1000 * PATIENCE)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

MANY = 100_000


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as running:
        yield running


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A page of which neither a script nor a request may fail."""
    context = chromium.new_context(viewport={"width": 1200, "height": 900})
    context.set_default_timeout(1000 * PATIENCE)
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    yield opened
    context.close()
    assert not faults


@task(batch_size=1)
def wait_for_gate(gate: str, number: int) -> int:
    import pathlib
    import time

    current_task().progress(0.4, "the gate is <b>closed</b>")
    while not pathlib.Path(gate).exists():
        time.sleep(0.02)
    return number


@task
def check(number: int) -> int:
    raise ValueError(f"<b>{number}</b> is not enough")


def test_a_run_is_watched_live_and_a_failure_opened(page: Any, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    state = str(tmp_path / "state")
    up = ("up", "--listen", "127.0.0.1:0", "--state", state, "--workers", "1")
    with started(*up, "--dashboard", "127.0.0.1:0") as (process, url):
        assert process.stdout is not None
        page.goto(process.stdout.readline().removeprefix("dashboard: ").strip())
        expect(page.get_by_text("There is no session yet.")).to_be_visible()
        assert "#" not in page.url  # the token is not left where it is seen
        with Client(url, name="watched", progress=False) as client:
            passed = client.submit(wait_for_gate(str(gate), 1))
            refused = client.submit(check(7))
            page.get_by_role("link", name="watched").click()
            expect(page.get_by_role("heading", level=1)).to_contain_text("watched")
            expect(page.locator("#running")).to_contain_text("wait_for_gate")
            expect(page.locator("#running")).to_contain_text("40% the gate is <b>closed</b>")
            expect(page.locator("#running").get_by_role("progressbar")).to_have_count(1)
            gate.touch()
            assert passed.result(PATIENCE) == 1 and refused.exception(PATIENCE) is not None
            expect(page.locator("#progress .states")).to_contain_text("1 failed")
            expect(page.locator("#running")).to_contain_text("Nothing runs.")
            rows = page.locator("#stream tbody tr:not(.space)")
            expect(rows).to_have_count(2)
            expect(page.locator("#graph svg g.failed")).to_have_count(1)

            page.locator("#failures [data-task]").click()
            dialog = page.get_by_role("dialog")
            expect(dialog).to_contain_text("ValueError: <b>7</b> is not enough")
            page.keyboard.press("Escape")
            expect(dialog).to_be_hidden()
            page.locator("select[name=state]").select_option("failed")
            expect(rows).to_have_count(1)
            page.set_viewport_size(NARROW)
            assert page.evaluate(FITS)
            page.reload()  # the token is kept
            expect(page.locator("#progress .states")).to_contain_text("1 failed")
            page.goto("about:blank")  # before there is nobody to ask


@pytest.fixture
def crowded() -> Iterator[str]:
    """A page about a session with very many tasks; the link to it."""
    engine: Any = Engine()
    feed = SessionFeed(engine, Session(session_id="crowded", status=1))
    ran = by_start(list(many(MANY)))
    feed.trace.runs += ran
    feed._known.update((each.id, number) for number, each in enumerate(ran))
    feed.digest.add(ran[:1000])
    feed._scale = feed._scale._replace(origin=ran[0].started or 0.0)
    drawn = [Interval(each, feed.digest.lanes.add(each)) for each in ran]
    feed.chunks.append(pack(drawn, feed._names, feed._scale))
    hub = Hub(engine, lambda: None)
    hub._sessions["crowded"] = hub._kept["crowded"] = SessionWatch(feed, None)
    listening = bind("127.0.0.1:0")
    server = uvicorn.Server(web_config(make_app(hub, "token")))
    serving = threading.Thread(target=server.run, args=([listening],))
    serving.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/sessions/crowded#token"
    finally:
        hub.end()
        server.should_exit = True
        serving.join(PATIENCE)
        assert not serving.is_alive()


def test_a_hundred_thousand_tasks_are_scrolled(crowded: str, page: Any) -> None:
    page.goto(crowded)
    stream = page.locator(".stream")
    expect(page.locator("#stream-count")).to_contain_text(f"{MANY:,} tasks")
    expect(page.locator("#tasks tbody tr")).to_have_count(4)
    rows = stream.locator("tbody tr:not(.space)")
    stream.scroll_into_view_if_needed()
    for part, index in ((0.5, MANY // 2 + 8), (1.0, MANY + 1), (0.0, 2)):
        stream.evaluate("(box, part) => { box.scrollTop = box.scrollHeight * part }", part)
        expect(stream.locator(f'tr[aria-rowindex="{index}"]')).to_be_in_viewport()
        assert rows.count() < 100  # only those that are seen, and some around them
    page.get_by_role("searchbox").fill("clean")
    expect(page.locator("#stream-count")).not_to_contain_text(f"{MANY:,} tasks")
    assert set(rows.locator("th").all_inner_texts()) == {"clean"}


NARROW = {"width": 390, "height": 800}
FITS = "document.documentElement.scrollWidth <= innerWidth"
COLOURS = """canvas => {
  const context = canvas.getContext("2d");
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  return new Set(new Uint32Array(data.buffer)).size;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_is_read_from_the_disk_without_a_network(
    page: Any, tmp_path: Path, scheme: str
) -> None:
    file = tmp_path / "run.html"
    runs = [run("a", "load", 1.0, 1.0, outputs=("x",)), failed("b", 2.5, "no", inputs=("x",))]
    runs.append(run("c", "a_long_name_" * 20, 1.0, 0.5))
    file.write_text(report(trace_of(runs)), "utf-8")
    page.context.set_offline(True)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.emulate_media(color_scheme=scheme)
    page.goto(file.as_uri())
    legend = ["load", re.compile("a_long"), "clean", "failed"]
    expect(page.locator(".legend li")).to_have_text(legend)
    canvas = page.locator("canvas")
    assert canvas.evaluate(COLOURS) > 4
    whole = canvas.evaluate("canvas => canvas.toDataURL()")
    canvas.focus()
    page.keyboard.press("+")
    page.wait_for_function(
        "before => document.querySelector('canvas').toDataURL() !== before", arg=whole
    )
    page.keyboard.press("Home")
    page.wait_for_function(
        "before => document.querySelector('canvas').toDataURL() === before", arg=whole
    )
    canvas.hover(position={"x": 200, "y": 36})
    expect(page.locator(".tip")).to_contain_text("load")
    expect(page.locator("summary")).to_contain_text("ValueError: no")
    for size in (page.viewport_size, NARROW):
        page.set_viewport_size(size)
        assert page.evaluate(FITS)
    assert asked == [file.as_uri()]
