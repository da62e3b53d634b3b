"""Plain calls: what goes alone, what is held back, what travels in packs."""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from armoflow import config, task
from armoflow.codec.envelope import Slot
from armoflow.errors import ClientClosedError, SubmissionError
from armoflow.options import options
from armoflow.orchestrator.calls import BLIND, CLUSTER, LOCAL, Pace
from armoflow.orchestrator.pack_sizes import CLUSTER_PACKING, TRUST
from armoflow.orchestrator.templates import is_plain
from tests.orchestrator.desk import SETTINGS, WORKERS, Desk, Foreign

FOR_EVER = 1000.0
PATIENT = LOCAL._replace(unmeasured=FOR_EVER, busy=FOR_EVER)


@task
def double(number: Any) -> Any:
    return 2 * number


@task
def triple(number: Any) -> Any:
    return 3 * number


def run(story: Callable[[Desk], Awaitable[None]], pace: Pace = PATIENT) -> None:
    async def tell() -> None:
        await story(Desk(pace))

    asyncio.run(tell())


def doubles(count: int) -> Sequence[Any]:
    return [double(number) for number in range(count)]


def test_the_first_of_a_kind_go_alone_and_the_others_wait_for_them() -> None:
    async def story(desk: Desk) -> None:
        await desk.add(*doubles(100))
        assert desk.sizes() == [1] * 4
        for planned in desk.tasks[:3]:
            await desk.end(planned, 0.0001)
        assert desk.sizes()[4:] == [12]
        await desk.end(desk.tasks[3], 0.0001)
        assert desk.sizes()[4:] == [12, 11]

    run(story)


def test_a_call_that_nothing_is_ahead_of_never_waits() -> None:
    async def story(desk: Desk) -> None:
        for turn in range(20):
            await desk.add(double(turn))
            assert desk.sizes() == [1] * (turn + 1)
            await desk.end(desk.tasks[-1], 0.0001)

    run(story)


def test_while_all_workers_are_busy_calls_gather() -> None:
    async def story(desk: Desk) -> None:
        await desk.add(double(0))
        await desk.end(desk.tasks[0], 0.0001)
        for number in range(50):
            await desk.add(double(number))
        assert desk.sizes() == [1] * (1 + WORKERS)
        await desk.end(desk.tasks[1], 0.0001)
        assert desk.sizes()[3:] == [10]

    run(story)


def test_slow_calls_go_one_by_one() -> None:
    async def story(desk: Desk) -> None:
        await desk.add(*doubles(20))
        for planned in desk.tasks[:WORKERS]:
            await desk.end(planned, 1.0)
        assert desk.sizes() == [1] * 20

    run(story)


@pytest.mark.parametrize(("moment", "rest"), [(0.05, [1] * 16), (0.02, [2] * 8)])
def test_calls_that_nobody_measures_are_taken_to_need_the_moment_that_the_others_waited(
    moment: float, rest: list[int]
) -> None:
    async def story(desk: Desk) -> None:
        await desk.add(*doubles(20))
        assert desk.sizes() == [1] * 4
        while len(desk.tasks) == 4:
            await asyncio.sleep(0.001)
        assert desk.sizes()[4:] == rest[:4]  # another wave
        while sum(desk.sizes()) < 20:
            await asyncio.sleep(0.001)
        assert desk.sizes()[4:] == rest

    run(story, PATIENT._replace(unmeasured=moment))


def test_for_each_call_that_ended_unmeasured_as_failing_ones_do_two_others_go() -> None:
    async def story(desk: Desk) -> None:
        await desk.add(*doubles(100))
        for ended, begun in [(4, 12), (8, 28), (16, 60), (32, 100)]:
            for planned in desk.tasks[-ended:]:
                await desk.end(planned, None, failed=0)
            assert desk.sizes() == [1] * begun
        await desk.add(*doubles(100))  # and when one says how long it takes, the others share tasks
        for planned in desk.tasks[60:]:
            await desk.end(planned, 0.0001)
        assert max(desk.sizes()) > 1

    run(story, PATIENT)


def test_batch_size_one_keeps_a_call_out_of_packs_and_waits_for_no_measurement() -> None:
    alone = double.with_options(batch_size=1)

    async def story(desk: Desk) -> None:
        await desk.add(*(alone(number) for number in range(20)))
        assert desk.sizes() == [1] * 20
        await desk.end(desk.tasks[0], 0.0001)
        await desk.add(*(alone(number) for number in range(20)))
        assert desk.sizes() == [1] * 40

    run(story)


