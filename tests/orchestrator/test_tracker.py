"""Which results are under way."""

from __future__ import annotations

from collections.abc import Iterator

from armoflow.codec.payload import Operation, Payload
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
