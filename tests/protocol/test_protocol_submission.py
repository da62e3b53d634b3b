"""Submissions whose outcome is unknown, on engines that fail in ways ours does not."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import nullcontext
from typing import Any

import grpc
import pytest
from armonik.protogen.common import result_status_pb2, task_status_pb2

from armoflow import config
from armoflow.errors import EngineError, EngineUnreachableError, NamedRunError
from armoflow.protocol import silence, standard_submitter
from armoflow.protocol.batch import BatchTransport
from armoflow.protocol.engine_info import EngineInfo
from armoflow.protocol.frames import SAY_PREFIX, Kind
from armoflow.protocol.messages import task_options
from armoflow.protocol.probe import ProbeOutcome, Standing
from armoflow.protocol.repeat import repeat
from armoflow.protocol.result_handle import ResultHandle
from armoflow.protocol.rpc_errors import is_ambiguous
from armoflow.protocol.stream import RefusedError
from armoflow.protocol.submission import InputsAbortedError, WireOptions
from tests.protocol.fake_engine import CALLER, FakeEngine, Task, broken, make_tasks


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standard_submitter, "CREATING_PATIENCE", 0.0)


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, 30))


def submit(engine: FakeEngine, tasks: list[Task], **options: Any) -> int:
    """Submit; returns how often the outputs got their ids."""
    named: list[None] = []

    async def call() -> None:
        await engine.transport(**options).submit("session", tasks, lambda: named.append(None))

    run(call())
    return len(named)


def once(name: str, error: Exception) -> Any:
    """Raises at the first call of a name."""
    left = [error]

    def check(called: str) -> None:
        if called == name and left:
            raise left.pop()

    return check


def test_an_answer_is_lost_and_the_tasks_are_found() -> None:
    engine, tasks = FakeEngine(), make_tasks("a", "b")
    engine.after = once("SubmitTasks", broken())
    assert submit(engine, tasks) == 1
    assert engine.calls.count("SubmitTasks") == 1
    assert [task.task_id for task in tasks] == list(engine.tasks)
    assert [engine.data[task.payload_id] for task in tasks] == [b"a", b"b"]


def test_a_call_is_lost_and_made_again() -> None:
    engine, tasks = FakeEngine(), make_tasks("a")
    engine.before = once("SubmitTasks", broken())
    assert submit(engine, tasks) == 1
    assert engine.calls.count("SubmitTasks") == 2
    assert len(engine.tasks) == 1


def test_tasks_that_an_engine_left_in_creating_are_replaced() -> None:
    engine, tasks = FakeEngine(), make_tasks("a", "b")
    engine.new_status = task_status_pb2.TASK_STATUS_CREATING

    def lose(name: str) -> None:
        if name == "SubmitTasks" and engine.new_status == task_status_pb2.TASK_STATUS_CREATING:
            engine.new_status = task_status_pb2.TASK_STATUS_PENDING
            raise broken()

    engine.after = lose
    assert submit(engine, tasks) == 2
    lost, kept = list(engine.tasks)[:2], list(engine.tasks)[2:]
    assert engine.cancelled == lost
    assert [task.task_id for task in tasks] == kept
    assert [engine.owners[task.outputs[0].id] for task in tasks] == kept
    assert [engine.data[task.payload_id] for task in tasks] == [b"a", b"b"]


def test_a_lost_call_takes_effect_while_it_is_repeated() -> None:
    """The engine refuses the repetition: the outputs have their owners by then."""
    engine, tasks = FakeEngine(), make_tasks("a")
    answers = [broken(), broken(grpc.StatusCode.FAILED_PRECONDITION, "it has an owner")]
    outputs: list[str] = []

    def late(name: str) -> None:
        if name == "SubmitTasks" and answers:
            error = answers.pop(0)
            if not answers:
                outputs.append(tasks[0].outputs[0].id)
                engine.owners[outputs[0]] = "task-late"
                engine.tasks["task-late"] = task_status_pb2.TASK_STATUS_PENDING
            raise error

    engine.before = late
    submit(engine, tasks)
    assert tasks[0].task_id == "task-late"


class Planner:
    """Notes of a run that somebody takes over when it was asked for so many times."""

    fence = f"{SAY_PREFIX}2"

    def __init__(self, times: int) -> None:
        self.left = times

    def lay_out(self) -> list[tuple[str, bytes]]:
        return [("manifest/", b"note")]

    async def confirm(self, *, anew: bool = False) -> None:
        self.left -= 1
        if self.left < 0:
            raise NamedRunError("another client has taken over")


def test_whether_a_run_was_taken_over_is_asked_before_each_repetition() -> None:
    engine, tasks = FakeEngine(), make_tasks("a")
    engine.before = once("SubmitTasks", broken())
    with pytest.raises(NamedRunError):
        run(engine.transport().submit("session", tasks, lambda: None, Planner(1)))
    assert engine.calls.count("SubmitTasks") == 1
    assert not engine.tasks


def test_whether_a_run_was_taken_over_is_asked_where_its_tasks_are_refused() -> None:
    engine, tasks = FakeEngine(), make_tasks("a")
    refusal = broken(grpc.StatusCode.FAILED_PRECONDITION, "its payload was deleted")
    engine.before = once("SubmitTasks", refusal)
    with pytest.raises(NamedRunError):
        run(engine.transport().submit("session", tasks, lambda: None, Planner(1)))
    engine.before = once("SubmitTasks", refusal)
    with pytest.raises(EngineError, match="its payload was deleted"):
        run(engine.transport().submit("session", make_tasks("a"), lambda: None, Planner(2)))


@pytest.mark.parametrize(
    ("extensions", "asked", "sent"),
    [
        (("batch", "fences"), 0, [Kind.FENCED]),  # the engine refuses it
        (("batch",), 0, []),
        (("batch",), 1, [Kind.SUBMIT]),
    ],
)
def test_who_plans_asks_itself_where_an_engine_does_not_fence(
    extensions: tuple[str, ...], asked: int, sent: list[Kind]
) -> None:
    kinds: list[Kind] = []

    async def request(kind: Kind, session_id: str, *arguments: Any) -> None:
        kinds.append(kind)
        if kind is Kind.FENCED:
            assert arguments[0] == Planner.fence
            raise RefusedError("ALREADY_EXISTS", "it is taken", [])

    async def call() -> None:
        transport = BatchTransport(CALLER, "auto", FakeEngine().transport())
        transport.info = EngineInfo("", (), 1024, frozenset(extensions))
        transport._stream.request = request  # type: ignore[method-assign]
        await transport.submit("session", make_tasks("a"), lambda: None, Planner(asked))

    with nullcontext() if asked else pytest.raises(NamedRunError):
        run(call())
    assert kinds == sent


def test_of_tasks_with_very_many_outputs_most_are_created_before_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No frame is long; the tasks come with the first of each, by which a repetition is known."""
    monkeypatch.setattr(config, "RESULTS_AT_ONCE", 5)
    sent: list[tuple[Kind, list[str], int]] = []

    async def ask(kind: Kind, session_id: str, *submitted: Any) -> None:
        results, _, tasks, _ = submitted
        sent.append((kind, [name.rpartition("/")[2] for _, name in results], len(tasks)))

    tasks = make_tasks("a", "b")
    tasks[0].outputs = [ResultHandle(f"a{number}") for number in range(9)]

    async def call() -> None:
        transport = BatchTransport(CALLER, "auto", FakeEngine().transport())
        transport._ask = ask  # type: ignore[method-assign]
        await transport.submit("session", tasks, lambda: None)

    run(call())
    assert sent == [
        (Kind.SUBMIT, ["a1", "a2", "a3", "a4", "a5"], 0),
        (Kind.SUBMIT, ["a6", "a7", "a8"], 0),
        (Kind.SUBMIT, ["a0", "a", "b", "b"], 2),
    ]
    assert len({handle.id for task in tasks for handle in task.outputs}) == 10


