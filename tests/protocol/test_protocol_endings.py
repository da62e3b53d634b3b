"""What became of tasks, by an engine that tells of their results first."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

import grpc
import pytest
from armonik.protogen.common import (
    result_status_pb2,
    task_status_pb2,
    tasks_common_pb2,
    tasks_fields_pb2,
)

from armoflow import config
from armoflow.codec.payload import CodeReference, Operation, Payload
from armoflow.codec.payload_layout import pack_payload
from armoflow.errors import EngineError
from armoflow.protocol import deleting, remains
from armoflow.protocol.result_handle import Failure
from tests.protocol.fake_engine import FakeEngine, broken

COMPLETED = result_status_pb2.RESULT_STATUS_COMPLETED
ABORTED = result_status_pb2.RESULT_STATUS_ABORTED
DELETED = result_status_pb2.RESULT_STATUS_DELETED
FAULT = "Unknown exception, see ArmoniK logs"


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, 30))


def fault() -> grpc.aio.AioRpcError:
    return broken(grpc.StatusCode.UNKNOWN, FAULT)


def status(name: str) -> int:
    number: int = task_status_pb2.TaskStatus.Value(f"TASK_STATUS_{name.upper()}")
    return number


class Engine(FakeEngine):
    """An engine with results of a given owner."""

    def own(self, result: str, owner: str, state: int = COMPLETED) -> None:
        self.statuses[result] = state
        self.owners[result] = owner

    def over(self, **outputs: list[str]) -> set[str]:
        async def ask() -> set[str]:
            return (await self.transport().ended_tasks("session", outputs)).over

        found: set[str] = run(ask())
        return found

    def failures(self, *result_ids: str) -> dict[str, Failure]:
        async def ask() -> Any:
            return await self.transport().failures("session", result_ids)

        found: dict[str, Failure] = run(ask())
        return found

    def delete(self, *result_ids: str) -> None:
        async def delete() -> None:
            await self.transport().delete("session", result_ids)

        run(delete())


# --- which tasks are over -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "over"),
    [
        ("completed", True),
        ("error", True),
        ("timeout", True),
        ("cancelled", True),
        ("cancelling", True),
        ("processing", False),
        ("processed", False),
        ("retried", False),
        ("submitted", False),
        ("creating", False),
    ],
)
def test_a_task_is_over_when_nothing_starts_it_again(name: str, over: bool) -> None:
    engine = Engine()
    engine.own("result", "task")
    engine.tasks["task"] = status(name)
    assert engine.over(task=["result"]) == ({"task"} if over else set())


def test_a_task_that_is_tried_again_is_over_with_its_last_try() -> None:
    engine = Engine()
    engine.own("result", "task###1")
    engine.tasks = {"task": status("retried"), "task###1": status("processing")}
    assert engine.over(task=["result"]) == set()
    engine.tasks["task###1"] = status("completed")
    assert engine.over(task=["result"]) == {"task"}


def test_a_task_that_handed_over_its_output_is_over_with_the_child() -> None:
    engine = Engine()
    engine.own("first", "child")
    engine.own("second", "task")
    engine.tasks = {"task": status("completed"), "child": status("processing")}
    assert engine.over(task=["first", "second"]) == set()
    engine.tasks["child"] = status("completed")
    assert engine.over(task=["first", "second"]) == {"task"}


def test_an_output_without_owner_is_its_own_task_s() -> None:
    """A refused submission strips the owners of what it names."""
    engine = Engine()
    engine.own("result", "")
    engine.tasks["task"] = status("processing")
    assert engine.over(task=["result"]) == set()
    engine.tasks["task"] = status("completed")
    assert engine.over(task=["result"]) == {"task"}


def test_an_owner_that_is_not_shown_yet_is_not_over() -> None:
    engine = Engine()
    engine.own("result", "task###1")
    engine.tasks["task"] = status("retried")
    assert engine.over(task=["result"]) == set()


def test_what_is_over_is_told_with_sizes() -> None:
    engine = Engine()
    engine.own("result", "task")
    engine.tasks["task"] = status("completed")
    engine.data["result"] = bytes(77)

    async def ask() -> Any:
        return await engine.transport().ended_tasks("session", {"task": ["result"]})

    assert run(ask()).sizes == {"result": 77}


# --- why results were aborted -------------------------------------------------------------------


def test_why_a_result_was_aborted_may_be_told_late() -> None:
    engine = Engine()
    engine.own("result", "task", ABORTED)
    engine.tasks["task"] = status("processing")

    def end(name: str) -> None:
        if engine.calls.count("ListTasks") == 3:
            engine.tasks["task"], engine.errors["task"] = status("error"), "because"

    engine.before = end
    failures = engine.failures("result")
    assert failures["result"].error == "because"
    assert failures["result"].status == "error"


def test_a_task_that_is_not_known_explains_nothing() -> None:
    engine = Engine()
    engine.own("result", "task", ABORTED)
    assert engine.failures("result", "unknown") == {}
    assert engine.calls.count("ListTasks") == 1


# --- deletions ----------------------------------------------------------------------------------


def test_a_deletion_that_fails_is_let_go() -> None:
    engine = Engine()
    engine.own("result", "task")

    def refuse(name: str) -> None:
        if name == "DeleteResultsData":
            raise fault()

    engine.before = refuse
    with pytest.raises(EngineError, match="deleting data"):
        engine.delete("result")
    assert engine.calls.count("DeleteResultsData") == 1


def test_a_store_that_deletes_nothing_twice() -> None:
    """A payload may have gone with its task: the rest is deleted all the same."""
    engine = Engine()
    engine.own("payload", "", DELETED)
    engine.own("result", "task")
    deleting = iter([fault()])

    def refuse(name: str) -> None:
        error = next(deleting, None) if name == "DeleteResultsData" else None
        if error is not None:
            raise error

    engine.before = refuse
    engine.delete("payload", "result")
    assert engine.statuses["result"] == DELETED
    assert engine.calls.count("DeleteResultsData") == 2


# --- the end of a session -----------------------------------------------------------------------


def end_session(engine: FakeEngine) -> list[str]:
    async def end() -> None:
        await engine.transport().end_session("session")

    run(end())
    return [name for name in engine.calls if name.endswith("Session")]


def test_a_session_ends_when_its_tasks_have() -> None:
    engine = Engine()
    engine.tasks = {"task": status("processing"), "other": status("retried")}

    def end(name: str) -> None:
        if engine.calls.count("CountTasksByStatus") == 2:
            engine.tasks["task"] = status("completed")

    engine.before = end
    assert end_session(engine) == ["CloseSession"]


def test_tasks_that_do_not_end_are_cancelled_before_their_data_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(config, "END_SECONDS", 0.05)
    engine = Engine()
    engine.tasks["task"] = status("creating")
    expected = ["CancelSession", "CloseSession"]
    assert end_session(engine) == expected


def test_a_session_whose_tasks_may_not_be_counted_ends() -> None:
    engine = Engine()
    engine.tasks["task"] = status("processing")

    def refuse(name: str) -> None:
        if name == "CountTasksByStatus":
            raise broken(grpc.StatusCode.PERMISSION_DENIED, "no")

    engine.before = refuse
    assert end_session(engine) == ["CloseSession"]


def store(engine: FakeEngine, result_id: str, name: str, data: bytes = b"data") -> None:
    engine.data[result_id] = data
    engine.names[result_id] = name
    engine.statuses[result_id] = COMPLETED


def test_what_failed_tasks_were_given_stays_and_what_was_to_be_kept() -> None:
    engine = FakeEngine()
    payload = Payload(Operation.CALL, "f", CodeReference("hash", None, "code"), constants=["put"])
    store(engine, "payload", "payload/f", b"".join(pack_payload(payload)))
    store(engine, "other payload", "payload/g")
    store(engine, "input", "output/g")
    store(engine, "value", "output.wanted/h")
    store(engine, "kept", "output.kept/h")
    store(engine, "kept child", "child.kept/h")
    for name in ("code", "put", "other put"):
        store(engine, name, f"shared/{name}")
    engine.tasks = {"failed": status("error"), "its dependent": status("error")}
    engine.given["failed"] = ("payload", ["input"])
    end_session(engine)
    assert set(engine.data) == {"payload", "input", "kept", "kept child", "code", "put"}


def test_where_very_many_tasks_failed_all_constants_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remains, "FAILED_PAYLOADS", 1)
    engine = FakeEngine()
    store(engine, "put", "shared/put")
    store(engine, "value", "output/f")
    for number in range(2):
        engine.tasks[f"failed-{number}"] = status("timeout")
        engine.given[f"failed-{number}"] = (f"payload-{number}", [])
    end_session(engine)
    assert set(engine.data) == {"put"}


def test_a_session_is_closed_where_what_failed_may_not_be_listed() -> None:
    engine = FakeEngine()
    store(engine, "value", "output/f")

    def refuse(name: str) -> None:
        if name == "ListTasksDetailed":
            raise broken(grpc.StatusCode.PERMISSION_DENIED, "no")

    engine.before = refuse
    with pytest.raises(EngineError, match="ListTasksDetailed"):
        end_session(engine)
    assert "CloseSession" in engine.calls
    assert "DeleteResultsData" not in engine.calls
    assert set(engine.data) == {"value"}


def test_a_session_has_ended_though_its_store_fails_to_delete(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And what else there is goes: one batch keeps no other from it."""
    monkeypatch.setattr(deleting, "LIST_SIZE", 2)
    engine = FakeEngine()
    for name in "abcd":
        store(engine, name, f"output/{name}")
    faults = iter([fault()])

    def refuse(name: str) -> None:
        error = next(faults, None) if name == "DeleteResultsData" else None
        if error is not None:
            raise error

    engine.before = refuse
    with caplog.at_level(logging.WARNING):
        assert end_session(engine) == ["CloseSession"]
    assert set(engine.data) == {"a", "b"}
    assert not caplog.records


