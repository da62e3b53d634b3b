from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from agents import Worker, with_worker
from armonik.protogen.common import agent_common_pb2, worker_common_pb2
from seats import KEY, PATIENCE, call, collection, envelope, file_appears, read, values

import armoflow
from armoflow import config
from armoflow.codec.failure import ErrorRecord
from armoflow.codec.payload import CodeReference, Operation, Payload
from armoflow.codec.pickling import dumps
from armoflow.config import ERROR_RECORD_LIMIT


def found(output: Any) -> ErrorRecord:
    assert output.WhichOneof("type") == "error"
    record = ErrorRecord.find(output.error.details, KEY)
    assert record is not None, output.error.details
    return record


# --- one task -----------------------------------------------------------------------------------


@with_worker
async def test_a_task_writes_its_output_and_announces_it(pair: Worker) -> None:
    def add(left: int, right: int) -> int:
        return left + right

    payload = call(add)
    marks = [object(), object()]
    payload.arguments = dumps(
        (tuple(marks), {}),
        lambda part: ("slot", marks.index(part), 0) if part in marks else None,
    )
    payload.inputs = ["a", "b"]
    output = await pair.process(payload, a=envelope(40), b=envelope(2))
    assert output.WhichOneof("type") == "ok"
    assert pair.agent.calls == ["NotifyResultData"]
    assert read(pair.agent.stored["output"]) == [42]


@with_worker
async def test_a_failing_task_announces_nothing(pair: Worker) -> None:
    def broken() -> None:
        raise ArithmeticError("no")

    record = found(await pair.process(call(broken)))
    assert isinstance(record.exception(), ArithmeticError)
    assert pair.agent.calls == []


def test_the_log_holds_what_the_engine_is_not_told(
    short_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    message = "the beginning " + "".join(str(number) for number in range(20_000)) + " the reason"

    def broken() -> None:
        raise ArithmeticError(message)

    async def test(pair: Worker) -> None:
        output = await pair.process(call(broken))
        assert len(output.error.details.encode()) <= ERROR_RECORD_LIMIT
        error = found(output).exception()
        assert isinstance(error, ArithmeticError)
        assert str(error).startswith("the beginning") and str(error).endswith("the reason")

    with_worker(test)(short_path)
    (entry,) = [record for record in caplog.records if "failed" in record.getMessage()]
    assert message in entry.getMessage()


@with_worker
async def test_a_task_of_somebody_else_is_refused_clearly(pair: Worker) -> None:
    output = await pair.process(b'{"command": "a payload that another worker would understand"}')
    assert "not written by armoflow" in output.error.details
    output = await pair.process(call(int))
    assert output.WhichOneof("type") == "ok"


@with_worker
async def test_code_is_fetched_on_a_miss_only(pair: Worker) -> None:
    def one() -> int:
        return 1

    payload = call(one)
    assert payload.function is not None
    pair.agent.stored["code"] = payload.function.data or b""
    payload.function = CodeReference(payload.function.digest, None, "code")
    for _ in range(2):
        assert (await pair.process(payload)).WhichOneof("type") == "ok"
    assert pair.agent.calls == ["GetResourceData", "NotifyResultData", "NotifyResultData"]


@with_worker
async def test_data_that_is_late_or_in_use_is_asked_for_again(pair: Worker) -> None:
    payload = call(int)
    assert payload.function is not None
    pair.agent.stored["code"] = payload.function.data or b""
    payload.function = CodeReference(payload.function.digest, None, "code")
    pair.agent.faults = [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNKNOWN]
    assert (await pair.process(payload)).WhichOneof("type") == "ok"
    assert pair.agent.calls == [*["GetResourceData"] * 3, "NotifyResultData"]


@with_worker
async def test_data_that_was_deleted_is_not_asked_for_again(pair: Worker) -> None:
    payload = call(int)
    payload.function = CodeReference("other", None, "code")
    pair.agent.missing = "result 'code' has no data: it is deleted"
    assert found(await pair.process(payload)).kind == "lost"
    assert pair.agent.calls == ["GetResourceData"]


def test_a_fault_in_fetching_is_a_lost_attempt_not_lost_data(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "FETCH_PATIENCE", 0.05)
    payload = call(int)
    payload.function = CodeReference("other", None, "code")

    async def test(pair: Worker) -> None:
        for code in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE):
            pair.agent.refuse = code
            with pytest.raises(grpc.aio.AioRpcError, match="not today") as caught:
                await pair.process(payload)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            packed = collection(Operation.MAP, int, values(1, 2))
            packed.function = payload.function
            with pytest.raises(grpc.aio.AioRpcError, match="not today"):
                await pair.process(packed)
        assert "NotifyResultData" not in pair.agent.calls  # nothing of it is announced
        pair.agent.refuse = grpc.StatusCode.NOT_FOUND
        assert found(await pair.process(payload)).kind == "lost"

    with_worker(test)(short_path)


