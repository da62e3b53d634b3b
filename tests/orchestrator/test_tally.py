"""What is counted of a client's work stays bounded, whatever its tasks are called."""

from __future__ import annotations

from armoflow.codec.payload import Operation, Payload
from armoflow.orchestrator.planned import PlannedTask, Result
from armoflow.orchestrator.tally import KEPT_NAMES, Tally
from armoflow.protocol.submission import WireOptions


def named(name: str) -> PlannedTask:
    return PlannedTask(Payload(Operation.CALL, name), [], [Result(name)], WireOptions(60.0))


def test_of_names_without_end_those_stay_that_have_something_to_do() -> None:
    tally = Tally()
    open_ones = [named("first"), named("second")]
    for task in open_ones:
        tally.planned(task)
    for number in range(5 * KEPT_NAMES):
        task = named(f"task {number}")
        tally.planned(task)
        tally.ended(task)
    counts = tally.counts({})
    assert len(counts) <= KEPT_NAMES
    assert counts["first"].left == counts["second"].left == 1
    assert counts[f"task {number}"].ended == 1
    tally.planned(named("task 0"))
    assert tally.counts({})["task 0"].left == 1


def test_no_name_is_forgotten_while_all_have_something_to_do() -> None:
    tally = Tally()
    for number in range(3 * KEPT_NAMES):
        tally.planned(named(f"task {number}"))
    assert len(tally.counts({})) == 3 * KEPT_NAMES
