"""The connections that data goes over: one near an engine, more where that is full and far."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from armoflow import config
from armoflow.protocol.lines import Line, Lines


class Channel:
    """A channel that stands when it is told to."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.closed = False

    async def channel_ready(self) -> None:
        await self.ready.wait()

    async def close(self) -> None:
        self.closed = True

    def unary_unary(self, *_: Any, **__: Any) -> None:
        return None

    unary_stream = stream_unary = stream_stream = unary_unary


class Place:
    """An engine so many seconds away, whose connections carry two calls each."""

    def __init__(self, round_trip: float) -> None:
        self.channels: list[Channel] = []
        self.lines = Lines("first", self.another, lambda: round_trip)

    def another(self) -> Any:
        self.channels.append(Channel())
        return self.channels[-1]

    def wish(self, count: int) -> list[asyncio.Task[Line]]:
        return [asyncio.create_task(self.lines.take()) for _ in range(count)]


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "TRANSFERS", 2)


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(coroutine)


async def settle() -> None:
    """Let everything happen that waits for nothing."""
    for _ in range(10):
        await asyncio.sleep(0)


def given(wishes: list[asyncio.Task[Line]]) -> int:
    return sum(wish.done() for wish in wishes)


def test_near_an_engine_one_connection_is_enough() -> None:
    async def work() -> None:
        place = Place(0.001)
        wishes = place.wish(3)
        await settle()
        assert given(wishes) == 2
        assert place.channels == []
        place.lines.give_back(wishes[0].result())
        await settle()
        assert given(wishes) == 3
        await place.lines.close()

    run(work())


def test_far_away_another_one_is_used_as_soon_as_it_stands() -> None:
    async def work() -> None:
        place = Place(0.05)
        wishes = place.wish(5)
        await settle()
        assert given(wishes) == 2
        (channel,) = place.channels
        channel.ready.set()
        await settle()
        assert given(wishes) == 4
        assert all(wish.result().results != "first" for wish in wishes[2:4])
        assert len(place.channels) == 2  # it is full again
        place.lines.give_back(wishes[3].result())  # which comes before that
        await settle()
        assert given(wishes) == 5
        await place.lines.close()
        assert all(channel.closed for channel in place.channels)

    run(work())


def test_there_are_as_many_as_the_distance_makes_worth_while() -> None:
    async def work() -> None:
        place = Place(2.5 * config.LINE_SECONDS)
        place.wish(20)
        for _ in range(5):
            await settle()
            for channel in place.channels:
                channel.ready.set()
        assert len(place.channels) == 2
        await place.lines.close()

    run(work())


def test_who_gives_up_takes_no_place() -> None:
    async def work() -> None:
        place = Place(0.0)
        wishes = place.wish(4)
        await settle()
        first, second, third, fourth = wishes
        third.cancel()
        await settle()
        place.lines.give_back(first.result())
        await settle()
        assert fourth.done()
        late = place.wish(1)[0]
        await settle()
        place.lines.give_back(second.result())
        late.cancel()  # in the moment in which its turn has come
        await settle()
        (last,) = place.wish(1)
        await settle()
        assert last.done()

    run(work())
