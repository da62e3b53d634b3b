"""What is told of an engine that does not answer."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

import pytest

from armoflow.protocol.caller import Caller
from armoflow.protocol.settings import ConnectionSettings
from armoflow.protocol.silence import unanswered


def test_at_the_interpreters_end_nothing_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_threads(*_: Any) -> NoReturn:
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    monkeypatch.setattr(asyncio, "to_thread", no_threads)
    caller = Caller(ConnectionSettings("http://cluster:5001"))
    error = asyncio.run(unanswered("closing a session", caller, 10.0, OSError("gone"), "gone"))
    assert "closing a session, tried for 10 s: " in str(error) and "cluster:5001" in str(error)