def test_a_refused_batch_keeps_its_ids() -> None:
    engine, tasks = FakeEngine(), make_tasks("a", "b")
    lost = ResultHandle("lost", "result-lost")
    engine.statuses[lost.id] = result_status_pb2.RESULT_STATUS_ABORTED
    bad = Task("bad", [lost], [ResultHandle("bad")], WireOptions(60.0))
    engine.before = once("SubmitTasks", broken(grpc.StatusCode.FAILED_PRECONDITION, "aborted"))
    with pytest.raises(InputsAbortedError) as refusal:
        submit(engine, [*tasks, bad])
    assert refusal.value.result_ids == {lost.id}
    ids = [task.outputs[0].id for task in tasks]
    assert submit(engine, tasks) == 0
    assert [task.outputs[0].id for task in tasks] == ids
    assert [engine.data[task.payload_id] for task in tasks] == [b"a", b"b"]
    assert engine.calls.count("CreateResultsMetaData") == 1


def test_an_input_that_is_not_seen_yet_is_waited_for() -> None:
    engine = FakeEngine()
    late = ResultHandle("late", "result-late")
    engine.statuses[late.id] = result_status_pb2.RESULT_STATUS_COMPLETED
    refusals = iter([broken(grpc.StatusCode.NOT_FOUND, "no such result")] * 3)

    def refuse(name: str) -> None:
        error = next(refusals, None) if name == "SubmitTasks" else None
        if error is not None:
            raise error

    engine.before = refuse
    submit(engine, [Task("reader", [late], [ResultHandle("out")], WireOptions(60.0))])
    assert engine.calls.count("SubmitTasks") == 4


