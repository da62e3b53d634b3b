"""How much of a plan a cluster is given at a time, and in which order the rest follows."""

from __future__ import annotations

from collections import deque

from armoflow import config
from armoflow.codec.payload import Operation, Payload
from armoflow.orchestrator.backlog import Backlog
from armoflow.orchestrator.blame import Blame
from armoflow.orchestrator.planned import PlannedTask, Result
from armoflow.orchestrator.tracker import Tracker
from armoflow.protocol.engine_info import EngineInfo
from armoflow.protocol.submission import WireOptions

ENGINE = EngineInfo("", ("default", "other"), 1024, pods={"default": 2, "other": 1})


class Clock:
    """A time that goes on when it is told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def planned(*inputs: Result, partition: str = "") -> PlannedTask:
    options = WireOptions(60.0, partition=partition)
    return PlannedTask(Payload(Operation.MAP, "t"), inputs, [Result("t")], options)


def end(tracker: Tracker, task: PlannedTask) -> None:
    tracker.fail(task, Blame("t"))


def test_the_embedded_engine_gets_all_at_once() -> None:
    backlog = Backlog(None)
    assert all(backlog.offer(planned()) for _ in range(1_000))
    assert backlog.count == 0


def test_three_for_each_pod_are_queued_before_anything_has_ended() -> None:
    backlog = Backlog(ENGINE, Clock())
    assert [backlog.offer(planned()) for _ in range(8)] == [True] * 6 + [False] * 2
    assert backlog.count == 2


def test_the_default_partition_has_one_window_by_whatever_name_it_goes() -> None:
    backlog = Backlog(ENGINE, Clock())
    tasks = [planned(partition=name) for name in ["", "default"] * 4]
    assert [backlog.offer(task) for task in tasks] == [True] * 6 + [False] * 2
    assert backlog.limit("") == backlog.limit("default") == 6
    tracker = Tracker(ended=backlog.ended)
    end(tracker, tasks[1])
    assert backlog.next() is tasks[6]


def test_two_seconds_of_what_ends_are_queued() -> None:
    clock = Clock()
    backlog = Backlog(ENGINE, clock)
    tracker = Tracker(ended=backlog.ended)
    under_way = deque(task for task in (planned() for _ in range(500)) if backlog.offer(task))
    for _ in range(100):
        clock.now += 0.1  # the pods end ten a second
        end(tracker, under_way.popleft())
        under_way.extend(iter(backlog.next, None))
    assert 20 <= len(under_way) <= 26


def test_the_rate_is_known_soon_after_the_first_ends() -> None:
    clock = Clock()
    backlog = Backlog(ENGINE, clock)
    tracker = Tracker(ended=backlog.ended)
    first = [planned() for _ in range(6)]
    assert all(map(backlog.offer, first))
    clock.now += 0.1
    for task in first[:5]:
        end(tracker, task)
    assert backlog.limit("") == 115  # fifty a second, for two seconds, and some more


def test_far_away_enough_is_queued_first_for_the_time_that_news_takes() -> None:
    trip = 0.0
    backlog = Backlog(ENGINE, Clock(), lambda: trip)
    assert backlog.limit("") == 6
    trip = 0.12
    assert backlog.limit("") == 2 * (3 + 16)
    tracker = Tracker(ended=backlog.ended)
    tasks = [planned() for _ in range(38)]
    assert all(map(backlog.offer, tasks))
    end(tracker, tasks[0])
    assert backlog.limit("") == 46  # one in a moment


def test_what_is_known_stays_known_where_all_end_in_one_moment() -> None:
    """As tasks that fail: why is asked for many at a time."""
    clock = Clock()
    backlog = Backlog(ENGINE, clock)
    tracker = Tracker(ended=backlog.ended)
    tasks = [planned() for _ in range(500)]
    under_way = [task for task in tasks if backlog.offer(task)]
    assert len(under_way) == 6
    clock.now += 0.1
    for task in under_way:
        end(tracker, task)
    assert len(list(iter(backlog.next, None))) == 138  # what ends in two seconds, and some more


def test_what_the_way_takes_is_not_the_engines_time() -> None:
    clock = Clock()
    backlog = Backlog(ENGINE, clock, lambda: 0.1)
    tracker = Tracker(ended=backlog.ended)
    tasks = [planned() for _ in range(10)]
    assert all(map(backlog.offer, tasks))
    clock.now += 2.5 * 0.1 + 0.1
    for task in tasks:
        end(tracker, task)
    assert backlog.limit("") == 230  # ten in a tenth of a second, for two seconds


def test_of_calls_that_are_known_to_be_short_two_seconds_are_queued_at_once() -> None:
    backlog = Backlog(ENGINE, Clock())
    assert backlog.limit("", expected=0.001) == 250  # an agent has its own time, too
    assert backlog.limit("", expected=0.485) == 8
    assert backlog.limit("", expected=60.0) == 6
    many = Backlog(EngineInfo("", ("default",), 1024, pods={"default": 100}), Clock())
    assert many.limit("", expected=0.001) == config.BATCH_TASKS


def test_a_long_queue_is_filled_up_by_many_at_a_time() -> None:
    clock = Clock()
    backlog = Backlog(ENGINE, clock)
    tracker = Tracker(ended=backlog.ended)
    under_way = deque(task for task in (planned() for _ in range(500)) if backlog.offer(task))
    sent = []
    for _ in range(1_000):
        clock.now += 0.02  # the pods end fifty a second
        end(tracker, under_way.popleft())
        more = list(iter(backlog.next, None))
        under_way.extend(more)
        under_way.extend(task for task in [planned()] if backlog.offer(task))
        sent.append(len(more))
    assert len(under_way) >= 100
    assert min(filter(None, sent[500:])) >= 10


def test_what_waits_leaves_in_the_order_of_the_plan() -> None:
    backlog = Backlog(ENGINE, Clock())
    tracker = Tracker(ended=backlog.ended)
    tasks = [planned() for _ in range(10)]
    taken = [task for task in tasks if backlog.offer(task)]
    while taken:
        end(tracker, taken.pop(0))
        taken.extend(iter(backlog.next, None))
        if taken:
            assert tasks.index(taken[-1]) >= 6
    assert backlog.count == 0


def test_a_full_partition_holds_up_no_other() -> None:
    backlog = Backlog(ENGINE, Clock())
    for _ in range(20):
        backlog.offer(planned())
    assert backlog.offer(planned(partition="other"))


def test_what_needs_what_waits_waits_too_in_whatever_partition() -> None:
    backlog = Backlog(ENGINE, Clock())
    tracker = Tracker(ended=backlog.ended)
    taken = [planned() for _ in range(6)]
    assert all(map(backlog.offer, taken))
    source = planned()
    assert not backlog.offer(source)
    needs_it = planned(source.outputs[0], partition="other")
    assert not backlog.offer(needs_it)
    assert backlog.next() is None
    end(tracker, taken[0])
    assert backlog.next() is source
    assert backlog.next() is needs_it


def test_what_was_given_up_is_passed_over_and_holds_up_nobody() -> None:
    backlog = Backlog(ENGINE, Clock())
    tracker = Tracker(ended=backlog.ended)
    taken = [planned() for _ in range(6)]
    assert all(map(backlog.offer, taken))
    given_up = planned()
    backlog.offer(given_up)
    needs_it = planned(given_up.outputs[0], partition="other")
    backlog.offer(needs_it)
    end(tracker, given_up)
    assert backlog.next() is needs_it  # it goes, and is told there why it does not run
    end(tracker, taken[0])
    assert backlog.next() is None
    assert backlog.count == 0


def test_no_more_is_taken_from_plans_than_is_kept() -> None:
    backlog = Backlog(ENGINE, Clock())
    while not backlog.full:
        backlog.offer(planned())
    assert backlog.count == config.TASKS_QUEUED
    backlog.drop()
    assert not backlog.full
    assert backlog.next() is None


def test_whoever_submits_is_told_when_those_that_wait_may_go() -> None:
    backlog = Backlog(ENGINE, Clock())
    tracker = Tracker(ended=backlog.ended)
    told: list[int] = []
    backlog.on_room = lambda: told.append(backlog.count)
    taken = [planned() for _ in range(6)]
    assert all(map(backlog.offer, taken))
    end(tracker, taken.pop())
    assert not told  # nobody waits
    waiting = []
    while not backlog.count:
        waiting.append(planned())
        backlog.offer(waiting[-1])
    end(tracker, taken.pop())
    assert told == [1]
    end(tracker, waiting[-1])  # given up before its turn
    assert told == [1, 1]


def test_what_was_given_up_before_it_was_offered_takes_no_place() -> None:
    backlog = Backlog(ENGINE, Clock())
    tracker = Tracker(ended=backlog.ended)
    for _ in range(20):
        task = planned()
        end(tracker, task)
        assert backlog.offer(task)  # whoever submits drops it
    assert [backlog.offer(planned()) for _ in range(7)] == [True] * 6 + [False]
