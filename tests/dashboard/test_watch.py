"""What viewers look at is followed by one, whoever comes and goes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from armoflow.dashboard import watch as watches
from armoflow.dashboard.watch import Hub, SessionWatch, Watch
from tests.dashboard.test_feed import Engine, feed_of

PATIENCE = 60


class Opening(Engine):
    """An engine that answers about sessions when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.let = threading.Event()

    def session_of(self, id: str) -> Any:
        self.opened.append(id)
        assert self.let.wait(PATIENCE)
        return self.session(id)


def hub_of(engine: Any) -> Hub:
    return Hub(engine, lambda: None)


def test_what_a_page_asks_for_at_once_is_told_by_one() -> None:
    engine = Opening()

    async def ask() -> list[SessionWatch]:
        hub = hub_of(engine)
        asked = [asyncio.create_task(hub.session("s")) for _ in range(3)]
        await asyncio.sleep(0)  # each has begun
        engine.let.set()
        return await asyncio.gather(*asked)

    assert len(set(asyncio.run(ask()))) == 1
    assert engine.opened == ["s"]


def test_who_is_followed_is_found_however_many_others_are_asked_for() -> None:
    engine = Opening()
    engine.let.set()

    async def ask() -> None:
        hub = hub_of(engine)
        followed = await hub.session("s")
        await hub.session("forgotten")
        for number in range(watches.KEPT):
            await hub.session(f"other {number}")
        assert len(hub._kept) == watches.KEPT and not {"s", "forgotten"} & hub._kept.keys()
        assert await hub.session("s") is followed

    asyncio.run(ask())
    assert engine.opened.count("s") == 1


class Counted(Watch):
    """Looks when it is let, and counts how many do at once."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = self.most = self.now = 0
        self.let = threading.Event()
        self.faults: list[Exception] = []

    async def _look(self) -> float:
        await asyncio.to_thread(self._ask)
        if self.faults:
            raise self.faults.pop()
        return 0.0

    def _ask(self) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        assert self.let.wait(PATIENCE)
        self.now -= 1
        self.looks += 1


async def until(true: Callable[[], object]) -> None:
    async def poll() -> None:
        while not true():
            await asyncio.sleep(0.001)

    await asyncio.wait_for(poll(), PATIENCE)


def test_who_leaves_in_the_middle_of_a_look_leaves_nobody_beside_the_next() -> None:
    async def come_and_go() -> None:
        watch = Counted()
        with watch.viewed():
            await until(lambda: watch.now)
        with watch.viewed():
            await asyncio.sleep(0)
            watch.let.set()
            await until(lambda: watch.looks > 2)
        await until(lambda: watch._task is None)
        assert watch.most == 1

    asyncio.run(come_and_go())


def test_a_defect_is_told_and_it_is_looked_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watches, "IDLE", 0.0)

    async def view() -> None:
        watch = Counted()
        watch.let.set()
        watch.faults.append(RuntimeError("a <defect>"))
        told: list[str] = []
        with watch.viewed():
            async for message in watch.messages():
                told.append((message or {"parts": {}})["parts"].get("trouble", ""))
                if len(told) == 2:
                    break
        assert "a &lt;defect&gt;" in told[0] and "hidden" in told[1]

    asyncio.run(view())
    assert "failed to look" in caplog.text


def test_the_timeline_is_told_once() -> None:
    engine = Engine()
    engine.end(1.0)
    watch = SessionWatch(feed_of(engine), None)
    nothing, told = watch._more(0)
    assert nothing["frame"]["rows"] == [] and nothing["known"] == told == 0  # nobody answered yet
    asyncio.run(watch._look())
    first, told = watch._more(0)
    assert first["anew"] and [chunk["count"] for chunk in first["chunks"]] == [1]
    again, told = watch._more(told)
    assert not again["anew"] and again["chunks"] == []
    engine.end(2.0)
    asyncio.run(watch._look())
    more, _ = watch._more(told)
    assert more["known"] == 2 and [chunk["count"] for chunk in more["chunks"]] == [1]