def failed_items() -> Engine:
    """An engine with a pack that ended well with a failed item, and another one without."""
    engine = Engine()
    payload = Payload(Operation.CALL, "f", CodeReference("hash", None, "code"), constants=["put"])
    store(engine, "payload", "payload/f", b"".join(pack_payload(payload)))
    for name in ("input", "other"):
        store(engine, name, f"output/{name}")
    for name in ("code", "put", "other put"):
        store(engine, name, f"shared/{name}")
    engine.tasks = {"pack": status("completed"), "parent": status("completed")}
    engine.given = {"pack": ("payload", ["input"]), "parent": ("payload of parent", ["other"])}
    engine.logs = {"pack": "items/1 of 3 failed: f[2]", "parent": "items/0 of 2 failed"}
    return engine


def test_what_a_task_with_failed_items_was_given_stays() -> None:
    engine = failed_items()
    engine.delete(*engine.data)
    assert set(engine.data) == {"payload", "input", "code", "put"}


def test_it_stays_when_the_session_ends() -> None:
    engine = failed_items()
    end_session(engine)
    assert set(engine.data) == {"payload", "input", "code", "put"}


def test_a_log_that_is_known_is_not_looked_at_again() -> None:
    engine = failed_items()
    for name in ("one", "two", "three"):
        store(engine, name, f"output/{name}")

    async def delete() -> None:
        transport = engine.transport()
        await transport.delete("session", ["one"])
        engine.calls.clear()
        await transport.delete("session", ["two"])
        assert engine.calls == ["ListResults", "ListResults", "DeleteResultsData"]
        engine.logs["late"] = "items/1 of 1 failed: g"
        engine.tasks["late"] = status("completed")
        engine.given["late"] = ("payload", ["three"])
        await transport.delete("session", ["three"])

    run(delete())
    assert engine.data.keys() & {"one", "two", "three"} == {"three"}


