"""What stays of a session whose client is gone, by an engine of this process."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_support import Running, in_loop

from armoflow.codec.payload import CodeReference, Operation, Payload, pack_payload
from armoflow.engine import remains
from armoflow.engine.records import NewResult, ResultStatus
from armoflow.engine.remains import tidy


def store(running: Running, name: str, size: int = 10) -> str:
    """A result with data; returns its id."""
    engine = running.engine
    result = NewResult(engine.new_id(), name, stored=engine.objects.put(bytes(size)))
    engine.apply(engine.state.create_results(engine.now(), running.session, [result]))
    return result.id


async def left(running: Running) -> set[str]:
    """The results with data after the session was tidied."""
    await tidy(running.engine, running.session)
    results = running.engine.state.results_of(running.session)
    return {result.id for result in results if result.status is ResultStatus.COMPLETED}


@in_loop
@pytest.mark.parametrize("ballast", [0, 100_000])  # a payload of its own file
async def test_what_a_failed_task_was_given_stays(tmp_path: Path, ballast: int) -> None:
    async with Running(tmp_path) as running:
        running.open_session()
        code, put, given = (store(running, name) for name in ("shared/f", "shared/put", "output/g"))
        for name in ("shared/other", "output.wanted/h"):
            store(running, name)
        kept = {
            store(running, name)
            for name in ("output.kept/h", "child.kept/h", "items/1 of 2 failed: f")
        }
        payload = Payload(
            Operation.CALL,
            "f",
            CodeReference("hash", None, code),
            constants=[put],
            key=bytes(ballast),
        )
        failed = running.submit(b"".join(pack_payload(payload)), (given,))
        running.take()
        running.engine.fail(failed.id, "broken")
        assert await left(running) == {failed.payload_id, given, code, put} | kept


@in_loop
async def test_constants_stay_where_very_many_tasks_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remains, "FAILED_PAYLOADS", 1)
    async with Running(tmp_path) as running:
        running.open_session()
        put = store(running, "shared/put")
        failed = [running.submit() for _ in range(2)]
        for task_id in running.take():
            running.engine.fail(task_id, "broken")
        assert await left(running) == {put} | {task.payload_id for task in failed}


@in_loop
async def test_all_goes_where_nothing_failed(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        running.open_session()
        for name in ("shared/put", "output/f", "payload/f"):
            store(running, name, 100_000)
        assert await left(running) == set()
