"""Which results are under way."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

from armoflow.codec.payload import Operation, Payload
from armoflow.orchestrator.cancelling import Canceller
from armoflow.orchestrator.planned import PlannedTask, Result
from armoflow.orchestrator.tracker import Tracker
from armoflow.protocol.result_handle import ResultChange, ResultState
from armoflow.protocol.submission import WireOptions


class Unseen(dict[str, PlannedTask]):
    """Results that nobody goes over."""

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("all open results are gone over")

    keys = values = items = __iter__  # type: ignore[assignment]


def planned(name: str, *inputs: Result) -> PlannedTask:
    task = PlannedTask(Payload(Operation.MAP, name), inputs, [Result(name)], WireOptions(60.0))
    task.outputs[0].id = name
    return task


def test_forgetting_some_looks_at_these_alone() -> None:
    tracker = Tracker()
    tracker.open = Unseen()
    source = Result("source")
    kept, refused = planned("kept", source), planned("refused", source)
    tracker.add([kept, refused])
    tracker.forget([refused], ["refused"])
    assert "kept" in tracker.open
    assert "refused" not in tracker.open
    assert source.consumers == [kept]


def test_what_is_being_submitted_is_not_gone() -> None:
    """An engine that is asked for it in between may not know it yet."""
    tracker, task = Tracker(), planned("result")
    tracker.add([task])
    task.hold()
    gone = ResultChange("result", ResultState.DELETED)
    assert tracker.apply([gone]) == []
    task.submitted()
    assert tracker.apply([gone]) == [(task.outputs[0], gone)]


def test_results_that_got_other_ids_are_known_by_the_new_ones() -> None:
    tracker = Tracker()
    task = planned("old")
    tracker.add([task])
    task.outputs[0].id = "new"
    tracker.forget([task], ["old"])
    tracker.add([task])
    assert tracker.open == {"new": task}


def test_a_task_that_adopts_the_result_of_another_leaves_that_one_open() -> None:
    """What failed in a named run is the same as what somebody has run again."""
    tracker, failed, again = Tracker(), planned("failed"), planned("again")
    tracker.add([failed, again])
    theirs = Result("again")
    theirs.id = "again"
    tracker.adopt(failed, [(failed.outputs[0], theirs)])
    assert tracker.open == {"again": again}
    assert tracker.apply([ResultChange("again", ResultState.COMPLETED)]) == []
    assert tracker.open == {}
    assert again.open_outputs == failed.open_outputs == 0


def test_what_a_task_of_many_outputs_makes_is_found_without_going_over_all() -> None:
    """They are told of one by one: going over all each time would take their number squared."""

    class Counted(tuple[Result, ...]):
        gone_over = 0

        def __iter__(self) -> Iterator[Result]:
            Counted.gone_over += 1
            return super().__iter__()

    names = [f"output {number}" for number in range(100)]
    outputs = [Result(name) for name in names]
    task = PlannedTask(Payload(Operation.MAP, "wide"), [], outputs, WireOptions(60.0))
    for output in outputs:
        output.id = output.name
    tracker, task.outputs = Tracker(), Counted(outputs)
    tracker.add([task])
    Counted.gone_over = 0
    for name in names:
        assert tracker.apply([ResultChange(name, ResultState.COMPLETED)]) == []
    assert Counted.gone_over == 1
    assert all(output.state is ResultState.COMPLETED for output in outputs)
    assert tracker.open == {}
    assert task.open_outputs == 0


def test_outputs_of_a_wide_task_that_got_other_ids_are_known_by_the_new_ones() -> None:
    outputs = [Result(str(number)) for number in range(100)]
    task = PlannedTask(Payload(Operation.MAP, "wide"), [], outputs, WireOptions(60.0))
    tracker = Tracker()
    for attempt in ("first", "second"):
        for output in outputs:
            output.id = f"{attempt} {output.name}"
        tracker.add([task])
        assert tracker.apply([ResultChange(f"{attempt} 0", ResultState.CREATED)]) != []
        if attempt == "first":
            tracker.forget([task], [output.id for output in outputs])
    assert tracker.apply([ResultChange("second 7", ResultState.COMPLETED)]) == []
    assert outputs[7].state is ResultState.COMPLETED


def test_the_tasks_of_a_run_are_found_without_going_over_those_of_others() -> None:
    """Thousands of runs may be cancelled one by one."""
    tracker = Tracker()
    tracker.open = Unseen()
    tasks = {name: planned(name) for name in ("own 0", "own 1", "other", "of no run")}
    run, other = object(), object()
    for name, task in tasks.items():
        task.run = {"own": run, "oth": other}.get(name[:3])
    tracker.add(tasks.values())
    tracker.add([tasks["own 0"]])  # results got other ids
    assert tracker.of_run(run) == [tasks["own 1"], tasks["own 0"]]
    tracker.apply([ResultChange("own 1", ResultState.COMPLETED)])
    assert tracker.of_run(run) == [tasks["own 0"]]
    tracker.forget([tasks["own 0"]], ["own 0"])
    assert tracker.of_run(run) == []
    assert tracker.of_run(other) == [tasks["other"]]


def test_what_was_cancelled_on_its_way_is_under_way_in_no_run() -> None:
    tracker, task = Tracker(), planned("result")
    task.run = run = object()
    task.outputs[0].end(ResultState.ABORTED)
    tracker.add([task])
    assert tracker.of_run(run) == []


def test_cancelling_a_run_looks_at_its_own_tasks_alone() -> None:
    class Pipeline:
        def drop(self, unwanted: object, error: BaseException) -> None: ...
        def freed(self) -> None: ...

    told: list[PlannedTask] = []
    tracker = Tracker()
    tracker.open = Unseen()
    run = SimpleNamespace(planner=object())
    own, other = planned("own"), planned("other")
    own.run, other.run = run.planner, object()
    tracker.add([own, other])
    canceller = Canceller(tracker, cast("Any", Pipeline()), told.extend)
    canceller.cancel_run(cast("Any", run))
    assert told == [own]
    assert "own" not in tracker.open
    assert "other" in tracker.open


def test_cancelling_all_outputs_of_a_task_in_order_does_not_look_at_those_before() -> None:
    class Pipeline:
        def unsubmitted(self) -> list[PlannedTask]:
            return []

        def freed(self) -> None: ...

    class Waiter:
        asked = 0
        wants = True

        @property
        def cancelled(self) -> bool:
            Waiter.asked += 1
            return not self.wants

        def arrive(self, result: Result) -> None: ...

    outputs = [Result(f"output {number}") for number in range(100)]
    task = PlannedTask(Payload(Operation.MAP, "wide"), [], outputs, WireOptions(60.0))
    waiters = [Waiter() for _ in outputs]
    for output, waiter in zip(outputs, waiters, strict=True):
        output.id = output.name
        output.add_waiter(waiter)
    told: list[PlannedTask] = []
    tracker = Tracker()
    tracker.add([task])
    canceller = Canceller(tracker, cast("Any", Pipeline()), told.extend)
    for output, waiter in zip(outputs, waiters, strict=True):
        assert told == []
        waiter.wants = False
        canceller.cancel_result(output)
    assert told == [task]
    assert Waiter.asked < 3 * len(outputs)