def test_a_log_stays_unknown_until_its_task_was_looked_at() -> None:
    """Who deletes meanwhile looks at it too; and who comes after one that could not."""
    engine = failed_items()
    refused: list[str] = []

    def refuse(name: str) -> None:
        if name == "ListTasksDetailed" and not refused:
            refused.append(name)
            raise broken(grpc.StatusCode.PERMISSION_DENIED, "no")

    async def delete() -> None:
        transport = engine.transport()
        engine.before = refuse
        with pytest.raises(EngineError, match="ListTasksDetailed"):
            await transport.delete("session", ["input"])
        await transport.delete("session", [*engine.data])

    run(delete())
    assert set(engine.data) == {"payload", "input", "code", "put"}


def test_of_very_many_that_run_those_are_told_that_began_first() -> None:
    class Asked(FakeEngine):
        def ListTasks(self, request: Any) -> Any:
            field = request.sort.field.task_summary_field.field
            assert field == tasks_fields_pb2.TASK_SUMMARY_ENUM_FIELD_STARTED_AT
            (group,) = getattr(request.filters, "or")
            session, state = getattr(group, "and")
            assert session.filter_string.value == "session"
            assert state.filter_status.value == status("processing")
            reply = tasks_common_pb2.ListTasksResponse()
            reply.tasks.add(id="again", initial_task_id="first", status=status("processing"))
            reply.tasks.add(id="second", status=status("processing"))
            return reply

    async def ask() -> Any:  # a transport is made in a loop
        return await Asked().transport().longest_running("session")

    assert run(ask()) == ["first", "second"]