def test_a_pack_is_no_larger_than_what_was_measured_allows() -> None:
    async def story(desk: Desk) -> None:
        await desk.add(*doubles(10_000))
        await desk.end(desk.tasks[0], 1e-6)
        assert desk.sizes() == [1] * 4
        for planned in desk.tasks[1:4]:
            await desk.end(planned, 1e-6)
        assert desk.sizes()[4:] == [TRUST * 3, TRUST * 4]
        await desk.end(desk.tasks[4], 1e-5)
        assert desk.sizes()[6:] == [TRUST * (4 + TRUST * 3)]

    run(story)


def test_what_a_result_says_of_its_time_is_believed_and_the_engine_not_asked() -> None:
    async def story(desk: Desk) -> None:
        await desk.add(*doubles(1000))
        sizer = desk.tasks[0].sizer
        assert sizer is not None and sizer.curious
        for planned in desk.tasks[:3]:
            desk.finish(planned, 0.005)
        await desk.add(double(0))
        assert not sizer.curious
        assert desk.sizes()[4] == 9

    run(story)


def test_calls_that_wait_behind_those_of_others_go_in_few_tasks() -> None:
    async def story(desk: Desk) -> None:
        await desk.add(*doubles(20))
        assert desk.sizes() == [1] * WORKERS
        (told,) = await looked(desk)
        told(False)
        assert desk.sizes()[WORKERS:] == [5, 5, 4, 4]

    run(story, CLUSTER._replace(look=0.01, unmeasured=FOR_EVER))


def test_of_many_calls_that_wait_behind_others_no_task_has_too_many() -> None:
    async def story(desk: Desk) -> None:
        await desk.add(*doubles(200))
        (told,) = await looked(desk)
        told(False)
        assert desk.sizes()[WORKERS:] == [BLIND] * 4
        for planned in list(desk.tasks):
            desk.finish(planned, 0.001)
        await desk.add(double(0))
        assert max(desk.sizes()[6:]) > BLIND

    run(story, CLUSTER._replace(look=0.01, unmeasured=FOR_EVER))


def test_calls_that_run_are_waited_for() -> None:
    async def story(desk: Desk) -> None:
        await desk.add(*doubles(20))
        (told,) = await looked(desk)
        told(True)
        assert desk.sizes() == [1] * WORKERS

    run(story, CLUSTER._replace(look=0.01, unmeasured=FOR_EVER))


async def looked(desk: Desk) -> list[Callable[[bool], None]]:
    while not desk.looks:
        await asyncio.sleep(0.001)
    return desk.looks


def test_other_tasks_and_other_options_travel_apart() -> None:
    async def story(desk: Desk) -> None:
        with options(priority=3):
            urgent = doubles(40)
        await desk.add(*doubles(40), *(triple(number) for number in range(40)), *urgent)
        while desk.tasks and sum(desk.sizes()) < 120:
            for planned in desk.tasks:
                if planned.open_outputs and not planned.outputs[0].final:
                    await desk.end(planned, 0.0001 * planned.items)
        kinds = {(planned.name, planned.options.priority) for planned in desk.tasks}
        assert kinds == {("double", 1), ("triple", 1), ("double", 3)}

    run(story)


def test_each_receives_its_own_slot_and_an_error_is_its_own() -> None:
    async def story(desk: Desk) -> None:
        await desk.add(double(0))
        await desk.end(desk.tasks[0], 0.0001)
        _, waiting = await desk.add(*doubles(40))
        await desk.end(desk.tasks[1], 0.001, failed=3)
        told = [one for one in waiting if one.slot is not None]
        assert [one.slot for one in told] == list(range(desk.tasks[1].items))
        assert [one.failed for one in told] == [number == 3 for number in range(len(told))]

    run(story)


def test_who_waits_for_a_call_keeps_its_own_value_and_not_the_data_of_all() -> None:
    async def story(desk: Desk) -> None:
        await desk.add(double(0))
        await desk.end(desk.tasks[0], 0.0001)
        _, waiting = await desk.add(*doubles(40))
        (result,) = desk.tasks[1].outputs
        await desk.end(desk.tasks[1], 0.001)
        assert (result.data, result.cells) == (None, None)
        kept = [one.data for one in waiting if isinstance(one.data, Slot)]
        assert len(kept) == desk.tasks[1].items
        assert all(type(buffer) is bytes for slot in kept for buffer in slot.buffers)

    run(story)


