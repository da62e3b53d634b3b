"""What is on its way to an engine, in words."""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest

from armoflow.protocol import traffic as module
from armoflow.protocol.repeat import repeat
from tests.protocol.fake_engine import CALLER


def test_uploads_are_told_until_the_last_has_ended() -> None:
    traffic = module.Traffic()
    with traffic.uploading(3_000_000) as first, traffic.uploading(1_200_000_000) as second:
        assert traffic.words() == "upload 0.0 of 1.2 GB"
        first(5_000_000)  # sent twice, for an answer was lost
        second(600_000_000)
        assert traffic.words() == "upload 0.6 of 1.2 GB"
    with traffic.uploading(900_000):
        assert traffic.words() == ""


def test_an_engine_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    traffic = module.Traffic()
    with traffic.calling() as unanswered, traffic.uploading(10_000_000):
        unanswered("UNAVAILABLE: gone")
        monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + 12)
        assert traffic.words() == "the engine has not answered for 12 s: UNAVAILABLE: gone"
    assert traffic.words() == ""


def test_a_call_that_is_repeated_is_told_until_it_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SOON", 0.0)
    told: list[str] = []

    async def call() -> str:
        told.append(CALLER.traffic.words())
        if len(told) < 3:
            raise grpc.aio.AioRpcError(
                grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "gone"
            )
        return "answer"

    assert asyncio.run(repeat(call, "asking", CALLER)) == "answer"
    assert told[0] == "" and all("UNAVAILABLE: gone" in text for text in told[1:])
    assert CALLER.traffic.words() == ""
