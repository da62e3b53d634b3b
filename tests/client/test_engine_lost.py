"""Work with an engine that is gone for good ends: calls wait for one that may come back."""

from __future__ import annotations

import asyncio
import threading

import pytest

from armoflow import Client
from armoflow.errors import EngineError


@pytest.mark.parametrize("before", [True, False])
def test_who_waits_is_told(before: bool) -> None:
    with Client(workers=1) as client:
        backend = client._backend
        orchestrator, loop = backend._orchestrator, backend._loop
        waits = threading.Event()

        async def work() -> None:
            waits.set()
            await asyncio.Event().wait()

        def lose() -> None:
            orchestrator.engine_lost(EngineError("it died"))

        if before:
            loop.run(lose)
        asking = asyncio.run_coroutine_threadsafe(orchestrator.while_there(work()), loop.loop)
        if not before:
            assert waits.wait(60)
            loop.run(lose)
        with pytest.raises(EngineError, match="it died"):
            asking.result(60)