@pytest.mark.parametrize("when", ["at once", "later"])
def test_who_waits_is_told_if_calls_cannot_be_sent(
    when: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = RuntimeError("not to be sent")

    async def story(desk: Desk) -> None:
        def refuse(_: object) -> None:
            raise wrong

        if when == "later":
            await desk.add(double(0))
        desk.on_task = refuse
        _, waiting = await desk.add(*doubles(30))
        assert [one.error for one in waiting] == [wrong] * 30
        assert len(desk.calls) == 0
        desk.on_task = desk.tasks.append
        await desk.add(triple(1))
        assert desk.tasks[-1].name == "triple"

    run(story)
    assert "calls of 'double' could not be sent" in caplog.text


def test_a_call_that_was_not_sent_is_cancelled_without_a_word() -> None:
    async def story(desk: Desk) -> None:
        calls, waiting = await desk.add(*doubles(10))
        assert calls[9].cancel()
        assert isinstance(waiting[9].error, concurrent.futures.CancelledError)
        assert not calls[9].cancel()
        for planned in desk.tasks[:3]:
            await desk.end(planned, 0.0001)
        assert sum(desk.sizes()) == 9
        assert not desk.cancelled

    run(story)


def test_calls_that_were_all_cancelled_are_not_sent_at_all() -> None:
    async def story(desk: Desk) -> None:
        calls, _ = await desk.add(*doubles(1000))
        assert all(call.cancel() for call in reversed(calls[4:]))
        for planned in list(desk.tasks):
            await desk.end(planned, 0.0001)
        assert desk.sizes() == [1] * 4
        assert len(desk.calls) == 0

    run(story)


def test_a_pack_is_cancelled_when_nobody_wants_any_of_it() -> None:
    async def story(desk: Desk) -> None:
        await desk.add(double(0))
        await desk.end(desk.tasks[0], 0.0001)
        calls, waiting = await desk.add(*doubles(20))
        size = desk.tasks[1].items
        assert size > 1
        for call in calls[: size - 1]:
            assert call.cancel()
        assert not desk.cancelled
        assert calls[size - 1].cancel()
        assert desk.cancelled == list(desk.tasks[1].outputs)
        assert all(one.error is not None for one in waiting[:size])

    run(story)


def test_what_waits_is_told_when_the_session_ends_and_nothing_is_taken_after() -> None:
    async def story(desk: Desk) -> None:
        _, waiting = await desk.add(*doubles(10))
        desk.calls.close(ClientClosedError("closed"))
        assert [one.error is not None for one in waiting] == [False] * 4 + [True] * 6
        assert len(desk.calls) == 0
        with pytest.raises(ClientClosedError):
            await desk.add(double(1))

    run(story)


def test_a_function_that_changes_runs_as_it_was_when_it_was_called() -> None:
    factor = 2

    @task
    def times(number: int) -> int:
        return factor * number

    async def story(desk: Desk) -> None:
        nonlocal factor
        await desk.add(times(1))
        factor = 3
        await desk.add(times(1))
        first, second = (planned.payload for planned in desk.tasks)
        assert first is not None and second is not None
        assert first.function is not None and second.function is not None
        assert first.function.digest != second.function.digest

    run(story)


def test_a_function_whose_body_or_builtins_change_is_sent_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def size(number: int) -> int:
        return abs(number)

    def other(number: int) -> int:
        return -abs(number)

    sized = task(size)

    async def story(desk: Desk) -> None:
        await desk.add(sized(1))
        await desk.add(sized(1))
        size.__code__ = other.__code__
        await desk.add(sized(1))
        monkeypatch.setitem(globals(), "abs", lambda number: number)
        await desk.add(sized(1))
        digests = []
        for planned in desk.tasks:
            assert planned.payload is not None and planned.payload.function is not None
            digests.append(planned.payload.function.digest)
        assert digests[0] == digests[1]
        assert len(set(digests)) == 3

        monkeypatch.delitem(globals(), "abs")
        await desk.add(sized(1))
        last = desk.tasks[-1].payload
        assert last is not None and last.function is not None
        assert last.function.digest == digests[2]

    run(story)


def test_each_thread_s_calls_have_the_code_of_their_moment() -> None:
    """Two threads encode a function that is changed in between; the first one finishes last."""
    factor = 2

    @task
    def times(number: int) -> int:
        return factor * number

    async def story(desk: Desk) -> None:
        nonlocal factor
        templates = desk.calls.templates
        node: Any = times(1)
        encode = templates._code
        interrupted = False

        def encode_and_be_overtaken(function: Any) -> Any:
            nonlocal factor, interrupted
            found = encode(function)
            if not interrupted:
                interrupted = True
                factor = 3
                assert templates.prepare([node.node], SETTINGS, frozenset())
            return found

        templates._code = encode_and_be_overtaken  # type: ignore[method-assign]
        (first,) = templates.prepare([node.node], SETTINGS, frozenset()) or ()
        (second,) = templates.prepare([node.node], SETTINGS, frozenset()) or ()
        assert first.template is not second.template
        for call in (first, second):
            assert call.code is not None and call.template.digests == call.code.digests

    run(story)


def test_arguments_are_taken_at_the_call() -> None:
    numbers = [1]

    async def story(desk: Desk) -> None:
        await desk.add(double(numbers))
        await desk.add(*doubles(5))
        numbers.append(2)
        assert desk.tasks[0].payload is not None
        arguments = desk.tasks[0].payload.arguments
        assert arguments is not None
        assert len(arguments.data) == len(_pickled([1]))

    run(story)


def _pickled(numbers: list[int]) -> bytes:
    from armoflow.codec.pickling import dumps

    return bytes(dumps(((numbers,), {})).data)


def test_what_must_be_planned_is_told() -> None:
    async def story(desk: Desk) -> None:
        prepare = desk.calls.templates.prepare
        for argument in ([Foreign()], bytes(1 << 20), threading.Lock()):
            value: Any = double(argument)
            assert prepare([value.node], SETTINGS, frozenset({Foreign})) is None
        lock = threading.Lock()
        locked: Any = task(lambda: lock)()
        assert prepare([locked.node], SETTINGS, frozenset()) is None

    run(story)


def test_what_the_session_does_not_allow_is_refused_at_once() -> None:
    async def story(desk: Desk) -> None:
        with pytest.raises(SubmissionError, match="gpu"):
            await desk.add(double.with_options(partition="gpu")(1))

    run(story)


def test_which_values_are_plain() -> None:
    assert is_plain(double(1))
    assert not is_plain(double(double(1)))
    assert not is_plain(double([double(1)]))
    assert not is_plain(double.map([1]))
    assert not is_plain(double.map([1])[0])


# --- a cluster of many pods ----------------------------------------------------------------------

MANY = dataclasses.replace(SETTINGS, workers=1_000, packing=CLUSTER_PACKING)


def test_tiny_calls_for_many_pods_gather() -> None:
    async def story(desk: Desk) -> None:
        await desk.add(*doubles(16), settings=MANY)
        for planned in desk.tasks[:16]:
            await desk.end(planned, 1e-5)
        for number in range(500):  # each in a moment of its own
            await desk.add(double(number), settings=MANY)
        alone = config.PROBES * 2
        assert desk.sizes() == [1] * alone + [TRUST * 16]
        await desk.add(*doubles(1_000), settings=MANY)
        assert desk.sizes()[alone:] == [TRUST * 16] * 5

    run(story, CLUSTER._replace(unmeasured=FOR_EVER, busy=FOR_EVER))


def test_no_packs_queue_up_that_are_small_for_want_of_measurements() -> None:
    """Each costs a cluster as much as a large one, and the next ones are larger."""
    settings = dataclasses.replace(SETTINGS, packing=CLUSTER_PACKING)

    async def story(desk: Desk) -> None:
        await desk.add(*doubles(300), settings=settings)
        await desk.end(desk.tasks[0], 1e-5)
        await desk.end(desk.tasks[1], 1e-5)
        assert desk.sizes() == [1, 1, TRUST, 2 * TRUST]  # as many as there are workers
        await desk.end(desk.tasks[2], TRUST * 1e-5)
        assert desk.sizes() == [1, 1, TRUST, 2 * TRUST, 298 - 3 * TRUST]

    run(story, CLUSTER._replace(unmeasured=FOR_EVER, busy=FOR_EVER))


def test_slow_calls_leave_none_of_many_pods_idle() -> None:
    async def story(desk: Desk) -> None:
        await desk.add(*doubles(2_000), settings=MANY)
        assert desk.sizes() == [1] * config.PROBES
        await desk.end(desk.tasks[0], 1.0)
        assert desk.sizes() == [1] * 2_000

    run(story, CLUSTER._replace(unmeasured=FOR_EVER, busy=FOR_EVER))


def test_calls_that_nobody_measures_reach_twice_as_many_pods_each_time() -> None:
    waves: list[int] = []

    async def story(desk: Desk) -> None:
        await desk.add(*doubles(1_200), settings=MANY)
        while sum(desk.sizes()) < 1_200:
            if not waves or len(desk.tasks) > waves[-1]:
                waves.append(len(desk.tasks))
            await asyncio.sleep(0.001)

    run(story, CLUSTER._replace(unmeasured=0.05, look=FOR_EVER))
    assert waves[:3] == [16, 32, 64]
