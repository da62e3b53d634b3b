"""Who plans a run asks whether it has been taken over, and goes on by fresh answers alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from armoflow import config
from armoflow.errors import EngineUnreachableError, NamedRunError
from armoflow.orchestrator.named import fence as module
from armoflow.orchestrator.named.fence import TRUSTED, Fence

TAKEN = NamedRunError("somebody else has taken it over")


class SlowEngine:
    """Answers after some seconds, one after the other; then at once."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.delays: Iterator[float] = iter(())
        self.overtaken = False
        self.asked = 0
        patch.setattr(module, "uptime", lambda: self.now)

    async def answer(self) -> bool:
        self.asked += 1
        self.now += next(self.delays, 0.1)
        return self.overtaken


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> SlowEngine:
    return SlowEngine(monkeypatch)


@pytest.fixture
def fence(engine: SlowEngine) -> Fence:
    return Fence(engine.answer, TAKEN, lambda error: None, asked_at=engine.now)


def test_an_answer_holds_for_a_while(engine: SlowEngine, fence: Fence) -> None:
    asyncio.run(fence.confirm())
    assert engine.asked == 0
    engine.now += TRUSTED
    asyncio.run(fence.confirm())
    assert engine.asked == 1


def test_who_planned_for_long_asks_before_its_first_tasks(engine: SlowEngine) -> None:
    begun, engine.now = engine.now, engine.now + TRUSTED
    engine.overtaken = True
    fence = Fence(engine.answer, TAKEN, lambda error: None, asked_at=begun)
    with pytest.raises(NamedRunError):
        asyncio.run(fence.confirm())


def test_an_answer_that_came_late_is_asked_for_again(
    engine: SlowEngine, fence: Fence, caplog: pytest.LogCaptureFixture
) -> None:
    engine.now += TRUSTED
    engine.delays = iter([TRUSTED, 2 * TRUSTED])
    asyncio.run(fence.confirm())
    assert engine.asked == 3
    assert "takes 12 s to say whether another client has taken this run over" in caplog.text


def test_who_was_overtaken_hears_it(engine: SlowEngine, fence: Fence) -> None:
    engine.now += TRUSTED
    engine.overtaken = True
    with pytest.raises(NamedRunError):
        asyncio.run(fence.confirm())


def test_an_engine_that_is_always_late_is_not_asked_for_ever(
    engine: SlowEngine, fence: Fence
) -> None:
    engine.now += TRUSTED
    engine.delays = iter([10.0] * 1000)
    with pytest.raises(EngineUnreachableError, match="takes 10 s to say"):
        asyncio.run(fence.confirm())
    assert engine.asked == config.ENGINE_PATIENCE / 10
