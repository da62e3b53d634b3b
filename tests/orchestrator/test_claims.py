"""Of those who would submit what a client has laid out, the first one does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from armoflow.orchestrator.named.claims import Claims
from armoflow.protocol.transport import StoredPart


class Session:
    """Keeps what is stored, with the time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.stored: list[StoredPart] = []
        self.open = {"output"}
        self.looks = 0
        self.shared = self

    async def store(self, session_id: str, name: str, data: Sequence[bytes]) -> str:
        self.stored.append(StoredPart(f"{len(self.stored)}", self.now))
        return self.stored[-1].result_id

    async def parts(self, session_id: str, name: str) -> list[StoredPart]:
        return list(self.stored)

    async def created(self, session_id: str, prefix: str, *, unowned: bool) -> list[str]:
        self.looks += 1
        if self.looks == 3:
            self.open.clear()
        return list(self.open)


@pytest.fixture
def session() -> Session:
    return Session()


@pytest.fixture
def claims(session: Session) -> Any:
    return Claims(session, "session", patience=15.0)  # type: ignore[arg-type]


def test_of_those_who_claim_it_in_one_moment_one_is_first(claims: Claims) -> None:
    async def all_at_once() -> list[bool]:
        return await asyncio.gather(*(claims.come_first() for _ in range(3)))

    assert asyncio.run(all_at_once()) == [True, False, False]


def test_who_claimed_it_long_ago_is_gone(session: Session, claims: Claims) -> None:
    assert asyncio.run(claims.come_first())
    session.now += 14.0
    assert not asyncio.run(claims.come_first())
    session.now += 30.0
    assert asyncio.run(claims.come_first())


def test_a_claim_that_is_not_to_be_seen_yet_does_not_count(
    session: Session, claims: Claims
) -> None:
    async def nothing(session_id: str, name: str) -> list[StoredPart]:
        return []

    session.parts = nothing  # type: ignore[method-assign]
    assert not asyncio.run(claims.come_first())


def test_the_others_wait_until_it_is_submitted(session: Session, claims: Claims) -> None:
    asyncio.run(claims.wait({"output"}))
    assert session.looks == 3


def test_nobody_waits_for_ever(session: Session) -> None:
    session.looks = 3
    asyncio.run(Claims(session, "session", patience=0.0).wait({"output"}))  # type: ignore[arg-type]
    assert session.open