@with_worker
async def test_a_lost_agent_fails_the_call_not_the_task(pair: Worker) -> None:
    """An error of the task would be final; a failed call is tried again."""
    pair.agent.refuse = grpc.StatusCode.UNAVAILABLE
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await pair.process(call(int))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    pair.agent.refuse = grpc.StatusCode.FAILED_PRECONDITION
    output = await pair.process(call(int))
    assert "not today" in output.error.details


@with_worker
async def test_health_is_told_while_a_task_runs(pair: Worker) -> None:
    started, gate = pair.agent.folder / "started", pair.agent.folder / "gate"
    paths = str(started), str(gate)

    def wait() -> None:
        import time as clock
        from pathlib import Path as Place

        Place(paths[0]).touch()
        while not Place(paths[1]).exists():
            clock.sleep(0.01)

    running = asyncio.create_task(pair.process(call(wait)))
    await file_appears(started)
    assert await pair.health() == worker_common_pb2.HealthCheckReply.SERVING
    gate.touch()
    assert (await running).WhichOneof("type") == "ok"


# --- killing ------------------------------------------------------------------------------------


def spinning(path: Path) -> Payload:
    target = str(path)

    def spin() -> None:
        import os as system
        from pathlib import Path as Place

        Place(target + ".part").write_text(str(system.getpid()))
        Place(target + ".part").rename(target)
        sum(range(10**13))

    return call(spin)


async def gone(pid: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.01)


@with_worker
async def test_a_task_past_its_deadline_is_killed(pair: Worker) -> None:
    path = pair.agent.folder / "pid"
    assert (await pair.process(call(int))).WhichOneof("type") == "ok"  # the child is warm
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await pair.stub.Process(pair.request(spinning(path)), timeout=5.0)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await gone(int(path.read_text()))
    assert (await pair.process(call(int))).WhichOneof("type") == "ok"


@with_worker
async def test_a_cancelled_task_is_killed(pair: Worker) -> None:
    path = pair.agent.folder / "pid"
    running = pair.stub.Process(pair.request(spinning(path)), timeout=PATIENCE)
    await file_appears(path)
    running.cancel()
    await gone(int(path.read_text()))
    assert (await pair.process(call(int))).WhichOneof("type") == "ok"


# --- graphs -------------------------------------------------------------------------------------


@with_worker
async def test_a_returned_graph_goes_up_in_the_protocols_order(pair: Worker) -> None:
    @armoflow.task
    def square(value: int) -> int:
        return value * value

    @armoflow.task
    def add(*values: int) -> int:
        return sum(values)

    def graph(count: int) -> Any:
        return add(*[square(number) for number in range(count)])

    output = await pair.process(call(graph, 5))
    assert output.WhichOneof("type") == "ok", output.error.details
    agent = pair.agent
    assert agent.calls == [
        "CreateResults",
        "CreateResultsMetaData",
        "CreateResultsMetaData",
        "NotifyResultData",
        "SubmitTasks",
    ]
    (submission,) = [
        request
        for request in agent.requests
        if isinstance(request, agent_common_pb2.SubmitTasksRequest)
    ]
    *leaves, last = submission.task_creations
    assert len(leaves) == 5
    assert list(last.expected_output_keys) == ["output"]
    outputs = [leaf.expected_output_keys[0] for leaf in leaves]
    assert sorted(last.data_dependencies) == sorted(outputs)
    for creation in submission.task_creations:
        assert creation.payload_id in agent.stored
        assert creation.task_options.priority > 0
        assert creation.task_options.max_duration.seconds > 0
    results = {}
    for leaf in leaves:
        payload = agent.stored[leaf.payload_id]
        assert (await pair.process(payload, leaf.expected_output_keys[0])).HasField("ok")
        (output_id,) = leaf.expected_output_keys
        results[output_id] = agent.stored[output_id]
    output = await pair.process(agent.stored[last.payload_id], "output", **results)
    assert output.HasField("ok"), output.error.details
    assert read(agent.stored["output"]) == [30]


@with_worker
async def test_large_child_payloads_go_through_the_data_folder(pair: Worker) -> None:
    @armoflow.task
    def measure(data: bytes) -> int:
        return len(data)

    def graph(length: int) -> Any:
        return measure(b"x" * length)

    output = await pair.process(call(graph, 5_000_000))
    assert output.WhichOneof("type") == "ok", output.error.details
    largest = max(request.ByteSize() for request in pair.agent.requests)
    assert largest < 100_000
    assert max(map(len, pair.agent.stored.values())) > 5_000_000
