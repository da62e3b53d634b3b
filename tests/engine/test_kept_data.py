"""What stays of a session, by an engine of this process."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_support import Running, in_loop

from armoflow.agent.effects import CreatedResult, Effects, ResultData
from armoflow.codec.payload import CodeReference, Operation, Payload
from armoflow.codec.payload_layout import pack_payload
from armoflow.engine import kept_data
from armoflow.engine.records import NewResult, NewTask, ResultStatus


def store(running: Running, name: str, size: int = 10) -> str:
    """A result with data; returns its id."""
    engine = running.engine
    result = NewResult(engine.new_id(), name, stored=engine.objects.put(bytes(size)))
    engine.apply(engine.state.create_results(engine.now(), running.session, [result]))
    return result.id


async def left(running: Running) -> set[str]:
    """The results with data after the session was tidied."""
    await running.engine.kept_data.tidy(running.session)
    parts = running.engine.state.results_of(running.session)
    results = [result for part in parts for result in part]
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
    monkeypatch.setattr(kept_data, "FAILED_PAYLOADS", 1)
    async with Running(tmp_path) as running:
        running.open_session()
        put = store(running, "shared/put")
        failed = [running.submit() for _ in range(2)]
        for task_id in running.take():
            running.engine.fail(task_id, "broken")
        assert await left(running) == {put} | {task.payload_id for task in failed}


def run_pack(running: Running, log: str, *constants: str, inputs: tuple[str, ...] = ()) -> NewTask:
    """A task that names constants ends well, and leaves a log of this name."""
    engine = running.engine
    payload = Payload(Operation.MAP, "f", None, constants=list(constants))
    pack = running.submit(b"".join(pack_payload(payload)), inputs)
    assert running.take() == [pack.id]
    left = engine.new_id()
    data: dict[str, ResultData] = {pack.outputs[0]: b"slots", left: b"log"}
    engine.complete([(pack.id, Effects([CreatedResult(left, log)], data))])
    return pack


ONE_FAILED = "items/1 of 3 failed: f[2]"


@in_loop
async def test_what_a_task_with_failed_items_was_given_stays(tmp_path: Path) -> None:
    """A client lets go of it, as of all that a task was given that has ended well."""
    async with Running(tmp_path) as running:
        running.open_session()
        names = ("shared/put", "shared/other", "output/g", "output/h")
        put, other, given, passed = (store(running, name) for name in names)
        well = run_pack(running, "items/0 of 3 failed", inputs=(passed,))
        assert not running.engine.kept_data.spares
        pack = run_pack(running, ONE_FAILED, put, inputs=(given,))
        released = [put, other, given, passed, well.payload_id, pack.payload_id, "unknown"]
        going = await running.engine.kept_data.going(released)
        assert set(going) == {other, passed, well.payload_id, "unknown"}
        again = run_pack(running, ONE_FAILED, other)
        assert not {other, again.payload_id} & {*await running.engine.kept_data.going(released)}
        assert {put, other, given, pack.payload_id, again.payload_id} < await left(running)


@in_loop
async def test_it_stays_with_an_engine_that_deletes_payloads(tmp_path: Path) -> None:
    async with Running(tmp_path, delete_payload=True) as running:
        running.open_session()
        packs = [run_pack(running, log) for log in (ONE_FAILED, "items/0 of 3 failed")]
        states = [running.engine.state.results[pack.payload_id].status for pack in packs]
        assert states == [ResultStatus.COMPLETED, ResultStatus.DELETED]


@in_loop
async def test_it_stays_after_a_restart(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        session = running.open_session()
        given = store(running, "output/g")
        pack = run_pack(running, ONE_FAILED, inputs=(given,))
    async with Running(tmp_path) as running:
        assert await running.engine.kept_data.going([given, pack.payload_id]) == []
        state = running.engine.state
        running.engine.apply(state.delete_session(running.engine.now(), session))
        assert not running.engine.kept_data.spares


@in_loop
async def test_all_goes_where_nothing_failed(tmp_path: Path) -> None:
    async with Running(tmp_path) as running:
        running.open_session()
        for name in ("shared/put", "output/f", "payload/f"):
            store(running, name, 100_000)
        assert await left(running) == set()