def test_an_input_that_is_never_seen_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "LATE_PATIENCE", 0.05)
    engine = FakeEngine()
    late = ResultHandle("late", "result-late")
    engine.statuses[late.id] = result_status_pb2.RESULT_STATUS_CREATED

    def refuse(name: str) -> None:
        if name == "SubmitTasks":
            raise broken(grpc.StatusCode.NOT_FOUND, "no such result")

    engine.before = refuse
    with pytest.raises(EngineError, match="no such result"):
        submit(engine, [Task("reader", [late], [ResultHandle("out")], WireOptions(60.0))])


def test_another_refusal_is_an_error() -> None:
    engine = FakeEngine()
    engine.before = once("SubmitTasks", broken(grpc.StatusCode.FAILED_PRECONDITION, "closed"))
    with pytest.raises(EngineError, match="closed"):
        submit(engine, make_tasks("a"))


@pytest.mark.parametrize("mode", ["delayed", "eager"])
def test_data_that_was_used_and_deleted_is_not_uploaded_again(mode: Any) -> None:
    engine, tasks = FakeEngine(), make_tasks("a")

    def lose(name: str) -> None:
        if name == "UploadResultData":
            engine.statuses[tasks[0].payload_id] = result_status_pb2.RESULT_STATUS_DELETED
            raise broken()

    engine.after = lose
    submit(engine, tasks, payloads=mode)
    assert engine.calls.count("UploadResultData") == 1


@pytest.mark.parametrize(
    ("error", "ambiguous"),
    [
        (broken(), True),
        (broken(grpc.StatusCode.DEADLINE_EXCEEDED), True),
        (broken(grpc.StatusCode.CANCELLED), True),
        (broken(grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2"), True),
        (broken(grpc.StatusCode.INTERNAL, "the journal cannot be written"), False),
        (broken(grpc.StatusCode.UNKNOWN, "Stream removed"), True),
        (broken(grpc.StatusCode.UNKNOWN, "KeyError"), False),
        (broken(grpc.StatusCode.UNKNOWN, "Unknown exception, see ArmoniK logs"), True),
        (broken(grpc.StatusCode.UNKNOWN, "Exception was thrown by handler."), True),
        (
            broken(grpc.StatusCode.INTERNAL, "Agent got an internal error, See cluster logs"),
            True,
        ),
        (broken(grpc.StatusCode.NOT_FOUND), False),
        (asyncio.TimeoutError(), True),
        (ValueError(), False),
    ],
)
def test_which_failures_leave_the_outcome_unknown(error: Exception, ambiguous: bool) -> None:
    assert is_ambiguous(error) is ambiguous


def test_an_engine_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "ENGINE_PATIENCE", 0.0)

    async def call() -> None:
        raise broken()

    said = "creating, tried for 0 s: the engine at unix:/nowhere is gone: nobody listens there any"
    with pytest.raises(EngineUnreachableError, match=said):
        run(repeat(call, "creating", CALLER))
    # It answers now, for all that can be seen: then what gRPC said is all that there is.
    monkeypatch.setattr(silence, "probe", lambda *_: ProbeOutcome(Standing.AS_ASKED))
    said = "creating, tried for 0 s: no answer from unix:/nowhere: UNAVAILABLE: Socket closed"
    with pytest.raises(EngineUnreachableError, match=said):
        run(repeat(call, "creating", CALLER))


def test_an_engine_that_only_answers_with_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "ENGINE_PATIENCE", 0.0)

    async def call() -> None:
        raise broken(grpc.StatusCode.UNKNOWN, "Unknown exception, see ArmoniK logs")

    said = "creating: the engine at unix:/nowhere has answered with faults for 0 s"
    with pytest.raises(EngineUnreachableError, match=said):
        run(repeat(call, "creating", CALLER))


