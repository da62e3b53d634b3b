"""Who waits for results: told once for each piece, in the order in which they came."""

from __future__ import annotations

from collections.abc import Callable

from armoflow import items, task
from armoflow.orchestrator.planned import PlanPiece, Result, SlotRange
from armoflow.orchestrator.targets import WaitingTarget
from armoflow.protocol.result_handle import ResultState


class Waiter:
    def __init__(self, log: list[Waiter]) -> None:
        self.cancelled = False
        self._log = log

    def arrive(self, result: Result) -> None:
        self._log.append(self)


def test_waiters_are_told_once_for_each_time_that_they_were_added() -> None:
    log: list[Waiter] = []
    one, two = Waiter(log), Waiter(log)
    for waiters in ([], [one], [one, two], [one, two, one]):
        log.clear()
        result = Result("r")
        for waiter in waiters:
            result.add_waiter(waiter)
        assert list(result.waiters) == waiters
        result.end(ResultState.COMPLETED)
        assert log == waiters
        assert list(result.waiters) == []


def test_pieces_of_one_result_arrive_once_each() -> None:
    arrived: list[tuple[PlanPiece, int]] = []
    done: list[WaitingTarget] = []
    fetched: list[Callable[[Result], None]] = []

    def fetch(result: Result, here: Callable[[Result], None]) -> None:
        fetched.append(here)

    def take(piece: PlanPiece, position: int) -> None:
        arrived.append((piece, position))

    target = WaitingTarget(items([1, 2, 3]).map(task(abs)), fetch, done.append, take)
    first, second = Result("first"), Result("second")
    pieces = [SlotRange(first, 0, 1), SlotRange(second, 0, 1), SlotRange(first, 2, 3)]
    target.place(pieces, False)
    target.seal()
    second.data = b""
    second.end(ResultState.COMPLETED)
    assert arrived == [(pieces[1], 1)]
    first.end(ResultState.COMPLETED)
    assert len(fetched) == 2
    for here in fetched:
        assert not done
        here(first)
    assert arrived == [(pieces[1], 1), (pieces[0], 0), (pieces[2], 2)]
    assert done == [target]
