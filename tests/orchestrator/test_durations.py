"""Durations that have to be asked for: a few, now and then, and in nobody's way."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from armoflow.codec.envelope import pack_envelope
from armoflow.codec.payload import Operation, Payload
from armoflow.errors import DataLostError, EngineError
from armoflow.orchestrator import durations
from armoflow.orchestrator.durations import SAMPLE, TRIES, Durations
from armoflow.orchestrator.planned import PlannedTask, Result
from armoflow.orchestrator.tracker import Tracker
from armoflow.protocol.result_handle import ResultChange, ResultState
from armoflow.protocol.submission import WireOptions


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durations, "COLLECTING", 0.0)
    monkeypatch.setattr(durations, "INTERVAL", 0.0)


class Sizer:
    """Writes down what it is told."""

    fixed = False

    def __init__(self, known: bool = True) -> None:
        self.curious = True
        self.known = known
        self.told: list[tuple[int, float] | None] = []
        self.weights: list[tuple[int, int]] = []

    def measured(self, items: int, seconds: float) -> None:
        self.told.append((items, seconds))

    def weighed(self, items: int, size: int) -> None:
        self.weights.append((items, size))

    def unmeasurable(self) -> None:
        self.told.append(None)


class Transport:
    """Answers with what ``answer`` makes of the ids, when it is told to."""

    def __init__(self, answer: Callable[[str], Any] = lambda task_id: 0.5) -> None:
        self.questions: list[list[str]] = []
        self.read: list[list[str]] = []
        self.polled: list[list[str]] = []
        self.sizes: dict[str, int] = {}
        self.contents: dict[str, Any] = {}
        self.unreadable: Exception | None = None
        self.answer = answer
        self.open = asyncio.Event()
        self.open.set()
        self.asked = asyncio.Event()

    async def durations(self, task_ids: Sequence[str]) -> dict[str, float | None]:
        self.questions.append(list(task_ids))
        self.asked.set()
        await self.open.wait()
        answers = {task_id: self.answer(task_id) for task_id in task_ids}
        return {task_id: answer for task_id, answer in answers.items() if answer != "running"}

    async def fetch(self, session_id: str, result_ids: Sequence[str]) -> list[Any]:
        self.read.append(list(result_ids))
        if self.unreadable is not None:
            raise self.unreadable
        return [self.contents[result_id] for result_id in result_ids]

    async def poll(self, session_id: str, result_ids: Sequence[str]) -> list[ResultChange]:
        self.polled.append(list(result_ids))
        return [ResultChange(id, ResultState.COMPLETED, self.sizes.get(id, 0)) for id in result_ids]


def task(sizer: Any, name: str, items: int = 4) -> PlannedTask:
    payload = Payload(Operation.MAP, name, count=items, collection=True)
    planned = PlannedTask(payload, [], [Result(name)], WireOptions(60.0))
    planned.sizer = sizer
    planned.task_id = name
    return planned


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 30))  # type: ignore[arg-type]


async def ask(transport: Transport, tasks: Sequence[PlannedTask]) -> None:
    """Let the tasks end, and all be asked that will be."""
    asking = Durations(transport, lambda: "session")  # type: ignore[arg-type]
    for ended in tasks:
        asking.ended(ended, ended.outputs[0])
    running = asyncio.create_task(asking.run())
    quiet = 0
    while quiet < 10:  # turns of the loop without a question
        before = len(transport.questions)
        await asyncio.sleep(0)
        quiet = quiet + 1 if len(transport.questions) == before else 0
    running.cancel()


def test_a_sizer_is_told_what_its_batches_took() -> None:
    async def test() -> None:
        sizer, transport = Sizer(), Transport()
        await ask(transport, [task(sizer, "a", 4), task(sizer, "b", 64)])
        assert len(transport.questions) == 1
        assert sorted(sizer.told) == [(4, 0.5), (64, 0.5)]  # type: ignore[type-var]

    run(test)


def test_what_was_asked_about_is_held_no_longer() -> None:
    """It would keep what the last tasks were given, until others end."""

    async def test() -> None:
        sizer, transport = Sizer(), Transport()
        asking = Durations(transport, lambda: "session")  # type: ignore[arg-type]
        ended = task(sizer, "a")
        asking.ended(ended, ended.outputs[0])
        reference = weakref.ref(sizer)
        del sizer, ended
        running = asyncio.create_task(asking.run())
        await transport.asked.wait()
        for _ in range(10):  # turns of the loop
            await asyncio.sleep(0)
        assert reference() is None
        running.cancel()

    run(test)


def stored(planned: PlannedTask, size: int) -> PlannedTask:
    planned.outputs[0].id, planned.outputs[0].size = planned.name, size
    return planned


def test_what_results_say_is_read_and_the_rest_is_asked() -> None:
    async def test() -> None:
        sizer, transport = Sizer(), Transport()
        transport.contents = {
            "says": b"".join(pack_envelope([b""], 0.25)),
            "silent": b"".join(pack_envelope([b""])),
            "gone": DataLostError("gone"),
            "broken": b"no envelope",
        }
        ended = [stored(task(sizer, name, 1), 100) for name in transport.contents]
        await ask(transport, [*ended, stored(task(sizer, "large", 1), 1 << 20)])
        assert [sorted(names) for names in transport.read] == [sorted(transport.contents)]
        assert [sorted(names) for names in transport.questions] == [
            ["broken", "gone", "large", "silent"]
        ]
        assert sorted(sizer.told) == [(1, 0.25), *[(1, 0.5)] * 4]  # type: ignore[type-var]

    run(test)


def test_where_nothing_can_be_read_all_are_asked() -> None:
    async def test() -> None:
        sizer, transport = Sizer(), Transport()
        transport.unreadable = EngineError("not now")
        await ask(transport, [stored(task(sizer, "a", 1), 100)])
        assert transport.questions == [["a"]]
        assert sizer.told == [(1, 0.5)]

    run(test)


def test_a_question_is_for_a_few_tasks_and_the_newest() -> None:
    async def test() -> None:
        sizer, transport = Sizer(), Transport()
        await ask(transport, [task(sizer, str(number)) for number in range(1000)])
        (question,) = transport.questions
        assert sorted(question) == [str(number) for number in range(1000 - SAMPLE, 1000)]

    run(test)


def test_collections_take_turns() -> None:
    async def test() -> None:
        sizers, transport = [Sizer(), Sizer(), Sizer()], Transport()
        many = [task(sizers[0], f"many-{number}") for number in range(20)]
        await ask(transport, [*many, task(sizers[1], "one"), task(sizers[2], "other")])
        assert {"one", "other"} <= set(transport.questions[0])
        assert all(len(question) <= SAMPLE for question in transport.questions)

    run(test)


def test_there_is_one_question_at_a_time() -> None:
    async def test() -> None:
        sizer, transport = Sizer(), Transport()
        transport.open.clear()
        asking = Durations(transport)  # type: ignore[arg-type]
        running = asyncio.create_task(asking.run())
        asking.ended(task(sizer, "a"), Result())
        await transport.asked.wait()
        for number in range(5):
            asking.ended(task(sizer, str(number)), Result())
            await asyncio.sleep(0)
        assert transport.questions == [["a"]]
        transport.asked.clear()
        transport.open.set()
        await transport.asked.wait()
        assert len(transport.questions) == 2
        running.cancel()

    run(test)


def test_what_nothing_is_known_of_is_asked_for_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durations, "INTERVAL", 1000.0)

    async def test() -> None:
        known, unknown, transport = Sizer(), Sizer(known=False), Transport()
        asking = Durations(transport)  # type: ignore[arg-type]
        running = asyncio.create_task(asking.run())
        asking.ended(task(known, "first"), Result())
        await transport.asked.wait()
        transport.asked.clear()
        asking.ended(task(known, "second"), Result())
        for _ in range(20):
            await asyncio.sleep(0)
        assert transport.questions == [["first"]]
        asking.ended(task(unknown, "unknown"), Result())
        await transport.asked.wait()
        assert sorted(transport.questions[-1]) == ["second", "unknown"]
        running.cancel()

    run(test)


def test_a_task_whose_end_is_not_written_down_yet_is_asked_for_again() -> None:
    async def test() -> None:
        states: list[Any] = [2.0, "running"]
        sizer, transport = Sizer(), Transport(lambda task_id: states.pop())
        await ask(transport, [task(sizer, "a")])
        assert transport.questions == [["a"], ["a"]]
        assert sizer.told == [(4, 2.0)]

    run(test)


def test_a_task_that_never_completes_is_not_asked_for_without_end() -> None:
    async def test() -> None:
        sizer, transport = Sizer(), Transport(lambda task_id: "running")
        await ask(transport, [task(sizer, "a")])
        assert len(transport.questions) == TRIES
        assert sizer.told == []

    run(test)


def test_an_engine_without_durations_is_not_waited_for() -> None:
    async def test() -> None:
        sizer = Sizer()
        await ask(Transport(lambda task_id: None), [task(sizer, "a")])
        assert sizer.told == [None]

    run(test)


def test_a_question_that_fails_harms_nobody() -> None:
    def refuse(task_id: str) -> Any:
        raise EngineError("not allowed", "PERMISSION_DENIED")

    async def test() -> None:
        sizer = Sizer()
        await ask(Transport(refuse), [task(sizer, "a")])
        assert sizer.told == [None]

    run(test)


def test_what_nobody_is_curious_about_is_not_asked() -> None:
    async def test() -> None:
        sizer, transport = Sizer(), Transport()
        sizer.curious = False
        await ask(transport, [task(sizer, "a"), task(None, "b")])
        assert transport.questions == []

    run(test)


@pytest.mark.parametrize("seconds", [None, 0.5])
def test_only_what_the_engine_did_not_say_is_asked(seconds: float | None) -> None:
    unmeasured: list[PlannedTask] = []
    tracker, sizer = Tracker(lambda task, _: unmeasured.append(task)), Sizer()
    ended = task(sizer, "a")
    ended.outputs[0].id = "result"
    tracker.add([ended])
    tracker.apply([ResultChange("result", ResultState.COMPLETED, seconds=seconds)])
    assert (unmeasured == [ended]) is (seconds is None)
    assert sizer.told == ([] if seconds is None else [(4, 0.5)])


def test_how_large_values_are_is_asked_where_an_event_did_not_say_it() -> None:
    async def test() -> None:
        sizer, transport = Sizer(), Transport()
        transport.sizes = {"unsaid": 70_000}
        await ask(
            transport, [stored(task(sizer, "unsaid"), 0), stored(task(sizer, "said"), 1 << 20)]
        )
        assert transport.polled == [["unsaid"]]
        assert sorted(sizer.weights) == [(4, 70_000), (4, 1 << 20)]

    run(test)