def test_no_retries_are_said_as_the_api_says_them() -> None:
    assert task_options(WireOptions(1.5, max_retries=0)).max_retries == -1
    assert task_options(WireOptions(1.5)).max_duration.nanos == 500_000_000


# --- how many calls, one after the other ----------------------------------------------------------


class Stepping(FakeEngine):
    """Carries out, step after step, the calls that wait at the same time.

    Attributes:
        steps: Their names, sorted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[list[str]] = []
        self._waiting: list[tuple[str, asyncio.Event]] = []

    def _method(self, path: str) -> Any:
        carry_out = super()._method(path)

        async def call(request: Any, timeout: float | None = None) -> Any:
            event = asyncio.Event()
            self._waiting.append((path.rpartition("/")[2], event))
            await event.wait()
            return await carry_out(request, timeout)

        return call

    async def drive(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do some work to its end."""
        task = asyncio.create_task(work)
        while not task.done():
            for _ in range(50):  # all that can go on without an answer
                await asyncio.sleep(0)
            waiting, self._waiting = self._waiting, []
            if waiting:
                self.steps.append(sorted(name for name, _ in waiting))
            for _, event in waiting:
                event.set()
        await task


def steps(tasks: list[Task], **options: Any) -> list[list[str]]:
    engine = Stepping()
    submission = engine.transport(**options).submit("session", tasks, lambda: None)
    run(engine.drive(submission))
    assert [engine.data[task.payload_id] for task in tasks] == [t.name.encode() for t in tasks]
    assert all(engine.owners[task.outputs[0].id] == task.task_id for task in tasks)
    return engine.steps


CREATE = ["CreateResults", "CreateResultsMetaData"]


@pytest.mark.parametrize("count", [1, 2, 30])
def test_small_tasks_are_two_steps(count: int) -> None:
    assert steps(make_tasks(*map(str, range(count))), payloads="auto") == [CREATE, ["SubmitTasks"]]


def test_what_needs_its_own_batch_is_laid_out_after_the_rest() -> None:
    first, second = make_tasks("first", "second")
    second.inputs = first.outputs
    assert steps([first, second], payloads="auto") == [CREATE, ["CreateResults"], ["SubmitTasks"]]


def test_large_payloads_go_up_when_their_tasks_are_known() -> None:
    large, small = make_tasks("large", "small")
    large.size = config.INLINE_DATA_LIMIT + 1
    expected = [CREATE, ["SubmitTasks"], ["UploadResultData"]]
    assert steps([large, small], payloads="auto") == expected


def test_many_payloads_go_up_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "BATCH_BYTES", 2)
    assert steps(make_tasks(*"abcde"), payloads="inline") == [
        ["CreateResults", "CreateResults", "CreateResults", "CreateResultsMetaData"],
        ["SubmitTasks"],
    ]


def test_a_payload_that_cannot_be_created_fails_the_batch_when_its_outputs_are_named() -> None:
    engine, tasks = FakeEngine(), make_tasks("a")
    engine.before = once("CreateResults", broken(grpc.StatusCode.FAILED_PRECONDITION, "closed"))
    with pytest.raises(EngineError, match="closed"):
        submit(engine, tasks, payloads="auto")
    assert tasks[0].outputs[0].id
    assert "SubmitTasks" not in engine.calls
