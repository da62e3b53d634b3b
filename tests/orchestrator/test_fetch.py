"""Downloads: as many at once as their bytes allow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from armoflow import config
from armoflow.codec.envelope import Slot, SlotKind, pack_envelope
from armoflow.orchestrator.fetch import FIRST_GUESS, Fetcher
from armoflow.orchestrator.planned import Result

ENVELOPE = b"".join(pack_envelope([Slot(SlotKind.VALUE, b"pickle", [])]))


class Engine:
    """A transport that answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self._answer = asyncio.Event()

    async def fetch(self, session_id: str, result_ids: Sequence[str]) -> list[bytes]:
        self.asked.append(list(result_ids))
        await self._answer.wait()
        return [ENVELOPE] * len(result_ids)

    def answer(self) -> None:
        self._answer.set()
        self._answer = asyncio.Event()

    @property
    def under_way(self) -> int:
        return sum(map(len, self.asked))


def play(scene: Callable[[Engine, Fetcher], Awaitable[None]]) -> None:
    async def run() -> None:
        async def session() -> str:
            return "session"

        engine: Any = Engine()
        await asyncio.wait_for(scene(engine, Fetcher(engine, session)), 30)

    asyncio.run(run())


async def ask(fetcher: Fetcher, count: int, size: int = 0) -> None:
    """Ask for results, each in a moment of its own."""
    for number in range(count):
        result = Result(str(number))
        result.id, result.size = str(number), size
        fetcher.fetch(result, lambda _: None)
        await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)


def test_small_results_do_not_wait_for_each_other() -> None:
    async def scene(engine: Engine, fetcher: Fetcher) -> None:
        await ask(fetcher, 500, size=1000)
        assert engine.under_way == 500

    play(scene)


@pytest.mark.parametrize("size", [10 * config.MIB, 2 * config.BYTES_FETCHED])
def test_large_results_wait_for_room(size: int) -> None:
    async def scene(engine: Engine, fetcher: Fetcher) -> None:
        await ask(fetcher, 10, size=size)
        at_once = max(config.BYTES_FETCHED // size, 1)
        assert engine.under_way == at_once
        engine.answer()
        await ask(fetcher, 0)
        assert engine.under_way == min(2 * at_once, 10)

    play(scene)


def test_a_size_that_is_not_told_is_learned() -> None:
    async def scene(engine: Engine, fetcher: Fetcher) -> None:
        await ask(fetcher, 100)
        assert engine.under_way == config.BYTES_FETCHED // FIRST_GUESS
        engine.answer()
        await ask(fetcher, 0)
        assert engine.under_way == 100
        engine.answer()
        await ask(fetcher, 900)
        assert engine.under_way == 1000

    play(scene)
