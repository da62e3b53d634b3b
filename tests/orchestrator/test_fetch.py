"""Downloads: as many at once as their bytes allow."""

from __future__ import annotations

import asyncio
import errno
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


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EMFILE, "Too many open files")])
def test_what_this_process_cannot_take_fails_alone(error: Exception) -> None:
    async def scene(engine: Engine, fetcher: Fetcher) -> None:
        fetch = engine.fetch

        async def fail(session_id: str, result_ids: Sequence[str]) -> list[bytes]:
            if "1" in result_ids:
                raise error
            return await fetch(session_id, result_ids)

        engine.fetch = fail  # type: ignore[method-assign]
        results = [Result(str(number)) for number in range(3)]
        ended: list[Result] = []
        for number, result in enumerate(results):
            result.id, result.size = str(number), 1000
            fetcher.fetch(result, ended.append)
        await ask(fetcher, 0)
        engine.answer()
        await ask(fetcher, 0)
        assert ended == results
        assert [result.data is not None for result in results] == [True, False, True]
        assert results[1].blame is not None
        with pytest.raises(type(error)):
            raise results[1].blame.exception(b"")

    play(scene)
