"""What became of many results of a session, asked for by their status in place of their ids."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from armoflow import Client, task
from armoflow.cli.endpoint import settings_of
from armoflow.orchestrator.named.session import RunSession
from armoflow.protocol import ended_results
from armoflow.protocol.connect import connect
from armoflow.protocol.frames import OUTPUT, PAYLOAD_PREFIX
from armoflow.protocol.result_handle import ResultState
from armoflow.protocol.transport import Transport
from tests.integration.engines import Up
from tests.integration.gates import Gate, Log, note, pass_gate

T = TypeVar("T")


@task(batch_size=1)
def one_of_three(number: int, log: str, gate: str) -> int:
    """Of three, one fails and one waits."""
    if number % 3 == 2:
        pass_gate(gate)
    note(log, number)
    if number % 3 == 1:
        raise ValueError(number)
    return number


def ask(endpoint: str, question: Callable[[Transport], Awaitable[T]]) -> T:
    """Ask an engine by the standard calls."""

    async def connected() -> T:
        settings = settings_of(endpoint, {})
        transport = await connect(settings, payloads="auto", extensions=False, timeout=30)
        try:
            return await question(transport)
        finally:
            await transport.close()

    return asyncio.run(connected())


def test_it_is_what_is_known_by_their_ids(
    client: Client, engine: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, log, name = Gate(tmp_path / "gate"), Log(tmp_path / "log"), f"run-{uuid.uuid4().hex[:8]}"
    graph = one_of_three.map([0, 1, 3, 4, 6, 7, 2], log=log.path, gate=gate.path)
    monkeypatch.setattr(ended_results, "PAGE", 2)

    async def both(transport: Transport) -> Any:
        session = await RunSession.find(transport, name)
        assert session is not None
        await session.read()
        assert await session.wait_until_planned()
        ids = [output for task in session.manifest.tasks for output in task.outputs]
        while len(await transport.poll(session.id, ids)) < 6:  # what has run is told soon
            await asyncio.sleep(0.01)
        found = []
        for many in (1, 1_000):
            monkeypatch.setattr(ended_results, "MANY", many)
            changes = await transport.poll(session.id, ids)
            found.append({change.result_id: change.state for change in changes})
        with_unknown = await transport.poll(session.id, [*ids, "nobody-knows"])
        assert (with_unknown[-1].result_id, with_unknown[-1].state) == (
            "nobody-knows",
            ResultState.DELETED,
        )
        created = await transport.shared.created(session.id, OUTPUT)
        unowned = await transport.shared.created(session.id, OUTPUT, unowned=True)
        return found, created, unowned, await transport.shared.created(session.id, PAYLOAD_PREFIX)

    with gate.closed():
        client.submit(graph, name=name)
        (listed, by_id), created, unowned, payloads = ask(engine.endpoint, both)
    assert listed == by_id
    assert list(listed.values()).count(ResultState.COMPLETED) == 3
    assert len(set(created) - set(listed)) == 1
    assert unowned == payloads == []
