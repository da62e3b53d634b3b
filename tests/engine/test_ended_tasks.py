"""What has ended is noted for who asks, and for no longer."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from armoflow.engine import ended_tasks
from armoflow.engine.ended_tasks import KEPT, LISTS, EndedList, EndedLists


class Ended(NamedTuple):
    """As much of a task as matters."""

    id: str
    session_id: str = "s"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def commit(lists: EndedLists, *ids: str, session: str = "s") -> None:
    tasks: Any = [Ended(id, session) for id in ids]
    lists.committed(tasks)


def everything(ended: EndedList, position: int = 0) -> list[int | str]:
    found: list[int | str] = []
    while position < ended.size:
        numbers, ids = ended.page(position, 2)
        found += [*numbers, *ids]
        position += len(numbers) + len(ids)
    return found


def test_what_had_ended_comes_first_and_then_what_ends_in_that_session() -> None:
    lists = EndedLists(Clock())
    commit(lists, "before")
    ended = lists.open("s")
    commit(lists, "meanwhile")
    ended.begin([4, 5, 6])
    commit(lists, "other", session="another")
    commit(lists, "a", "b", "c")
    assert everything(ended) == [4, 5, 6, "meanwhile", "a", "b", "c"]
    commit(lists, "d")
    assert everything(ended, 7) == ["d"]


def test_a_reply_that_was_lost_is_given_again() -> None:
    lists = EndedLists(Clock())
    ended = lists.open("s")
    commit(lists, "a", "b", "c")
    for _ in range(2):
        assert ended.page(0, 2) == ([], ["a", "b"])
    for _ in range(2):
        assert ended.page(2, 2) == ([], ["c"])
    assert ended.held == 1 and ended.size == 3  # what has arrived is not kept


def test_each_reader_has_a_list_of_its_own() -> None:
    lists = EndedLists(Clock())
    first, second = lists.open("s"), lists.open("s")
    assert lists.find(first.id, "s") is first and lists.find(second.id, "s") is second
    assert lists.find(first.id, "another") is None and lists.find("unknown", "s") is None
    commit(lists, "a")
    assert everything(first) == everything(second) == ["a"]


def test_who_does_not_ask_any_more_is_forgotten() -> None:
    clock = Clock()
    lists = EndedLists(clock)
    silent, asking = lists.open("s"), lists.open("s")
    clock.now = KEPT
    assert lists.find(asking.id, "s") is asking
    clock.now = KEPT + 1
    commit(lists, "a")
    assert lists.find(silent.id, "s") is None and lists.find(asking.id, "s") is asking


def test_who_does_not_fetch_what_it_asks_for_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ended_tasks, "HELD", 2)
    lists = EndedLists(Clock())
    ended = lists.open("s")
    commit(lists, "a", "b", "c")
    assert lists.find(ended.id, "s") is ended
    commit(lists, "d")
    assert lists.find(ended.id, "s") is None


def test_of_many_readers_the_latest_are_kept() -> None:
    clock = Clock()
    lists = EndedLists(clock)
    opened = []
    for number in range(LISTS + 1):
        clock.now = float(number)
        opened.append(lists.open("s"))
    assert [lists.find(ended.id, "s") for ended in opened] == [None, *opened[1:]]
